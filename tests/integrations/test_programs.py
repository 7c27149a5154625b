"""Runs of samplers, written down as linear operations, are the runs themselves."""

import pytest
import torch

from rebridge import bridges, samplers
from rebridge.catalogue import Spec
from rebridge.integrations.programs import carry_out, traced


@pytest.mark.parametrize("bridge", ["rdbm", "goub", "ddbm-vp", "resshift", "flow", "vp"])
@pytest.mark.parametrize("sampler", ["dbim", "dbim:eta=1", "dbim:order=3", "ode:method=heun", "sde", "exponential"])
def test_a_program_gives_what_its_sampler_gives(bridge: str, sampler: str) -> None:
    spec = Spec.parse(sampler)
    process, walk = bridges.create(bridge), samplers.create(spec.name, **spec.params, steps=4)
    if not walk.fits(process):
        pytest.skip("the sampler does not follow this bridge")
    program = traced(walk, process)
    y = torch.linspace(-1, 1, 30, dtype=torch.float64)[None]
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))

    def denoiser(x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.sin(x + t[:, None]) - 0.2 * y**2

    wanted = walk(process, denoiser, y, generator=first)
    found = carry_out(program, y, denoiser, lambda like: torch.randn(like.shape, generator=second, dtype=like.dtype))
    assert torch.allclose(found, wanted, atol=1e-6)


def test_steps_that_are_not_linear_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be exported on 'goub': its steps are not linear"):
        traced(samplers.create("multiplicative", steps=3), bridges.create("goub"))
