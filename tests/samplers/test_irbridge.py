"""A prior inside a bridge: exactness with exact denoisers, the known biases, and what the loop is in other words."""

import pytest
import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.bridges import Bridge
from rebridge.bridges import transition as tr
from rebridge.denoisers import MixtureDenoiser, TransitionDenoiser, as_estimate
from rebridge.irbridge import preset
from rebridge.samplers.irbridge import IRBridge
from rebridge.samplers.prior_schedules import SCHEDULES, Schedule, schedule

PROCESS = bridges.create("vp")
STABLE_DIFFUSION = bridges.create("vp", schedule="scaled-linear")
BRIDGES = {
    name: bridges.create(name, **({"modulation": "one"} if name in ("rdbm", "fod") else {}))
    for name in bridges.names()
    if name != "flow"
}
WEIGHTS = torch.tensor([0.6, 0.4], dtype=torch.float64)
MEANS = torch.tensor([[0.7, -0.3, 0.3, -0.1], [-0.7, 0.4, -0.1, 0.2]], dtype=torch.float64)
SPREAD = torch.tensor([[0.3, 0.1, 0.2, 0.0], [0.0, 0.25, 0.05, 0.2], [0.0, 0.0, 0.3, 0.1], [0.0, 0.0, 0.0, 0.3]])
COVARIANCE = (SPREAD @ SPREAD.mT).double() + 0.01 * torch.eye(4, dtype=torch.float64)
COVARIANCES = torch.stack([COVARIANCE, 0.7 * COVARIANCE])
COUNT = 2000


def conditional(process: Bridge) -> MixtureDenoiser:
    return MixtureDenoiser(process, WEIGHTS, MEANS, COVARIANCES)


def unconditional(process: Bridge) -> MixtureDenoiser:
    """The exact denoiser of p(x0): in its joint, y is independent of x0 and of the component."""
    means, covariances = MEANS.clone(), COVARIANCES.clone()
    means[:, 2:] = 0
    covariances[:, :2, 2:] = covariances[:, 2:, :2] = 0
    covariances[:, 2:, 2:] = torch.eye(2)
    return MixtureDenoiser(process, WEIGHTS, means, covariances)


def degraded(count: int = COUNT) -> Tensor:
    return torch.tensor([[0.1, 0.05]], dtype=torch.float64).repeat(count, 1)


def moments(weights: Tensor, means: Tensor, covariances: Tensor) -> tuple[Tensor, Tensor]:
    mean = (weights[:, None] * means).sum(0)
    second = (weights[:, None, None] * (covariances + means[:, :, None] * means[:, None])).sum(0)
    return mean, second - mean[:, None] * mean


def truth() -> tuple[Tensor, Tensor, Tensor]:
    """Mean, covariance and mode weights of p(x0 | y)."""
    weights, means, covariances = conditional(PROCESS).posterior(degraded(1))
    return *moments(weights[0], means[0], covariances), weights[0]


def mode_weights(samples: Tensor) -> Tensor:
    """The mean probability of each mode given a sample and y."""
    weights, means, covariances = conditional(PROCESS).posterior(degraded(1))
    normals = torch.distributions.MultivariateNormal(means[0], covariances)
    return (weights[0].log() + normals.log_prob(samples[:, None])).softmax(1).mean(0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=BRIDGES, ids=str)
def bridge(request: pytest.FixtureRequest) -> Bridge:
    return BRIDGES[request.param]


# -- exactness -----------------------------------------------------------------------------------------------------------


def test_the_loop_with_the_exact_conditional_denoiser_samples_the_posterior(bridge: Bridge) -> None:
    sampler = IRBridge(process=PROCESS, steps=100)
    samples = sampler(bridge, conditional(PROCESS), degraded(), generator=generator())
    mean, covariance, weights = truth()
    error = (covariance.diagonal() / COUNT).sqrt()
    assert ((samples.mean(0) - mean).abs() < 4 * error + 0.01).all()
    # Monte Carlo 2.6 % (one standard deviation of a variance), discretisation 3 %
    assert (torch.cov(samples.T) - covariance).abs().max() < 0.11 * covariance.diagonal().max()
    assert (mode_weights(samples) - weights).abs().max() < 0.04


@pytest.mark.parametrize("prior", ["ve", "rectified-flow", "vp"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_kind_of_prior_and_every_eta_sample_the_posterior(prior: str, eta: float) -> None:
    process = bridges.create(prior)
    sampler = IRBridge(process=process, steps=100, eta=eta)
    samples = sampler(BRIDGES["goub"], conditional(process), degraded(), generator=generator())
    mean, covariance, weights = truth()
    assert (samples.mean(0) - mean).abs().max() < 0.05
    assert (torch.cov(samples.T) - covariance).abs().max() < 0.11 * covariance.diagonal().max()
    assert (mode_weights(samples) - weights).abs().max() < 0.04


def test_a_prior_seen_through_the_transition_is_the_exact_denoiser_of_the_bridge(bridge: Bridge) -> None:
    denoiser = TransitionDenoiser(conditional(PROCESS), PROCESS, bridge)
    low = max(bridge.level_range[0], denoiser.lowest and PROCESS.noise_level(denoiser.lowest).item())
    high = min(bridge.level_range[1], PROCESS.level_range[1])
    y, x0 = degraded(50), torch.randn(50, 2, dtype=torch.float64)
    for share in (0.001, 0.25, 0.5, 0.75, 0.999):
        t = bridge.time_of_level(low * (high / low) ** share).expand(50)
        x_t = bridge.forward(x0, y, t, torch.randn_like(x0))
        expected = conditional(bridge)(x_t, t, y)
        torch.testing.assert_close(as_estimate(denoiser(x_t, t, y)).x0, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in samplers.names() if name not in ("irbridge", "ddim", "sdedit")])
def test_every_sampler_of_the_catalogue_runs_on_a_prior(name: str) -> None:
    bridge = BRIDGES["goub"]
    denoiser = TransitionDenoiser(conditional(PROCESS), PROCESS, bridge)
    results = [
        samplers.create(name, steps=20)(bridge, d, degraded(500), generator=generator())
        for d in (denoiser, conditional(bridge))
    ]
    # only the first estimate differs, at the singular end, where the prior is asked about y under its own noise
    assert (results[0].mean(0) - results[1].mean(0)).abs().max() < 0.1
    assert torch.isfinite(results[0]).all()


# -- what the loop is ----------------------------------------------------------------------------------------------------


def test_at_the_critical_times_the_loop_is_ddim_of_the_conditional_prior() -> None:
    bridge, prior, y = BRIDGES["goub"], conditional(PROCESS), degraded(20)
    loop = IRBridge(process=PROCESS, steps=15, start="noise")
    noise = torch.randn(y.shape, dtype=torch.float64, generator=generator())
    x0 = loop(bridge, prior, y, noise=lambda like: noise)
    times = loop.times(bridge)
    matched = torch.cat([tr.critical_time(bridge, times[:-1], PROCESS), times[-1:]])
    z = PROCESS.coefficients(matched[0]).gamma * noise
    expected = samplers.create("dbim")(PROCESS, prior, y, x=z, times=matched)
    assert (x0 - expected).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["critical+300-0", "linear-850", "critical+100", "lowlight"])
def test_the_paper_preset_is_stochastic_ddim_after_its_start(name: str) -> None:
    bridge, prior, y = bridges.create("ir-sde", lam=2 / 255), conditional(STABLE_DIFFUSION), degraded(20)
    settings = {k: v for k, v in preset("paper", schedule=name, steps=10).items() if k != "bridge"}
    loop = IRBridge(process=STABLE_DIFFUSION, **settings)
    draws = [torch.randn(y.shape, dtype=torch.float64, generator=generator(k)) for k in range(11)]
    queue = iter(draws)
    result = loop(bridge, prior, y, noise=lambda like: next(queue))
    # the same by hand: SDEdit of y at the first time, then DDIM whose fresh noise makes up what the bridge lacks
    times, draw = loop.times(bridge), iter(draws[1:])
    n = bridge.noise_level(times[0])
    u = y + n * draws[0]
    for t, t_next in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        s = loop.prior_time(bridge, t)
        p, n = STABLE_DIFFUSION.coefficients(s), bridge.noise_level(t)
        z = p.alpha * u + (p.gamma.square() - (p.alpha * n).square()).sqrt() * next(draw)
        x0 = prior(z, torch.full((len(y),), s, dtype=torch.float64), y)
        u = x0 + bridge.noise_level(t_next) * (z - p.alpha * x0) / p.gamma
    assert (result - u).abs().max() < 1e-9


def test_the_start_of_the_paper_is_sdedit() -> None:
    bridge, prior, y = bridges.create("ir-sde", lam=2 / 255), conditional(STABLE_DIFFUSION), degraded(20)
    strength = tr.critical_time(bridge, 1.0, STABLE_DIFFUSION).item()
    noise = torch.randn(y.shape, dtype=torch.float64, generator=generator())
    one_call = IRBridge(process=STABLE_DIFFUSION, steps=1, start="y")
    expected = samplers.create("sdedit", strength=strength, steps=1)(
        STABLE_DIFFUSION, prior, y, noise=lambda like: noise
    )
    assert (one_call(bridge, prior, y, noise=lambda like: noise) - expected).abs().max() < 1e-10


def test_generation_from_pure_noise_samples_the_posterior_too() -> None:
    samples = samplers.create("ddim", steps=200)(PROCESS, conditional(PROCESS), degraded(), generator=generator())
    mean, covariance, _ = truth()
    assert (samples.mean(0) - mean).abs().max() < 0.05
    assert (torch.cov(samples.T) - covariance).abs().max() < 0.2 * covariance.diagonal().max()


# -- the known biases ------------------------------------------------------------------------------------------------------


def test_an_unconditional_prior_forgets_y_the_more_the_noisier_the_start() -> None:
    mean, covariance, _ = truth()
    prior_mean, _ = moments(WEIGHTS, MEANS[:, :2], COVARIANCES[:, :2, :2])
    to_posterior, spread = [], []
    for lam in (2 / 255, 10 / 255, 60 / 255):
        bridge = bridges.create("ir-sde", lam=lam)
        loop = IRBridge(process=PROCESS, steps=60, start="y")
        samples = loop(bridge, unconditional(PROCESS), degraded(), generator=generator())
        to_posterior.append((samples.mean(0) - mean).norm().item())
        spread.append(torch.cov(samples.T).diagonal().sum().item())
    assert (samples.mean(0) - prior_mean).norm() < 0.05
    assert spread[-1] > 1.2 * covariance.diagonal().sum()
    exact = IRBridge(process=PROCESS, steps=60)(
        BRIDGES["goub"], conditional(PROCESS), degraded(), generator=generator()
    )
    assert (exact.mean(0) - mean).norm() < 0.5 * min(to_posterior)


def test_offset_schedules_lose_variance_and_more_steps_do_not_bring_it_back() -> None:
    # lam and start large enough for both that only the schedule differs
    bridge, kept = bridges.create("ir-sde", lam=20 / 255), {}
    _, covariance, _ = truth()
    for name in ("critical", "critical+300"):
        for steps in (30, 90):
            loop = IRBridge(process=PROCESS, steps=steps, schedule=name)
            samples = loop(bridge, conditional(PROCESS), degraded(), generator=generator())
            kept[name, steps] = (torch.cov(samples.T).trace() / covariance.trace()).item()
    assert kept["critical", 90] > 0.93
    assert kept["critical+300", 30] < 0.8
    assert kept["critical+300", 90] < kept["critical+300", 30] + 0.05


def test_an_offset_schedule_with_the_posterior_reverse_is_refused() -> None:
    with pytest.raises(ValueError, match="loses its variance at every step; use eta 0, or schedule 'critical'"):
        IRBridge(process=PROCESS, schedule="critical+300", eta=1.0)
    IRBridge(process=PROCESS, schedule="critical", eta=1.0)


# -- times -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "i", "index", "tolerance"),
    [
        ("rain", 100, 790, 2), ("rain", 80, 284, 3), ("rain", 70, 217, 3), ("haze", 100, 690, 3), ("haze", 71, 35, 2),
        ("snow", 100, 550, 1), ("snow", 50, 275, 2), ("lowlight", 100, 850, 1), ("lowlight", 50, 800, 1),
        ("inpaint", 100, 800, 1), ("inpaint", 30, 400, 1), ("flat-850", 60, 850, 1), ("rise-550-850", 50, 850, 1),
        ("critical+100", 100, 591, 1), ("linear-550", 100, 550, 1),
    ],
)  # fmt: skip
def test_schedules_ask_at_the_indices_of_the_papers_figures(name: str, i: int, index: int, tolerance: int) -> None:
    bridge = bridges.create("ir-sde", lam=2 / 255)
    loop = IRBridge(process=STABLE_DIFFUSION, schedule=name, discrete=True, start="y")
    assert abs(loop.prior_time(bridge, i / 100) * 1000 - index) <= tolerance


def test_no_schedule_asks_before_the_critical_time() -> None:
    # the paper's fixed schedules are too early at the first steps of GOUB
    bridge = bridges.create("goub", lam=2 / 255)
    for name in SCHEDULES:
        loop = IRBridge(process=STABLE_DIFFUSION, schedule=name, grid="uniform", start="y", stop=False, steps=100)
        for t in loop.times(bridge)[:-1].tolist():
            n = bridge.noise_level(t)
            assert STABLE_DIFFUSION.noise_level(loop.prior_time(bridge, t)) >= n * (1 - 1e-9)


def test_the_singular_first_time_of_a_pinned_bridge_is_skipped() -> None:
    loop = IRBridge(process=STABLE_DIFFUSION, grid="uniform", start="y", stop=False, steps=99)
    torch.testing.assert_close(
        loop.times(bridges.create("goub", lam=2 / 255)), torch.linspace(0.99, 0, 100, dtype=torch.float64)
    )


def test_below_the_lowest_level_of_the_prior_the_walk_stops() -> None:
    bridge = bridges.create("ir-sde", lam=2 / 255)
    times = {
        stop: IRBridge(process=STABLE_DIFFUSION, grid="uniform", start="y", steps=100, stop=stop).times(bridge)
        for stop in (False, True)
    }
    assert len(times[False]) == 101
    assert abs(len(times[True]) - 1 - 44) <= 1  # 100 - 56 calls
    assert times[True][-2].item() == pytest.approx(0.56, abs=0.015)


@pytest.mark.parametrize("start", ["y", "noise", "estimate"])
@pytest.mark.parametrize("steps", [2, 3, 25])
def test_the_number_of_steps_is_the_number_of_calls(start: str, steps: int) -> None:
    calls = []

    def prior(z: Tensor, s: Tensor, y: Tensor) -> Tensor:
        calls.append(s[0].item())
        return z

    loop = IRBridge(process=PROCESS, steps=steps, start=start)  # type: ignore[arg-type]
    loop(BRIDGES["goub"], prior, degraded(1))
    assert len(calls) == steps
    assert calls == sorted(calls, reverse=True)


def test_impossible_settings_are_refused_in_one_sentence() -> None:
    for changes, sentence in (
        ({"start": "x"}, "start must be one of"),
        ({"grid": "karras"}, "grid must be one of"),
        ({"schedule": "paper"}, "unknown schedule"),
        ({"eta": 2.0}, "eta must lie in"),
        ({"steps": 1}, "steps must be at least 2"),
        ({"highest": 0.0}, "highest must be positive"),
    ):
        with pytest.raises(ValueError, match=sentence):
            IRBridge(process=PROCESS, **changes)
    with pytest.raises(ValueError, match="unknown preset"):
        preset("best")
    with pytest.raises(ValueError, match="must increase from 0 to 1"):
        Schedule(((0.5, 0.1), (1.0, 0.2)))
    with pytest.raises(ValueError, match="create it with modulation='one'"):
        IRBridge(process=PROCESS)(bridges.create("rdbm"), conditional(PROCESS), degraded(1))
    with pytest.raises(ValueError, match="strength must lie in"):
        samplers.create("sdedit", strength=0.0)


def test_a_preset_takes_the_schedule_of_the_task_and_changes_win() -> None:
    assert preset("paper", "lowlight")["schedule"] == "lowlight"
    assert preset("paper", "blur")["schedule"] == "critical+300-0"
    changed = preset("paper", "rain", bridge={"lam": 0.1}, schedule="critical", steps=None)
    assert changed["bridge"] == {"name": "ir-sde", "lam": 0.1}
    assert changed["schedule"] == "critical"
    assert changed["steps"] == 100
    assert preset("paper", steps=25)["steps"] == 25
    assert preset("sound", bridge={"name": "goub"})["bridge"] == {"name": "goub"}
    assert schedule(SCHEDULES["rain"]) is SCHEDULES["rain"]
