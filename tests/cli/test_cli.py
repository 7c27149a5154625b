"""The command line: what it writes, what it says, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

from rebridge import bridges, models
from rebridge.cli import app
from tests.cli.conftest import saved

COMMANDS = (
    "restore",
    "inspect",
    "enlarge",
    "export",
    "push",
    "doctor",
    "solve",
    "degrade",
    "train",
    "evaluate",
    "compare",
    "tune",
    "models",
    "info",
    "convert",
    "bridges",
    "samplers",
    "solvers",
    "serve",
    "push",
    "export",
)


def rebridge(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def assert_bad_input(result: Result, *words: str) -> None:
    """Exit code 2, nothing on stdout, and one sentence on stderr that holds the words."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = rebridge(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_help_lists_exactly_the_commands_there_are() -> None:
    assert {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    } == set(COMMANDS)
    assert all(command in rebridge("--help").stdout for command in COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['rebridge', '--help']\nfrom rebridge.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'accelerate', 'torchmetrics', 'huggingface_hub'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_needs_no_network_imports_little_beside_torch(photos: Path, tmp_path: Path) -> None:
    """Packages that take as long to import as torch itself would double the time until the first line."""
    words = [
        ["models"],
        ["samplers"],
        ["bridges"],
        ["degrade", str(photos / "a.png"), "-o", str(tmp_path), "-t", "rain"],
    ]
    code = (
        f"import contextlib, io, sys\nfrom rebridge.cli import app\nfor words in {words!r}:\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n        app(words)\n"
        "heavy = {'torchmetrics', 'transformers', 'diffusers', 'matplotlib', 'accelerate', 'scipy', 'pandas', 'fastapi'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "a.png").is_file()


def test_version_is_that_of_the_package() -> None:
    import rebridge as package

    assert rebridge("--version").stdout.strip() == f"rebridge {package.__version__}"


def test_unknown_command_is_bad_input() -> None:
    result = rebridge("enhance")
    assert result.exit_code == 2
    assert "enhance" in result.stderr


def test_restores_one_file_under_the_name_given(photos: Path, tmp_path: Path, model: Path) -> None:
    result = rebridge("restore", photos / "a.png", "-o", tmp_path / "new.png", "--model", model)
    assert result.exit_code == 0, result.output
    assert pixels(tmp_path / "new.png").shape == pixels(photos / "a.png").shape
    assert "1 file" in result.stdout


def test_restores_a_folder_and_with_recursive_the_tree(photos: Path, tmp_path: Path, model: Path) -> None:
    flat, tree = tmp_path / "flat", tmp_path / "tree"
    assert rebridge("restore", photos, "-o", flat, "--model", model).exit_code == 0
    assert rebridge("restore", photos, "-o", tree, "--model", model, "--recursive", "--suffix", "_new").exit_code == 0
    assert sorted(path.name for path in flat.rglob("*")) == ["a.png", "b.jpg"]
    files = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    assert files == {"a_new.png", "b_new.jpg", "deep/c_new.png"}


def test_restores_a_pattern(photos: Path, tmp_path: Path, model: Path) -> None:
    assert rebridge("restore", photos / "*.png", "-o", tmp_path / "out", "--model", model).exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_same_seed_same_file_other_seed_other_file(photos: Path, tmp_path: Path, model: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        ended = rebridge("restore", photos / "a.png", "-o", tmp_path / name, "--model", model, "--seed", seed)
        assert ended.exit_code == 0, ended.output
    one, again, two = (pixels(tmp_path / name / "a.png") for name in ("one", "again", "two"))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, two)


def test_every_option_of_restore_reaches_the_library(photos: Path, tmp_path: Path, model: Path) -> None:
    options = ["--steps", 3, "--tile", 64, "--samples", 2, "--device", "cpu", "--sampler", "ode", "--format", "png"]
    result = rebridge("restore", photos, "-o", tmp_path / "out", "--model", model, *options, "--json")
    assert result.exit_code == 0, result.output
    assert [Path(row["output"]).name for row in json.loads(result.stdout)] == ["a.png", "b.png"]


def test_never_overwrites_unless_told(photos: Path, tmp_path: Path, model: Path) -> None:
    there = tmp_path / "out" / "a.png"
    there.parent.mkdir()
    there.write_bytes(b"precious")
    words = ["restore", photos / "a.png", "-o", there.parent, "--model", model]
    refused = rebridge(*words)
    assert (refused.exit_code, there.read_bytes()) == (1, b"precious")
    assert "--overwrite" in refused.stderr
    skipped = rebridge(*words, "--skip-existing")
    assert (skipped.exit_code, there.read_bytes()) == (0, b"precious")
    assert rebridge(*words, "--overwrite").exit_code == 0
    assert pixels(there).shape == (32, 40, 3)


def test_a_terminal_sees_progress_on_stderr_and_results_alone_on_stdout(
    photos: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = rebridge("restore", photos, "-o", tmp_path / "out", "--model", model, "--json")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)) == 2
    assert "2/2" in result.stderr


def test_a_damaged_file_does_not_stop_the_others(photos: Path, tmp_path: Path, model: Path) -> None:
    whole = (photos / "a.png").read_bytes()
    (photos / "broken.png").write_bytes(whole[: len(whole) // 2])
    lenient = rebridge("restore", photos, "-o", tmp_path / "lenient", "--model", model)
    assert lenient.exit_code == 0
    assert "broken.png: the file is cut short" in lenient.stderr
    result = rebridge("restore", photos, "-o", tmp_path / "out", "--model", model, "--strict")
    assert result.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.jpg"]
    assert "1 file of 3 failed" in result.stderr
    assert "broken.png" in result.stderr


def test_bad_input_ends_with_one_sentence(photos: Path, tmp_path: Path, model: Path) -> None:
    restore = ["restore", photos, "-o", tmp_path / "out", "--model", model]
    assert_bad_input(rebridge("restore", tmp_path / "gone.png", "-o", tmp_path), "gone.png", "no such file")
    assert_bad_input(rebridge("restore", photos / "*.tiff", "-o", tmp_path), "no images found")
    assert_bad_input(rebridge("restore", photos, "-o", tmp_path / "out", "--model", "nobody"), "nobody")
    assert_bad_input(rebridge("restore", photos, "-o", tmp_path / "out", "--model", photos), "config.json")
    assert_bad_input(rebridge("restore", photos, "-o", tmp_path / "one.png", "--model", model), "one.png")
    assert_bad_input(rebridge(*restore, "--steps", 0), "steps must be at least 1, got 0")
    assert_bad_input(rebridge(*restore, "--samples", 0), "samples must be at least 1")
    assert_bad_input(rebridge(*restore, "--tile", 3), "tile must be at least")
    assert_bad_input(rebridge(*restore, "--seed", -1), "seed")
    assert_bad_input(rebridge(*restore, "--sampler", "walk"), "walk", "dbim")
    assert_bad_input(rebridge(*restore, "--device", "abacus"), "abacus")
    assert_bad_input(rebridge(*restore, "--quality", 0), "quality")
    assert_bad_input(rebridge(*restore, "--format", "doc"), "doc")
    assert_bad_input(rebridge("degrade", photos, "-o", tmp_path / "out", "--task", "acid"), "acid", "rain")
    assert_bad_input(rebridge("evaluate", "--model", model), "--clean", "--pairs")
    assert_bad_input(rebridge("evaluate", "--model", model, "--clean", photos, "--pairs", photos), "only one")
    assert_bad_input(rebridge("evaluate", "--model", model, "--clean", photos, "--task", "acid"), "acid")
    assert_bad_input(rebridge("evaluate", "--model", model, "--pairs", photos), "clean/degraded")
    assert_bad_input(rebridge("info", "nobody"), "nobody")
    assert_bad_input(rebridge("train", tmp_path / "gone.yaml"), "gone.yaml")
    assert not (tmp_path / "out").exists()


def test_an_error_in_the_library_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("rebridge.commands.models.packaged", broken)
    assert isinstance(rebridge("models").exception, KeyError)


def test_degrade_is_a_function_of_seed_task_and_name(photos: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        assert rebridge("degrade", photos, "-o", tmp_path / name, "-t", "rain", "--seed", seed).exit_code == 0
    alone = rebridge("degrade", photos / "a.png", "-o", tmp_path / "alone", "-t", "rain", "--seed", 1)
    assert alone.exit_code == 0
    one, again, two, single = (pixels(tmp_path / name / "a.png") for name in ("one", "again", "two", "alone"))
    assert np.array_equal(one, again)
    assert np.array_equal(one, single)
    assert not np.array_equal(one, two)


def test_degrade_to_a_lower_resolution_and_back_to_size(photos: Path, tmp_path: Path) -> None:
    for folder, options in (("small", []), ("large", ["--upsample"])):
        words = ["degrade", photos / "a.png", "-o", tmp_path / folder, "-t", "sr4", *options]
        assert rebridge(*words).exit_code == 0
    assert pixels(tmp_path / "small" / "a.png").shape == (8, 10, 3)
    assert pixels(tmp_path / "large" / "a.png").shape == (32, 40, 3)


def test_evaluating_degraded_files_equals_evaluating_on_the_fly(photos: Path, tmp_path: Path, model: Path) -> None:
    pairs = tmp_path / "pairs"
    for name in ("a.png", "deep/c.png"):
        saved(pairs / "clean" / name, len(name))
    result = rebridge("degrade", pairs / "clean", "-o", pairs / "degraded", "-r", "-t", "noise", "--seed", 5)
    assert result.exit_code == 0, result.output
    common = ["evaluate", "--model", model, "--json"]
    on_the_fly = rebridge(*common, "--clean", pairs / "clean", "--task", "noise", "--seed", 5)
    from_files = rebridge(*common, "--pairs", pairs, "--seed", 5)
    scores = [json.loads(result.stdout)["images"] for result in (on_the_fly, from_files)]
    assert len(scores[0]) == 2
    for ours, theirs in zip(*scores, strict=True):
        for figure in ("input_psnr", "psnr", "input_ssim", "ssim"):
            assert ours[figure] == pytest.approx(theirs[figure], abs=1e-9)


def test_evaluate_prints_figures_for_machines(photos: Path, model: Path) -> None:
    words = ["evaluate", "--model", model, "--clean", photos, "-t", "rain", "-t", "clean", "--limit", 2, "--steps", 1]
    figures = json.loads(rebridge(*words, "--json").stdout)
    assert figures["steps"] == 1
    assert [(row["task"], row["images"]) for row in figures["tasks"]] == [("rain", 2), ("clean", 2)]
    assert figures["tasks"][1]["input_psnr"] == 100
    for row in figures["tasks"]:
        assert row["gain"] == pytest.approx(row["psnr"] - row["input_psnr"])
    lines = rebridge(*words, "--csv").stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("task,method,images,input_psnr,psnr")
    assert len(rebridge(*words, "--csv", "--per-image").stdout.splitlines()) == 5
    assert "input PSNR" in rebridge(*words).stdout


def test_evaluate_takes_the_tasks_of_the_model_by_default(photos: Path, model: Path) -> None:
    figures = json.loads(rebridge("evaluate", "--model", model, "--clean", photos, "--limit", 1, "--json").stdout)
    assert [row["task"] for row in figures["tasks"]] == ["rain", "noise"]


def test_info_tells_parameters_and_configuration(model: Path) -> None:
    figures = json.loads(rebridge("info", model, "--json").stdout)
    loaded = models.load_model(model)
    assert figures["parameters"] == loaded.parameters
    assert figures["bridge"]["name"] == "goub"
    assert figures.items() >= json.loads((model / "config.json").read_text()).items()
    assert f"{loaded.parameters:,}" in rebridge("info", model).stdout


def test_lists_name_everything_in_the_catalogues() -> None:
    from rebridge import samplers

    assert [row["name"] for row in json.loads(rebridge("bridges", "--json").stdout)] == bridges.names()
    rows = json.loads(rebridge("samplers", "--json").stdout)
    assert [row["name"] for row in rows] == samplers.names()
    for row in rows:
        for name in bridges.names():
            if name in row["bridges"]:
                samplers.create(row["name"]).check(bridges.create(name))
    assert [row["name"] for row in json.loads(rebridge("models", "--json").stdout)] == models.packaged()
    for command in ("bridges", "samplers", "models"):
        assert rebridge(command).exit_code == 0


def test_what_is_trained_can_restore(photos: Path, tmp_path: Path) -> None:
    config = {
        "output": str(tmp_path / "run"),
        "device": "cpu",
        "network": {"name": "fast", "widths": [8, 16], "blocks": [1], "middle": 1, "embedding": 16},
        "data": {"clean": str(photos), "patch": 16, "tasks": {"noise": 1.0}, "holdout": 1, "validation_size": 16},
        "optimisation": {"iterations": 50, "batch": 2, "warmup": 0},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    result = rebridge("train", path, "optimisation.iterations=2", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["iterations"] == 2
    out = tmp_path / "out"
    assert rebridge("restore", photos / "a.png", "-o", out, "--model", figures["model"]).exit_code == 0
    assert_bad_input(rebridge("train", path, "optimisation.speed=2"), "optimisation.speed")
    assert_bad_input(rebridge("train", path, "nonsense"), "key=value")


def test_the_installed_program_answers_bad_input_with_code_two(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "rebridge.cli", "restore", str(tmp_path / "gone.png"), "-o", str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.strip() == f"Error: {tmp_path / 'gone.png'}: no such file or folder"


def test_a_picture_that_is_left_as_it_is_is_named(tmp_path: Path) -> None:
    flat = np.full((64, 64, 3), 120, np.uint8)
    Image.fromarray(flat).save(tmp_path / "sound.png")
    result = rebridge("restore", tmp_path / "sound.png", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "sound.png: left as it is" in result.stderr
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "sound.png")), flat)


FAULTY = """
import rebridge
from rebridge.samplers.dbim import DBIM

class Faulty(DBIM):
    def step(self, *arguments, **named):
        import warnings
        warnings.warn("this is", stacklevel=1)
        warnings.warn("this is", stacklevel=2)
        raise {error}

rebridge.samplers.register("faulty", Faulty)
"""


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        ("KeyError('a')", 70, "Error: a fault of rebridge, please report it (KeyError: 'a'); REBRIDGE_TRACEBACK=1 shows"),
        ("MemoryError()", 2, "Error: there is not enough memory\n"),
    ],
)  # fmt: skip
def test_the_program_ends_with_one_sentence_whatever_happens(
    tmp_path: Path, error: str, code: int, sentence: str
) -> None:
    (tmp_path / "own.py").write_text(FAULTY.format(error=error))
    words = ["--import", str(tmp_path / "own.py"), "compare", "--analytic", "--bridge", "goub", "--sampler", "faulty"]
    program = [sys.executable, "-m", "rebridge.cli", *words, "--steps", "1"]
    result = subprocess.run(program, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("Warning: this is\n") == 1


@pytest.mark.parametrize("name", models.packaged())
def test_info_counts_the_operations_of_every_packaged_model(name: str) -> None:
    shown = json.loads(rebridge("info", name, "--json").stdout)
    assert shown["parameters"] == models.load_model(name, device="cpu").parameters
    assert 1e9 < shown["flops_256x256"] < 1e11


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--method", "foo"], "Invalid value for '--method': 'foo' is not one of 'bridge', 'irbridge'"),
        (["--steps", "few"], "Invalid value for '--steps': Input should be a valid integer"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_without_the_parser_s_preface(words: list[str], sentence: str) -> None:
    done = CliRunner().invoke(app, ["restore", "a.png", "-o", "b.png", *words], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.replace("│", "").split())
    assert "Value error" not in done.output
