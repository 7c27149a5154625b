"""Real processes: a kill from outside, and training spread over two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rebridge.training import train

TRAIN = "import sys; from rebridge.training import load_config, train; train(load_config(sys.argv[1], sys.argv[2:]))"

Tiny = Callable[..., Any]


def overrides(config: Any) -> list[str]:
    return [f"data.clean={config.data.clean}", "data.holdout=2", f"output={config.output}"]


def environment() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}


def test_run_killed_from_outside_resumes_to_the_same_weights(tiny: Tiny, tmp_path: Path) -> None:
    extra = ("optimisation.iterations=60", "checkpoint_every=10", "validate_every=1000", "log_every=100")
    config = tiny(*extra)
    command = [sys.executable, "-c", TRAIN, "configs/tiny.yaml", *overrides(config), *extra]
    process = subprocess.Popen(command, env=environment(), cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(config.output.glob("checkpoint-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    train(config, resume=True)
    train(tiny(f"output={tmp_path / 'whole'}", *extra))
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (config.output, tmp_path / "whole"))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_with_the_same_pairs(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("optimisation.batch=2")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = tmp_path / "launch.py"
    script.write_text(TRAIN)
    command = [*torchrun, str(script), "configs/tiny.yaml", *overrides(config), "optimisation.batch=2"]
    subprocess.run(command, env=environment(), cwd=Path(__file__).parents[2], check=True, timeout=300)
    alone = tiny(f"output={tmp_path / 'alone'}")
    train(alone)
    curves = []
    for output in (config.output, alone.output):
        lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
        curves.append([line["loss"] for line in lines if "loss" in line])
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
