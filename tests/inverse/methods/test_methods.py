"""What all zero-shot methods keep: calls, range, the posterior mean, times, start and noise, one sentence for bad settings."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import bridges
from rebridge.inverse import GaussianProblem, Problem, create, names, operators
from rebridge.inverse.smooth import smooth_image
from tests.inverse.conftest import VP, CountingPrior, exact, gaussian_problem, seeded

FEW: dict[str, dict[str, Any]] = {
    "deqir": {"steps": 7, "sweeps": 4},
    "daps": {"steps": 4, "ode_steps": 3},
    "pnp-flow": {"steps": 5, "samples": 2},
    "scd": {"steps": 9, "iterations": 2, "every": 3, "rank": 2},
}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("ddnm", {"eta": 0.85, "steps": 100, "travel_length": 1, "travel_repeat": 1}),  # arXiv 2212.00490
        ("ddrm", {"eta": 0.85, "eta_b": 1.0, "steps": 20}),  # arXiv 2201.11793
        ("diffpir", {"lam": 7 / 4, "zeta": 0.3, "steps": 100}),  # arXiv 2305.08995; lambda 7 in its units
        ("dps", {"eta": 1.0}),  # ancestral sampling, arXiv 2209.14687
        ("pigdm", {"weight": 1.0, "eta": 0.0}),
        ("red-diff", {"weight": 0.25, "weighting": "linear", "data_weight": 1.0}),  # arXiv 2305.04391
        ("dds", {"gamma": 10.0, "eta": 0.0}),
        ("deqir", {"sweeps": 15, "memory": 5, "lam": 1e-3, "beta": 1.0, "steps": 25}),
        ("dmps", {"scale": 1.75}),  # arXiv 2211.12343
        ("daps", {"ode_steps": 5, "lr": 1e-4, "lr_min": 0.01, "langevin_steps": 100}),  # arXiv 2407.01521
        ("pnp-flow", {"lr": 1.0, "power": 1.0, "samples": 1}),
        ("scd", {"rank": 8, "gamma": 10.0, "lr": 1e-4}),
    ],
)
def test_a_method_without_parameters_is_the_published_one(name: str, published: dict[str, Any]) -> None:
    assert {key: getattr(create(name), key) for key in published} == published


@pytest.mark.parametrize("name", names())
def test_every_solver_makes_the_stated_number_of_calls(name: str, problem: GaussianProblem) -> None:
    _, y = problem.draw(3)
    for params in ({}, FEW.get(name, {"steps": 5})):
        solver = create(name, **params)
        prior = CountingPrior(problem.network)
        solver(exact(problem, y, prior))
        assert prior.states == 3 * solver.calls


@pytest.mark.parametrize("name", ["red-diff", "deqir", "scd"])
def test_these_too_stay_within_ten_times_the_priors_range(name: str, problem: GaussianProblem) -> None:
    """What the guided walks are held to in test_guidance; DeqIR's states while they are still wrong are left out."""
    _, y = problem.draw(4, torch.Generator().manual_seed(5))
    largest: list[float] = []

    def look(step: int, t: float, x_t: Tensor, x0: Tensor) -> None:
        largest.append(x0.abs().max().item())
        if name != "deqir":
            largest.append(x_t.abs().max().item())

    solver = create(name, **({"steps": 40, "sweeps": 40} if name == "deqir" else {}))
    x = solver(exact(problem, y, problem.network), callback=look)
    prior_range = problem.draw(1000)[0].abs().max().item()
    ends = largest[-1:] if name == "deqir" else largest
    assert max(*ends, x.abs().max().item()) < 10 * prior_range


@pytest.mark.parametrize("name", names())
def test_a_solver_approaches_the_posterior_mean(name: str, problem: GaussianProblem) -> None:
    """Nearer to it than the pseudo-inverse is, from the mean over samples; the table of docs/solvers.md has the figures."""
    _, y = problem.draw(1, torch.Generator().manual_seed(3))
    many = y.expand(12 if name == "scd" else 64, -1, -1).contiguous()
    few: dict[str, dict[str, Any]] = {"red-diff": {}, "scd": {"steps": 20, "iterations": 2, "every": 5}}
    params = few.get(name, {"steps": 40})
    found = create(name, **params)(exact(problem, many, problem.network)).mean(0, keepdim=True)
    mean, _ = problem.posterior(y)
    crude = problem.operator.A_dagger(y)
    assert (found - mean).norm() < 0.8 * (crude - mean).norm()


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("red-dif", {}, "unknown solver 'red-dif'; known are red-diff"),
        ("red-diff", {"mixing": "none"}, "has no parameter 'mixing'; it takes steps"),
        ("red-diff", {"weighting": "cubic"}, "weighting must be one of linear"),
        ("red-diff", {"optimiser": "lbfgs"}, "optimiser must be adam or sgd"),
        ("red-diff", {"lr": -1.0}, "lr must be positive"),
        ("dds", {"gamma": 0.0}, "gamma must be positive"),
        ("diffpir", {"lam": 0.0}, "lam must be positive"),
        ("diffpir", {"zeta": 2.0}, "zeta must lie in"),
        ("nrlg", {"variance": "other"}, "variance must be unit or flat"),
        ("ddnm", {"eta": 2.0}, "eta must lie in"),
        ("ddrm", {"eta_b": 2.0}, "eta and eta_b must lie in"),
        ("deqir", {"sweeps": 0}, "sweeps must be at least 1"),
        ("deqir", {"mixing": "some"}, "mixing must be global"),
        ("deqir", {"batch": 0}, "batch must be at least 1"),
        ("scd", {"rank": 0}, "rank must be at least 1"),
        ("scd", {"eta": 2.0}, "eta must lie in"),
        ("ddnm", {"steps": 0}, "steps must be at least 1"),
        ("ddrm", {"grid": "odd"}, "unknown time grid"),
    ],
)
def test_bad_settings_get_one_sentence(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create(name, **params)


@pytest.mark.parametrize("name", names())
def test_times_start_and_noise_of_a_call_are_those_of_the_default_grid_written_out(
    name: str, problem: GaussianProblem
) -> None:
    """The grid from 1 to 0, the state that the process begins with, and the same noise, all given by hand."""
    _, y = problem.draw(2)
    solver = create(name, **FEW.get(name, {"steps": 6}))
    posed = exact(problem, y, problem.network)
    by_default = solver(posed, noise=seeded(5))
    times = [1 - i / solver.steps for i in range(solver.steps)] + [0.0]
    again = solver(posed, times=times, noise=seeded(5))
    torch.testing.assert_close(again, by_default, rtol=1e-6, atol=1e-6)
    if name in ("red-diff", "ddrm", "pnp-flow"):  # which begin with the measurement
        return
    rest = seeded(5)
    start = VP.prior(posed.blank(), rest(posed.blank()))
    torch.testing.assert_close(solver(posed, noise=rest, x=start), by_default)


@pytest.mark.parametrize("name", names())
def test_a_shorter_walk_from_a_state_of_the_walk_ends_where_the_walk_does(name: str, problem: GaussianProblem) -> None:
    """Without fresh noise: the state and the rest of the grid are all that a walk needs."""
    if name in (
        "red-diff",
        "ddrm",
        "deqir",
        "diffpir",
        "dmps",
        "daps",
        "pnp-flow",
    ):  # momentum, noise by construction, no walk state by state
        pytest.skip("keeps more than its state, or draws noise in every step")
    _, y = problem.draw(2)
    quiet: dict[str, Any] = {"eta": 0.0} if name in ("ddnm", "scd", "dps") else {}
    quiet |= {"plus": False} if name == "ddnm" else {}
    solver = create(name, steps=8, **quiet, **({"adapt": False} if name == "scd" else {}))
    posed = exact(problem, y)
    states: list[Tensor] = []
    start = VP.prior(posed.blank(), torch.randn_like(posed.blank()))
    whole = solver(posed, x=start, callback=lambda i, t, x_t, x0: states.append(x_t))
    half = states[4] if name != "scd" else torch.cat([states[4], states[12]])  # which goes image by image
    torch.testing.assert_close(solver(posed, times=[0.5, 0.375, 0.25, 0.125, 0.0], x=half), whole)


@pytest.mark.parametrize("name", names())
def test_a_start_of_another_shape_and_times_that_rise_are_refused(name: str, problem: GaussianProblem) -> None:
    _, y = problem.draw(1)
    with pytest.raises(ValueError, match=r"x must have shape \(1, 1, 6, 8\), got \(1, 1, 6, 7\)"):
        create(name)(exact(problem, y), x=torch.zeros(1, 1, 6, 7))
    if name != "red-diff":
        with pytest.raises(ValueError, match="times must decrease"):
            create(name)(exact(problem, y), times=[0.2, 0.5, 0.0])


def test_what_a_method_cannot_use_is_refused_by_what_it_declares() -> None:
    radon, jpeg = operators.create("radon", (1, 8, 8)), operators.create("jpeg", (1, 8, 8))
    assert [name for name in names() if not create(name).fits(radon)] == ["ddrm"]
    refused = [name for name in names() if not create(name).fits(jpeg)]
    assert refused == ["red-diff", "deqir", "scd", "ddrm", "dps", "daps", "pnp-flow"]
    posed = Problem(VP, lambda x_t, t, y: x_t, radon, radon.A(torch.rand(1, 1, 8, 8)))
    with pytest.raises(
        ValueError, match="ddrm needs the singular value decomposition of the operator, and radon has none"
    ):
        create("ddrm")(posed)


@pytest.mark.parametrize("name", names())
def test_an_average_is_the_mean_of_as_many_runs(name: str, problem: GaussianProblem) -> None:
    _, y = problem.draw(2)
    settings, posed = FEW.get(name, {"steps": 6}), exact(problem, y, problem.network)
    noise = seeded(5)
    runs = [create(name, **settings)(posed, noise=noise) for _ in range(3)]
    method = create(name, average=3, **settings)
    torch.testing.assert_close(method(posed, noise=seeded(5)), torch.stack(runs).mean(0))
    assert method.calls == 3 * create(name, **settings).calls


@pytest.mark.parametrize("process", ["vp", "rectified-flow", "ve"])
@pytest.mark.parametrize("grid", ["uniform", "log-snr", "quad"])
def test_a_walk_may_begin_with_a_smooth_image_and_little_noise(process: str, grid: str) -> None:
    problem = gaussian_problem("mask", sigma_y=0.02, process=bridges.create(process), missing=0.5)
    _, y = problem.draw(2)
    states: list[tuple[float, Tensor]] = []
    posed = Problem(problem.process, problem.denoiser, problem.operator, y, problem.sigma_y)
    noise, method = seeded(7), create("diffpir", steps=5, grid=grid, begin=0.1)
    method(posed, noise=noise, callback=lambda i, t, x_t, x0: states.append((t, x_t.clone())))
    t, first = states[0]
    low, high = problem.process.value_range
    at = problem.process.coefficients(t)
    assert (at.gamma / at.alpha).item() == pytest.approx(0.1 * (high - low), rel=1e-6)
    smooth = smooth_image(problem.operator, y, problem.sigma_y, (low, high))
    torch.testing.assert_close(first, at.alpha.item() * smooth + at.gamma.item() * seeded(7)(smooth))
    assert method.times(problem.process)[-1] == 0
    assert len(states) == 5


@pytest.mark.parametrize(
    "name", ["ddnm", "dds", "nrlg", "diffpir", "pigdm", "dps", "ddrm", "dmps", "daps", "pnp-flow", "scd", "deqir"]
)
def test_every_walk_can_begin_there_and_still_approaches_the_posterior_mean(
    name: str, problem: GaussianProblem
) -> None:
    _, y = problem.draw(4, torch.Generator().manual_seed(3))
    settings = {**FEW.get(name, {"steps": 15}), "begin": 0.2, "average": 4}
    found = create(name, **settings)(exact(problem, y, problem.network), noise=seeded(1))
    mean, _ = problem.posterior(y)
    crude = problem.operator.A_dagger(y)
    assert (found - mean).norm() < (crude - mean).norm()


@pytest.mark.parametrize(
    ("key", "value", "message"), [("begin", 0.0, "begin must be positive"), ("average", 0, "average must be")]
)
def test_bad_beginnings_and_averages_get_one_sentence(key: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create("diffpir", **{key: value})
