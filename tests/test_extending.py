"""The example of docs/extending.md runs as it stands: a bridge and a sampler added by one class and one line each."""

import re
from pathlib import Path

import torch

import rebridge
from rebridge.bridges.catalogue import BRIDGES
from rebridge.samplers.catalogue import SAMPLERS

DOCUMENT = Path(__file__).parent.parent / "docs" / "extending.md"


def test_documented_example_adds_a_bridge_and_a_sampler():
    code = "\n".join(re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL))
    try:
        exec(compile(code, str(DOCUMENT), "exec"), {"__name__": "example"})
        y = torch.rand(2, 3, 8, 8, dtype=torch.float64)
        x0 = torch.rand_like(y)
        for sampler in rebridge.samplers.names():
            out = rebridge.samplers.create(sampler, steps=8)(BRIDGES["sine"](), lambda x_t, t, y: x0, y)
            assert torch.isfinite(out).all()
        out = rebridge.samplers.create("restart", steps=4)(rebridge.bridges.create("goub"), lambda x_t, t, y: x0, y)
        torch.testing.assert_close(out, x0)
    finally:
        BRIDGES.pop("sine", None)
        SAMPLERS.pop("restart", None)
