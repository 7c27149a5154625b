"""Composed and stacked operators: the right adjoint, pseudo-inverse and proximal step; foreign ones among them."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import rebridge
from rebridge.inverse import operators
from rebridge.inverse.operators import Linear, Operator, Separable, Stacked, compose, stack, wrap
from tests.inverse.conftest import StandIn, image

SHAPE = (3, 8, 12)


def op(name: str, shape: tuple[int, ...] = SHAPE, **params: object) -> Operator:
    return operators.create(name, shape, **params)


MADE: dict[str, Callable[[], Operator]] = {
    "downsampled blur": lambda: op("sr2") @ op("blur", length=4.0),
    "downsampled gaussian blur": lambda: op("sr2") @ op("separable-blur", sigma=1.0),
    "grey holes": lambda: op("mask", (1, 8, 12)) @ op("colour"),
    "holes in projections": lambda: op("mask", (3, 5, 16)) @ op("radon", angles=5),
    "three in a row": lambda: op("mask", (3, 4, 6)) @ op("average2") @ op("blur", length=3.0),
    "colour and a small picture": lambda: op("colour") | op("average4"),
    "two exposures": lambda: op("blur", length=5.0, seed=1) | op("blur", length=5.0, seed=2),
    "a stack of compositions": lambda: stack([op("sr2") @ op("blur", length=3.0), op("cs", ratio=0.2), op("mask")]),
    "ours after another library's": lambda: op("sr2") @ StandIn(),
    "another library's after ours": lambda: StandIn() @ op("sr2"),
    "another library's beside ours": lambda: StandIn() | op("average4"),
}


def matrix(operator: Operator) -> Tensor:
    """A written out, (m, d)."""
    d = math.prod(operator.shape)
    return operator.A(torch.eye(d, dtype=torch.float64).reshape(d, *operator.shape)).flatten(1).T


@pytest.mark.parametrize("made", MADE)
def test_the_adjoint_is_the_transpose_and_the_proximal_step_is_optimal(made: str) -> None:
    operator = MADE[made]()
    a = matrix(operator)
    x, z = torch.randn(2, 2, *operator.shape, dtype=torch.float64)
    y = torch.randn(2, *operator.measurement_shape, dtype=torch.float64)
    torch.testing.assert_close(operator.A(x).flatten(1), x.flatten(1) @ a.T)
    torch.testing.assert_close(operator.A_adjoint(y).flatten(1), y.flatten(1) @ a)
    for gamma in (0.05, 1.0, 30.0, torch.tensor([0.3, 20.0])):
        trust = torch.as_tensor(gamma, dtype=torch.float64).reshape(-1, 1, 1, 1)
        v = operator.prox_l2(z, y, gamma)
        pull = trust * operator.A_adjoint(y - operator.A(v))
        assert (v - z - pull).norm() <= 5e-6 * max(z.norm().item(), (trust * operator.A_adjoint(y)).norm().item())


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("made", MADE)
def test_the_pseudo_inverse_is_that_of_the_matrix(made: str, dense: bool) -> None:
    operator = MADE[made]()
    if not dense and isinstance(operator, Linear):
        operator.dense = 0
    x = torch.rand(2, *operator.shape, dtype=torch.float64)
    y = operator.A(x)
    expected = y.flatten(1) @ torch.linalg.pinv(matrix(operator), rtol=1e-6).T
    fitted = operator.A(operator.A_dagger(y))
    assert (fitted - y).norm() <= 1e-5 * y.norm()
    if dense:
        torch.testing.assert_close(operator.A_dagger(y).flatten(1), expected, rtol=1e-4, atol=1e-4)


def test_two_separable_operators_are_a_separable_one_with_its_decomposition() -> None:
    blurred = op("sr2") @ op("separable-blur", sigma=1.0)
    assert isinstance(blurred, Separable)
    assert blurred.has_spectrum
    assert blurred.scale == 2
    x = torch.rand(1, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(blurred.A(x), op("sr2").A(op("separable-blur", sigma=1.0).A(x)))


def test_a_stack_puts_measurements_together_and_takes_them_apart() -> None:
    first, second = op("sr2"), op("colour")
    both = stack([first, second])
    x = torch.rand(2, *SHAPE)
    for part, piece in zip((first, second), both.split(both.A(x)), strict=True):
        torch.testing.assert_close(piece, part.A(x))
    torch.testing.assert_close(both.join([first.A(x), second.A(x)]), both.A(x))
    flat = both | op("mask")
    assert isinstance(flat, Stacked)
    assert len(flat.parts) == 3


def test_two_exposures_together_determine_more_than_one() -> None:
    """Each of two blurs loses frequencies that the other keeps, so together they recover an image that neither does."""
    x = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    rows = operators.create("blur", (1, 16, 16), kernel=torch.ones(1, 5) / 5, boundary="periodic")
    columns = operators.create("blur", (1, 16, 16), kernel=torch.ones(3, 1) / 3, boundary="periodic")
    one, other = (part.prox_l2(torch.zeros_like(x), part.A(x), 1e6) for part in (rows, columns))
    both = rows | columns
    found = both.prox_l2(torch.zeros_like(x), both.A(x), 1e6)
    assert (found - x).norm() <= 1.001 * min((one - x).norm().item(), (other - x).norm().item())


def test_a_composition_is_shown_and_read_as_its_parts_are() -> None:
    operator = op("jpeg", (3, 8, 12), quality=90)
    blurred = op("sr2", (3, 16, 24)) @ op("blur", (3, 16, 24), length=3.0)
    shown = blurred.to_picture(blurred.A(image()))
    assert shown is not None
    assert shown.shape == image().shape
    assert blurred.scale == 2
    assert torch.equal(blurred.from_picture(image(8, 12)), image(8, 12))
    holes = op("mask", (3, 5, 16)) @ op("radon", angles=5)
    assert holes.to_picture(holes.A(torch.rand(1, *SHAPE))) is None
    with pytest.raises(ValueError, match="jpeg is not linear"):
        operator @ blurred
    with pytest.raises(ValueError, match="jpeg is not linear"):
        operator | blurred


def test_what_does_not_fit_gets_one_sentence() -> None:
    with pytest.raises(ValueError, match="separable measures 3 x 4 x 6, and mask is for images of 3 x 8 x 12"):
        op("mask") @ op("sr2")
    with pytest.raises(ValueError, match="images of one shape, got mask for 3 x 8 x 12, mask for 1 x 8 x 12"):
        op("mask") | op("mask", (1, 8, 12))
    with pytest.raises(ValueError, match=r"operators\.wrap on one of the two"):
        compose(StandIn(), StandIn())
    with pytest.raises(ValueError, match=r"operators\.wrap on one of them"):
        stack([StandIn(), StandIn()])
    twice = wrap(StandIn(), SHAPE) @ StandIn()
    torch.testing.assert_close(twice.A(torch.ones(1, *SHAPE)), torch.full((1, *SHAPE), 0.25))


class Cropped(Linear):
    """A user's own operator: the left half."""

    name = "cropped"

    def __init__(self, shape: tuple[int, int, int]) -> None:
        channels, height, width = shape
        super().__init__(shape, (channels, height, width // 2))

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.measurement_shape[2]]

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.cat([y, torch.zeros_like(y)], dim=-1)


def test_a_registered_operator_is_made_by_name_composes_and_is_solved() -> None:
    operators.register("cropped", Cropped)
    try:
        half = operators.create("cropped", SHAPE)
        assert isinstance(half @ op("blur", length=3.0), Operator)
        y = half.A(torch.rand(1, *SHAPE))
        process = rebridge.bridges.create("vp")
        model = rebridge.models.DenoiserModel(lambda x_t, t, y: x_t / 2, process)
        found = rebridge.solve(y, half, model, "ddnm", steps=3)
        torch.testing.assert_close(half.A(found.mean), y, rtol=1e-4, atol=1e-4)
    finally:
        operators.OPERATORS.unregister("cropped")
