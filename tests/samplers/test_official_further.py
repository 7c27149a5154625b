"""Further chains of the authors' code in float64, replayed through public names."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rebridge import bridges, samplers
from rebridge.denoisers import Counted, Estimate, NetworkDenoiser
from tests.reference import Replay, denoiser, double, inputs, load

Y, NOISE = (images.double() for images in inputs())


def assert_replayed(result: Tensor, official: list[Any], rtol: float = 1e-9) -> None:
    """Agreement relative to the largest value."""
    expected = double(official)
    assert ((result - expected).abs().max() / expected.abs().max()).item() < rtol


def residual_clamped(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """The denoiser as RDDM's and DiffUIR's code sees it: the predicted residual is clamped to [-1, 1]."""
    return y - (y - denoiser(x, t, y)).clamp(-1, 1)


def run(bridge: bridges.Bridge, sampler: samplers.Sampler, **given: Any) -> Tensor:
    return sampler(bridge, denoiser, Y, **{"noise": Replay(NOISE), **given})


@pytest.mark.parametrize("steps", [2, 5, 10])
@pytest.mark.parametrize("kind", ["use_pred_noise", "use_x_start", "special_eta_0"])
def test_rddm_deterministic_chain(steps: int, kind: str) -> None:
    official = load("bridges/rddm")
    result = run(bridges.create("rddm"), samplers.create("increments", steps=steps, grid="index"))
    assert_replayed(result, official[f"pred_res {kind} eta=0 steps={steps}"])


@pytest.mark.parametrize("kind", ["use_pred_noise", "use_x_start"])
def test_rddm_stochastic_chain(kind: str) -> None:
    official, noise = load("bridges/rddm"), Replay(NOISE)
    sampler = samplers.create("residual-posterior", steps=10, grid="index")
    result = run(bridges.create("rddm"), sampler, noise=noise)
    assert_replayed(result, official[f"pred_res {kind} eta=1.0 steps=10"])
    assert noise.drawn == official["noise used eta=1.0"]
    posterior = samplers.create("dbim", eta=1.0, steps=10, grid="index")
    torch.testing.assert_close(run(bridges.create("rddm"), posterior), result, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["rddm", "diffuir"])
def test_coefficients_of_rddm_and_diffuir(name: str) -> None:
    official = load(f"bridges/{name}")
    c = bridges.create(name).coefficients((torch.arange(0, 1000, 37, dtype=torch.float64) + 1) / 1000)
    for factor in ("alpha", "beta", "gamma"):
        (key,) = (key for key in official if key.startswith(f"{factor} ("))
        torch.testing.assert_close(getattr(c, factor), double(official[key]), rtol=1e-9, atol=1e-9)


def test_rddm_with_a_head_for_the_noise() -> None:
    def two_heads(x: Tensor, t: Tensor, y: Tensor) -> Estimate:
        return Estimate(residual_clamped(x, t, y), torch.tanh(x - y))

    sampler = samplers.create("increments", steps=10, grid="index")
    result = sampler(bridges.create("rddm"), two_heads, Y, noise=Replay(NOISE)).clamp(-1, 1)
    assert_replayed(
        result, load("bridges/rddm")["pred_res_noise (noise head tanh(x_t-y)) use_pred_noise eta=0 steps=10"]
    )


@pytest.mark.parametrize("steps", [3, 4])
def test_diffuir_as_released(steps: int) -> None:
    sampler = samplers.create("increments", steps=steps, grid="index", hold=True, start_noise=0.1)
    assert_replayed(run(bridges.create("diffuir"), sampler), load("bridges/diffuir")[f"released steps={steps}"])


def test_diffuir_by_its_posterior_mean() -> None:
    """Their step "use_x_start" without noise, from the released start."""
    official, bridge = load("bridges/diffuir"), bridges.create("diffuir")
    end = bridge.coefficients(1.0)
    start = (end.alpha + end.beta).item() * Y + 0.1 * NOISE[0]
    sampler = samplers.create("dbim", steps=3, grid="index", compat=True)
    assert_replayed(run(bridge, sampler, x=start), official["use_x_start (q = gamma_s^2/gamma_t^2) steps=3"])


def test_what_is_recommended_for_diffuir_is_the_released_sampler() -> None:
    official = load("bridges/diffuir")["released steps=3"]
    assert_replayed(run(bridges.create("diffuir"), samplers.recommended("diffuir")), official)


def test_diffuir_as_released_from_the_start_that_it_is_trained_for() -> None:
    sampler = samplers.create("increments", steps=3, grid="index", hold=True)
    result = sampler(bridges.create("diffuir"), residual_clamped, Y, noise=Replay(NOISE))
    assert_replayed(result, load("bridges/diffuir")["released steps=3, start with betas_cumsum[-1]"])


def test_resshift_posterior_chain() -> None:
    result = run(bridges.create("resshift"), samplers.create("residual-posterior", steps=15))
    official = load("bridges/resshift")["steps=15"]
    assert_replayed(result, official["posterior"])
    assert samplers.recommended("resshift") == samplers.create("residual-posterior", steps=15)
    assert_replayed(run(bridges.create("resshift"), samplers.create("dbim", eta=1.0, steps=15)), official["posterior"])


def test_resshift_coefficients() -> None:
    official = load("bridges/resshift")["steps=15"]
    own = {key: official[key] for key in ("kappa", "power", "min_noise")}
    c = bridges.create("resshift", **own).coefficients(torch.arange(1, 16, dtype=torch.float64) / 15)
    torch.testing.assert_close(c.beta, double(official["eta (beta)"]), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(c.gamma, double(official["gamma"]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_bbdm_chains_with_the_variance_that_its_code_loses(eta: float) -> None:
    official = load("bridges/bbdm_eta")
    times = [(i + 1) / official["T"] for i in official["steps 20"]] + [0.0]
    result = run(bridges.create("brownian"), samplers.create("dbim", eta=eta, compat=True), times=times)
    assert_replayed(result, official[f"eta={eta} steps=20"])


def test_bbdm_on_the_schedule_sin() -> None:
    official = load("bridges/bbdm_eta")
    bridge = bridges.create("brownian", schedule="sin")
    times = [(i + 1) / official["T"] for i in official["steps 20"]] + [0.0]
    t = (torch.arange(0, 1000, 37, dtype=torch.float64) + 1) / 1000
    torch.testing.assert_close(bridge.coefficients(t).beta, double(official["sin m_t[::37]"]), rtol=1e-9, atol=1e-12)
    assert_replayed(run(bridge, samplers.create("dbim", eta=1.0), times=times), official["sin eta=1 steps=20"])


@pytest.mark.parametrize(
    ("ours", "theirs"), [("linear", "linear"), ("linear-authors", "linear"), ("constant", "constant")]
)
def test_schedules_of_goub(ours: str, theirs: str) -> None:
    official = load("bridges/ou_schedules")[theirs]
    c = bridges.create("goub", schedule=ours).coefficients(torch.arange(1, 101, dtype=torch.float64) / 100)
    torch.testing.assert_close(c.alpha, double(official["alpha (m), t=1..100"]), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(c.gamma, double(official["gamma (f_sigma), t=1..100"]), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize(("name", "grid", "ts"), [("ddbm-vp", "uniform", "vp"), ("ddbm-ve", "karras", "ve")])
def test_odes3_is_the_first_step_of_dbim_and_heuns_method_of_ddbm(name: str, grid: str, ts: str) -> None:
    official = load(f"bridges/odes3_ddbm_{ts}")[grid]
    result = run(bridges.create(name), samplers.create("odes3"), times=official["ts"])
    assert_replayed(result, official["result"])


@pytest.mark.parametrize("steps", [5, 10])
@pytest.mark.parametrize("kind", ["mean-ode", "sde"])
@pytest.mark.parametrize("solver", ["data-solver-1", "data-solver-2", "noise-solver-1", "noise-solver-2"])
def test_unidbpp_solvers_as_released(solver: str, kind: str, steps: int) -> None:
    """The code evaluates the network at t = 1 in data-solver-2, and throws the result away; ours does not evaluate it."""
    official, noise = load("bridges/unidbpp"), Replay(NOISE)
    bridge = bridges.create("unidb", lam=official["lambda"], eps=official["eps"], gamma_inv=1e-7)
    prediction = "x0" if solver.startswith("data") else "noise"
    sampler = samplers.create(
        "exponential", order=int(solver[-1]), prediction=prediction, eta=float(kind == "sde"), compat=True, steps=steps
    )
    counted = Counted(denoiser)
    result = sampler(bridge, counted, Y, noise=noise)
    key = f"{solver} {kind} gamma=1e+07 steps={steps}"
    assert_replayed(result, official[key])
    drawn, calls = official[f"{key} noise drawn, calls"]
    assert (noise.drawn, counted.calls + (solver == "data-solver-2")) == (drawn, calls)


def test_the_exact_data_solver_is_the_released_one_but_for_its_end_and_its_slip() -> None:
    """From a time below 1 on they differ by the share q that the code takes too much of x0."""
    official, bridge = load("bridges/unidbpp"), bridges.create("unidb", gamma_inv=1e-7, variance_form="exact")
    times = [0.8, 0.6, 0.4, 0.2, 0.0]
    start = Y + 0.1 * NOISE[5]
    ours, theirs = (
        run(bridge, samplers.create("exponential", eta=1.0, compat=compat), x=start, times=times)
        for compat in (False, True)
    )
    q = 1e-7 / official["lambda"] ** 2
    assert 0.1 * q < (ours - theirs).abs().max() < 2 * q


@pytest.mark.parametrize("steps", [5, 10])
def test_fod_markov_chain(steps: int) -> None:
    result = run(bridges.create("fod"), samplers.create("multiplicative", steps=steps))
    assert_replayed(result, load("bridges/fod")[f"MC {steps}"])


def test_fod_states_and_their_law() -> None:
    official, bridge = load("bridges/fod"), bridges.create("fod")
    decay, variance = bridge.log_factor(torch.arange(100, -1, -1, dtype=torch.float64) / 100)
    torch.testing.assert_close(-(decay + variance / 2), double(official["m (expo_mean_cumsum)"]), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        variance.sqrt(), double(official["s (sqrt_expo_variance_cumsum)"]), rtol=1e-9, atol=1e-12
    )
    x0 = 0.5 * torch.tanh(NOISE[128]) + 0.5 * Y
    for row in official["states"]:
        t = torch.full((2,), 1 - row["i"] / 100, dtype=torch.float64)
        assert_replayed(bridge.forward(x0, Y, t, NOISE[127]), row["state"])


@pytest.mark.parametrize(
    ("key", "params", "rtol"),
    [
        ("dbim eta=0.0", {"eta": 0.0}, 1e-3),
        ("dbim eta=0.5", {"eta": 0.5}, 2e-3),
        ("dbim eta=1.0", {"eta": 1.0}, 4e-3),
        ("dbim order=2", {"order": 2}, 1e-3),
    ],
)
def test_dbim_on_i2sb_starts_with_noise(key: str, params: dict[str, Any], rtol: float) -> None:
    """The rest is theirs: their factors of x0 and y add up to 1 + beta_t / G."""
    official = load("bridges/dbim_i2sb")
    bridge = bridges.create("i2sb", beta_max=official["beta_max"])
    times = [1.0, *(round(999 * t) / 999 for t in official["ts"])]
    result = run(bridge, samplers.create("dbim", start="noise", **params), times=times)
    assert_replayed(result, official[key], rtol)


def test_coefficients_of_dbim_on_i2sb() -> None:
    official = load("bridges/dbim_i2sb")
    bridge = bridges.create("i2sb", beta_max=official["beta_max"])
    c = bridge.coefficients(torch.round(999 * double(official["t"])) / 999)
    for factor, theirs in (("alpha", "b"), ("beta", "a"), ("gamma", "c")):
        expected = double(official[f"{factor} (their {theirs})"])
        torch.testing.assert_close(getattr(c, factor), expected, rtol=0, atol=4e-3)


class Noise(nn.Module):
    """size * tanh(1.3 x - 0.7 y + 0.4 t), the noise network of the further official chains."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.size * torch.tanh(1.3 * x - 0.7 * y + 0.4 * t.view(-1, 1, 1, 1))


@pytest.mark.parametrize("steps", [2, 10, 20])
@pytest.mark.parametrize(("lam", "label"), [(1e-4, "0.0001"), (10 / 255, "0.0392157")])
def test_rdbm_with_a_network_that_predicts_the_noise(lam: float, label: str, steps: int) -> None:
    """Equation 19; the code clamps the last estimate alone."""
    bridge = bridges.create("rdbm", modulation="one", lam=lam)
    denoise = NetworkDenoiser(Noise(0.5), bridge, "noise", clamp=False).eval()
    result = samplers.create("dbim", steps=steps)(bridge, denoise, Y).clamp(-1, 1)
    assert_replayed(result, load("bridges/rdbm_noise")[f"lambda={label} steps={steps}"])


@pytest.mark.parametrize(
    ("key", "name", "sampler"),
    [
        ("goub sde", "goub", samplers.create("sde", steps=100)),
        ("irsde sde", "ir-sde", samplers.create("sde", steps=100)),
        ("irsde posterior", "ir-sde", samplers.create("dbim", eta=1.0, steps=100)),
    ],
)
def test_chains_with_a_network_that_predicts_the_noise(key: str, name: str, sampler: samplers.Sampler) -> None:
    y, bridge = (Y + 1) / 2, bridges.create(name, lam=30 / 255)
    denoise = NetworkDenoiser(Noise(4.0), bridge, "noise", clamp=False).eval()
    x = None if name == "goub" else y + 30 / 255 * NOISE[129]
    assert_replayed(sampler(bridge, denoise, y, x=x, noise=Replay(NOISE)), load("bridges/ou_noise")[key])
