"""Ray Data with a real cluster on this machine: a worker is killed in the middle, and every picture is restored once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from typer.testing import CliRunner

from rebridge.cli import app

ROOT = Path(__file__).parents[2]
COUNT = 12


def pictures(folder: Path, count: int = COUNT) -> list[str]:
    folder.mkdir()
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (160, 160, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number:02d}.png")
    return sorted(path.name for path in folder.iterdir())


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that restore, below the command's own."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "_Part" in " ".join(child.cmdline()) or "MapWorker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_the_rest_is_resumed(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    names = pictures(tmp_path / "in")
    output = tmp_path / "out"
    words = ["restore", str(tmp_path / "in"), "-o", str(output), "--model", str(model), "--steps", "40"]
    command = [sys.executable, "-m", "rebridge.cli", *words, "--engine", "ray", "--workers", "2", "--json"]
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_TMPDIR": "/tmp"}
    variables.pop("RAY_ADDRESS", None)
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not list(output.glob("*.png")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        workers = workers_of(process)
        assert workers, "no worker was found while pictures were restored"
        os.kill(workers[0].pid, signal.SIGKILL)
        out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert sorted(path.name for path in output.iterdir()) == names
    records = json.loads(out)
    assert sorted(Path(record["output"]).name for record in records) == names
    assert [record["error"] for record in records] == [None] * COUNT
    CliRunner().invoke(app, [*words[:3], str(tmp_path / "alone"), *words[4:]])
    for name in names[:2]:
        assert (output / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    for name in names[3:5]:
        (output / name).unlink()
    again = subprocess.run([*command, "--skip-existing"], env=variables, capture_output=True, text=True, check=True)
    assert [record["skipped"] for record in json.loads(again.stdout)] == [name not in names[3:5] for name in names]
    assert sorted(path.name for path in output.iterdir()) == names


def test_options_that_the_engine_does_not_have_are_refused(model: Path, tmp_path: Path) -> None:
    pictures(tmp_path / "in", 1)
    words = ["restore", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(model)]
    result = CliRunner().invoke(app, [*words, "--engine", "ray", "--before-after"])
    assert (result.exit_code, "cannot be combined with --before-after" in result.stderr) == (2, True)
    result = CliRunner().invoke(app, [*words, "--workers", "2"])
    assert (result.exit_code, "workers go with --engine ray" in result.stderr) == (2, True)
