"""What the README and the pages on packaged models show works, and what the README lists is there."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rebridge import bridges, degradations, networks, samplers
from rebridge.cli import app
from rebridge.models import packaged
from tests.documents import run_lines, small_project

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = (ROOT / "README.md", ROOT / "docs" / "refinement.md", ROOT / "docs" / "hi-diff.md")
PYTHON = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, code in enumerate(
        re.findall(r"<!-- tested -->\n```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL), start=1
    )
]
COMMANDS = run_lines("README.md")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the project's root, with small examples and its configurations."""
    monkeypatch.chdir(small_project(tmp_path))
    return tmp_path


@pytest.mark.parametrize("code", PYTHON)
def test_python_examples_run(code: str, workplace: Path) -> None:
    exec(compile(code, "example", "exec"), {})


def test_commands_run_in_the_order_they_are_shown(workplace: Path) -> None:
    lines = [line for line in COMMANDS if line.startswith("rebridge ")]
    assert len(lines) >= 10
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, f"{line}: {result.output}"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_the_box_holds_what_the_catalogues_hold() -> None:
    rows = dict(re.findall(r"^\| ([\w ]+) \| (.*) \|$", README, re.MULTILINE))
    for name, catalogue in (("bridges", bridges), ("samplers", samplers), ("networks", networks)):
        assert re.findall(r"`([^`]+)`", rows[name]) == catalogue.names()
    assert re.findall(r"`([^`]+)`", rows["degradations"]) == degradations.names()
    assert sorted(re.findall(r"`([^`]+)`", rows["packaged models"])) == sorted(packaged())


def test_places_and_links_exist() -> None:
    places_named = set(re.findall(r"`((?:rebridge|configs|tests|examples)/[\w/.-]*)`", README))
    linked = set(re.findall(r"\]\(([\w/.-]+)\)", README))
    assert places_named
    for place in places_named | linked:
        assert (ROOT / place).exists(), place


def test_pinned_versions_satisfy_nothing_that_requires_torchvision() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert not {pin.split("==")[0].lower() for pin in pins} & {"torchvision", "pyiqa", "lpips", "timm", "spandrel"}
