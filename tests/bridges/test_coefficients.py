"""Coefficients of all bridges: against the official code's numbers, against each other, against Monte Carlo."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rebridge import bridges
from rebridge.bridges import Coefficients
from rebridge.bridges.ou import UniDB
from tests.reference import double, load

GRID = torch.arange(1, 101, dtype=torch.float64) / 100
INNER = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
GENERATIVE = ["vp", "ve", "rectified-flow"]
WITH_ENDPOINT = [name for name in bridges.names() if name not in GENERATIVE]


def assert_coefficients(
    c: Coefficients,
    alpha: Tensor | list[float] | None = None,
    beta: Tensor | list[float] | None = None,
    gamma: Tensor | list[float] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> None:
    for value, expected in ((c.alpha, alpha), (c.beta, beta), (c.gamma, gamma)):
        if expected is not None:
            torch.testing.assert_close(value, double(expected), rtol=rtol, atol=atol)


def test_rdbm_matches_the_official_arrays() -> None:
    official = load("rdbm")
    c = bridges.create("rdbm", preset="release").coefficients(GRID)
    assert_coefficients(c, alpha=official["alpha (Theta)"], gamma=official["gamma (Sigma)"])


@pytest.mark.parametrize("name", ["goub", "unidb"])
def test_goub_and_unidb_match_the_official_arrays(name: str) -> None:
    official = load(name)
    c = bridges.create(name, lam=official["lambda"]).coefficients(GRID)
    assert_coefficients(
        c, official["alpha (m), t=1..100"], official["beta (n), t=1..100"], official["gamma (f_sigma), t=1..100"]
    )


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("goub", {"lam": 30 / 255, "steps": 100, "schedule": "cosine", "eps": 0.005}),  # its options' lambda_square: 30
        ("unidb", {"lam": 30 / 255, "steps": 100, "schedule": "cosine", "eps": 0.005, "gamma_inv": 1e-7}),
        ("ir-sde", {"lam": 10 / 255, "steps": 100, "schedule": "cosine", "eps": 0.005}),  # deraining: max_sigma: 10
        ("rdbm", {"lam": 10 / 255, "modulation": "residual"}),  # arXiv 2510.23116
        ("brownian", {"m_min": 0.001, "m_max": 0.999, "max_var": 1.0, "steps": 1000}),  # xuekt98/BBDM
        ("ddbm-ve", {"sigma_max": 80.0}),  # edges2handbags, arXiv 2309.16948
        ("ddbm-vp", {"beta_d": 2.0, "beta_min": 0.1}),
        ("resshift", {"kappa": 2.0, "power": 0.3, "steps": 15}),  # realsr_swinunet_realesrgan256.yaml
        ("vp", {"steps": 1000, "schedule": "linear"}),
        ("ve", {"sigma_max": 80.0}),
    ],
)
def test_a_bridge_without_parameters_is_the_published_one(name: str, published: dict[str, Any]) -> None:
    params = bridges.create(name).params
    assert {key: params[key] for key in published} == published


@pytest.mark.parametrize("name", ["rddm", "resshift", "diffuir", "indi", "ddbm-vp"])
def test_the_state_at_the_end_is_the_forward_state_of_an_image_equal_to_its_degraded_one(name: str) -> None:
    """Also where the process keeps some of the clean image there, as ResShift's and DiffUIR's do."""
    bridge = bridges.create(name)
    y, noise = torch.rand(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = bridge.forward(y, y, torch.ones(2), noise)
    torch.testing.assert_close(bridge.prior(y, noise), expected, rtol=0, atol=1e-12)


def test_irsde_matches_the_official_arrays() -> None:
    official = load("irsde")
    c = bridges.create("ir-sde", lam=official["max_sigma"]).coefficients(GRID)
    assert_coefficients(c, alpha=official["alpha, t=1..100"], gamma=official["gamma, t=1..100"])


def test_brownian_matches_the_official_arrays() -> None:
    official = load("bbdm")
    c = bridges.create("brownian").coefficients((torch.arange(0, 1000, 37, dtype=torch.float64) + 1) / 1000)
    assert_coefficients(c, beta=official["beta (m_t)[::37]"])
    torch.testing.assert_close(c.gamma.square(), double(official["gamma^2 (variance_t)[::37]"]), rtol=1e-5, atol=1e-6)


def test_i2sb_matches_the_official_arrays() -> None:
    official = load("i2sb")
    c = bridges.create("i2sb").coefficients(torch.arange(0, 1000, 37, dtype=torch.float64) / 999)
    assert_coefficients(
        c, official["alpha (mu_x0)[::37]"], official["beta (mu_x1)[::37]"], official["gamma (std_sb)[::37]"]
    )


def test_ddbm_vp_matches_the_official_arrays_in_double_precision() -> None:
    official = load("ddbm_vp")
    c = bridges.create("ddbm-vp").coefficients(double(official["t"]))
    assert_coefficients(
        c, official["alpha (their b)"], official["beta (their a)"], official["gamma (their c)"], rtol=1e-12, atol=1e-13
    )


def test_ddbm_ve_is_the_brownian_bridge_of_sigma_squared() -> None:
    sigma = 80 * INNER
    c = bridges.create("ddbm-ve", sigma_max=80.0).coefficients(INNER)
    assert_coefficients(
        c, 1 - sigma**2 / 6400, sigma**2 / 6400, sigma * (1 - sigma**2 / 6400).sqrt(), rtol=1e-12, atol=1e-12
    )


def test_rddm_and_resshift_and_indi_follow_their_definitions() -> None:
    T, n = 1000, torch.arange(1, 1001, dtype=torch.float64)
    increments = 2 * (T - n + 1) / (T * (T + 1))  # "decreased": proportional to T, T - 1, ..., 1, sum 1
    c = bridges.create("rddm").coefficients(n / T)
    variances = 0.01 * (2 * n / (T * (T + 1))).cumsum(0)  # "increased": proportional to 1, 2, ..., T
    assert_coefficients(c, 1 - increments.cumsum(0), increments.cumsum(0), variances.sqrt(), rtol=1e-10, atol=1e-10)

    i = torch.arange(15, dtype=torch.float64)
    root = 0.02 * (0.99 / 0.02) ** ((i / 14) ** 0.3)
    c = bridges.create("resshift").coefficients((i + 1) / 15)
    assert_coefficients(c, 1 - root**2, root**2, 2 * root, rtol=1e-10, atol=1e-12)

    c = bridges.create("indi", sigma=0.05).coefficients(INNER)
    assert_coefficients(c, 1 - INNER, INNER, 0.05 * INNER, rtol=1e-12, atol=1e-12)


def test_diffuir_follows_its_definition() -> None:
    betas = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    products = torch.cumprod(1 - betas, 0)
    fading = torch.linspace(1e-6, 1.8e-3, 1000, dtype=torch.float64).cumsum(0)
    c = bridges.create("diffuir").coefficients((torch.arange(1000, dtype=torch.float64) + 1) / 1000)
    assert_coefficients(c, products.sqrt(), 1 - products.sqrt() - fading, (1 - products).sqrt(), rtol=1e-9, atol=1e-9)
    assert fading[-1] == pytest.approx(0.9005, abs=1e-4)


def test_stable_diffusion_schedule_starts_at_its_known_noise_levels() -> None:
    c = bridges.create("vp", schedule="scaled-linear").coefficients(torch.tensor([1 / 1000, 1.0]))
    ratio = c.gamma / c.alpha
    assert ratio[0].item() == pytest.approx(0.0292, abs=1e-4)
    assert ratio[1].item() == pytest.approx(14.6, abs=0.05)


# -- special cases: SYSTEMS section 1 ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(std=st.floats(0.01, 2.0), steps=st.integers(2, 300), eps=st.floats(1e-4, 0.9))
def test_rdbm_with_modulation_one_is_goub_with_its_lam_squared(std: float, steps: int, eps: float) -> None:
    shared: dict[str, Any] = {"steps": steps, "schedule": "linear", "eps": eps}
    goub = bridges.create("goub", lam=std, **shared).coefficients(INNER)
    rdbm = bridges.create("rdbm", lam=std**2, modulation="one", **shared).coefficients(INNER)
    assert_coefficients(rdbm, goub.alpha, goub.beta, goub.gamma, rtol=1e-12, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(variance=st.floats(0.01, 4.0))
def test_rdbm_tends_to_the_brownian_bridge_as_theta_vanishes(variance: float) -> None:
    """tb1 -> 0 with lam tb1 -> G/2: alpha = 1 - tau, gamma^2 = G tau (1 - tau) with tau = tb/tb1 (BBDM with G = 2 s)."""
    tb1 = 1e-5
    rdbm = bridges.create("rdbm", modulation="one", schedule="constant", eps=math.exp(-tb1), lam=variance / (2 * tb1))
    brownian = bridges.create("brownian", m_min=0.001, m_max=1.0, max_var=variance / 2)
    got, expected = rdbm.coefficients(INNER), brownian.coefficients(INNER)
    assert_coefficients(got, expected.alpha, expected.beta, expected.gamma, rtol=1e-6, atol=1e-6)


def _limit_bridge(beta: Tensor, variance: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """The theta -> 0 limit of RDBM under another clock: beta = tau, gamma^2 = G tau (1 - tau)."""
    return 1 - beta, beta, (variance * beta * (1 - beta)).sqrt()


@pytest.mark.parametrize(("name", "variance"), [("ddbm-ve", 6400.0), ("i2sb", None), ("brownian", 2.0)])
def test_brownian_family_is_the_theta_to_zero_limit_under_its_own_clock(name: str, variance: float | None) -> None:
    bridge = bridges.create(name)
    times = torch.arange(37, 999, 37, dtype=torch.float64) / 999 if name == "i2sb" else INNER
    c = bridge.coefficients(times)
    if name == "i2sb":  # both sums of betas hold the beta of the time itself, so the total moves by that beta
        total = c.gamma.square() / (c.alpha * c.beta)
        assert ((total.max() - total.min()) / total.mean()).item() < 3e-3
    else:
        total = double(variance)
    assert_coefficients(c, *_limit_bridge(c.beta, total), rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(std=st.floats(0.01, 2.0))
def test_rdbm_tends_to_irsde_far_from_the_end(std: float) -> None:
    """tb1 -> infinity at finite tb: exp(-tb) and V (1 - exp(-2 tb))."""
    rdbm = bridges.create("rdbm", modulation="one", lam=std**2, schedule="constant", eps=1e-30)
    t = torch.linspace(0.001, 0.2, 20, dtype=torch.float64)
    decay = torch.exp(-rdbm.clock(t))
    assert_coefficients(rdbm.coefficients(t), decay, 1 - decay, std * (1 - decay**2).sqrt(), rtol=1e-9, atol=1e-12)
    irsde = bridges.create("ir-sde", lam=std, schedule="constant", eps=1e-30).coefficients(t)
    assert_coefficients(irsde, decay, 1 - decay, std * (1 - decay**2).sqrt(), rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(std=st.floats(0.01, 2.0), form=st.sampled_from(["code", "exact"]))
def test_unidb_without_slack_is_goub(std: float, form: str) -> None:
    unidb = bridges.create("unidb", lam=std, gamma_inv=0.0, variance_form=form).coefficients(GRID)
    goub = bridges.create("goub", lam=std).coefficients(GRID)
    assert_coefficients(unidb, goub.alpha, goub.beta, goub.gamma, rtol=1e-6, atol=1e-7)


def test_unidb_exact_variance_is_that_of_its_own_sde() -> None:
    """d(var)/du = -2 k var + 2 V with the drift rate k = -alpha'/alpha: integrate it and compare."""
    bridge = UniDB(gamma_inv=1e-2, variance_form="exact", schedule="constant")
    t = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    c, clock = bridge.coefficients(t), bridge.clock(t)
    weight = 2 * bridge.variance / c.alpha.square()
    integral = torch.cat([t.new_zeros(1), ((weight[1:] + weight[:-1]) / 2 * clock.diff()).cumsum(0)])
    torch.testing.assert_close(c.gamma.square(), c.alpha.square() * integral, rtol=1e-5, atol=1e-8)
    assert c.gamma[-1] > 0


def test_ddbm_vp_is_no_instance_of_rdbm() -> None:
    c = bridges.create("ddbm-vp").coefficients(torch.tensor([0.5]))
    assert (c.alpha + c.beta).item() == pytest.approx(0.971, abs=1e-3)


@pytest.mark.parametrize("name", WITH_ENDPOINT)
def test_modulation_zero_is_flow_matching_along_the_same_means(name: str) -> None:
    noisy = bridges.create(name)
    still = bridges.create(name, modulation="zero")
    c, reference = still.coefficients(INNER), noisy.coefficients(INNER)
    assert torch.equal(c.gamma, torch.zeros_like(INNER))
    assert torch.equal(c.alpha, reference.alpha)
    assert torch.equal(c.beta, reference.beta)


def test_rdbm_with_modulation_zero_is_flow_matching_under_the_clock_beta() -> None:
    still = bridges.create("rdbm", modulation="zero").coefficients(INNER)
    flow = bridges.create("flow").coefficients(still.beta)
    assert_coefficients(still, flow.alpha, flow.beta, flow.gamma, rtol=1e-12, atol=1e-12)


# -- the process as a whole --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", bridges.names())
def test_every_bridge_begins_clean(name: str) -> None:
    c = bridges.create(name).coefficients(0.0)
    tolerance = 1e-2 if name == "i2sb" else 1e-12  # the official I2SB arrays start with beta_0 > 0
    assert abs(c.alpha.item() - 1) < tolerance
    assert abs(c.beta.item()) < tolerance
    assert c.gamma.item() < max(tolerance, 1e-12)


@pytest.mark.parametrize("name", bridges.names())
def test_params_rebuild_the_bridge(name: str) -> None:
    bridge = bridges.create(name)
    assert bridges.create(bridge.name, **bridge.params) == bridge


@pytest.mark.parametrize("name", bridges.names())
@pytest.mark.parametrize("modulation", ["one", "residual", "zero"])
def test_moments_of_forward_samples_match_monte_carlo(name: str, modulation: str) -> None:
    if name in GENERATIVE and modulation == "zero":
        with pytest.raises(ValueError, match="nothing is left"):
            bridges.create(name, modulation=modulation)
        return
    bridge = bridges.create(name, modulation=modulation)
    generator = torch.Generator().manual_seed(0)
    x0, y, n = 0.7, -0.4, 40_000
    for t in (0.2, 0.6, 0.95):
        c = bridge.coefficients(t)
        noise = torch.randn(n, 1, generator=generator, dtype=torch.float64)
        x = bridge.forward(torch.full((n, 1), x0).double(), torch.full((n, 1), y).double(), torch.full((n,), t), noise)
        scale = {"one": 1.0, "residual": abs(x0 - y), "zero": 0.0}[modulation]
        std = c.gamma.item() * scale
        assert x.mean().item() == pytest.approx(c.alpha.item() * x0 + c.beta.item() * y, abs=5 * std / n**0.5 + 1e-6)
        assert x.std().item() == pytest.approx(std, rel=5 / (2 * n) ** 0.5, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), t=st.floats(0, 1))
def test_intact_pixels_stay_exactly_equal_under_residual_modulation(seed: int, t: Tensor) -> None:
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(1, 3, 5, 7, generator=generator) * 2 - 1
    x0 = y.clone()
    x0[..., 2:4, 1:3] += 0.3
    x_t = bridges.create("rdbm").forward(x0, y, torch.tensor([t]), torch.randn(y.shape, generator=generator))
    intact = x0 == y
    torch.testing.assert_close(x_t[intact], y[intact], rtol=0, atol=2e-7)


@pytest.mark.parametrize(
    "name", ["rdbm", "goub", "unidb", "ir-sde", "brownian", "i2sb", "ddbm-ve", "ddbm-vp", "vp", "diffuir"]
)
def test_derivatives_match_finite_differences(name: str) -> None:
    bridge = bridges.create(name)
    t, h = torch.tensor([0.30171, 0.51234, 0.80567], dtype=torch.float64), 1e-7
    before, after = bridge.coefficients(t - h), bridge.coefficients(t + h)
    step = bridge.clock(t + h) - bridge.clock(t - h)
    d = bridge.derivatives(t)
    for slope, lower, upper in (
        (d.alpha, before.alpha, after.alpha), (d.beta, before.beta, after.beta), (d.gamma, before.gamma, after.gamma),
    ):  # fmt: skip
        torch.testing.assert_close(slope, (upper - lower) / step, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["goub", "rdbm", "ir-sde"])
def test_diffusion_of_the_ou_family_is_twice_the_stationary_variance(name: str) -> None:
    """The closed form against the general formula (gamma^2)' - 2 (alpha'/alpha) gamma^2."""
    bridge = bridges.create(name)
    general = bridges.Bridge.squared_diffusion(bridge, INNER + 0.001)
    torch.testing.assert_close(general, bridge.squared_diffusion(INNER + 0.001), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["goub", "brownian", "ddbm-vp", "ir-sde", "rddm"])
def test_velocity_is_the_drift_minus_half_the_diffusion_times_the_score(name: str) -> None:
    bridge = bridges.create(name)
    generator = torch.Generator().manual_seed(0)
    x0, y, noise = (torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(3))
    t = torch.tensor([0.111, 0.333, 0.555, 0.777], dtype=torch.float64)
    x_t = bridge.forward(x0, y, t, noise)
    c = bridge.coefficients(t).like(y)
    score = -(x_t - c.alpha * x0 - c.beta * y) / c.gamma**2
    g2 = bridge.squared_diffusion(t).reshape(-1, 1, 1, 1)
    expected = bridge.drift(x_t, y, t) - 0.5 * g2 * score
    torch.testing.assert_close(bridge.velocity(x_t, x0, y, t), expected, rtol=1e-8, atol=1e-8)


# -- what users get wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: bridges.create("gobu"), "unknown bridge 'gobu'"),
        (lambda: bridges.create("goub", lamda=1), "has no parameter 'lamda'"),
        (lambda: bridges.create("goub", lam=-1.0), "lam must be positive"),
        (lambda: bridges.create("goub", steps=0), "steps must be at least 1"),
        (lambda: bridges.create("goub", schedule="cosin"), "schedule must be one of"),
        (lambda: bridges.create("goub", eps=2.0), "eps must lie strictly between 0 and 1"),
        (lambda: bridges.create("rdbm", modulation="r"), "modulation must be one of"),
        (lambda: bridges.create("rdbm", preset="papre"), "unknown preset of rdbm 'papre'; known are paper, release"),
        (lambda: bridges.create("unidb", gamma_inv=-1), "gamma_inv must not be negative"),
        (lambda: bridges.create("rdbm").coefficients(1.5), "times must lie in"),
        (lambda: bridges.create("rdbm").coefficients(torch.tensor([0.1, math.nan])), "times must lie in"),
    ],
)
def test_mistakes_give_one_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()
