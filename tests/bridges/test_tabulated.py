"""The inverse of a function that is known by a table."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rebridge.bridges.tabulated import inverse


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=1, max_size=20), st.floats(0, 1))
def test_the_function_of_its_inverse_is_the_identity(steps: list[tuple[float, float]], share: float) -> None:
    rises = torch.tensor([(0.0, 0.0), *steps], dtype=torch.float64).cumsum(0)
    points, values = rises.unbind(1)
    wanted = values[-1:] * share
    found = inverse(points, values, wanted)
    right = torch.searchsorted(points, found).clamp(1, len(points) - 1)
    slope = (values[right] - values[right - 1]) / (points[right] - points[right - 1])
    torch.testing.assert_close(values[right - 1] + slope * (found - points[right - 1]), wanted, rtol=1e-9, atol=1e-9)


def test_beyond_the_table_it_stays_at_its_ends_and_keeps_the_shape() -> None:
    points, values = torch.tensor([0.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 6.0])
    wanted = torch.tensor([[-5.0, 1.5], [4.0, 9.0]])
    assert inverse(points, values, wanted).tolist() == [[0.0, 1.0], [3.0, 4.0]]


def test_where_values_stay_level_it_finds_one_of_the_points() -> None:
    found = inverse(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 1.0, 2.0]), torch.tensor([1.0]))
    assert 1 <= found.item() <= 2
