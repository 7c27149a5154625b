"""Memory of a conversion and of loading its result, each measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.published import reference

GIB = 2**30
MEASURE = """
import resource, sys, torch
import diffusers
diffusers.UNet2DModel(block_out_channels=(32, 32), down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2)
def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""
CONVERT = (
    MEASURE
    + """
from pathlib import Path
from rebridge.commands.convert import convert
from rebridge.commands.options import ConvertOptions
before = peak()
found = convert(ConvertOptions(checkpoints=[Path(sys.argv[1])], output=Path(sys.argv[2]), dtype=sys.argv[3]))
print(found.parameters, before, peak())
"""
)
LOAD = (
    MEASURE
    + """
from rebridge.models import load_prior
before = peak()
prior = load_prior(sys.argv[1], device="cpu")
with torch.no_grad():
    x = torch.zeros(1, 3, 32, 32)
    found = prior.given(None)(x, torch.full((1,), 0.5), x)
assert found.dtype == torch.float32 and found.isfinite().all()
assert {value.dtype for value in prior.network.parameters()} == {torch.bfloat16}
print(prior.parameters, before, peak())
"""
)
WRITER = """
import json, sys, torch
shapes = json.load(open(sys.argv[1]))["true_shapes"]
weights = {name: 0.02 * torch.randn(shape) for name, shape in shapes.items()}
torch.save(weights, sys.argv[2])
"""


def measured(program: str, *arguments: object) -> tuple[int, int, int]:
    """Number of weights, and the peaks of memory before and after, in bytes."""
    words = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    count, before, after = map(int, done.stdout.split())
    return count, before, after


@pytest.mark.slow
def test_an_adm_of_550_million_converts_and_loads_in_bfloat16_within_4_gib(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    shapes = Path(__file__).parents[3] / "official" / "networks" / "adm_uncond256.json"
    path = tmp_path / "adm.pt"
    subprocess.run([sys.executable, "-c", WRITER, str(shapes), str(path)], check=True)
    count, before, after = measured(CONVERT, path, tmp_path / "half", "bfloat16")
    assert count == reference("adm_uncond256")["true_parameters"]
    assert after < 4 * GIB
    assert after - before < 2.2 * 2 * count
    count, _, after = measured(LOAD, tmp_path / "half")
    assert after < 4 * GIB
    count, before, after = measured(CONVERT, path, tmp_path / "full", "float32")
    assert after - before < 2.2 * 4 * count
