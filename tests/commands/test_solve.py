"""Solving without a command line: results per file, with their figures."""

import math
from pathlib import Path

import pytest

from rebridge.commands.options import SolveOptions
from rebridge.commands.solve import solve, solved


def options(photos: Path, out: Path, prior: Path, **changes: object) -> SolveOptions:
    settings = {"inputs": [photos], "output": out, "prior": str(prior), "operator": "noise@10", "solver": "ddnm"}
    return SolveOptions(**{**settings, "steps": 2, "simulate": True, **changes})  # type: ignore[arg-type]


def test_each_file_has_its_figures(photos: Path, pixel_folder: Path, tmp_path: Path) -> None:
    found = solve(options(photos, tmp_path / "out", pixel_folder, samples=2))
    assert [result.output.name for result in found.results] == ["a.png", "b.png"]
    for result in found.results:
        assert result.details["calls"] == 4
        assert result.details["psnr"] > 10
        assert result.details["largest_std"] >= 0
        assert all(path.is_file() for path in result.details["files"])


def test_progress_can_cancel(photos: Path, pixel_folder: Path, tmp_path: Path) -> None:
    def stop(done: float, total: float, note: str) -> None:
        if done > 1:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        solve(options(photos, tmp_path / "out", pixel_folder), stop)
    assert (tmp_path / "out" / "a.png").is_file()
    assert not (tmp_path / "out" / "b.png").exists()


def test_what_needs_no_model_stands_beside_a_result_whose_truth_is_known(
    photos: Path, pixel_folder: Path, tmp_path: Path
) -> None:
    found = solve(options(photos, tmp_path / "out", pixel_folder))
    for result in found.results:
        without = result.details["without"]
        assert without["measured"] == pytest.approx(20 * math.log10(255 / 10), abs=0.5)
        assert {"Wiener", "TV", "NLM"} <= set(without)
        said = solved(result.details)
        assert ("does not help" in said) == (result.details["psnr"] <= max(without.values()))
        assert f"{max(without.values()):.2f}" in said
    assert "without" not in solve(options(photos, tmp_path / "real", pixel_folder, simulate=False)).results[0].details
