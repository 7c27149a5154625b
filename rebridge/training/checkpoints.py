"""Checkpoints of a training run.

Folders of safetensors plus JSON that appear whole or not at all.

`checkpoint-00001000/` holds `model`, `ema` and `optimizer` (.safetensors) and `state.json`, which is written last and
records the size and SHA-256 of the others. The folder is filled under a temporary name, flushed to disk and renamed.
"""

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from rebridge.images.atomic import reason

FORMAT = 1
_NAME = re.compile(r"checkpoint-(\d+)")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used.

    The message is one sentence that names the file.
    """


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint after `iteration` iterations.

    tensors: by file ("model", ...) and name. state: from the JSON.
    """

    folder: Path
    iteration: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save_checkpoint(
    output: Path, iteration: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], keep: int
) -> Path:
    """Write a checkpoint below `output` and delete all but the newest `keep`.

    Returns its folder.

    A process killed at any moment leaves either no new checkpoint or a complete one. Raises CheckpointError where
    the disk refuses.
    """
    final = checkpoint_folder(output, iteration)
    partial = output / f".{final.name}.part"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        files = {}
        for name, group in tensors.items():
            data = save_tensors({key: value.detach().cpu().contiguous() for key, value in group.items()})
            _write(partial / f"{name}.safetensors", data)
            files[f"{name}.safetensors"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        record = {"format": FORMAT, "iteration": iteration, "files": files, **state}
        _write(partial / "state.json", json.dumps(record, indent=1).encode())
        _flush_folder(partial)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        _flush_folder(output)
    except OSError as error:
        raise CheckpointError(f"{final} cannot be written: {reason(error)}") from None
    for folder in checkpoint_folders(output)[keep:]:
        shutil.rmtree(folder, ignore_errors=True)
    return final


def checkpoint_folder(output: Path, iteration: int) -> Path:
    """The folder of the checkpoint after `iteration` iterations."""
    return output / f"checkpoint-{iteration:08d}"


def checkpoint_folders(output: Path) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    found = [path for path in output.glob("checkpoint-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises CheckpointError, one sentence, where a file is missing or damaged.
    """
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if state["format"] != FORMAT:
            raise CheckpointError(f"{folder} has format {state['format']}, this version reads format {FORMAT}")
        tensors = {Path(name).stem: _read(folder / name, **expected) for name, expected in state["files"].items()}
        return Checkpoint(folder, int(state["iteration"]), tensors, state)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{error.filename or folder} cannot be read: {reason(error)}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'state.json'} is damaged: {type(error).__name__} {reason(error)}") from None


def latest_checkpoint(output: Path) -> Checkpoint | None:
    """The newest checkpoint of a run that is whole.

    A damaged one is passed over with a warning that says why.

    None where there is no checkpoint at all; raises CheckpointError where there are some and all are damaged.
    """
    problem = None
    for folder in checkpoint_folders(output):
        try:
            return load_checkpoint(folder)
        except CheckpointError as error:
            problem = error
            warnings.warn(f"{error}; trying the checkpoint before it", stacklevel=2)
    if problem is not None:
        raise CheckpointError(f"no usable checkpoint is left in {output}: {problem}")
    return None


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The state of an optimiser as named tensors, `<parameter>|<quantity>`."""
    return {
        f"{name}|{quantity}": torch.as_tensor(value)
        for name, parameter in network.named_parameters()
        for quantity, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimizer(optimizer: torch.optim.Optimizer, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took.

    Raises CheckpointError for a parameter the network does not have.
    """
    parameters = dict(network.named_parameters())
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("|")
        if name not in parameters:
            raise CheckpointError(f"the optimiser's state names {name}, which the network does not have")
        like = parameters[name]
        # The step counter stays on the CPU, everything else lies like its parameter.
        state = value.clone() if value.ndim == 0 else torch.empty_like(like).copy_(value)
        optimizer.state[like][quantity] = state


def _read(path: Path, bytes: int, sha256: str) -> dict[str, Tensor]:
    data = path.read_bytes()
    if len(data) != bytes:
        raise CheckpointError(f"{path} is truncated: it has {len(data)} of {bytes} bytes")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointError(f"{path} is damaged: its checksum is not the one in state.json")
    return load_tensors(data)


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can (not on Windows)."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
