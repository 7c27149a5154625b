"""What docs/irbridge.md and docs/comparing.md show works, and what the first names is there."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rebridge import bridges, networks
from rebridge.cli import app
from rebridge.models import TrainedModel, places
from rebridge.samplers.prior_schedules import SCHEDULES
from tests.documents import run_lines

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "irbridge.md").read_text(encoding="utf-8")
COMPARING = (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT + COMPARING, re.DOTALL)
COMMANDS = run_lines("docs/irbridge.md")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the project's root, with a small copy of the examples and a small network as the packaged prior."""
    from PIL import Image

    (tmp_path / "examples" / "images").mkdir(parents=True)
    with Image.open(ROOT / "examples" / "images" / "chelsea.jpg") as image:
        image.resize((48, 40)).save(tmp_path / "examples" / "images" / "chelsea.jpg")
    for name, bridge, prediction in (
        ("pixel-prior-small", "vp", "preconditioned"),
        ("refine-blur-tiny", "goub", "residual"),
    ):
        network = networks.create("fast", widths=[4, 8], blocks=[1], middle=1, optional_condition=bridge == "vp")
        model = TrainedModel.of(network, bridges.create(bridge), prediction, sampler={"name": "dbim", "steps": 25})
        model.save_pretrained(tmp_path / "packaged" / name)
    monkeypatch.setattr(places, "PACKAGED", tmp_path / "packaged")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("index", range(len(PYTHON)))
def test_the_python_examples_run(index: int, workplace: Path) -> None:
    exec(compile(PYTHON[index], f"docs, example {index + 1}", "exec"), {})


def test_the_commands_run_in_the_order_they_are_shown(workplace: Path) -> None:
    assert len(COMMANDS) >= 4
    for line in COMMANDS:
        result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, f"{line}: {result.output}"


def test_every_schedule_is_named_and_every_named_file_is_there() -> None:
    assert all(f"`{name}`" in TEXT for name in SCHEDULES)
    named = set(re.findall(r"((?:configs|benchmarks)/[\w/-]+\.(?:yaml|py))", TEXT))
    linked = {f"docs/{path}" for path in re.findall(r"\]\(([\w/.-]+)\)", TEXT)}
    assert len(named) > 14
    for path in named | linked:
        assert (ROOT / path).is_file(), path
