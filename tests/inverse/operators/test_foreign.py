"""Operators of other libraries: they get numbers and tensors that they can take, and give what ours of the same kind give."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rebridge import Measurement, Restorer
from rebridge.inverse.operators import create
from rebridge.inverse.operators.foreign import ForeignOperator, wrap

SHAPE = (3, 32, 32)
MASK = (torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) > 0.4).float()


class Kept:
    """Some pixels, written as deepinv's formulas are: gamma multiplies images; a kernel of float32 takes float32 only."""

    kernel = torch.ones(3, 1, 1, 1)

    def A(self, x: Tensor) -> Tensor:  # noqa: N802
        return MASK * torch.nn.functional.conv2d(x, self.kernel, groups=3)

    def A_adjoint(self, y: Tensor) -> Tensor:  # noqa: N802
        return self.A(y)

    def A_dagger(self, y: Tensor) -> Tensor:  # noqa: N802
        return self.A(y)

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Any) -> Tensor:
        assert isinstance(gamma, float) or (gamma.dtype == z.dtype and gamma.shape == (len(z), 1, 1, 1))
        return (z + gamma * self.A(y)) / (1 + gamma * self.A(torch.ones_like(z)))


@pytest.mark.parametrize("method", ["ddnm:plus=false", "dds", "pigdm", "nrlg", "diffpir", "red-diff:mean=all", "dps"])
@pytest.mark.parametrize("batch", [1, 2])
def test_every_method_restores_as_with_our_own_operator(method: str, batch: int) -> None:
    x = torch.rand(batch, *SHAPE, generator=torch.Generator().manual_seed(1))
    own = create("known-mask", SHAPE, mask=MASK.double())
    restore = Restorer.from_pretrained("pixel-prior-tiny", "cpu")
    results = [
        restore(Measurement(operator.A(x), operator, 0.02), method=method, steps=3) for operator in (Kept(), own)
    ]
    assert results[0].dtype == torch.float32
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=2e-4)


trusts = st.lists(st.sampled_from([0.0, 1e-3, 1.0, 50.0, math.inf]), min_size=1, max_size=3)


@given(trusts, st.booleans())
def test_the_proximal_step_is_ours_for_any_trust_and_type(trust: list[float], double: bool) -> None:
    dtype = torch.float64 if double else torch.float32
    generator = torch.Generator().manual_seed(2)
    z, x = (torch.rand(len(trust), *SHAPE, generator=generator).to(dtype) for _ in range(2))
    own, foreign = create("known-mask", SHAPE, mask=MASK.double()), wrap(Kept(), SHAPE)
    assert isinstance(foreign, ForeignOperator)
    y, gamma = own.A(x), torch.tensor(trust, dtype=torch.float64)
    expected = own.prox_l2(z, y, gamma)
    found = foreign.prox_l2(z, y, gamma)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    if len(trust) == 1:
        torch.testing.assert_close(foreign.prox_l2(z, y, trust[0]), expected, rtol=0, atol=1e-5)


def test_a_composition_with_a_foreign_operator_is_solved_in_its_own_type() -> None:
    blur = create("separable-blur", SHAPE, sigma=1.0)
    both = wrap(Kept(), SHAPE) @ blur
    x = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(3))
    fitted = both.prox_l2(torch.zeros_like(x), both.A(x), 1e4)
    assert (both.A(fitted) - both.A(x)).abs().max() < 1e-2
