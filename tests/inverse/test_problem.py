"""Problems: the change to the model's range, and what they refuse."""

import pytest
import torch

from rebridge.inverse import Problem, operators
from rebridge.inverse.problem import Rescaled, in_range
from tests.inverse.conftest import VP, StandIn, image


def test_the_range_of_the_prior_is_that_of_the_measurement() -> None:
    """A x in [-1, 1] from A x in [0, 1], for linear operators by shift and scale and for JPEG by the operator itself."""
    x = image().double()
    for name in ("sr4", "radon", "cs", "jpeg"):
        operator = operators.create(name, (3, 16, 24))
        fitted, y, sigma = in_range(operator, operator.A(x), 0.1, (-1.0, 1.0))
        torch.testing.assert_close(fitted.A(2 * x - 1), y)
        assert sigma == pytest.approx(0.1 if name == "jpeg" else 0.2)
    v = fitted.prox_l2(torch.zeros_like(x), y, float("inf"))
    torch.testing.assert_close(fitted.A(v), y)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 255.0), (-0.5, 0.25)])
@pytest.mark.parametrize("gamma", [0.3, 7.0])
def test_a_proximal_step_in_another_range_is_where_its_objective_is_least(
    low: float, high: float, gamma: float
) -> None:
    """The gradient of gamma/2 |A((x - low)/width) - y|^2 + |x - z|^2 / 2 is zero there, found by differentiation."""
    inner = operators.create("sr4", (3, 16, 24))
    fitted = Rescaled(inner, low, high)
    z = low + (high - low) * torch.rand(1, 3, 16, 24, dtype=torch.float64)
    y = inner.A(image().double())
    x = fitted.prox_l2(z, y, gamma).requires_grad_(True)
    objective = gamma / 2 * (inner.A((x - low) / (high - low)) - y).square().sum() + (x - z).square().sum() / 2
    (gradient,) = torch.autograd.grad(objective, x)
    assert gradient.abs().max() < 1e-9 * (1 + (high - low))
    assert (x - z).abs().max() > 1e-3 * gamma / (high - low)


def test_an_operator_of_another_library_is_one_of_ours_in_a_problem() -> None:
    x = image()
    problem = Problem(VP, lambda x_t, t, y: x_t, StandIn(), StandIn().A(x))
    assert problem.operator.shape == (3, 16, 24)
    assert problem.operator.name == "StandIn"
    assert problem.blank().shape == x.shape
    assert problem.row(0).y.shape == x.shape


def test_the_old_names_of_the_fields_are_read_with_a_warning() -> None:
    problem = Problem(VP, lambda x_t, t, y: x_t, StandIn(), image())
    with pytest.warns(DeprecationWarning, match="now Problem.process"):
        assert problem.bridge is problem.process
    with pytest.warns(DeprecationWarning, match="now Problem.denoiser"):
        assert problem.prior is problem.denoiser
