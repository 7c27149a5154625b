"""The notebooks run from top to bottom, with the parameters of their first cell made small."""

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "notebooks"
SMALL: dict[str, dict[str, Any]] = {
    "train-a-bridge": {"ITERATIONS": 4, "PATCH": 16, "BATCH": 2},
    "compare-samplers": {"BRIDGES": ["goub"], "SAMPLERS": ["dbim", "odes3"], "STEPS": [2, 4], "DRAWS": 40},
    "irbridge": {"SIDE": 48, "STEPS": 3},
    "inverse-problem": {"SIDE": 32, "STEPS": 3, "SAMPLES": 2},
}


def smaller(notebook: Any, values: dict[str, Any]) -> Any:
    """Replace assignments of the cell with the tag `parameters`."""
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    for name, value in values.items():
        cell.source, count = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", cell.source, flags=re.MULTILINE)
        if count == 0:  # one assignment of several names
            cell.source += f"\n{name} = {value!r}"
    return notebook


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_a_notebook_runs_from_top_to_bottom(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    place = tmp_path / "notebooks"
    place.mkdir()
    (tmp_path / "images").symlink_to(ROOT / "examples" / "images")
    notebook = smaller(nbformat.read(FOLDER / f"{name}.ipynb", as_version=4), SMALL[name])
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(place)}}
    )
    began = time.monotonic()
    client.execute()
    errors = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output["output_type"] == "error"
    ]
    assert not errors, f"after {time.monotonic() - began:.0f} s"
    assert any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("name", SMALL)
def test_notebooks_are_stored_without_outputs_and_say_what_they_do(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 20_000
