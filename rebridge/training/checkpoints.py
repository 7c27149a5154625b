"""Checkpoints of a training run, and the best weights beside them.

Folders of safetensors plus JSON that appear whole or not at all.

`checkpoint-00001000/` holds `model`, `ema` and `optimizer` (.safetensors) and `state.json`, which is written last and
records the size and SHA-256 of the others. The folder is filled under a temporary name, flushed to disk and renamed.
`best-00000500/` is the same without the optimiser: the weights with the best validation so far.
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
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from rebridge.images.atomic import reason, remove_leftovers, write_atomic
from rebridge.images.documents import read_json
from rebridge.images.regular import read_regular

FORMAT = 1
STATE_FILE = "state.json"
_NAME = re.compile(r"(?:checkpoint|best)-(\d+)")
_PARTIAL = re.compile(r"\.(?:checkpoint|best)-\d+(?:\.old)?\.part")


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
    the disk refuses; what was half written is gone then.
    """
    return _save(checkpoint_folder(output, iteration), tensors, {"iteration": iteration, **state}, keep)


def save_best(
    output: Path, iteration: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Write the best weights so far in place of earlier ones.

    It is as safe as with a checkpoint.

    Returns their folder.
    """
    return _save(output / f"best-{iteration:08d}", tensors, {"iteration": iteration, **state}, 1)


def checkpoint_folder(output: Path, iteration: int) -> Path:
    """The folder of the checkpoint after `iteration` iterations."""
    return output / f"checkpoint-{iteration:08d}"


def checkpoint_folders(output: Path, kind: str = "checkpoint") -> list[Path]:
    """The checkpoints of a run, the newest first; of kind "best" the best weights."""
    found = [path for path in output.glob(f"{kind}-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]), reverse=True)


def remove_partial(output: Path) -> None:
    """Remove what killed runs left half written or half deleted.

    Only for the run that holds the folder.
    """
    remove_leftovers(output)
    for path in output.glob(".*.part"):
        if _PARTIAL.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def read_state(folder: Path) -> dict[str, Any]:
    """Read and check the state.json of a checkpoint.

    Raises CheckpointError, one sentence.
    """
    path = folder / STATE_FILE
    try:
        state = read_json(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} cannot be read: {reason(error)}") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: it {error}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is damaged: it holds no JSON object")
    if state.get("format") != FORMAT:
        raise CheckpointError(f"{folder} has format {state.get('format')!r}, this version reads format {FORMAT}")
    for key, kinds in {"iteration": (int,), "files": (dict,), "psnr": (dict,), "config": (dict, type(None))}.items():
        if not isinstance(state.get(key), kinds) or isinstance(state.get(key), bool):
            raise CheckpointError(f"{path} is damaged: {key} is not of the right type")
    for name, expected in state["files"].items():
        if Path(name).name != name or not isinstance(expected, dict) or expected.keys() != {"bytes", "sha256"}:
            raise CheckpointError(f"{path} is damaged: it does not describe the file {name[:80]!r}")
    return state


def update_state(folder: Path, **changes: Any) -> None:
    """Change values in the state.json of a checkpoint that is there.

    CheckpointError where the disk refuses.
    """
    try:
        record = json.dumps(read_state(folder) | changes, indent=1)
        write_atomic(folder / STATE_FILE, record.encode(), overwrite=True)
    except OSError as error:
        raise CheckpointError(f"{folder / STATE_FILE} cannot be written: {reason(error)}") from None


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises CheckpointError, one sentence, where a file is missing or damaged.
    """
    state = read_state(folder)
    tensors = {Path(name).stem: _read(folder / name, **expected) for name, expected in state["files"].items()}
    return Checkpoint(folder, state["iteration"], tensors, state)


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

    Raises CheckpointError for a parameter the network does not have, or state of another shape.
    """
    parameters = dict(network.named_parameters())
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("|")
        if name not in parameters:
            raise CheckpointError(f"the optimiser's state names {name}, which the network does not have")
        like = parameters[name]
        if value.ndim > 0 and value.shape != like.shape:
            raise CheckpointError(f"the optimiser's state of {name} has another shape than the network's")
        # The step counter stays on the CPU, everything else lies like its parameter.
        state = value.clone() if value.ndim == 0 else torch.empty_like(like).copy_(value)
        optimizer.state[like][quantity] = state


def first_not_finite(tensors: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """Name the first tensor that holds NaN or infinite values.

    Its name is "model: weight"; None where all are finite.
    """
    named = {f"{file}: {name}": value for file, group in tensors.items() for name, value in group.items()}
    looked = {name: torch.isfinite(value).all() for name, value in named.items() if value.is_floating_point()}
    by_device: dict[torch.device, list[str]] = {}
    for name, flag in looked.items():
        by_device.setdefault(flag.device, []).append(name)
    for names in by_device.values():  # one wait for each device, not one for each tensor
        flags = torch.stack([looked[name] for name in names]).tolist()
        for name, flag in zip(names, flags, strict=True):
            if not flag:
                return name
    return None


def _save(final: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], keep: int) -> Path:
    """Write a folder of tensors and delete all but the newest `keep` of its kind."""
    output, partial = final.parent, final.with_name(f".{final.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        files = {}
        for name, group in tensors.items():
            data = save_tensors({key: value.detach().cpu().contiguous() for key, value in group.items()})
            _write(partial / f"{name}.safetensors", data)
            files[f"{name}.safetensors"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        record = {"format": FORMAT, "files": files, **state}
        _write(partial / STATE_FILE, json.dumps(record, indent=1).encode())
        _flush_folder(partial)
        _delete(final)
        partial.rename(final)
        _flush_folder(output)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(f"{final} cannot be written: {reason(error)}") from None
    for folder in checkpoint_folders(output, final.name.partition("-")[0])[keep:]:
        _delete(folder)
    return final


def _delete(folder: Path) -> None:
    """Delete a checkpoint so that a kill leaves it whole or hidden, never half deleted under its name."""
    hidden = folder.with_name(f".{folder.name}.old.part")
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        folder.rename(hidden)
    except OSError:  # it is not there, or the system keeps it
        return
    shutil.rmtree(hidden, ignore_errors=True)


def _read(path: Path, bytes: int, sha256: str) -> dict[str, Tensor]:
    try:
        data, _ = read_regular(path, None, "a file of weights")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {reason(error)}") from None
    if len(data) != bytes:
        raise CheckpointError(f"{path} is truncated: it has {len(data)} of {bytes} bytes")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointError(f"{path} is damaged: its checksum is not the one in state.json")
    try:
        return load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged: {reason(error)}") from None


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
