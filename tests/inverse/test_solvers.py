"""Solvers against their own theory: RED-diff's official loop and stationary point, DeqIR's chain, SCD's untouched prior."""

import copy

import pytest
import torch

from rebridge import samplers
from rebridge.inverse import Guided, Problem, create, ddnm, names, operators
from rebridge.inverse.deqir import DeqIR
from rebridge.inverse.fixed_point import implicit_gradient, solve_chain
from rebridge.inverse.lora import Adapters
from rebridge.inverse.variational import WEIGHTINGS, REDDiff
from rebridge.networks import create as create_network
from tests.inverse.conftest import VP, CountingPrior, gaussian_problem

FEW = {"deqir": {"steps": 7, "sweeps": 4}, "scd": {"steps": 9, "iterations": 2, "every": 3, "rank": 2}}


def exact(problem, y, **options):
    return Problem(VP, options.pop("prior", problem.prior), problem.operator, y, problem.sigma_y, problem.network)


def replayed(noises):
    supply = iter(noises)
    return lambda like: next(supply)


# -- RED-diff --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_red_diff_replays_the_official_loop(weighting, optimiser, problem):
    """The loop of the authors' code written out with automatic differentiation: one image, so their means are ours."""
    _, y = problem.draw(1)
    draws = [torch.randn(1, 1, 6, 8, dtype=torch.float64) for _ in range(40)]
    solver = create(
        "red-diff",
        steps=20,
        weighting=weighting,
        optimiser=optimiser,
        sigma_x0=1e-3,
        lr=0.5 if optimiser == "sgd" else None,
    )
    ours = solver(exact(problem, y), noise=replayed(draws))

    supply = replayed(draws)
    mu = problem.operator.A_dagger(y).requires_grad_(True)
    step = (
        torch.optim.Adam([mu], lr=0.1, betas=(0.9, 0.99), weight_decay=0.0)
        if optimiser == "adam"
        else torch.optim.SGD([mu], lr=0.5, momentum=0.9)
    )
    for i in range(20):
        t = torch.full((1,), (20 - i) / 20, dtype=torch.float64)
        at = VP.coefficients(t)
        abar = at.alpha.square()
        noise_x0 = supply(mu)
        noise_xt = supply(mu)
        x0_pred = mu + 1e-3 * noise_x0
        xt = abar.sqrt() * x0_pred + at.gamma * noise_xt
        x0_hat = problem.prior(xt, t, torch.zeros_like(xt))
        et = ((xt - abar.sqrt() * x0_hat) / at.gamma).detach()
        loss_obs = (y - problem.operator.A(x0_pred)).square().mean() / 2
        loss_noise = torch.mul((et - noise_xt).detach(), x0_pred).mean()
        snr_inv = at.gamma[0] / abar[0].sqrt()
        factor = {
            "linear": snr_inv,
            "sqrt": torch.sqrt(snr_inv),
            "square": torch.square(snr_inv),
            "log": torch.log(snr_inv + 1.0),
            "trunc-linear": torch.clip(snr_inv, max=1.0),
            "power2over3": torch.pow(snr_inv, 2 / 3),
            "const": torch.pow(snr_inv, 0.0),
        }[weighting]
        loss = 0.25 * factor * loss_noise + 1.0 * loss_obs
        step.zero_grad()
        loss.backward()
        step.step()
    torch.testing.assert_close(ours, mu.detach(), rtol=1e-6, atol=1e-8)


def test_red_diff_converges_to_the_stationary_point_of_its_loss(problem):
    """For a Gaussian prior the loss is quadratic: E eps(x_t) - n = b (a^2 C + b^2 I)^-1 a (mu - m), averaged over the times."""
    _, y = problem.draw(2)
    times = [0.05, 0.2, 0.5, 0.8]
    solver = REDDiff(optimiser="sgd", lr=2.0, times=times * 1000, weight=0.02)
    found = solver(exact(problem, y), noise=torch.zeros_like)  # the noise enters linearly and has mean 0
    at = VP.coefficients(torch.tensor(times, dtype=torch.float64))
    d, m = problem.matrix.shape[1], problem.matrix.shape[0]
    prior = torch.zeros(d, d, dtype=torch.float64)
    for a, b in zip(at.alpha, at.gamma, strict=True):
        inner = a**2 * problem.covariance + b**2 * torch.eye(d, dtype=torch.float64)
        prior += 0.02 * (b / a) * a * b * torch.linalg.inv(inner) / (len(times) * d)
    data = problem.matrix.T @ problem.matrix / m
    right = y.flatten(1) @ problem.matrix / m + prior @ problem.mean
    expected = torch.linalg.solve(data + prior, right.T).T
    assert (found.flatten(1) - expected).norm() / expected.norm() < 2e-2


# -- DeqIR -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "eta"), [(25, 0.0), (25, 0.5), (100, 0.0)])
def test_the_fixed_point_of_deqir_is_the_sequential_chain(steps, eta, problem):
    """Against DBIM with DDNM's guidance, step by step; eta: one noise shared by all steps, as the authors have it."""
    _, y = problem.draw(2)
    zeros = torch.zeros(2, 1, 6, 8, dtype=torch.float64)
    start, z = torch.randn_like(zeros), torch.randn_like(zeros)
    states = []
    guided = Guided(problem.prior, ddnm(problem.operator, y), VP, eta**2, lambda like: z)
    sequential = samplers.create("dbim", steps=steps)(
        VP, guided, zeros, x=start, callback=lambda i, t, x_t, x0: states.append(x_t)
    )
    chain = DeqIR(steps=steps, eta=eta).chain(exact(problem, y), z)
    walked = torch.stack(states)
    image, end = chain.images(start, chain.noises(walked))
    assert (image - walked).norm() / walked.norm() < 1e-10
    assert (end - sequential).norm() / sequential.norm() < 1e-10
    for mixing in ("none", "global", "per-step"):
        found = solve_chain(chain, start, steps, mixing)
        assert (found.end - sequential).norm() / sequential.norm() < 1e-10


@pytest.mark.parametrize("steps", [25, 100])
def test_the_accelerated_chain_is_within_a_percent_after_15_sweeps(steps, problem):
    _, y = problem.draw(4)
    start = torch.randn(4, 1, 6, 8, dtype=torch.float64)
    chain = DeqIR(steps=steps).chain(exact(problem, y))
    whole = solve_chain(chain, start, steps, "none").end
    found = solve_chain(chain, start, 15)
    plain = solve_chain(chain, start, 15, "none")
    error, picard = ((x.end - whole).norm() / whole.norm() for x in (found, plain))
    assert error < 1e-2
    assert error < picard / 2
    assert found.residuals[-1] < found.residuals[0] / 100


def test_the_implicit_gradient_is_that_through_all_steps(problem):
    """Against automatic differentiation of the sequential walk."""
    _, y = problem.draw(1)
    start = torch.randn(1, 1, 6, 8, dtype=torch.float64)
    chain = DeqIR(steps=8).chain(exact(problem, y))
    target = torch.randn_like(start)
    found = solve_chain(chain, start, 8)
    gradient, loss = implicit_gradient(chain, start, found.states, lambda x: (x - target).square().sum())
    x = start.clone().requires_grad_(True)
    state, guidance = x, ddnm(problem.operator, y)
    at = VP.coefficients(chain.times)
    for i in range(8):
        t = chain.times[i : i + 1]
        x0_hat = problem.prior(state, t, torch.zeros_like(state))
        eps = (state - at.alpha[i] * x0_hat) / at.gamma[i]
        state = at.alpha[i + 1] * guidance.correct(x0_hat, at) + at.gamma[i + 1] * eps
    expected = (state - target).square().sum()
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradient, x.grad)


def test_tuning_the_start_brings_the_result_nearer_to_the_reference(problem):
    x, y = problem.draw(2)
    noise = torch.randn(2, 1, 6, 8, dtype=torch.float64)
    plain, tuned = (
        create("deqir", steps=8, sweeps=8, tune=tune, lr=0.1, reference=x)(exact(problem, y), lambda like: noise)
        for tune in (0, 30)
    )
    assert (tuned - x).norm() < 0.7 * (plain - x).norm()
    torch.testing.assert_close(problem.operator.A(tuned), y)


def test_parallel_calls_come_in_batches_of_the_given_size(problem):
    _, y = problem.draw(2)
    sizes = []

    def prior(x_t, t, y):
        sizes.append(len(x_t))
        return problem.prior(x_t, t, y)

    start = torch.randn(2, 1, 6, 8, dtype=torch.float64)
    cut, whole = (
        create("deqir", steps=6, sweeps=3, batch=batch)(exact(problem, y, prior=prior), lambda like: start)
        for batch in (5, 100)
    )
    torch.testing.assert_close(cut, whole)
    assert sizes == [5, 5, 2, 5, 5, 5, 3, 12, 10, 8]


def test_batches_are_halved_where_memory_runs_out(problem):
    _, y = problem.draw(1)

    def prior(x_t, t, y):
        if len(x_t) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return problem.prior(x_t, t, y)

    assert torch.isfinite(create("deqir", steps=8, sweeps=8)(exact(problem, y, prior=prior))).all()


# -- SCD -------------------------------------------------------------------------------------------------------------------


def test_scd_leaves_the_prior_bit_identical(problem):
    """Weights, modules, gradient flags and outputs, also where the run is broken off half-way."""
    network = create_network("fast", channels=1, widths=[4, 8], blocks=[1], middle=1, embedding=8)
    before, modules = copy.deepcopy(network.state_dict()), dict(network.named_modules())
    flags, attributes = [parameter.requires_grad for parameter in network.parameters()], set(vars(network))
    operator = operators.create("radon", (1, 12, 16), angles=5)
    y = operator.A(torch.rand(2, 1, 12, 16))
    solver = create("scd", steps=6, iterations=2, every=2, rank=3, lr=1e-2)
    results = []

    def stop(i, t, x_t, x0):
        raise KeyboardInterrupt

    for callback in (None, stop, None):
        posed = Problem(VP, network, operator, y, 0.0, network)
        draws = torch.Generator().manual_seed(0)
        try:
            results.append(solver(posed, lambda like, g=draws: torch.randn(like.shape, generator=g), callback))
        except KeyboardInterrupt:
            assert callback is stop
        assert dict(network.named_modules()) == modules
        assert set(vars(network)) == attributes
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
        assert [parameter.requires_grad for parameter in network.parameters()] == flags
        assert all(parameter.grad is None for parameter in network.parameters())
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_adapters_begin_as_the_network_itself_and_can_be_switched_off():
    network = create_network("fast", channels=1, widths=[4, 8], blocks=[1], middle=1, embedding=8)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    x, t = torch.rand(1, 1, 8, 8), torch.full((1,), 0.5)
    plain = network(x, t, x)
    with Adapters(network, 2) as lora:
        torch.testing.assert_close(network(x, t, x), plain)
        with torch.no_grad():
            for parameter in lora.parameters:
                parameter.add_(0.1)
        assert (network(x, t, x) - plain).abs().max() > 1e-3
        lora.on(False)
        torch.testing.assert_close(network(x, t, x), plain, rtol=0, atol=0)
        lora.on(True)
        assert all(parameter.requires_grad for parameter in lora.parameters)


def test_scd_learns_to_fit_a_measurement_that_its_prior_does_not_expect():
    """A prior of the wrong mean: adapted, its estimates agree with the measurement better. Whether with the image too is a
    question for real priors, see docs/solvers.md: a linear one has nothing to carry over from what is seen to what is not."""
    problem = gaussian_problem(sigma_y=0.01)
    strange = gaussian_problem(sigma_y=0.01)
    x, y = strange.draw(1, torch.Generator().manual_seed(7))
    x, y = x + 1.0, y + problem.operator.A(torch.ones_like(x))
    settings = {"steps": 20, "iterations": 10, "every": 2, "gamma": 0.2, "lr": 1e-2, "eta": 0.0, "tv": 0.0}
    start = torch.randn_like(x)
    adapted, plain = (
        create("scd", adapt=adapt, **settings)(exact(problem, y, prior=problem.network), lambda like: start)
        for adapt in (True, False)
    )
    misfits = [(problem.operator.A(found) - y).norm() for found in (adapted, plain)]
    assert misfits[0] < 0.5 * misfits[1]


def test_scd_without_adaptation_is_dds(problem):
    _, y = problem.draw(2)
    noise = torch.randn(2, 1, 6, 8, dtype=torch.float64)
    bare = create("scd", steps=12, eta=0.0, adapt=False, gamma=3.0)(exact(problem, y), lambda like: noise)
    dds = create("dds", steps=12, gamma=3.0)(exact(problem, y), lambda like: noise)
    torch.testing.assert_close(bare, dds)


# -- all of them -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_every_solver_makes_the_stated_number_of_calls(name, problem):
    _, y = problem.draw(3)
    for params in ({}, FEW.get(name, {"steps": 5})):
        solver = create(name, **params)
        prior = CountingPrior(problem.network)
        solver(exact(problem, y, prior=prior))
        assert prior.states == 3 * solver.calls


def test_tuned_starts_are_counted_too(problem):
    _, y = problem.draw(2)
    solver = create("deqir", steps=6, sweeps=4, tune=3)
    prior = CountingPrior(problem.prior)
    solver(exact(problem, y, prior=prior))
    assert prior.states == 2 * solver.calls


@pytest.mark.parametrize("name", ["red-diff", "deqir", "scd"])
def test_these_too_stay_within_ten_times_the_priors_range(name, problem):
    """What the guided walks are held to in test_guidance; DeqIR's states while they are still wrong are left out."""
    _, y = problem.draw(4, torch.Generator().manual_seed(5))
    largest = []

    def look(step, t, x_t, x0):
        largest.append(x0.abs().max().item())
        if name != "deqir":
            largest.append(x_t.abs().max().item())

    solver = create(name, **({"steps": 40, "sweeps": 40} if name == "deqir" else {}))
    x = solver(exact(problem, y, prior=problem.network), callback=look)
    prior_range = problem.draw(1000)[0].abs().max().item()
    ends = largest[-1:] if name == "deqir" else largest
    assert max(*ends, x.abs().max().item()) < 10 * prior_range


@pytest.mark.parametrize("name", names())
def test_a_solver_approaches_the_posterior_mean(name, problem):
    """Nearer to it than the pseudo-inverse is, from the mean over samples; the table of docs/solvers.md has the figures."""
    _, y = problem.draw(1, torch.Generator().manual_seed(3))
    many = y.expand(12 if name == "scd" else 64, -1, -1).contiguous()
    params = {"red-diff": {}, "scd": {"steps": 20, "iterations": 2, "every": 5}}.get(name, {"steps": 40})
    found = create(name, **params)(exact(problem, many, prior=problem.network)).mean(0, keepdim=True)
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
        ("red-diff", {"times": (0.5, 0.0)}, "times must lie in"),
        ("deqir", {"sweeps": 0}, "sweeps must be at least 1"),
        ("deqir", {"mixing": "some"}, "mixing must be global"),
        ("deqir", {"batch": 0}, "batch must be at least 1"),
        ("scd", {"rank": 0}, "rank must be at least 1"),
        ("scd", {"eta": 2.0}, "eta must lie in"),
        ("ddnm", {"steps": 0}, "steps must be at least 1"),
        ("ddrm", {"grid": "odd"}, "unknown time grid"),
    ],
)
def test_bad_settings_get_one_sentence(name, params, message):
    with pytest.raises(ValueError, match=message):
        create(name, **params)
