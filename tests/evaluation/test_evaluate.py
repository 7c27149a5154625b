"""Cases, scores and tables."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rebridge import Restorer, degradations
from rebridge.data.seeds import generator_of
from rebridge.evaluation import Case, evaluate, evaluate_tasks, paired_cases, synthetic_cases
from rebridge.evaluation.evaluate import NOTICED, TASK_COLUMNS, Evaluation, Score
from rebridge.evaluation.tables import Column, record, table, to_csv
from rebridge.images import Image, write_image


def photo(path: Path, seed: int, height: int = 24, width: int = 20) -> Path:
    pixels = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))
    write_image(path, Image(pixels))
    return path


def offset_case(task: str, name: str, levels: int) -> Case:
    clean = torch.full((3, 16, 16), 100 / 255)
    return Case(task, name, lambda: (clean, clean + levels / 255))


def decibels(levels: float) -> float:
    return -20 * math.log10(levels / 255)


def test_scores_are_those_of_the_images_and_summaries_their_means_and_medians() -> None:
    cases = [
        offset_case("fog", "a", 10),
        offset_case("fog", "b", 20),
        offset_case("fog", "c", 80),
        offset_case("ice", "a", 8),
    ]

    def halve(images: Tensor, **options: object) -> Tensor:
        return (images + 100 / 255) / 2

    result = evaluate(halve, cases)
    fog, ice = result.summaries
    assert [row.images for row in (fog, ice)] == [3, 1]
    assert fog.input_psnr == pytest.approx(sum(map(decibels, (10, 20, 80))) / 3, abs=1e-4)
    assert fog.psnr == pytest.approx(sum(map(decibels, (5, 10, 40))) / 3, abs=1e-4)
    assert fog.median_psnr == pytest.approx(decibels(10), abs=1e-4)
    assert ice.gain == pytest.approx(20 * math.log10(2), abs=1e-4)


@given(st.lists(st.tuples(*[st.floats(1, 90)] * 6), min_size=1, max_size=9))
def test_a_row_has_the_means_medians_and_tenths_of_its_images(figures: list[tuple[float, ...]]) -> None:
    scores = [Score("fog", str(n), a, b, c, d, e, f) for n, (a, b, c, d, e, f) in enumerate(figures)]
    (row,) = Evaluation(scores).summaries
    before, after, likeness_before, likeness, seconds, clean = np.array(figures).T
    for found, expected in (
        (row.input_psnr, before.mean()),
        (row.psnr, after.mean()),
        (row.gain, (after - before).mean()),
        (row.median_psnr, np.median(after)),
        (row.median_gain, np.median(after - before)),
        (row.input_ssim, likeness_before.mean()),
        (row.ssim, likeness.mean()),
        (row.seconds, np.median(seconds)),
        (row.low_gain, np.percentile(after - before, 10)),
        (row.high_gain, np.percentile(after - before, 90)),
        (row.worse, (after - before < -NOTICED).mean()),
        (row.clean_psnr, np.median(clean)),
        (row.clean_worst, clean.min()),
    ):
        assert found == pytest.approx(expected, abs=1e-9)
    assert row.images == len(figures)


@pytest.mark.parametrize(("task", "seed"), [("noise", 4), ("rain", 0), ("jpeg", 9)])
def test_a_degraded_image_is_a_function_of_seed_task_and_name(tmp_path: Path, task: str, seed: int) -> None:
    """The one that is published: figures of other runs and machines are of the same images."""
    photo(tmp_path / "m.png", 1, 64, 64)
    (case,) = synthetic_cases(tmp_path, [task], seed=seed)
    clean, degraded = case.load()
    made = degradations.create(task)(clean[None], generator=generator_of(seed, task, "m"))[0]
    assert torch.equal((degraded * 255).round(), (made * 255).round())


def test_an_image_that_fails_is_named_and_the_others_are_scored() -> None:
    def fragile(images: Tensor, **options: object) -> Tensor:
        if images.mean() > 130 / 255:
            raise OSError("out of paper")
        return images

    cases = [offset_case("fog", name, levels) for name, levels in (("a", 10), ("b", 60), ("c", 20))]
    found = evaluate(fragile, cases)
    assert [score.name for score in found.scores] == ["a", "c"]
    assert [(failure.task, failure.name, failure.error) for failure in found.failures] == [("fog", "b", "out of paper")]
    with pytest.raises(ValueError, match="out of paper"):
        evaluate(fragile, cases[1:2])


def test_options_and_single_images_reach_the_restorer_and_progress_is_told() -> None:
    seen, told = [], []

    def restore(images: Tensor, **options: object) -> Tensor:
        seen.append((tuple(images.shape), options))
        return images

    evaluate(restore, [offset_case("fog", "a", 1)] * 2, progress=lambda *news: told.append(news[:2]), steps=3, seed=7)
    assert seen == [((1, 3, 16, 16), {"steps": 3, "seed": 7})] * 2
    assert told == [(1, 2), (2, 2)]


def test_a_degradation_does_not_change_when_other_images_join_or_tasks_change_order(tmp_path: Path) -> None:
    photo(tmp_path / "m.png", 1)
    before = {case.task: case.load()[1] for case in synthetic_cases(tmp_path, ["rain", "noise"], seed=4)}
    photo(tmp_path / "a.png", 2)
    for case in synthetic_cases(tmp_path, ["noise", "rain"], seed=4):
        if case.name == "m":
            assert torch.equal(case.load()[1], before[case.task])
    other = next(case for case in synthetic_cases(tmp_path, ["rain"], seed=5) if case.name == "m")
    assert not torch.equal(other.load()[1], before["rain"])


def test_synthetic_cases_have_eight_bits_full_size_and_clean_is_left_alone(tmp_path: Path) -> None:
    photo(tmp_path / "deep" / "m.png", 1)
    for case in synthetic_cases(tmp_path, ["clean", "sr4", "blur", "lowlight"]):
        assert case.name == "deep/m"
        clean, degraded = case.load()
        assert clean.shape == degraded.shape == (3, 24, 20)
        assert torch.allclose(degraded * 255, (degraded * 255).round(), atol=1e-4)
        assert torch.equal(clean, degraded) == (case.task == "clean")


@pytest.mark.parametrize("names", [("clean", "degraded"), ("target", "input"), ("high", "low")])
def test_paired_folders_are_found_under_the_names_in_use(tmp_path: Path, names: tuple[str, str]) -> None:
    for folder, seed in zip(names, (1, 2), strict=True):
        photo(tmp_path / folder / "m.png", seed)
        photo(tmp_path / folder / "n.png", seed)
    cases = paired_cases(tmp_path)
    clean, degraded = cases[0].load()
    assert len(cases) == 2
    assert len(paired_cases(tmp_path, limit=1)) == 1
    quantised = [torch.rand(3, 24, 20, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    assert torch.allclose(clean, quantised[0], atol=0.51 / 255)
    assert torch.allclose(degraded, quantised[1], atol=0.51 / 255)


def test_a_standard_data_set_is_read_by_its_layout(tmp_path: Path) -> None:
    photo(tmp_path / "rain" / "rain-1.png", 1)
    photo(tmp_path / "norain" / "norain-1.png", 2)
    (case,) = paired_cases(tmp_path, "rain100h")
    assert case.task == "rain"


def test_impossible_cases_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        paired_cases(tmp_path / "gone")
    with pytest.raises(ValueError, match="holds no pair of folders"):
        paired_cases(tmp_path)
    with pytest.raises(ValueError, match="holds no image"):
        synthetic_cases(tmp_path, ["rain"])
    photo(tmp_path / "m.png", 1)
    with pytest.raises(ValueError, match="unknown task 'acid'"):
        synthetic_cases(tmp_path, ["acid"])
    with pytest.raises(ValueError, match="no task"):
        synthetic_cases(tmp_path, [])
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        synthetic_cases(tmp_path, ["rain"], limit=0)


def test_csv_reads_back_the_figures() -> None:
    rows = evaluate(lambda images: images, [offset_case("fog, thick", "a", 10)]).summaries
    (read,) = csv.DictReader(io.StringIO(to_csv(rows, TASK_COLUMNS)))
    assert read["task"] == "fog, thick"
    assert float(read["psnr"]) == rows[0].psnr


def test_values_that_json_lacks_become_none_and_a_dash() -> None:
    columns = [Column("name", "name"), Column("ssim", "SSIM", ".2f")]
    row = {"name": "[bold]tiny", "ssim": math.nan}
    assert record(row, columns) == {"name": "[bold]tiny", "ssim": None}
    cells = [list(column.cells) for column in table([row], columns).columns]
    assert [str(cell) for (cell,) in cells] == ["[bold]tiny", "-"]


def test_harm_is_what_becomes_of_clean_images_and_the_share_made_worse_is_counted() -> None:
    cases = [offset_case("fog", name, levels) for name, levels in (("a", 1), ("b", 10), ("c", 20), ("d", 40))]
    harms: dict[str, float] = {}

    def brighten(images: Tensor, **options: object) -> Tensor:
        return images - 5 / 255

    (row,) = evaluate(brighten, cases, harms=harms).summaries
    assert row.clean_psnr == pytest.approx(decibels(5), abs=1e-4)
    assert row.clean_worst == pytest.approx(decibels(5), abs=1e-4)
    assert row.worse == 0.25
    gains = sorted(decibels(after) - decibels(before) for before, after in ((1, 4), (10, 5), (20, 15), (40, 35)))
    assert row.low_gain == pytest.approx(gains[0] + 0.3 * (gains[1] - gains[0]), abs=1e-3)
    assert set(harms) == {"a", "b", "c", "d"}


def test_what_is_left_of_clean_images_is_not_measured_unasked() -> None:
    (row,) = evaluate(lambda images: images, [offset_case("fog", "a", 10)]).summaries
    assert row.clean_psnr is None
    assert record(row, TASK_COLUMNS)["clean_worst"] is None


def test_plain_filters_stand_beside_the_model() -> None:
    restorer = Restorer.from_pretrained("rdbm-tiny")
    cases = [offset_case("noise", "a", 10), offset_case("haze", "a", 30)]
    rows = evaluate_tasks(restorer, cases, harm=True, plain=True).summaries
    methods = {task: [row.method for row in rows if row.task == task] for task in ("noise", "haze")}
    assert methods["noise"] == ["model", "median", "non-local means", "total variation"]
    assert methods["haze"] == ["model", "stretch", "dark channel"]
    assert all(row.clean_psnr is not None for row in rows)
