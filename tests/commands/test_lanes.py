"""Several pictures at once: the same results, in order, whatever fails or ends the batch."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rebridge.bridges import create
from rebridge.commands.lanes import MOST_PIXELS, Lanes, lanes_for, pixels_of, run_overlapped
from rebridge.commands.options import RestoreOptions
from rebridge.commands.restore import restore
from rebridge.denoisers import NetworkDenoiser
from rebridge.models.crowding import chosen_lanes, measure_lanes
from rebridge.models.speed import CACHE_VARIABLE
from rebridge.networks import create as create_network
from rebridge.restoration.files import FileResult, Job, attempt
from tests.cli.conftest import saved
from tests.commands.test_stopping import heard_again


def jobs_of(folder: Path, count: int) -> list[Job]:
    """Make jobs whose files are there, small."""
    return [
        Job(saved(folder / f"{number}.png", number, (16, 16)), folder / "out" / f"{number}.png")
        for number in range(count)
    ]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for number in range(7):
        saved(tmp_path / "in" / f"{number}.png", number, (40 + 8 * (number % 3), 48))
    (tmp_path / "in" / "3.png").write_bytes(b"no picture")
    return tmp_path / "in"


def test_many_at_once_give_the_files_and_lines_of_one_after_the_other(album: Path, model: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"inputs": [album], "model": str(model), "steps": 2, "device": "cpu"}
    before = torch.get_num_threads()
    for name, jobs in (("alone", 1), ("three", 3)):
        lines: list[str] = []
        options = RestoreOptions(output=tmp_path / name, jobs=jobs, **given)
        found = restore(options, finished=lambda row, lines=lines: lines.append(row.path.name))  # type: ignore[misc]
        assert [row.path.name for row in found.results] == lines == [f"{number}.png" for number in range(7)]
        assert [row.path.name for row in found.failures] == ["3.png"]
        assert found.done["jobs"] == jobs
        assert torch.get_num_threads() == before
    written = sorted((tmp_path / "alone").glob("*.png"))
    assert len(written) == 6
    for path in written:
        one, other = (np.asarray(Image.open(place)).astype(int) for place in (path, tmp_path / "three" / path.name))
        assert np.abs(one - other).max() <= 1


def test_what_is_there_is_skipped_and_the_rest_is_done(album: Path, model: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"output": tmp_path / "out", "model": str(model), "steps": 1, "device": "cpu", "jobs": 2}
    restore(RestoreOptions(inputs=[album / "1.png", album / "4.png"], **given))
    found = restore(RestoreOptions(inputs=[album], skip_existing=True, **given))
    assert [row.path.name for row in found.skipped] == ["1.png", "4.png"]
    assert len(found.written) == 4


def test_a_caller_that_raises_ends_the_whole_batch(album: Path, model: Path, tmp_path: Path) -> None:
    def stop(done: float, total: float, note: str) -> None:
        if done >= 1:
            raise RuntimeError("enough")

    options = RestoreOptions(inputs=[album], output=tmp_path / "out", model=str(model), steps=2, device="cpu", jobs=1)
    with pytest.raises(RuntimeError, match="enough"):
        restore(options, stop)
    assert len(list((tmp_path / "out").iterdir())) < 6
    assert not list((tmp_path / "out").glob(".*"))


def test_ctrl_c_says_what_was_done_and_leaves_nothing_unfinished(model: Path, tmp_path: Path) -> None:
    for number in range(300):
        saved(tmp_path / "in" / f"{number:03}.png", number, (64, 48))
    words = ["restore", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(model), "--jobs", "2"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "rebridge.cli", *words]
    with subprocess.Popen(command, **pipes, preexec_fn=heard_again) as program:
        last = time.monotonic() + 60
        while time.monotonic() < last and len(list((tmp_path / "out").glob("*.png"))) < 3:
            time.sleep(0.01)
        os.kill(program.pid, signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert program.returncode == 130
    written = list((tmp_path / "out").glob("*.png"))
    assert f"stopped by Ctrl-C: {len(written)} of 300 files were done" in err
    # the signal may come between a file and its line
    assert len(written) - 1 <= out.count("wrote ") <= len(written) < 300
    assert not list((tmp_path / "out").glob(".*"))
    assert "Traceback" not in err


def test_no_more_pictures_than_lanes_pass_at_once_while_others_are_read(tmp_path: Path) -> None:
    lanes, inside, reading, most = Lanes(2), 0, 0, [0, 0]
    lock = threading.Lock()

    def work(job: Job) -> None:
        nonlocal inside, reading
        with lock:
            reading += 1
            most[1] = max(most[1], reading)
        time.sleep(0.01)
        with lanes:
            with lock:
                inside += 1
                most[0] = max(most[0], inside)
            time.sleep(0.03)
            with lock:
                inside -= 1
        with lock:
            reading -= 1

    results: list[FileResult] = []
    run_overlapped(jobs_of(tmp_path, 12), lambda job, _: attempt(job, work), lanes, lambda *_: None, None, results)
    assert [row.path.name for row in results] == [f"{number}.png" for number in range(12)]
    assert most[0] == 2
    assert most[1] > 2
    assert lanes.facts["jobs"] == 2
    assert 0.5 < lanes.facts["busy"] <= 1
    assert sum(row.seconds for row in results) < 1.9 * lanes.facts["seconds"] + 12 * 0.02  # no wait for a lane counts


def test_a_picture_too_large_to_share_the_memory_goes_alone(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, 4)
    assert pixels_of(jobs[0].path) == 256
    for job in jobs:
        job.path.write_bytes(b"no picture")
    assert pixels_of(jobs[0].path) == MOST_PIXELS
    together, most = 0, 0
    lock = threading.Lock()

    def work(job: Job) -> None:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.01)
        with lock:
            together -= 1

    run_overlapped(jobs, lambda job, _: attempt(job, work), Lanes(2), lambda *_: None, None, [])
    assert most == 1


def test_the_lanes_of_a_machine_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr("rebridge.denoisers.machine.threads", lambda: 2)
    network = create_network("fast", widths=[8, 8], blocks=[1], middle=1)
    denoiser = NetworkDenoiser(network, create("rdbm"))
    before = torch.get_num_threads()
    speeds = measure_lanes(denoiser, 3, 2)
    assert sorted(speeds) == [1, 2]
    assert min(speeds.values()) > 0
    assert torch.get_num_threads() == before
    found = chosen_lanes(denoiser, 3)
    (kept,) = tmp_path.glob("lanes-*.json")
    kept.write_text(kept.read_text().replace(f'"lanes": {found}', f'"lanes": {3 - found}'))
    assert chosen_lanes(denoiser, 3) == 3 - found
    kept.write_text("{}")
    assert chosen_lanes(denoiser, 3) in (1, 2)


def test_a_network_that_fails_while_it_is_timed_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no memory left")

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr("rebridge.denoisers.machine.threads", lambda: 2)
    network = create_network("fast", widths=[8, 8], blocks=[1], middle=1)
    network.register_forward_pre_hook(fail)
    assert chosen_lanes(NetworkDenoiser(network, create("rdbm")), 3) == 1
    assert not list(tmp_path.iterdir())


def test_few_files_go_one_after_the_other_and_jobs_say_otherwise() -> None:
    assert not lanes_for(None, 2).overlapping
    assert lanes_for(None, 2, jobs=2).count == 2
    assert lanes_for(None, 2, jobs=8).count == 2
    assert not lanes_for(None, 1, jobs=8).overlapping


@pytest.mark.parametrize(
    ("cores", "jobs", "device", "overlapping"),
    [
        (1, 1, "cpu", True),
        (2, 1, "cpu", False),
        (8, 1, "cpu", False),
        (8, 2, "cpu", True),
        (8, 1, "cuda", True),
        (8, 1, None, True),
    ],
)
def test_nothing_else_is_on_its_way_where_all_cores_share_one_picture_at_a_network(
    cores: int, jobs: int, device: str | None, overlapping: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebridge.commands.lanes.threads", lambda: cores)
    model: Any = None if device is None else SimpleNamespace(device=torch.device(device))
    lanes = lanes_for(model, 9, jobs)
    assert (lanes.count, lanes.threads, lanes.overlapping) == (
        jobs,
        None if device == "cuda" else cores // jobs,
        overlapping,
    )


def test_jobs_are_1_to_256() -> None:
    with pytest.raises(ValueError, match="jobs must be between 1 and 256, got 0"):
        RestoreOptions(inputs=["x.png"], output=Path("out"), jobs=0)
