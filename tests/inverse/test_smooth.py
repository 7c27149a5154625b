"""The smooth image is the solution of its linear system, in any range, and grey or A^+ y where A is not linear."""

import pytest
import torch
from torch import Tensor

from rebridge.inverse import operators
from rebridge.inverse.smooth import PHOTO_SLOPE, smooth_image
from tests.inverse.conftest import image

SHAPE = (1, 6, 10)


def system(name: str, sigma: float, **params: object) -> tuple[Tensor, Tensor]:
    """The matrices of A and of A^T A + w D^T D, from differences written out pixel by pixel."""
    operator, count = operators.create(name, SHAPE, **params), 60
    units = torch.eye(count, dtype=torch.float64).reshape(count, *SHAPE)
    measure = operator.A(units).flatten(1).T
    places = torch.arange(count).reshape(6, 10)
    pairs = [*zip(places[:, :-1].flatten(), places[:, 1:].flatten(), strict=True)]
    pairs += [*zip(places[:-1].flatten(), places[1:].flatten(), strict=True)]
    slopes = torch.zeros(len(pairs), count, dtype=torch.float64)
    for row, (a, b) in enumerate(pairs):
        slopes[row, a], slopes[row, b] = -1.0, 1.0
    return measure, measure.T @ measure + (sigma / PHOTO_SLOPE) ** 2 * slopes.T @ slopes


@pytest.mark.parametrize(
    ("name", "params"),
    [("mask", {"missing": 0.6}), ("average2", {}), ("cs", {"ratio": 0.4}), ("blur", {"length": 3.0})],
)
@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_it_solves_the_system(name: str, params: dict[str, object], value_range: tuple[float, float]) -> None:
    low, high = value_range
    sigma, operator = 0.05, operators.create(name, SHAPE, **params)
    generator = torch.Generator().manual_seed(0)
    x = low + (high - low) * torch.rand(2, *SHAPE, dtype=torch.float64, generator=generator)
    measure, matrix = system(name, sigma, **params)
    y = operator.A(x)
    expected = torch.linalg.solve(matrix, measure.T @ y.flatten(1).T).T.reshape(2, *SHAPE)
    found = smooth_image(operator, y, sigma * (high - low), value_range, iterations=200)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_operators_that_are_not_linear_give_what_they_have() -> None:
    x = image()
    jpeg = operators.create("jpeg", x.shape[1:])
    assert torch.equal(smooth_image(jpeg, jpeg.A(x), 0.0), jpeg.A_dagger(jpeg.A(x)))
    camera = operators.wrap(torch.tanh, x.shape[1:])
    assert torch.equal(smooth_image(camera, camera.A(x), 0.0, (-1.0, 1.0)), torch.zeros_like(x))
