"""DPS follows the gradient of the misfit, by central differences."""

import pytest
import torch
from torch import Tensor

from rebridge.inverse import GaussianProblem
from rebridge.inverse.methods import DPS
from tests.inverse.conftest import SHAPE, evaluator, state_at


def test_dps_moves_the_state_along_the_gradient_of_the_misfit(problem: GaussianProblem) -> None:
    """A central difference of |y - A x0_hat(x_t)| along a direction is the correction along it, times -a / scale."""
    _, y = problem.draw(1)
    state = state_at(0.6, torch.randn(1, *SHAPE, dtype=torch.float64))
    evaluate, direction = evaluator(problem, state), torch.randn(1, *SHAPE, dtype=torch.float64)
    x0_hat, x0 = DPS(scale=0.5).guidance(problem.operator, y).clean(evaluate, state)

    def misfit(x: Tensor) -> Tensor:
        return (y - problem.operator.A(evaluate(x))).norm()

    slope = (misfit(state.x_t + 1e-5 * direction) - misfit(state.x_t - 1e-5 * direction)) / 2e-5
    moved = ((x0 - x0_hat) * direction).sum() * state.at.alpha / 0.5
    assert moved.item() == pytest.approx(-slope.item(), rel=1e-5)
