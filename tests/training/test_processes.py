"""Real processes: a kill from outside, and training spread over two processes."""

import json
import math
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


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def trained_by_two(config: Any, tmp_path: Path, *extra: str) -> None:
    """Train in two processes on gloo, as torchrun starts them."""
    script = tmp_path / "launch.py"
    script.write_text(TRAIN.replace("load_config(sys.argv[1], sys.argv[2:])", RESUMED))
    command = [*TORCHRUN, str(script), "configs/tiny.yaml", *overrides(config), *extra]
    subprocess.run(command, env=environment(), cwd=Path(__file__).parents[2], check=True, timeout=400)


RESUMED = "load_config(sys.argv[1], sys.argv[2:]), resume=True"


def losses(output: Path) -> list[float]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_give_the_losses_of_one_with_the_same_pairs(tiny: Tiny, tmp_path: Path, sharding: str) -> None:
    config = tiny("optimisation.batch=2")
    trained_by_two(config, tmp_path, "optimisation.batch=2", f"sharding={sharding}")
    alone = tiny(f"output={tmp_path / 'alone'}")
    train(alone)
    assert losses(config.output) == pytest.approx(losses(alone.output), rel=1e-5)
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (config.output, alone.output))
    assert all(torch.allclose(a[name], b[name], atol=1e-5) for name in b)


@pytest.mark.slow
def test_a_classifier_that_the_loss_leaves_out_holds_up_no_process(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny()
    trained_by_two(config, tmp_path, "network.kinds=2")
    assert all(math.isfinite(loss) for loss in losses(config.output))


MUON = ("optimisation.optimizer=muon", "network.widths=[16,32]")


@pytest.mark.slow
def test_orthogonal_steps_of_two_processes_are_those_of_one(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("optimisation.batch=2")
    trained_by_two(config, tmp_path, "optimisation.batch=2", *MUON)
    alone = tiny(f"output={tmp_path / 'alone'}", *MUON)
    train(alone)
    assert losses(config.output) == pytest.approx(losses(alone.output), rel=1e-4)


@pytest.mark.slow
def test_two_processes_refuse_to_turn_parts_of_matrices(tiny: Tiny, tmp_path: Path) -> None:
    """Orthogonal parts are no parts of an orthogonal matrix."""
    script = tmp_path / "launch.py"
    script.write_text(TRAIN)
    config = tiny()
    command = [*TORCHRUN, str(script), "configs/tiny.yaml", *overrides(config), *MUON, "sharding=full"]
    done = subprocess.run(command, env=environment(), cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode != 0
    assert "sharding: full leaves each process a part of every matrix" in done.stderr


@pytest.mark.slow
def test_a_sharded_run_resumes_from_its_checkpoint_and_from_one_of_a_single_process(tiny: Tiny, tmp_path: Path) -> None:
    half = ("optimisation.iterations=3", "optimisation.lr_min=1e-3")
    whole = ("optimisation.iterations=6", "optimisation.lr_min=1e-3")
    config, shards = tiny("optimisation.batch=2"), ("optimisation.batch=2", "sharding=full")
    trained_by_two(config, tmp_path, *half, *shards)
    trained_by_two(config, tmp_path, *whole, *shards)
    alone = tiny(f"output={tmp_path / 'alone'}", *half)
    train(alone)
    train(tiny(f"output={tmp_path / 'alone'}", *whole), resume=True)
    assert losses(config.output) == pytest.approx(losses(alone.output), rel=1e-5)
    last = (
        load_file(folder / "checkpoint-00000006" / "optimizer.safetensors") for folder in (config.output, alone.output)
    )
    a, b = last
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[name], b[name], rtol=1e-3, atol=1e-7) for name in b)
