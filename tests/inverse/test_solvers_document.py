"""docs/solvers.md: its examples run, and its table of methods is that of the catalogue."""

import re
from pathlib import Path
from typing import Any

import pytest

from rebridge import bridges, networks
from rebridge.inverse import create, names
from rebridge.models import TrainedModel, places

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "solvers.md").read_text(encoding="utf-8")


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = networks.create("fast", optional_condition=True, widths=[4, 8], blocks=[1], middle=1, embedding=8)
    sampler = {"name": "dbim", "steps": 4}
    model = TrainedModel.of(network, bridges.create("vp"), "preconditioned", sampler=sampler, tasks=["rain"])
    model.save_pretrained(tmp_path / "pixel-prior-small")
    plain = networks.create("fast", widths=[4, 8], blocks=[1], middle=1, embedding=8)
    TrainedModel.of(plain, bridges.create("rdbm"), sampler=sampler).save_pretrained(tmp_path / "rdbm-texture")
    monkeypatch.setattr(places, "PACKAGED", tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
    shown: dict[str, Any] = {}
    exec(compile(code, "docs/solvers.md", "exec"), shown)
    assert shown["found"].calls == 50
    assert shown["x0"].shape == shown["restored"].shape == (1, 3, 64, 64)


def test_the_table_of_methods_is_the_catalogue() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\d+)[^|]*\|$", TEXT, re.MULTILINE)
    assert [name for name, _ in rows] == names()
    assert all(create(name).calls == int(calls) for name, calls in rows)


def test_pictures_and_commands_of_the_document_are_there() -> None:
    for place in re.findall(r"\]\((images/[\w.-]+)\)", TEXT):
        assert (ROOT / "docs" / place).is_file()
    for script in re.findall(r"python (benchmarks/[\w.]+)", TEXT):
        assert (ROOT / script).is_file()
