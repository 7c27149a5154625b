"""Comparisons: the distance they print is right, perfect samplers score well, and impossible pairs are left out."""

import math
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from rebridge.catalogue import Spec
from rebridge.cli import app
from rebridge.evaluation.compare import SeedScore, compare_analytic, gaussian_problem, summarise
from rebridge.evaluation.frechet import Statistics, frechet_distance


def test_frechet_distance_of_commuting_gaussians_is_that_of_their_means_and_standard_deviations() -> None:
    mean = torch.tensor([1.0, 2.0], dtype=torch.float64)
    first, second = torch.diag(torch.tensor([4.0, 9.0])).double(), torch.diag(torch.tensor([1.0, 16.0])).double()
    gaussian = Statistics(mean, first, 1)
    assert frechet_distance(gaussian, Statistics(mean + 3, second, 1)) == pytest.approx(18 + 1 + 1)
    assert frechet_distance(gaussian, gaussian) == pytest.approx(0.0, abs=1e-6)


def test_samples_of_the_exact_posterior_show_the_monte_carlo_floor_and_more_steps_come_nearer() -> None:
    specs = [Spec.parse("dbim:eta=1,grid=log-snr")]
    runs = compare_analytic([Spec.parse("ddbm-vp")], specs, [3, 60], [0, 1], count=3000)
    few, many = (row.quality for row in summarise(runs))
    assert many < 0.06 < few
    assert [run.nfe for run in runs] == [3, 3, 60, 60]


def test_impossible_pairs_are_left_out() -> None:
    specs = [Spec.parse("sde"), Spec.parse("dbim")]
    runs = compare_analytic([Spec.parse("flow")], specs, [4], [0], count=10)
    assert [run.sampler for run in runs] == ["dbim"]


def test_joint_problem_is_a_covariance() -> None:
    _, covariance = gaussian_problem(5)
    assert torch.linalg.eigvalsh(covariance).min() > 0


def test_confidence_interval_over_seeds_is_students() -> None:
    runs = [SeedScore("m", "s", 1, seed, 1, 0.1, value) for seed, value in enumerate([1.0, 2.0, 3.0])]
    (row,) = summarise(runs)
    assert row.quality == 2.0
    assert row.high - row.quality == pytest.approx(4.303 / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("text", ["dbim:eta", "dbim:=1", "dbim:eta=1,order"])
def test_malformed_specification_is_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        Spec.parse(text)


def test_command_writes_table_and_plot(tmp_path: Path) -> None:
    arguments = ["compare", "--analytic", "--bridge", "goub", "--sampler", "dbim", "--sampler", "odes3"]
    result = CliRunner().invoke(app, [*arguments, "--steps", "2,4", "--samples", "50", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "compare.csv").read_text().splitlines()) == 5
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--analytic", "--clean", "x"], "--analytic has no images"),
        ([], "give --clean DIR and --task T"),
        (["--analytic", "--steps", "0"], "--steps must be at least 1"),
        (["--analytic", "--steps", "two"], "--steps takes whole numbers"),
        (["--analytic", "--bridge", "gobu"], "unknown bridge"),
        (["--analytic", "--bridge", "flow", "--sampler", "sde"], "none of these samplers"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_two(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["compare", *arguments])
    assert result.exit_code == 2
    assert sentence in result.stderr
