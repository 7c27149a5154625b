"""A process that is no bridge is named before it is walked or trained; all of ours are bridges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.bridges import Bridge, Coefficients, check_bridge


@dataclass(frozen=True, kw_only=True)
class Given(Bridge):
    """A process of three given functions of t."""

    name: ClassVar[str] = "given"
    alpha: Any = field(default=lambda t: 1 - t)
    beta: Any = field(default=lambda t: t)
    gamma: Any = field(default=lambda t: 0.1 * torch.sin(torch.pi * t))

    def marginal(self, t: Tensor) -> Coefficients:
        return Coefficients(self.alpha(t), self.beta(t), self.gamma(t))


@pytest.mark.parametrize("name", bridges.names())
def test_every_bridge_of_the_catalogue_is_one(name: str) -> None:
    check_bridge(bridges.create(name))
    if not bridges.create(name).generative:
        for modulation in ("one", "residual", "zero"):
            check_bridge(bridges.create(name, modulation=modulation))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"alpha": lambda t: 0.9 * (1 - t)}, "alpha must be 1 at t = 0"),
        ({"beta": lambda t: 0.2 + 0.8 * t}, "beta must be 0 at t = 0"),
        ({"gamma": torch.ones_like}, "gamma must be about 0 at t = 0"),
        ({"gamma": lambda t: torch.tensor(0.2)}, r"gamma must be a tensor of the shape of t, got shape \(\)"),
        ({"gamma": lambda t: 0.2}, "gamma must be a tensor of the shape of t, got float"),
        ({"alpha": lambda t: (1 - t)[:2]}, "alpha must be a tensor of the shape of t"),
        ({"gamma": lambda t: t * (t - 1)}, "gamma must be at least 0"),
        ({"gamma": lambda t: t / (1 - t)}, "gamma is not finite at t = 1"),
        ({"alpha": lambda t: t * torch.nan}, "alpha is not finite at t = 0"),
    ],
)
def test_a_mistake_is_named_by_every_sampler(wrong: dict[str, Any], words: str) -> None:
    for name in ("dbim", "ode", "sde"):
        with pytest.raises(ValueError, match=f"bridge 'given': {words}"):
            samplers.create(name, steps=3)(Given(**wrong), lambda x, t, y: y, torch.rand(1, 3, 8, 8))


@settings(max_examples=30, deadline=None)
@given(key=st.sampled_from(["alpha", "beta"]), error=st.floats(-1, 1), bend=st.floats(0.2, 5))
def test_a_process_that_does_not_begin_in_x0_is_named_however_far_off_it_is(
    key: str, error: float, bend: float
) -> None:
    right: dict[str, Any] = {"alpha": lambda t: (1 - t) ** bend, "beta": lambda t: t**bend}
    wrong = Given(**(right | {key: lambda t: right[key](t) + error * (1 - t)}))
    if abs(error) < 0.019:
        check_bridge(wrong)
    elif abs(error) > 0.021:
        with pytest.raises(ValueError, match=f"bridge 'given': {key} must be [01] at t = 0, .* got "):
            check_bridge(wrong)


def test_a_right_process_is_walked() -> None:
    y = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(samplers.create("dbim", steps=3)(Given(), lambda x, t, y: y, y), y)


@dataclass(frozen=True, kw_only=True)
class Starts(Given):
    """A process that says of itself whether its start is noisy."""

    noisy: bool = False

    @property
    def starts_noisy(self) -> bool:
        return self.noisy


def test_an_end_that_is_not_known_is_named() -> None:
    check_bridge(Starts())
    check_bridge(Starts(gamma=lambda t: 0.1 * t, noisy=True))
    with pytest.raises(ValueError, match="prior uses its noise, and starts_noisy says that it does not"):
        check_bridge(Starts(gamma=lambda t: 0.1 * t))
    with pytest.raises(ValueError, match=r"x0 must be gone there too \(alpha 0\), got 0.5"):
        check_bridge(Given(alpha=lambda t: 1 - t / 2, beta=lambda t: t / 2, gamma=lambda t: t * (1 - t)))
