"""A run may be killed at any moment and ends, on the CPU, with the same bits as one that was not."""

import errno
import json
import math
import os
import pty
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import TensorDataset

from rebridge.training import CheckpointError, FitConfig, Step, Task, Validation, fit, train
from rebridge.training.checkpoints import checkpoint_folders, load_checkpoint
from rebridge.training.data import training_pairs, validation_pairs
from rebridge.training.logging import RunLog
from rebridge.training.methods.bridge import BridgeTraining
from rebridge.training.ownership import RunLock

Tiny = Callable[..., Any]


class Killed(BaseException):
    """Stands for a SIGKILL: nothing in the trainer may catch it."""


def kill_after(iteration: int) -> Callable[[Step], None]:
    """A callback that ends the run, as a SIGKILL would, when so many iterations are done."""

    def callback(step: Step) -> None:
        if step.iteration == iteration:
            raise Killed

    return callback


def files(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.name}:{name}": value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()
    }


def curve(output: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def assert_same_run(a: Path, b: Path) -> None:
    left, right = files(a / "checkpoint-00000006"), files(b / "checkpoint-00000006")
    assert left.keys() == right.keys()
    assert len(left) > 0
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
    assert curve(a) == curve(b)


BF16 = ("precision=bf16", "channels_last=true", "log_every=4", "data.workers=1")
FP16 = ("precision=fp16", "optimisation.clip=null")
MUON = ("optimisation.optimizer=muon", "network={widths: [16, 16], blocks: [1], middle: 1}")


@pytest.mark.parametrize("extra", [(), BF16, FP16, MUON])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one_bit_by_bit(
    tiny: Tiny, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    train(tiny(f"output={tmp_path / 'whole'}", *extra))
    with pytest.raises(Killed):
        train(tiny(*extra), callbacks=[kill_after(4)])
    result = train(tiny(*extra), resume=True)
    assert result.iterations == 6
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_termination_signal_leaves_a_checkpoint_of_the_last_iteration(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(f"output={tmp_path / 'whole'}", "checkpoint_every=100"))

    def signalled(step: Step) -> None:
        if step.iteration == 1:
            signal.raise_signal(signal.SIGTERM)

    result = train(tiny("checkpoint_every=100"), callbacks=[signalled])
    assert (result.iterations, result.model) == (2, None)
    assert (tmp_path / "run" / "checkpoint-00000002").is_dir()
    train(tiny("checkpoint_every=100"), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_truncated_checkpoint_is_refused_with_a_sentence_and_the_previous_one_used(
    tiny: Tiny, tmp_path: Path, name: str
) -> None:
    train(tiny())
    damaged = tmp_path / "run" / "checkpoint-00000006" / name
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    steps: list[Step] = []
    with pytest.warns(UserWarning, match=rf"{name} is (truncated|damaged).*trying the checkpoint before it"):
        train(tiny(), resume=True, callbacks=[steps.append])
    assert [step.iteration for step in steps] == [4, 5, 6]


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "optimizer.safetensors"])
def test_one_flipped_bit_of_a_checkpoint_is_noticed(tiny: Tiny, tmp_path: Path, name: str) -> None:
    """In the last tensor: the file has its size, opens, and all values are finite."""
    train(tiny("optimisation.iterations=2", "checkpoint_every=2", "validate_every=100"))
    (folder,) = checkpoint_folders(tmp_path / "run")
    data = bytearray((folder / name).read_bytes())
    data[-4] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{name} is damaged"):
        load_checkpoint(folder)


def test_no_usable_checkpoint_is_an_error_that_names_the_file(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("keep_checkpoints=1"))
    (tmp_path / "run" / "checkpoint-00000006" / "ema.safetensors").unlink()
    with (
        pytest.warns(match="cannot be read"),
        pytest.raises(CheckpointError, match=r"no usable checkpoint.*ema\.safetensors"),
    ):
        train(tiny(), resume=True)


def test_only_the_last_checkpoints_are_kept_and_nothing_temporary(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("checkpoint_every=1", "keep_checkpoints=2"))
    kept = sorted(path.name for path in (tmp_path / "run").iterdir() if "checkpoint" in path.name)
    assert kept == ["checkpoint-00000005", "checkpoint-00000006"]


def test_new_run_does_not_overwrite_the_checkpoints_of_another(tiny: Tiny) -> None:
    train(tiny())
    with pytest.raises(CheckpointError, match="resume it, or choose another output"):
        train(tiny())


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("network.widths=[4, 12]", "network"),
        ("bridge.lam=0.5", "bridge"),
        ("bridge={name: goub}", "bridge"),
        ("prediction=x0", "prediction"),
        ("seed=9", "seed"),
        ("optimisation.batch=3", "batch"),
        ("optimisation.accumulate=2", "batch"),
        ("data.patch=24", "data"),
        ("data.holdout=1", "data"),
        ("data.tasks={lowlight: 1}", "data"),
    ],
)
def test_checkpoint_of_another_problem_is_refused_with_a_sentence_and_stays(tiny: Tiny, change: str, key: str) -> None:
    config = tiny("optimisation.iterations=2", "validate_every=100")
    train(config)
    before = files(config.output / "checkpoint-00000002")
    with pytest.raises(CheckpointError, match=rf"is of another {key}: .*was .* and is .*resume with its configuration"):
        train(tiny("optimisation.iterations=4", "validate_every=100", change), resume=True)
    after = files(config.output / "checkpoint-00000002")
    assert not (config.output / "checkpoint-00000004").exists()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_else_changed_is_said_and_what_is_equal_is_not(tiny: Tiny) -> None:
    train(tiny("optimisation.iterations=2", "validate_every=100"))
    same_pairs = ("optimisation.batch=2", "optimisation.accumulate=2")
    with pytest.warns(UserWarning, match="configuration differs") as caught:
        train(tiny("optimisation.iterations=3", "optimisation.lr=1e-5", "validate_every=100", *same_pairs), resume=True)
    said = next(str(warning.message) for warning in caught if "configuration differs" in str(warning.message))
    for words in ("iterations was 2 and is 3", "lr was 0.001 and is 1e-05", "batch was 4 and is 2"):
        assert words in said
    assert "seed" not in said


def test_fewer_iterations_than_a_checkpoint_has_are_refused(tiny: Tiny) -> None:
    train(tiny())
    with pytest.raises(CheckpointError, match=r"has 6 iterations already, .*optimisation\.iterations=2"):
        train(tiny("optimisation.iterations=2"), resume=True)


def test_a_second_run_into_the_same_folder_is_refused_while_the_first_one_lasts(tiny: Tiny) -> None:
    config = tiny()
    refused: list[str] = []

    def second(step: Step) -> None:
        for resume in (True, False):
            with pytest.raises(CheckpointError, match="is being written by another run") as caught:
                train(config, resume=resume)
            refused.append(str(caught.value))

    train(config, callbacks=[second])
    assert len(refused) == 12
    train(tiny("optimisation.iterations=7"), resume=True)


def test_a_second_process_is_refused_and_the_end_of_the_first_one_frees_the_folder(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from rebridge.training.ownership import RunLock; "
    hold = [
        sys.executable,
        "-c",
        f"{code} lock = RunLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()",
    ]
    with subprocess.Popen([*hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(CheckpointError, match=rf"another run \(process {first.pid} on"):
            RunLock(tmp_path)
        first.kill()
        first.wait()
    RunLock(tmp_path).release()


def test_a_run_that_diverges_between_two_reports_leaves_finite_checkpoints(tiny: Tiny) -> None:
    wild = (
        "log_every=100",
        "checkpoint_every=2",
        "keep_checkpoints=2",
        "optimisation.iterations=40",
        "validate_every=99",
    )
    config = tiny(*wild, "optimisation.lr=1e30", "optimisation.clip=null", "optimisation.warmup=30")
    with pytest.raises(ValueError, match=r"the loss is nan at iteration \d+; lower optimisation.lr"):
        train(config)
    saved = [files(folder) for folder in config.output.glob("checkpoint-*")]
    assert saved
    assert all(torch.isfinite(value).all() for tensors in saved for value in tensors.values())
    tame = tiny(*wild, "optimisation.iterations=4", "optimisation.lr=1e-4", "optimisation.warmup=30")
    with pytest.warns(UserWarning, match="lr was 1e"):
        assert train(tame, resume=True).model is not None


def test_weights_that_are_not_finite_push_out_no_checkpoint(tiny: Tiny) -> None:
    config = tiny("checkpoint_every=1", "keep_checkpoints=1", "log_every=100", "validate_every=100")

    class Poisoned(BridgeTraining):
        def after_step(self, iteration: int) -> None:
            super().after_step(iteration)
            if iteration == 3:
                next(self.ema.module.parameters()).data[..., 0] = math.inf

    with pytest.raises(ValueError, match=r"ema: .* is not finite after iteration 4"):
        fit(Poisoned(config, torch.device("cpu")), config, training_pairs(config.data, config.seed))
    assert [path.name for path in config.output.glob("checkpoint-*")] == ["checkpoint-00000003"]


class Scored(Task):
    """One number that an optimiser raises by 1 each step, scored by its distance to 3."""

    def __init__(self) -> None:
        module = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(module.weight)
        super().__init__(module, lambda module, batch: -next(module.parameters()).sum())

    def validate(self) -> Validation:
        value = float(self.module.state_dict()["weight"])
        return Validation({"value": value}, score=-abs(value - 3))


@pytest.mark.parametrize(("export", "value"), [("last", 6.0), ("best", 3.0)])
def test_the_best_weights_are_kept_beside_the_last_and_exported_by_choice(
    tmp_path: Path, export: str, value: float
) -> None:
    config = FitConfig.model_validate(
        {"output": tmp_path, "device": "cpu", "validate_every": 1, "checkpoint_every": 6, "keep_checkpoints": 1}
        | {"optimisation": {"iterations": 6, "lr": 1.0, "clip": None}, "export": export}
    )
    data = TensorDataset(torch.zeros(16, 1))
    descent: dict[str, Any] = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1.0)}
    descent["schedule"] = lambda iteration: 1.0
    result = fit(Scored(), config, data, **descent)
    assert sorted(path.name for path in tmp_path.glob("*-0*")) == ["best-00000003", "checkpoint-00000006"]
    assert load_file(tmp_path / "best-00000003" / "model.safetensors")["weight"].item() == 3
    assert result.model is not None
    assert load_file(result.model)["weight"].item() == value
    assert result.psnr == {"value": value}


def test_a_checkpoint_is_there_before_the_validation_of_its_iteration(tiny: Tiny, tmp_path: Path) -> None:
    class Interrupted(BridgeTraining):
        def validate(self) -> Validation | None:
            if list(self.config.output.glob("checkpoint-00000006")):
                raise Killed
            return super().validate()

    train(tiny(f"output={tmp_path / 'whole'}", "validate_every=3"))
    config = tiny("validate_every=3")
    task = Interrupted(config, torch.device("cpu"), validation_pairs(config.data, config.seed))
    with pytest.raises(Killed):
        fit(task, config, training_pairs(config.data, config.seed))
    result = train(config, resume=True)
    assert result.psnr
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    states = [json.loads((tmp_path / run / "checkpoint-00000006/state.json").read_text()) for run in ("whole", "run")]
    assert states[0] | {"config": None} == states[1] | {"config": None}


def test_the_hangup_of_a_terminal_leaves_a_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    """A real terminal that is closed: SIGHUP comes, and nothing can be printed any more."""
    config = tiny("optimisation.iterations=100000", "checkpoint_every=100000", "log_every=1", "validate_every=100000")
    given = [f"data.clean={config.data.clean}", "data.holdout=2", f"output={config.output}"]
    given += ["optimisation.iterations=100000", "checkpoint_every=100000", "log_every=1", "validate_every=100000"]
    code = "import sys; from rebridge.training import load_config, train; train(load_config(sys.argv[1], sys.argv[2:]))"
    child, terminal = pty.fork()
    if child == 0:
        root = Path(__file__).parents[2]
        os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=str(root))
        os.chdir(root)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored where the tests run under nohup
        signal.alarm(300)
        os.execv(sys.executable, [sys.executable, "-c", code, "configs/tiny.yaml", *given])
    log = config.output / "log.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
        select.select([terminal], [], [], 0.05)
        os.read(terminal, 1 << 16)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(config.output.glob("checkpoint-*"))) == 1


def test_what_a_terminal_that_is_gone_was_to_show_does_not_fail_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        stream.write("held back")
        with pytest.raises(BrokenPipeError):
            stream.flush()
        with RunLog(tmp_path, 0, 1, trackers=()):
            pass
        stream.flush()
        monkeypatch.undo()


def test_a_full_disk_leaves_no_partial_folder_and_the_earlier_checkpoint(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny("checkpoint_every=2", "validate_every=100")
    sync = os.fsync

    def full(handle: int) -> None:
        if list(config.output.glob(".checkpoint-00000004.part/ema.safetensors")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"checkpoint-00000004 cannot be written: No space left on device"):
        train(config)
    assert sorted(path.name for path in config.output.glob("*checkpoint*")) == ["checkpoint-00000002"]
    monkeypatch.undo()
    train(config, resume=True)


def test_leftovers_of_a_killed_run_are_removed_by_the_next_one(tiny: Tiny) -> None:
    config = tiny("optimisation.iterations=2", "validate_every=100")
    train(config)
    for name in (".checkpoint-00000007.part", ".best-00000001.old.part"):
        (config.output / name).mkdir()
        (config.output / name / "model.safetensors").write_bytes(b"half")
    (config.output / ".mine.part").mkdir()
    train(config, resume=True)
    assert [path.name for path in config.output.glob(".*.part")] == [".mine.part"]


@pytest.mark.parametrize(
    "change",
    [
        {"loss": None},
        {"loss": {"sum": "a", "count": 1}},
        {"loss": []},
        {"psnr": [1]},
        {"psnr": {"a": []}},
        {"files": []},
        {"files": {"../x": 1}},
        {"iteration": "6"},
        {"config": 5},
        {"format": 2},
        {"validated": "x"},
    ],
)
def test_a_state_of_other_types_gives_one_sentence(tiny: Tiny, change: dict[str, Any]) -> None:
    config = tiny("keep_checkpoints=1", "validate_every=100")
    train(config)
    path = config.output / "checkpoint-00000006" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(CheckpointError) as caught:
            train(config, resume=True)
    assert "\n" not in str(caught.value)
    assert str(config.output) in str(caught.value)
