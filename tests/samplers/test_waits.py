"""No sampler reads a value back from the device inside its loop, or hands it numbers one by one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import bridges, samplers

READS = ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the reads of a tensor's value so far, and of the moves of numbers to a device."""
    seen: list[str] = []
    for name in READS:
        original = getattr(Tensor, name)

        def reading(self: Tensor, *given: Any, name: str = name, original: Any = original, **more: Any) -> Any:
            seen.append(name)
            return original(self, *given, **more)

        monkeypatch.setattr(Tensor, name, reading)
    converted = Tensor.to

    def converting(self: Tensor, *given: Any, **more: Any) -> Any:
        found = converted(self, *given, **more)
        if self.ndim < 2 and found is not self:  # a number or a time, which a device would wait for
            seen.append("to")
        return found

    monkeypatch.setattr(Tensor, "to", converting)
    return seen


VARIANTS = ("dbim:eta=1", "dbim:order=3", "ode:method=heun", "multiplicative:method=euler", "irbridge:schedule=rain")


@pytest.mark.parametrize("name", [*samplers.names(), *VARIANTS])
def test_nothing_is_read_in_the_steps(name: str, reads: list[str]) -> None:
    sampler = samplers.parse(f"{name}{',' if ':' in name else ':'}steps=6")
    fitting = (bridges.create(one) for one in ("goub", "rdbm", "vp", *bridges.names()))
    bridge = next(one for one in fitting if sampler.fits(one))
    counts: list[int] = []

    def denoiser(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        counts.append(len(reads))
        return 0.5 * x + 0.5 * y

    stepped: list[int] = []
    sampler(bridge, denoiser, torch.rand(1, 3, 8, 8), callback=lambda *_: stepped.append(len(reads)))
    assert len(stepped) > 1
    assert stepped[0] == stepped[-1]
    assert counts[-1] <= stepped[0]
