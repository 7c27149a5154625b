"""What holds for all commands: they stand without the command line, and their options are plain data."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from rebridge.commands import options
from rebridge.commands.catalogues import list_bridges, list_samplers, list_solvers
from rebridge.commands.degrade import degrade, degrade_image
from rebridge.commands.evaluate import evaluate
from rebridge.commands.options import BridgeListOptions, DegradeOptions, EvaluateOptions
from rebridge.images import read_image

FOLDER = Path(options.__file__).parent
CLASSES = [kind for kind in vars(options).values() if dataclasses.is_dataclass(kind) and isinstance(kind, type)]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_commands_neither_print_nor_import_what_prints(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in imported} & {"typer", "rich", "click"}
    assert not any(name.startswith("rebridge.cli") for name in imported)
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]


def test_options_are_frozen_and_load_without_torch() -> None:
    assert len(CLASSES) > 10
    assert all(kind.__dataclass_params__.frozen for kind in CLASSES)  # type: ignore[attr-defined]
    code = "import sys, rebridge.commands.options; sys.exit('torch' in sys.modules or 'typer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_degrading_in_memory_is_degrading_the_file(photos: Path, tmp_path: Path) -> None:
    words = {"inputs": [photos / "a.png"], "output": tmp_path / "out", "task": "noise", "seed": 3}
    (result,) = degrade(DegradeOptions(**words)).results  # type: ignore[arg-type]
    spoilt = degrade_image(read_image(photos / "a.png"), "noise", 3, "a")
    written = read_image(result.output).pixels
    assert (written - spoilt.pixels.clamp(0, 1)).abs().max() <= 0.51 / 255


def test_patterns_seed_images_as_their_place_in_the_output_says(photos: Path, tmp_path: Path) -> None:
    """What a nested pattern writes is what evaluating the folder would degrade."""
    found = {}
    for name, inputs in (("folder", [photos]), ("pattern", [f"{photos}/**/*.png"])):
        settings = DegradeOptions(inputs=inputs, output=tmp_path / name, task="noise", recursive=True)
        found[name] = degrade(settings)
    for result in found["pattern"].results:
        place = result.output.relative_to(tmp_path / "pattern")
        assert result.output.read_bytes() == (tmp_path / "folder" / place).read_bytes()


def test_evaluation_reports_every_image(model: Path, photos: Path) -> None:
    told: list[tuple[float, float]] = []
    settings = EvaluateOptions(model=str(model), clean=photos, tasks=["noise", "rain"], limit=1, steps=1, device="cpu")
    found = evaluate(settings, lambda *news: told.append(news[:2]))
    assert told == [(1, 2), (2, 2)]
    assert [score.task for score in found.evaluation.scores] == ["noise", "rain"]
    assert (found.sampler, found.steps) == ("dbim", 1)


def test_samplers_of_generative_models_are_listed_with_what_they_sample() -> None:
    parts = {part.name: part for part in list_samplers()}
    generative = {"vp", "ve", "rectified-flow"}
    assert set(parts["ddim"].bridges) == set(parts["sdedit"].bridges) == generative
    assert not set(parts["irbridge"].bridges) & (generative | {"rdbm", "flow"})
    assert "ir-sde" in parts["irbridge"].bridges
    assert {name for name, part in parts.items() if part.needs} == {"irbridge", "ddim", "sdedit", "denoise"}
    assert set(parts["dbim"].bridges) == {part.name for part in list_bridges(BridgeListOptions())}
    assert all(part.calls for part in list_solvers().solvers)
