"""The transition equation: marginals, critical times, round trips, and what it becomes in a loop."""

import math

import pytest
import torch
from torch import Tensor

from rebridge import bridges
from rebridge.bridges import Bridge, Coefficients
from rebridge.bridges import transition as tr

STABLE_DIFFUSION = bridges.create("vp", schedule="scaled-linear")
PRIORS = {
    "stable-diffusion": STABLE_DIFFUSION,
    "ddpm": bridges.create("vp"),
    "edm": bridges.create("ve"),
    "flow": bridges.create("rectified-flow"),
}
BRIDGES = {
    name: bridges.create(name, **({"modulation": "one"} if name in ("rdbm", "fod") else {}))
    for name in bridges.names()
    if name != "flow"
}
SHAPE = (4, 3, 5, 5)


def noise_of(number: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(number), dtype=torch.float64)


@pytest.fixture(params=PRIORS, ids=str)
def prior(request: pytest.FixtureRequest) -> Bridge:
    return PRIORS[request.param]


@pytest.fixture(params=BRIDGES, ids=str)
def bridge(request: pytest.FixtureRequest) -> Bridge:
    return BRIDGES[request.param]


def matchable(bridge: Bridge, prior: Bridge, count: int = 9) -> Tensor:
    """Times of the bridge at which the prior can be asked, increasing."""
    low = max(bridge.level_range[0], prior.level_range[0])
    high = min(bridge.level_range[1], prior.level_range[1], 1e3)
    levels = torch.logspace(math.log10(max(low, 1e-3) * 1.01), math.log10(high * 0.99), count, dtype=torch.float64)
    return bridge.time_of_level(levels)


@pytest.mark.parametrize(("lam", "index"), [(1, 283), (2, 491), (3, 609), (4, 685), (5, 740)])
def test_critical_times_of_stable_diffusion_are_those_of_the_papers_figures(lam: int, index: int) -> None:
    bridge = bridges.create("ir-sde", lam=lam / 255, eps=0.005, schedule="cosine", steps=100)
    s = tr.critical_time(bridge, 1.0, STABLE_DIFFUSION)
    assert abs(s.item() * 1000 - 1 - index) <= 1


@pytest.mark.parametrize(("i", "index"), [(100, 491), (90, 195), (80, 44), (71, 9), (60, 1)])
def test_critical_times_fall_along_the_bridge_as_in_the_papers_figure(i: int, index: int) -> None:
    bridge = bridges.create("ir-sde", lam=2 / 255)
    assert abs(tr.critical_time(bridge, i / 100, STABLE_DIFFUSION).item() * 1000 - 1 - index) <= 1


@pytest.mark.parametrize(("lam", "index"), [(1, 503), (2, 695), (3, 791), (4, 852), (5, 896)])
def test_critical_times_of_goub_one_step_from_its_end(lam: int, index: int) -> None:
    bridge = bridges.create("goub", lam=lam / 255)
    assert abs(tr.critical_time(bridge, 0.99, STABLE_DIFFUSION).item() * 1000 - 1 - index) <= 1


def test_critical_time_means_equal_noise_to_signal_ratios(bridge: Bridge, prior: Bridge) -> None:
    t = matchable(bridge, prior)
    s = tr.critical_time(bridge, t, prior)
    b, p = bridge.coefficients(t), prior.coefficients(s)
    torch.testing.assert_close(b.gamma / b.alpha, p.gamma / p.alpha, rtol=1e-9, atol=0)


def test_forward_transition_has_exactly_the_marginal_of_the_prior(bridge: Bridge, prior: Bridge) -> None:
    t = matchable(bridge, prior)[:-1]
    s = (tr.critical_time(bridge, t, prior) + 1) / 2
    step = tr.forward_transition(bridge, t, prior, s)
    b, p = bridge.coefficients(t), prior.coefficients(s)
    assert not step.b.any()
    # z = a x + c y + sigma eps with x = alpha x0 + beta y + gamma e, coefficient by coefficient
    torch.testing.assert_close(step.a * b.alpha, p.alpha, rtol=1e-12, atol=0)
    torch.testing.assert_close(step.a * b.beta + step.c, torch.zeros_like(t), rtol=0, atol=1e-10)
    torch.testing.assert_close((step.a * b.gamma).square() + step.sigma.square(), p.gamma.square())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_every_allowed_sigma_has_exactly_the_marginal_of_the_target(bridge: Bridge, share: float) -> None:
    t = matchable(bridge, STABLE_DIFFUSION)
    source = bridge.coefficients(t)
    target = STABLE_DIFFUSION.coefficients(tr.critical_time(bridge, t.flip(0), STABLE_DIFFUSION))
    low, high = tr.sigma_range(source, target)
    step = tr.transition(source, target, low + share * (high - low))
    torch.testing.assert_close(step.a * source.alpha + step.b, target.alpha, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(step.a * source.beta + step.c, target.beta, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close((step.a * source.gamma).square() + step.sigma.square(), target.gamma.square())
    assert (step.b >= -1e-9).all()


def test_round_trip_is_the_identity(bridge: Bridge, prior: Bridge) -> None:
    x, y = noise_of(0), noise_of(1)
    for t in matchable(bridge, prior):
        s = tr.critical_time(bridge, t, prior)
        z = tr.forward_transition(bridge, t, prior, s)(x, y)
        # the weight of x0 is 0 up to rounding, whatever the estimate
        back = tr.reverse_transition(prior, s, bridge, t)(z, y, x0=noise_of(2))
        assert (back - x).abs().max() < 1e-10


@pytest.mark.parametrize("offset", [0.0, 0.2], ids=["critical", "beyond"])
def test_reverse_then_forward_is_ddim_with_the_matching_eta(bridge: Bridge, prior: Bridge, offset: float) -> None:
    times = matchable(bridge, prior, count=6)
    z, y, x0_hat, fresh = (noise_of(k) for k in range(4))
    for t, t_next in zip(times[1:], times[:-1], strict=True):
        s, s_next = (tr.critical_time(bridge, u, prior) for u in (t, t_next))
        s, s_next = (u + offset * (1 - u) for u in (s, s_next))
        x_next = tr.reverse_transition(prior, s, bridge, t_next)(z, y, x0=x0_hat)
        z_next = tr.forward_transition(bridge, t_next, prior, s_next)(x_next, y, noise=fresh)
        # DDIM (arXiv 2010.02502, eq. 12) written out: its sigma is what the forward transition adds
        p, q = prior.coefficients(s), prior.coefficients(s_next)
        n = bridge.coefficients(t_next).gamma / bridge.coefficients(t_next).alpha
        kept = q.alpha * n
        added = (q.gamma.square() - kept.square()).clamp(min=0).sqrt() if offset else torch.tensor(0.0)
        eps_hat = (z - p.alpha * x0_hat) / p.gamma
        expected = q.alpha * x0_hat + kept * eps_hat + added * fresh
        scale = expected.abs().max()
        assert (z_next - expected).abs().max() < 1e-10 * scale


def test_y_leaves_no_trace_once_the_walk_has_begun() -> None:
    bridge, prior = BRIDGES["goub"], STABLE_DIFFUSION
    z, x0_hat = noise_of(0), noise_of(1)
    step = tr.reverse_transition(prior, 0.6, bridge, 0.7)
    onward = tr.forward_transition(bridge, 0.7, prior, 0.5)
    results = [onward(step(z, y, x0=x0_hat), y, noise=noise_of(2)) for y in (noise_of(3), 100 * noise_of(4))]
    assert (results[0] - results[1]).abs().max() < 1e-11


def test_the_variance_that_an_offset_costs_has_its_closed_form() -> None:
    # a Gaussian mode of variance c, its exact denoiser k = c/(c + N^2), one iteration from n to n' by way of N
    c, t, t_next, s = 0.3, 0.8, 0.7, 0.9
    bridge, prior = bridges.create("ir-sde", lam=0.2), STABLE_DIFFUSION
    n, n_next = bridge.noise_level(t), bridge.noise_level(t_next)
    N = prior.noise_level(s)
    forward, reverse = tr.forward_transition(bridge, t, prior, s), tr.reverse_transition(prior, s, bridge, t_next)
    b, p, q = bridge.coefficients(t), prior.coefficients(s), bridge.coefficients(t_next)
    var_z = (forward.a * b.alpha).square() * (c + n.square()) + forward.sigma.square()
    torch.testing.assert_close(var_z, p.alpha.square() * (c + N.square()))
    gain = reverse.a + reverse.b * c / (c + N.square()) / p.alpha
    var_u = (gain / q.alpha).square() * var_z
    torch.testing.assert_close(c + n_next.square() - var_u, c * (N - n_next).square() / (c + N.square()))


def test_iterating_at_a_fixed_level_has_the_fixed_point_of_the_closed_form() -> None:
    c, prior, s = 0.3, STABLE_DIFFUSION, torch.tensor(0.5, dtype=torch.float64)
    clean = Coefficients(*(torch.tensor(v, dtype=torch.float64) for v in (1.0, 0.0, 0.0)))
    N = prior.noise_level(s)
    forward = tr.least_noise(clean, prior.coefficients(s))
    back = tr.transition(prior.coefficients(s), clean, 0.0)
    gain = back.a + back.b * c / (c + N.square()) / prior.coefficients(s).alpha
    v = torch.tensor(c, dtype=torch.float64)
    for _ in range(500):
        v = gain.square() * (forward.a.square() * v + forward.sigma.square())
    torch.testing.assert_close(v, c / (2 + N.square() / c))


def test_the_posterior_step_is_ddpms_when_the_bridge_is_the_prior() -> None:
    prior = PRIORS["ddpm"]
    t, s = 0.5, 0.499
    step = tr.posterior_transition(prior, t, s)
    now, then = prior.coefficients(t), prior.coefficients(s)
    ratio = now.alpha.square() / then.alpha.square()
    variance = (1 - then.alpha.square()) / (1 - now.alpha.square()) * (1 - ratio)  # arXiv 2006.11239, eq. 7
    torch.testing.assert_close(step.sigma.square(), variance)
    torch.testing.assert_close(step.a, ratio.sqrt() * (1 - then.alpha.square()) / (1 - now.alpha.square()))
    torch.testing.assert_close(step.b, then.alpha * (1 - ratio) / (1 - now.alpha.square()))


def test_discrete_times_are_rounded_up() -> None:
    s = torch.tensor([0.4916, 0.492, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(STABLE_DIFFUSION.grid_time(s), torch.tensor([0.492, 0.492, 0.001, 1.0]).double())
    assert PRIORS["edm"].grid_time(0.4916) == 0.4916


def test_errors_name_the_nearest_valid_time() -> None:
    goub = bridges.create("goub", lam=2 / 255)
    with pytest.raises(ValueError, match=r"more noise than 'vp' ever has .* nearest valid time is 0\.99945"):
        tr.critical_time(goub, 1.0, STABLE_DIFFUSION)
    with pytest.raises(ValueError, match=r"less noise than 'goub' .* nearest valid time is 0\.695"):
        tr.forward_transition(goub, 0.99, STABLE_DIFFUSION, 0.3)
    with pytest.raises(ValueError, match=r"more noise than 'vp' at time 0\.3; the nearest valid time is 0\.926"):
        tr.reverse_transition(STABLE_DIFFUSION, 0.3, goub, 0.99)
    with pytest.raises(ValueError, match="sigma must lie between"):
        tr.transition(goub.coefficients(0.5), STABLE_DIFFUSION.coefficients(0.9), 0.0)
    with pytest.raises(ValueError, match="modulation='one'"):
        tr.critical_time(bridges.create("rdbm"), 0.5, STABLE_DIFFUSION)
    with pytest.raises(ValueError, match="has no noise"):
        tr.critical_time(bridges.create("flow"), 0.5, STABLE_DIFFUSION)
    with pytest.raises(ValueError, match="nothing of the clean image"):
        tr.forward_transition(goub, 1.0, PRIORS["flow"], 1.0)


def test_a_transition_that_needs_an_estimate_says_so() -> None:
    x = noise_of(0)
    with pytest.raises(ValueError, match="needs x0"):
        tr.reverse_transition(STABLE_DIFFUSION, 0.6, BRIDGES["goub"], 0.5)(x, x)
    with pytest.raises(ValueError, match="needs noise"):
        tr.forward_transition(BRIDGES["goub"], 0.5, STABLE_DIFFUSION, 0.9)(x, x)
