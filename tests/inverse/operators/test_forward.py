"""Operators of other libraries: what they are given, operators of which only A is known, and the test of an adjoint."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge.inverse import Problem, create, names, operators
from rebridge.inverse.operators import ForwardOperator, adjoint_test, wrap
from tests.inverse.conftest import SHAPE, VP, StandIn, gaussian_problem, seeded


class Strict:
    """An operator as strict as deepinv's formulas: sums of 1/gamma and a tensor of the images' type.

    A diagonal operator that keeps its mask in single precision, as deepinv's do.
    """

    def __init__(self) -> None:
        self.mask = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0)).round()

    def A(self, x: Tensor) -> Tensor:  # noqa: N802
        assert x.ndim == 4
        return self.mask.to(x.dtype) * x

    def A_adjoint(self, y: Tensor) -> Tensor:  # noqa: N802
        return self.A(y)

    def A_dagger(self, y: Tensor) -> Tensor:  # noqa: N802
        return self.A(y)

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Any) -> Tensor:
        if isinstance(gamma, Tensor):
            assert gamma.shape == (len(z), 1, 1, 1)
            assert gamma.dtype == z.dtype
            assert torch.isfinite(gamma).all()
            assert (gamma > 0).all()
        else:
            assert type(gamma) is float
            assert 0 < gamma < math.inf
        mask = self.mask.to(z.dtype)
        return (mask * y + z / gamma) / (mask * mask + 1 / gamma)


@pytest.mark.filterwarnings("ignore::rebridge.inverse.MethodWarning")
@pytest.mark.parametrize("sigma_y", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name in names() if name not in ("ddrm", "scd")])
def test_every_method_takes_a_strict_foreign_operator_and_a_batch(
    name: str, dtype: torch.dtype, sigma_y: float
) -> None:
    """It does what our own mask does to the same noise."""
    strict = Strict()
    params: dict[str, Any] = {"steps": 4, **({"sweeps": 4} if name == "deqir" else {})}
    params |= {"plus": False} if name == "ddnm" else {}
    params |= {"mean": "all"} if name == "red-diff" else {}  # a foreign mask does not tell how much it measures
    y = strict.A(torch.rand(3, *SHAPE, dtype=dtype))
    own = operators.create("known-mask", SHAPE, mask=strict.mask[0])
    found, expected = (
        create(name, **params)(
            Problem(VP, lambda x_t, t, y: torch.tanh(0.9 * x_t), operator, y, sigma_y), noise=seeded(0)
        )
        for operator in (strict, own)
    )
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


class Layers(torch.nn.Module):
    """A prior with weights that scd can adapt."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (torch.nn.Conv2d(*widths, 3, padding=1) for widths in ((1, 4), (4, 1)))
        for k, weight in enumerate(self.parameters()):
            torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(k))

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        found: Tensor = torch.tanh(self.second(torch.tanh(self.first(x_t))))
        return found


@pytest.mark.filterwarnings("ignore::rebridge.inverse.MethodWarning")
@pytest.mark.parametrize("sigma_y", [0.0, 0.1])
def test_scd_takes_a_strict_foreign_operator_and_a_batch(sigma_y: float) -> None:
    strict = Strict()
    y = strict.A(torch.rand(3, *SHAPE))
    own = operators.create("known-mask", SHAPE, mask=strict.mask[0])
    results = []
    for operator in (strict, own):
        torch.manual_seed(0)
        network = Layers().requires_grad_(False)
        problem = Problem(VP, network, operator, y, sigma_y, network)
        results.append(create("scd", steps=3, iterations=2, every=1)(problem, noise=seeded(0)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)


def test_ddrm_says_what_a_foreign_operator_lacks() -> None:
    strict = Strict()
    problem = Problem(VP, lambda x_t, t, y: x_t, strict, strict.A(torch.rand(1, *SHAPE)), 0.1)
    with pytest.raises(
        ValueError, match="ddrm needs the singular value decomposition of the operator, and Strict has none"
    ):
        create("ddrm")(problem)


def test_gammas_that_differ_come_as_a_column_and_ends_never() -> None:
    wrapped = wrap(Strict(), SHAPE)
    z, y = torch.randn(2, 3, *SHAPE)
    own = operators.create("known-mask", SHAPE, mask=Strict().mask[0])
    mixed: list[Any] = [0.0, 2.0, math.inf]
    for values in ([0.5, 1.0, 2.0], mixed, [3.0] * 3, [math.inf] * 3):
        gamma = torch.tensor(values, dtype=torch.float64)
        expected = torch.cat([own.prox_l2(z[i : i + 1], y[i : i + 1], values[i]) for i in range(3)])
        torch.testing.assert_close(wrapped.prox_l2(z, y, gamma), expected)


def brightened(x: Tensor) -> Tensor:
    """A saturating camera, of which nothing but this is known."""
    return torch.tanh(1.5 * x)


@pytest.mark.parametrize("name", ["red-diff", "dps", "daps", "pnp-flow"])
def test_a_nonlinear_operator_with_a_alone_is_solved(name: str) -> None:
    """The result fits y far better than the prior's mean does."""
    problem = gaussian_problem()
    x, _ = problem.draw(2, torch.Generator().manual_seed(2))
    operator = wrap(brightened, SHAPE)
    y = operator.A(x)
    settings: dict[str, dict[str, Any]] = {
        "daps": {"tau": 0.05, "lr": 1e-3},
        "dps": {"scale": 0.5},
        "pnp-flow": {"power": 0.2},
    }
    found = create(name, **settings.get(name, {}))(Problem(VP, problem.denoiser, operator, y, 0.02), noise=seeded(1))
    crude = operator.A(problem.mean.reshape(1, *SHAPE).expand_as(x))
    assert (operator.A(found) - y).norm() < 0.4 * (crude - y).norm()


def test_the_gradient_of_the_misfit_is_the_derivative_by_differences() -> None:
    operator = ForwardOperator(brightened, SHAPE)
    x, y, direction = torch.randn(3, 1, *SHAPE, dtype=torch.float64)

    def misfit(at: Tensor) -> Tensor:
        return (operator.A(at) - y).square().sum() / 2

    slope = (misfit(x + 1e-6 * direction) - misfit(x - 1e-6 * direction)) / 2e-6
    assert (operator.misfit_gradient(x, y) * direction).sum().item() == pytest.approx(slope.item(), rel=1e-6)


def test_what_needs_more_than_a_says_so() -> None:
    operator = wrap(brightened, SHAPE)
    usable = [name for name in names() if create(name).fits(operator)]
    assert usable == ["red-diff", "dps", "daps", "pnp-flow"]
    with pytest.raises(ValueError, match="ddnm needs a proximal step, and of brightened only A is known: use daps"):
        create("ddnm").check(operator)
    with pytest.raises(ValueError, match="brightened has no adjoint"):
        operator.A_adjoint(torch.zeros(1, *SHAPE))

    class Alone:
        def A(self, x: Tensor) -> Tensor:  # noqa: N802
            return x

    with pytest.raises(
        TypeError, match=r"this one lacks A_adjoint; for A alone use rebridge\.inverse\.operators\.wrap"
    ):
        Problem(VP, lambda x_t, t, y: x_t, Alone(), torch.zeros(1, *SHAPE))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["sr2", "blur", "radon", "cs", "colour", "mask"])
def test_the_adjoints_of_our_operators_pass_the_test(name: str) -> None:
    assert adjoint_test(operators.create(name, (3, 9, 12))) < 1e-10


def test_a_wrong_adjoint_fails_the_test() -> None:
    class Wrong(StandIn):
        def A_adjoint(self, y: Tensor) -> Tensor:  # noqa: N802
            return y.flip(-1)

    assert adjoint_test(Wrong(), SHAPE) > 0.01
    assert adjoint_test(StandIn(), SHAPE) < 1e-12
    with pytest.raises(ValueError, match=r"give shape=\(C, H, W\)"):
        adjoint_test(StandIn())
