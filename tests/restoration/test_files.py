"""Batches of files: nothing is overwritten, one bad file never stops the rest, and names never clash."""

import glob
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from rebridge.images import (
    READABLE_SUFFIXES,
    UNREADABLE_SUFFIXES,
    WRITABLE_SUFFIXES,
    Image,
    read_image,
    write_image,
)
from rebridge.restoration import FileResult, Restorer, plan, restore_files
from rebridge.restoration.files import OTHER_SUFFIXES
from rebridge.restoration.inputs import files_of
from tools.sentences import foreign_words


def invert(image: Image, **_: Any) -> Image:
    return image.with_pixels(1 - image.pixels)


def picture(path: Path, value: int = 50) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(np.full((6, 8, 3), value, np.uint8)).save(path)
    return path


def outputs(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_corrupt_file_is_reported_and_the_rest_is_restored(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    picture(tmp_path / "in" / "c.png")
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    report = restore_files(tmp_path / "in", tmp_path / "out", invert)
    assert outputs(tmp_path / "out") == ["a.png", "c.png"]
    assert [result.path.name for result in report.failures] == ["b.png"]
    assert report.exit_code == 1
    assert len(report.written) == 2
    error = report.failures[0].error
    assert error is not None
    assert "b.png" in error
    assert "\n" not in error
    assert torch.allclose(read_image(tmp_path / "out" / "a.png").pixels, torch.tensor(205 / 255))


@settings(max_examples=25, deadline=None)
@given(
    files=st.dictionaries(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=70),
        st.sampled_from(["sound", "cut", "words", "empty"]),
        min_size=1,
        max_size=5,
    )
)
def test_every_file_of_a_batch_gets_its_own_result_whatever_its_name_and_the_others_hold(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("batch")
    sound = picture(folder / "sound.png").read_bytes()
    contents = {"sound": sound, "cut": sound[:20], "words": b"no image", "empty": b""}
    named = {f"{number}{name}"[:60] + ".png": kind for number, (name, kind) in enumerate(files.items())}
    (folder / "in").mkdir()
    for name, kind in named.items():
        (folder / "in" / name).write_bytes(contents[kind])
    report = restore_files([folder / "in" / name for name in named], folder / "out", invert)
    assert [result.path.name for result in report.results] == list(named)
    assert {result.path.name for result in report.written} == {name for name, kind in named.items() if kind == "sound"}
    assert set(outputs(folder / "out")) == {result.path.name for result in report.written}
    for result in report.failures:
        assert result.error is not None
        assert result.error.count(" ".join(str(result.path).split())) + result.error.count(str(result.path)) in (1, 2)
        assert foreign_words(result.error) is None


@pytest.mark.parametrize("suffix", sorted({*READABLE_SUFFIXES, *UNREADABLE_SUFFIXES, *OTHER_SUFFIXES}))
def test_the_name_of_one_result_is_that_of_a_file_or_refused_and_never_of_a_folder(tmp_path: Path, suffix: str) -> None:
    photo = picture(tmp_path / "a.png")
    if suffix in WRITABLE_SUFFIXES:
        assert restore_files(photo, tmp_path / f"b{suffix}", invert).exit_code == 0
        assert (tmp_path / f"b{suffix}").is_file()
    else:
        with pytest.raises(ValueError, match=rf"b\{suffix}: unknown image suffix"):
            restore_files(photo, tmp_path / f"b{suffix}", invert)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


def test_even_an_unexpected_error_of_the_restorer_is_reported(tmp_path: Path) -> None:
    def fails_on_dark(image: Image) -> Image:
        if image.pixels.mean() < 0.1:
            raise KeyError("surprise")
        return image

    picture(tmp_path / "in" / "dark.png", 0)
    picture(tmp_path / "in" / "light.png", 255)
    report = restore_files(tmp_path / "in", tmp_path / "out", fails_on_dark)
    assert outputs(tmp_path / "out") == ["light.png"]
    assert [result.error for result in report.failures] == [f"{tmp_path / 'in' / 'dark.png'}: 'surprise'"]


def test_results_are_never_overwritten_unless_asked(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 50)
    picture(tmp_path / "out" / "a.png", 7)
    before = (tmp_path / "out" / "a.png").read_bytes()
    calls = []

    def counted(image: Image) -> Image:
        calls.append(image)
        return invert(image)

    report = restore_files(tmp_path / "a.png", tmp_path / "out", counted)
    assert report.exit_code == 1
    assert "without --overwrite" in str(report.failures[0].error)
    assert not calls  # no work is done for a result that may not be written
    assert (tmp_path / "out" / "a.png").read_bytes() == before
    skipped = restore_files(tmp_path / "a.png", tmp_path / "out", counted, skip_existing=True)
    assert skipped.exit_code == 0
    assert skipped.results[0].skipped
    assert not skipped.written
    assert (tmp_path / "out" / "a.png").read_bytes() == before
    assert restore_files(tmp_path / "a.png", tmp_path / "out", counted, overwrite=True).exit_code == 0
    assert read_image(tmp_path / "out" / "a.png").pixels.mean() == pytest.approx(205 / 255)


def test_an_input_is_never_replaced_not_even_with_overwrite(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    (tmp_path / "link").symlink_to(tmp_path)
    before = path.read_bytes()
    for output in (tmp_path, path, tmp_path / "link"):
        report = restore_files(path, output, invert, overwrite=True)
        assert "replace an input" in str(report.failures[0].error)
    assert path.read_bytes() == before
    assert restore_files(path, tmp_path, invert, suffix="_restored").exit_code == 0
    assert outputs(tmp_path) == ["a.png", "a_restored.png", "link"] or (tmp_path / "a_restored.png").is_file()


def test_links_that_lead_in_circles_are_followed_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "x" / "b.png")
    for name in ("one", "two"):
        (tmp_path / "in" / name).symlink_to(".")
    monkeypatch.chdir(tmp_path)
    for number, (entry, recursive) in enumerate((("in/**/*.png", False), ("in/**", False), ("in", True))):
        restore_files(entry, tmp_path / str(number), invert, recursive=recursive)
        assert outputs(tmp_path / str(number)) == ["a.png", "x/b.png"]
    (tmp_path / "loop").symlink_to("loop")
    for output in ("loop", "loop/a.png", "loop/deep/a.png"):
        with pytest.raises(OSError, match=r"loop|levels|exists"):
            restore_files("in/a.png", output, invert)


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.sampled_from(["a.png", "b.txt", "x/a.png", "x/y/c.png", ".h/d.png", "out/a.png"])),
    st.sampled_from(["*.png", "**/*.png", "*/*.png", "x/*.png", "**", "x/**", ".h/*.png", "[ab].png", "?/a.png"]),
)
def test_globs_find_what_the_glob_of_python_finds(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], pattern: str
) -> None:
    folder = tmp_path_factory.mktemp("globs")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    expected = {path for path in glob.glob(str(folder / pattern), recursive=True) if path.endswith(".png")}
    expected = {path for path in expected if "/out/" not in path}  # results of an earlier run
    found = files_of(folder / pattern, False, folder / "out", {".png"})
    assert {str(path) for path, _ in found} == expected


@pytest.mark.parametrize("entry", [".", "*.png", "./*.*"])
def test_results_of_earlier_runs_beside_the_inputs_are_not_restored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = {picture(tmp_path / name).name for name in ("a.png", "b_r.png", "c.tif.png")}
    expected = pictures | {"a_r.png", "b_r_r.png", "c.tif_r.png"}
    for skip, overwrite in ((False, False), (True, False), (False, True)):
        restore_files(entry, tmp_path, invert, suffix="_r", skip_existing=skip, overwrite=overwrite)
        assert set(outputs(tmp_path)) == expected
        assert all((np.asarray(PILImage.open(tmp_path / name)) == 50).all() for name in pictures)
    assert len(restore_files(["a.png", "a_r.png"], tmp_path, invert, suffix="_r", overwrite=True).failures) == 1


def test_one_file_may_get_a_name_of_its_own(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    restore_files(path, tmp_path / "new" / "b.jpg", invert)
    restore_files(path, tmp_path / "folder", invert)
    assert outputs(tmp_path / "new") == ["b.jpg"]
    assert outputs(tmp_path / "folder") == ["a.png"]


def test_folders_are_searched_deeply_only_if_asked_and_keep_their_tree(tmp_path: Path) -> None:
    for name in ("a.png", "x/b.jpg", "x/y/c.tif", ".hidden.png"):
        picture(tmp_path / "in" / name)
    restore_files(tmp_path / "in", tmp_path / "flat", invert)
    restore_files(tmp_path / "in", tmp_path / "deep", invert, recursive=True)
    assert outputs(tmp_path / "flat") == ["a.png"]
    assert outputs(tmp_path / "deep") == ["a.png", "x/b.jpg", "x/y/c.tif"]


def test_results_of_an_earlier_run_below_the_input_are_no_input(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for _ in range(2):
        restore_files(tmp_path, tmp_path / "out", invert, recursive=True, overwrite=True)
    assert outputs(tmp_path) == ["a.png", "out/a.png"]


def test_globs_keep_the_tree_below_their_fixed_part(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "x/c.png", "x/y/d.png"):
        picture(tmp_path / "in" / name)
    restore_files(f"{tmp_path}/in/*.png", tmp_path / "one", invert)
    restore_files(f"{tmp_path}/in/**/*.png", tmp_path / "all", invert)
    assert outputs(tmp_path / "one") == ["a.png"]
    assert outputs(tmp_path / "all") == ["a.png", "x/c.png", "x/y/d.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a[1].png")
    picture(tmp_path / "in" / "a1.png")
    restore_files(tmp_path / "in" / "a[1].png", tmp_path / "out", invert)
    assert outputs(tmp_path / "out") == ["a[1].png"]


def test_a_missing_file_is_one_failure_among_results(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    report = restore_files([tmp_path / "a.png", tmp_path / "gone.png"], tmp_path / "out", invert)
    assert [result.error for result in report.results] == [None, f"{tmp_path / 'gone.png'}: no such file"]


def test_files_that_would_get_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    first, second = picture(tmp_path / "x" / "a.png", 10), picture(tmp_path / "y" / "a.png", 200)
    report = restore_files([first, second], tmp_path / "out", invert, overwrite=True)
    assert "same name" in str(report.results[1].error)
    assert read_image(tmp_path / "out" / "a.png").pixels.mean() == pytest.approx(245 / 255)
    assert len(plan([first, first], tmp_path / "out")) == 1


def test_suffix_and_format_name_the_results(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "b.bmp")
    jobs = plan(tmp_path, tmp_path / "out", suffix="_r")
    assert [job.output.name for job in jobs] == ["a_r.jpg", "b_r.png"]
    assert [job.output.name for job in plan(tmp_path, tmp_path / "out", format="webp")] == ["a.webp", "b.webp"]


def test_impossible_batches_are_refused_before_any_work(tmp_path: Path) -> None:
    path = picture(tmp_path / "in" / "a.png")
    (tmp_path / "empty").mkdir()
    refused: list[tuple[Any, Path, dict[str, Any], str]] = [
        (tmp_path / "empty", tmp_path / "out", {}, "no images found"),
        (f"{tmp_path}/in/*.jpg", tmp_path / "out", {}, "no images found"),
        ([], tmp_path / "out", {}, "no images found"),
        (tmp_path / "in", tmp_path / "out.png", {}, "give a folder"),
        ([path, path], tmp_path / "out.png", {}, "give a folder"),
        (path, tmp_path / "out.png", {"format": "jpg"}, "contradicts"),
        (path, tmp_path / "out", {"format": "xyz"}, "unknown image format 'xyz'"),
        (path, tmp_path / "out", {"suffix": "../x"}, "suffix"),
    ]
    for inputs, output, options, words in refused:
        with pytest.raises(ValueError, match=words):
            restore_files(inputs, output, invert, **options)
    assert not (tmp_path / "out").exists()


def test_progress_is_told_after_each_file(tmp_path: Path) -> None:
    seen: list[tuple[int, int, FileResult]] = []
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    restore_files(tmp_path, tmp_path / "out", invert, progress=lambda *news: seen.append(news))
    assert [(done, total, result.path.name) for done, total, result in seen] == [(1, 2, "a.png"), (2, 2, "b.png")]


def test_a_real_restorer_gives_each_file_what_it_gives_alone(tmp_path: Path, restore: Restorer) -> None:
    generator = torch.Generator().manual_seed(0)
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "in" / name, Image(torch.rand(3, 12, 14, generator=generator), 16))
    restore_files(tmp_path / "in", tmp_path / "out", restore, seed=4, steps=2)
    restore_files(tmp_path / "in" / "b.png", tmp_path / "alone", restore, seed=4, steps=2)
    assert (tmp_path / "out" / "b.png").read_bytes() == (tmp_path / "alone" / "b.png").read_bytes()
    assert read_image(tmp_path / "out" / "a.png").bits == 16
