"""docs/solvers.md: its example runs, and its table of solvers is that of the catalogue."""

import re
from pathlib import Path

from rebridge import bridges, hub, networks
from rebridge.models import places
from rebridge.inverse import create, names

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "solvers.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path, monkeypatch):
    network = networks.create("fast", optional_condition=True, widths=[4, 8], blocks=[1], middle=1, embedding=8)
    sampler = {"name": "dbim", "steps": 4}
    hub.save_model(tmp_path / "pixel-prior-tiny", network, bridges.create("vp"), "preconditioned", sampler, ["rain"])
    monkeypatch.setattr(places, "PACKAGED", tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
    shown = {}
    exec(compile(code, "docs/solvers.md", "exec"), shown)
    assert shown["found"].calls == 50


def test_the_table_of_solvers_is_the_catalogue():
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\d+)[^|]*\|$", TEXT, re.MULTILINE)
    assert [name for name, _ in rows] == names()
    assert all(create(name).calls == int(calls) for name, calls in rows)


def test_pictures_and_commands_of_the_document_are_there():
    for place in re.findall(r"\]\((images/[\w.-]+)\)", TEXT):
        assert (ROOT / "docs" / place).is_file()
    for script in re.findall(r"python (benchmarks/[\w.]+)", TEXT):
        assert (ROOT / script).is_file()
