"""SCD leaves the prior as it was, learns from the measurement, and is DDS without adaptation."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rebridge.inverse import GaussianProblem, Problem, create, operators
from rebridge.inverse.methods.lora import Adapters
from rebridge.networks import create as create_network
from tests.inverse.conftest import VP, exact, gaussian_problem


def drawn(generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=generator)


def test_scd_leaves_the_prior_bit_identical(problem: GaussianProblem) -> None:
    """Weights, modules, gradient flags and outputs, also where the run is broken off half-way."""
    network = create_network("fast", channels=1, widths=[4, 8], blocks=[1], middle=1, embedding=8)
    before, modules = copy.deepcopy(network.state_dict()), dict(network.named_modules())
    flags, attributes = [parameter.requires_grad for parameter in network.parameters()], set(vars(network))
    operator = operators.create("radon", (1, 12, 16), angles=5)
    y = operator.A(torch.rand(2, 1, 12, 16))
    solver = create("scd", steps=6, iterations=2, every=2, rank=3, lr=1e-2)
    results: list[Tensor] = []

    def stop(i: int, t: float, x_t: Tensor, x0: Tensor) -> None:
        raise KeyboardInterrupt

    for callback in (None, stop, None):
        posed = Problem(VP, network, operator, y, 0.0, network)
        draws = torch.Generator().manual_seed(0)
        try:
            noise = partial(drawn, draws)
            results.append(solver(posed, noise=noise, callback=callback))
        except KeyboardInterrupt:
            assert callback is stop
        assert dict(network.named_modules()) == modules
        assert set(vars(network)) == attributes
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
        assert [parameter.requires_grad for parameter in network.parameters()] == flags
        assert all(parameter.grad is None for parameter in network.parameters())
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_adapters_begin_as_the_network_itself_and_can_be_switched_off() -> None:
    network = create_network("fast", channels=1, widths=[4, 8], blocks=[1], middle=1, embedding=8)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    x, t = torch.rand(1, 1, 8, 8), torch.full((1,), 0.5)
    plain = network(x, t, x)
    with Adapters(network, 2) as lora:
        torch.testing.assert_close(network(x, t, x), plain)
        with torch.no_grad():
            for parameter in lora.parameters:
                parameter.add_(0.1)
        assert (network(x, t, x) - plain).abs().max() > 1e-3
        lora.switch(on=False)
        torch.testing.assert_close(network(x, t, x), plain, rtol=0, atol=0)
        lora.switch(on=True)
        assert all(parameter.requires_grad for parameter in lora.parameters)


def test_scd_learns_to_fit_a_measurement_that_its_prior_does_not_expect() -> None:
    """A prior of the wrong mean: adapted, its estimates agree with the measurement better. Whether with the image too is a
    question for real priors, see docs/solvers.md: a linear one has nothing to carry over from what is seen to what is not."""
    problem = gaussian_problem(sigma_y=0.01)
    strange = gaussian_problem(sigma_y=0.01)
    x, y = strange.draw(1, torch.Generator().manual_seed(7))
    x, y = x + 1.0, y + problem.operator.A(torch.ones_like(x))
    settings: dict[str, Any] = {
        "steps": 20,
        "iterations": 10,
        "every": 2,
        "gamma": 0.2,
        "lr": 1e-2,
        "eta": 0.0,
        "tv": 0.0,
    }
    start = torch.randn_like(x)
    adapted, plain = (
        create("scd", adapt=adapt, **settings)(exact(problem, y, problem.network), noise=lambda like: start)
        for adapt in (True, False)
    )
    misfits = [(problem.operator.A(found) - y).norm() for found in (adapted, plain)]
    assert misfits[0] < 0.5 * misfits[1]


def test_scd_without_adaptation_is_dds(problem: GaussianProblem) -> None:
    _, y = problem.draw(2)
    noise = torch.randn(2, 1, 6, 8, dtype=torch.float64)
    bare = create("scd", steps=12, eta=0.0, adapt=False, gamma=3.0)(exact(problem, y), noise=lambda like: noise)
    dds = create("dds", steps=12, gamma=3.0)(exact(problem, y), noise=lambda like: noise)
    torch.testing.assert_close(bare, dds)
