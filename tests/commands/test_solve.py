"""Solving without a command line: results per file, with their figures."""

from pathlib import Path

import pytest

from rebridge.commands.options import SolveOptions
from rebridge.commands.solve import solve


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
