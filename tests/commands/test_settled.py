"""Outputs are settled before work, one bad image ends no run, and options that change nothing are refused."""

from pathlib import Path

import pytest

from rebridge.commands.catalogues import list_bridges
from rebridge.commands.compare import compare
from rebridge.commands.convert import convert
from rebridge.commands.evaluate import evaluate
from rebridge.commands.export import export
from rebridge.commands.options import (
    BridgeListOptions,
    CompareOptions,
    ConvertOptions,
    EvaluateOptions,
    ExportOptions,
    RestoreOptions,
    TuneOptions,
)
from rebridge.commands.restore import restore
from rebridge.commands.tune import tune
from tests.cli.conftest import saved


def never(*news: object) -> None:
    raise AssertionError("work began")


@pytest.mark.parametrize("name", ["compare.csv", "compare.png"])
def test_compare_refuses_results_that_exist_before_any_work(tmp_path: Path, name: str) -> None:
    options = {"analytic": True, "bridges": ["goub"], "samplers": ["dbim"], "steps": [1], "seeds": [0], "draws": 50}
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(ValueError, match=f"{name}: exists already"):
        compare(CompareOptions(**options, output=tmp_path), never)  # type: ignore[arg-type]
    assert (tmp_path / name).read_bytes() == b"precious"
    compare(CompareOptions(**options, output=tmp_path, overwrite=True))  # type: ignore[arg-type]
    assert (tmp_path / name).read_bytes() != b"precious"


@pytest.mark.parametrize("name", ["photo.png", "folder.png", "plot.xyz", "\u5199" * 90 + ".png"])
def test_a_plot_goes_to_a_new_file_of_a_known_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / "photo.png").write_bytes(b"precious")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match="exists already|is a folder|drawn as one of|255 are possible"):
        list_bridges(BridgeListOptions(names=["goub"], plot=tmp_path / name))
    assert (tmp_path / "photo.png").read_bytes() == b"precious"


@pytest.mark.parametrize("place", ["file", "loop", "file/below"])
def test_a_folder_that_cannot_be_is_refused_before_any_work(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setattr("rebridge.commands.convert.convert_files", never)
    monkeypatch.setattr("rebridge.commands.export.load_model", never)
    with pytest.raises((OSError, ValueError), match="file|loop"):
        convert(ConvertOptions(checkpoints=[tmp_path / "file"], output=tmp_path / place))
    with pytest.raises((OSError, ValueError), match="file|loop"):
        export(ExportOptions(model="rdbm-tiny", output=tmp_path / place))
    assert (tmp_path / "file").read_bytes() == b"precious"


def tuning(folder: Path, output: Path) -> TuneOptions:
    """Two settings on the pictures of a folder."""
    search = {"grid": ("log-snr", "uniform")}
    return TuneOptions(output=output, clean=folder, tasks=["noise"], steps=2, rounds=1, search=search, device="cpu")


def test_what_is_tuned_goes_to_a_file_of_presets_or_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "clean" / "a.png", 1)
    monkeypatch.setattr("rebridge.commands.tune.open_prior", never)
    (tmp_path / "photo.json").write_bytes(b"precious")
    with pytest.raises(ValueError, match=r"photo\.json holds no presets"):
        tune(tuning(tmp_path / "clean", tmp_path / "photo.json"))
    with pytest.raises(OSError, match="is no folder"):
        tune(tuning(tmp_path / "clean", tmp_path / "photo.json" / "a.json"))
    assert (tmp_path / "photo.json").read_bytes() == b"precious"


def test_a_bad_image_is_left_out_of_a_search_and_named(tmp_path: Path) -> None:
    saved(tmp_path / "clean" / "a.png", 1)
    (tmp_path / "clean" / "b.png").write_bytes(b"no image")
    found = tune(tuning(tmp_path / "clean", tmp_path / "presets.json"))
    assert found.note is not None
    assert "left out: " in found.note
    assert "b.png: cannot be read as an image" in found.note
    (tmp_path / "clean" / "b.png").unlink()
    alone = tune(tuning(tmp_path / "clean", tmp_path / "alone.json"))
    assert [(task.psnr, task.settings) for task in found.tasks] == [(task.psnr, task.settings) for task in alone.tasks]
    (tmp_path / "clean" / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="cannot be read as an image"):
        tune(tuning(tmp_path / "clean", tmp_path / "none.json"))
    assert not (tmp_path / "none.json").exists()


def test_one_bad_image_does_not_end_an_evaluation(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        saved(tmp_path / "clean" / name, 1)
        saved(tmp_path / "degraded" / name, 1)
    saved(tmp_path / "clean" / "b.png", 2)
    (tmp_path / "degraded" / "b.png").write_bytes(b"no image")
    saved(tmp_path / "clean" / "d.png", 3)
    saved(tmp_path / "degraded" / "d.png", 3, (20, 20))
    found = evaluate(EvaluateOptions(pairs=tmp_path, model="rdbm-tiny", device="cpu")).evaluation
    assert [score.name for score in found.scores] == ["degraded/a", "degraded/c"]
    assert [failure.name for failure in found.failures] == ["degraded/b", "degraded/d"]
    assert "b.png" in found.failures[0].error
    assert "differ in size" in found.failures[1].error


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seed": 3}, "--seed changes"),
        ({"samples": 4}, "--samples changes"),
        ({"seed": 3, "samples": 4}, "--samples and --seed change"),
    ],
)
def test_a_seed_and_samples_are_said_to_be_of_no_use_where_no_noise_is_drawn(
    tmp_path: Path, given: dict[str, int], words: str
) -> None:
    saved(tmp_path / "a.png")
    options = {"inputs": [tmp_path / "a.png"], "output": tmp_path / "out.png", "model": "rdbm-tiny", "device": "cpu"}
    still = restore(RestoreOptions(**options, **given))  # type: ignore[arg-type]
    assert f"draws no noise here, so that {words} nothing" in (still.note or "")
    noisy = restore(RestoreOptions(**options, **given, overwrite=True, sampler="dbim:eta=1", steps=3))  # type: ignore[arg-type]
    assert not noisy.failures
    assert noisy.note is None
