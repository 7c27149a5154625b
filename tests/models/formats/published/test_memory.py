"""Memory of a conversion, measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.published import reference

GIB = 2**30
PROGRAM = """
import resource, sys, torch
from rebridge.models.formats.published import convert
import diffusers
diffusers.UNet2DModel(block_out_channels=(32, 32), down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = convert(sys.argv[1], dtype=getattr(torch, sys.argv[2]), **({"head_width": 16} if "tiny" in sys.argv[1] else {}))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
kept = sum(p.numel() * p.element_size() for p in model.network.parameters())
print(kept, 1024 * before, 1024 * after)
with torch.no_grad():
    x = torch.zeros(1, 3, 32, 32, dtype=model.network.dtype)
    assert model.network.network(x, torch.ones(1)).isfinite().all()
"""
WRITER = """
import json, sys, torch
shapes = json.load(open(sys.argv[1]))["true_shapes"]
weights = {name: 0.02 * torch.randn(shape) for name, shape in shapes.items()}
torch.save(weights, sys.argv[2])
"""


def measured(path: Path, dtype: str) -> tuple[int, int, int]:
    """Measure bytes of the kept weights and the peaks before and after conversion."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path), dtype], capture_output=True, text=True, check=True)
    kept, before, after = map(int, done.stdout.split())
    return kept, before, after


@pytest.mark.slow
def test_an_adm_of_550_million_converts_and_loads_in_bfloat16_within_4_gib(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    shapes = Path(__file__).parents[3] / "official" / "networks" / "adm_uncond256.json"
    path = tmp_path / "adm.pt"
    subprocess.run([sys.executable, "-c", WRITER, str(shapes), str(path)], check=True)
    kept, _, after = measured(path, "bfloat16")
    assert kept == 2 * reference("adm_uncond256")["true_parameters"]
    assert after < 4 * GIB
    kept, before, after = measured(path, "float32")
    assert after - before < 2.2 * kept
