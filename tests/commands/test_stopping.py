"""A command that is stopped says what was done, on stdout as JSON too, with the exit code of the signal."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rebridge.commands.stopping import Stopped, Terminated, ending
from tests.cli.conftest import saved


def heard_again() -> None:
    """Let a program hear Ctrl-C also where these tests run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_stopped_batch_says_what_was_done(tmp_path: Path, number: int, code: int, name: str) -> None:
    for index in range(400):
        saved(tmp_path / "in" / f"{index:03}.png", index, (64, 48))
    words = ["degrade", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--task", "rain", "--json"]
    command = [sys.executable, "-m", "rebridge.cli", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, preexec_fn=heard_again) as program:
        last = time.monotonic() + 60
        while time.monotonic() < last and len(list((tmp_path / "out").glob("*.png"))) < 3:
            time.sleep(0.01)
        os.kill(program.pid, number)
        out, err = program.communicate(timeout=60)
    assert program.returncode == code
    rows = json.loads(out)
    assert f"stopped by {name}: {len(rows)} of 400 files were done" in err
    assert 3 <= len(rows) < 400
    written = {Path(row["output"]).name for row in rows if row["error"] is None}
    # The one that was being written when the signal came may be there too, whole.
    assert written <= {path.name for path in (tmp_path / "out").glob("*.png")}
    assert not list((tmp_path / "out").glob(".*"))
    assert "Traceback" not in err


def test_the_sentence_and_the_exit_code_name_the_signal() -> None:
    assert ending(KeyboardInterrupt()) == ("stopped by Ctrl-C before its end", 130)
    assert ending(Terminated()) == ("stopped by SIGTERM before its end", 143)

    class Two:
        results = (1, 2)

    assert ending(Stopped(Two(), 5, Terminated())) == ("stopped by SIGTERM: 2 of 5 files were done", 143)
