"""Old import paths work for one release, and say where the names are now."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import rebridge
from rebridge import bridges, networks

OLD = [
    ("rebridge.hub", "load_model"),
    ("rebridge.hub", "save_model"),
    ("rebridge.hub", "packaged"),
    ("rebridge.hub.folder", "Model"),
    ("rebridge.hub.format", "read_config"),
    ("rebridge.inference", "Restorer"),
    ("rebridge.inference", "ImageNoise"),
    ("rebridge.inference", "TiledDenoiser"),
    ("rebridge.inference.restorer", "device_of"),
    ("rebridge.inference.batch", "plan"),
    ("rebridge.priors", "IRBridgeRestorer"),
    ("rebridge.priors", "PixelPrior"),
    ("rebridge.priors", "critical_time"),
    ("rebridge.priors", "load_prior"),
    ("rebridge.priors.transition", "noise_level"),
    ("rebridge.priors.baselines", "conditional_ddim"),
    ("rebridge.priors.diffusers", "DiffusersPrior"),
    ("rebridge.names", "check_name"),
    ("rebridge.files", "write_atomic"),
    ("rebridge.inverse", "solve"),
    ("rebridge.inverse", "unconditional"),
    ("rebridge.inverse", "Solver"),
    ("rebridge.inverse.walks", "DDNM"),
    ("rebridge.inverse.guidance", "nrlg"),
    ("rebridge.inverse.adapt", "SCD"),
    ("rebridge.inverse.deqir", "DeqIR"),
    ("rebridge.inverse.tasks", "Task"),
    ("rebridge.inverse.comparison", "compare_solvers"),
]


@pytest.mark.parametrize(("module", "name"), OLD)
def test_an_old_name_is_found_and_warns(module: str, name: str) -> None:
    code = (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        f"    from {module} import {name}\n"
        f"assert callable({name})\n"
        "assert any(issubclass(w.category, DeprecationWarning) for w in seen), seen\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_an_unknown_old_name_is_an_import_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import rebridge.hub as hub

        with pytest.raises(AttributeError, match="there is no 'nonsense' here"):
            _ = hub.nonsense


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_the_readme_did_before_still_works(tmp_path: Path) -> None:
    from rebridge.hub import load_model, save_model
    from rebridge.inverse.solve import solve
    from rebridge.priors import IRBridgeRestorer

    from rebridge.inverse import operators

    torch.manual_seed(0)
    network = networks.create("fast", widths=[4, 8], blocks=[1], middle=1, optional_condition=True)
    sampler = {"name": "dbim", "steps": 3}
    folder = save_model(tmp_path / "m", network, bridges.create("vp"), "preconditioned", sampler, ["rain"])
    assert load_model(folder).tasks == ["rain"]
    image = torch.rand(1, 3, 24, 32)
    restore: Any = IRBridgeRestorer.from_pretrained(folder, task="rain")
    assert isinstance(restore, rebridge.Restorer)
    assert restore(image, steps=3).shape == image.shape
    operator = operators.create("mask", (3, 24, 32))
    assert solve(operator.A(image), operator, folder, "ddnm", steps=2).mean.shape == image.shape


def test_nothing_of_ours_uses_an_old_path() -> None:
    root = Path(__file__).parent.parent
    old = (
        "rebridge.hub",
        "rebridge.inference",
        "rebridge.priors",
        "rebridge.names",
        "rebridge.files",
        "IRBridgeRestorer",
    )
    exempt = {"_moved.py", "_legacy.py", "test_moved.py"}
    for folder in ("rebridge", "tests", "benchmarks", "examples", "docs", "tools"):
        for path in (root / folder).rglob("*"):
            if path.suffix in (".py", ".md") and path.name not in exempt:
                found = [name for name in old if name in path.read_text(encoding="utf-8")]
                assert not found, f"{path} still uses {found}"
