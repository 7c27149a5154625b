"""The benchmarks of quality against cost, and of a million pictures, on small pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NONE_THERE = "import sys; sys.modules.update(dict.fromkeys(['bm3d', 'skimage']))"


def run(script: str, *words: object, before: str = "") -> str:
    """Run a benchmark in a process of its own; what it prints."""
    code = f"{before}\nimport runpy, sys\nsys.argv = sys.argv[1:]\nsys.path.insert(0, 'benchmarks')\n"
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    ended = subprocess.run(
        [sys.executable, "-c", code, f"benchmarks/{script}.py", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_peers_stand_beside_ours_with_any_command(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ["--clean", "examples/images", "--limit", 1, "--side", 32, "--task", "noise 25"]
    words += [
        "--command",
        "copy",
        f"{sys.executable} -c 'import shutil, sys; shutil.copy(*sys.argv[1:])' {{input}} {{output}}",
    ]
    words += ["--command", "broken", f"{sys.executable} -c 'import sys; sys.exit(\"no licence\")' {{input}}"]
    said = run("peers", *words, "--json", tmp_path / "x.json", "--plot", tmp_path / "x.png", before=NONE_THERE)
    assert "BM3D is left out: pip install bm3d" in said
    assert "broken is left out: no licence" in said
    found: dict[str, Any] = {row["method"]: row for row in json.loads((tmp_path / "x.json").read_text())["rows"]}
    assert found["copy"]["psnr"] == pytest.approx(found["degraded"]["psnr"], abs=1e-4)
    assert found["copy"]["seconds"] > 1  # a process of its own for a picture of 32 x 32 pixels
    assert found["rdbm-small"]["psnr"] > found["degraded"]["psnr"] + 3
    assert 0 < found["rdbm-small"]["share"] < 1
    assert {row["method"] for row in found.values() if row["ours"]} >= {
        "rdbm-tiny",
        "rdbm-small",
        "rdbm-small, by itself",
    }
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_million_pictures_are_added_up_by_the_formula(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    said = run("scale", "--side", 64, "--megapixels", 3, "--link", 0.5, "--model", "rdbm-tiny", "--json", path)
    found = json.loads(path.read_text())
    assert ("no GPU is at hand" in said) == (not found["gpu"])
    row = next(row for row in found["rows"] if row["format"] == "png" and row["device"] == "cpu")
    (files,) = (one for one in found["formats"] if one["name"] == "png")
    each = row["decode"] + row["network"] + row["encode"]
    assert row["decode"] == pytest.approx(3 * files["decode"])
    assert row["core_hours"] == pytest.approx(1e6 * each / 3600)
    assert row["terabytes"] == pytest.approx(2 * 3 * files["megabytes"])
    assert row["workers"] / each * (row["terabytes"] * 1e6) == pytest.approx(0.5e9)
    assert row["bound"] == max(("decode", "network", "encode"), key=row.__getitem__)


def test_the_plot_in_the_documentation_is_small() -> None:
    assert (ROOT / "docs" / "images" / "quality-cost.png").stat().st_size <= 200_000
