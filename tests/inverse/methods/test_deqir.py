"""DeqIR: its fixed point is the sequential walk, and so is its gradient."""

import pytest
import torch
from torch import Tensor

from rebridge import samplers
from rebridge.inverse import GaussianProblem, create
from rebridge.inverse.methods import DDNM, DeqIR, Guided
from rebridge.inverse.methods.fixed_point import Mixing, implicit_gradient, solve_chain
from tests.inverse.conftest import VP, CountingPrior, exact


@pytest.mark.parametrize(("steps", "eta"), [(25, 0.0), (25, 0.5), (100, 0.0)])
def test_the_fixed_point_of_deqir_is_the_sequential_chain(steps: int, eta: float, problem: GaussianProblem) -> None:
    """Against DBIM with DDNM's guidance, step by step; eta: one noise shared by all steps, as the authors have it."""
    _, y = problem.draw(2)
    zeros = torch.zeros(2, 1, 6, 8, dtype=torch.float64)
    start, z = torch.randn_like(zeros), torch.randn_like(zeros)
    states: list[Tensor] = []
    guided = Guided(problem.denoiser, DDNM().guidance(problem.operator, y), VP, eta**2, lambda like: z)
    sequential = samplers.create("dbim", steps=steps)(
        VP, guided, zeros, x=start, callback=lambda i, t, x_t, x0: states.append(x_t)
    )
    chain = DeqIR(steps=steps, eta=eta).chain(exact(problem, y), z)
    walked = torch.stack(states)
    image, end = chain.images(start, chain.noises(walked))
    assert (image - walked).norm() / walked.norm() < 1e-10
    assert (end - sequential).norm() / sequential.norm() < 1e-10
    mixings: tuple[Mixing, ...] = ("none", "global", "per-step")
    for mixing in mixings:
        found = solve_chain(chain, start, steps, mixing)
        assert (found.end - sequential).norm() / sequential.norm() < 1e-10


@pytest.mark.parametrize("steps", [25, 100])
def test_the_accelerated_chain_is_within_a_percent_after_15_sweeps(steps: int, problem: GaussianProblem) -> None:
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


def test_the_implicit_gradient_is_that_through_all_steps(problem: GaussianProblem) -> None:
    """Against automatic differentiation of the sequential walk."""
    _, y = problem.draw(1)
    start = torch.randn(1, 1, 6, 8, dtype=torch.float64)
    chain = DeqIR(steps=8).chain(exact(problem, y))
    target = torch.randn_like(start)
    found = solve_chain(chain, start, 8)
    gradient, loss = implicit_gradient(chain, start, found.states, lambda x: (x - target).square().sum())
    x = start.clone().requires_grad_(True)
    state, guidance = x, DDNM().guidance(problem.operator, y)
    at = VP.coefficients(chain.times)
    for i in range(8):
        t = chain.times[i : i + 1]
        x0_hat = problem.denoiser(state, t, torch.zeros_like(state))
        eps = (state - at.alpha[i] * x0_hat) / at.gamma[i]
        state = at.alpha[i + 1] * guidance.correct(x0_hat, at) + at.gamma[i + 1] * eps
    expected = (state - target).square().sum()
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradient, x.grad)


def test_tuning_the_start_brings_the_result_nearer_to_the_reference(problem: GaussianProblem) -> None:
    x, y = problem.draw(2)
    noise = torch.randn(2, 1, 6, 8, dtype=torch.float64)
    plain, tuned = (
        create("deqir", steps=8, sweeps=8, tune=tune, lr=0.1, reference=x)(exact(problem, y), noise=lambda like: noise)
        for tune in (0, 30)
    )
    assert (tuned - x).norm() < 0.7 * (plain - x).norm()
    torch.testing.assert_close(problem.operator.A(tuned), y)


def test_parallel_calls_come_in_batches_of_the_given_size(problem: GaussianProblem) -> None:
    _, y = problem.draw(2)
    sizes: list[int] = []

    def prior(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        sizes.append(len(x_t))
        return problem.denoiser(x_t, t, y)

    start = torch.randn(2, 1, 6, 8, dtype=torch.float64)
    cut, whole = (
        create("deqir", steps=6, sweeps=3, batch=batch)(exact(problem, y, prior), noise=lambda like: start)
        for batch in (5, 100)
    )
    torch.testing.assert_close(cut, whole)
    assert sizes == [5, 5, 2, 5, 5, 5, 3, 12, 10, 8]


def test_batches_are_halved_where_memory_runs_out(problem: GaussianProblem) -> None:
    _, y = problem.draw(1)

    def prior(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        if len(x_t) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return problem.denoiser(x_t, t, y)

    assert torch.isfinite(create("deqir", steps=8, sweeps=8)(exact(problem, y, prior))).all()


def test_tuned_starts_are_counted_too(problem: GaussianProblem) -> None:
    _, y = problem.draw(2)
    solver = create("deqir", steps=6, sweeps=4, tune=3)
    prior = CountingPrior(problem.denoiser)
    solver(exact(problem, y, prior))
    assert prior.states == 2 * solver.calls
