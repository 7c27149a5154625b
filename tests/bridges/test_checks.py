"""People's own bridges: what samplers could not sample is refused when it is made."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from rebridge import bridges
from rebridge.bridges import Bridge, Coefficients, check_bridge


@dataclass(frozen=True, kw_only=True)
class Own(Bridge):
    """A bridge whose factors are given."""

    name: ClassVar[str] = "own"

    factors: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    noisy: bool = False

    def marginal(self, t: Tensor) -> Coefficients:
        return Coefficients(*self.factors(t))

    @property
    def starts_noisy(self) -> bool:
        return self.noisy


@pytest.fixture
def registered() -> Iterator[None]:
    bridges.register("own", Own)
    yield
    bridges.catalogue.BRIDGES.unregister("own")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("factors", "sentence"),
    [
        (lambda t: (0.9 - t, t, 0 * t), "at t = 0 it must be the clean image .*got 0.9, 0 and 0"),
        (lambda t: (1 - t, t, t + 0.5), "at t = 0 it must be the clean image .*got 1, 0 and 0.5"),
        (lambda t: (1 - t[..., :1], t, 0 * t), r"alpha must be float64 of the times' shape \(2, 3\)"),
        (lambda t: (1 - t, t, (t * (1 - t)).float()), "gamma must be float64"),
        (lambda t: (1 - t, t, t * (t - 1)), "gamma must not be negative, got -0.25"),
        (lambda t: (1 - t, t, t / (1 - t)), "gamma must be finite"),
        (lambda t: (1 - t / 2, t / 2, t * (1 - t)), r"x0 must be gone there too \(alpha 0\), got 0.5"),
        (lambda t: (1 - t, t, t), "prior uses its noise, and starts_noisy says that it does not"),
    ],
)
def test_a_bridge_that_cannot_be_sampled_is_refused(factors: Callable[..., object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        bridges.create("own", factors=factors)


def test_a_sound_bridge_passes() -> None:
    check_bridge(Own(factors=lambda t: (1 - t, t, 0.3 * torch.sin(torch.pi * t))))
    check_bridge(Own(factors=lambda t: (1 - t, t, 0.1 * t), noisy=True))


@pytest.mark.parametrize("modulation", ["one", "residual", "zero"])
@pytest.mark.parametrize("name", [name for name in bridges.names() if not bridges.create(name).generative])
def test_all_of_ours_pass(name: str, modulation: str) -> None:
    check_bridge(bridges.create(name, modulation=modulation))
