"""Weights on disk: a safetensors file, written and read tensor by tensor.

Nothing is held twice: a file is written while its tensors are converted one by one, and mapped into memory when it is read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

from rebridge.images.atomic import reason
from rebridge.images.regular import irregular
from rebridge.models.base import ModelError
from rebridge.models.config import CONFIG_FILE, WEIGHTS_FILE
from rebridge.models.eight_bits import rounded, unrounded
from rebridge.models.paging import page_out

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_ALIGNMENT = 8
_PIECE = 2**24
_FIRST_VALUES = (init.kaiming_uniform_, init.uniform_, init.normal_, init.constant_, Tensor.zero_)
"""What networks give their weights first values by, as far as torch asks modes about it."""
PREVIOUS_FILE = ".previous.safetensors"
"""Weights of a model whose files are being replaced."""


class Unfilled(TorchFunctionMode):
    """A context in which networks are made without first values for their weights.

    They take neither time nor memory before the weights of a file fill them.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in _FIRST_VALUES:
            target = given["tensor"] if "tensor" in given else args[0]
            if isinstance(target, nn.Parameter):  # a buffer may be in no file
                return target
        return func(*args, **given)


class StoredWeights:
    """The bytes of a safetensors file, made anew at each iteration.

    Args:
        state: tensors by name.
        dtype: of the stored floating-point tensors; None leaves theirs; torch.int8 as `eight_bits` says.

    Raises:
        ModelError: a dtype that weights are not stored in; a weight with NaN or infinite values, at iteration.
    """

    def __init__(self, state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
        if dtype not in (None, torch.float32, torch.float16, torch.bfloat16, torch.int8):
            raise ModelError(f"weights can be stored as float32, float16, bfloat16 or int8, got {dtype}")
        if dtype == torch.int8:
            state, dtype = rounded(state), None
        kinds = {
            name: (dtype or value.dtype) if value.is_floating_point() else value.dtype for name, value in state.items()
        }
        self.state = state
        self.kinds = dict(sorted(kinds.items(), key=lambda item: (-item[1].itemsize, item[0])))

    def __iter__(self) -> Iterator[Any]:
        """Yield the header, then each tensor, as bytes."""
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name, kind in self.kinds.items():
            end = offset + self.state[name].numel() * kind.itemsize
            shape = list(self.state[name].shape)
            header[name] = {"dtype": _NAMES[kind], "shape": shape, "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        yield len(text).to_bytes(8, "little") + text
        for name, kind in self.kinds.items():
            value = self.state[name].detach().to("cpu", kind)
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise ModelError(f"the weight '{name}' contains NaN or infinite values; the model is not saved")
            yield value.contiguous().reshape(-1).view(torch.uint8).numpy().data

    def sha256(self) -> str:
        """The checksum of the file."""
        digest = hashlib.sha256()
        for part in self:
            digest.update(part)
        return digest.hexdigest()


def state_of(parts: Mapping[str, nn.Module | None]) -> dict[str, Tensor]:
    """Gather the weights of several modules, each under its prefix."""
    present = ((prefix, part) for prefix, part in parts.items() if part is not None)
    return {prefix + key: value for prefix, part in present for key, value in part.state_dict().items()}


def fill(parts: Mapping[str, nn.Module | None], weights: Mapping[str, Tensor]) -> None:
    """Put weights that fit into modules, those of each under its prefix.

    Modules on the meta device get tensors of the precision that the file has; into others values are copied.
    """
    for prefix, part in parts.items():
        if part is None:
            continue
        own = part.state_dict()
        if any(value.is_meta for value in part.parameters()):
            part.load_state_dict({key: _kept(weights[prefix + key]) for key in own}, assign=True)
        else:
            for key, value in own.items():
                value.copy_(weights[prefix + key])


def mapped_weights(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Map the weights of a file, or of the one that it replaces, by checksum.

    Those in eight bits are widened.

    Args:
        path: of the file.
        sha256: its checksum; None for any.

    Raises:
        ModelError: no such file, a damaged one, or another one.
    """
    found = checksum(path)
    previous = path.with_name(PREVIOUS_FILE)
    try:
        if sha256 in (None, found):
            return unrounded(load_file(path))
        if previous.is_file() and checksum(previous) == sha256:  # a run was killed while it replaced the files
            return unrounded(load_file(previous))
        load_file(path)  # a damaged file is said to be damaged, not another one
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is damaged or incomplete; copy or download it again ({reason(error)})") from error
    raise ModelError(f"{path} is not the file that {CONFIG_FILE} describes (wrong sha256); copy or download it again")


def checksum(path: Path) -> str:
    """Compute the sha256 of a file of weights.

    Raises ModelError for one that cannot be read.
    """
    problem = irregular(path, "a file of weights")
    if problem == "no such file":
        raise ModelError(f"{path.parent} is not a model folder: it has no {WEIGHTS_FILE}")
    if problem is not None:
        raise ModelError(f"{path} {problem}")
    digest = hashlib.sha256()
    try:
        for piece in pieces(path):
            digest.update(piece)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}") from error
    return digest.hexdigest()


def pieces(path: Path) -> Iterator[bytes]:
    """Read a file piece by piece."""
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def check_weights(state: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise ModelError unless weights have the names and shapes of a network's.

    They must be finite, too.
    """
    for problem, keys in (
        ("lacks", state.keys() - weights.keys()),
        ("has the unknown", weights.keys() - state.keys()),
    ):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ModelError(
                f"{path} does not fit the network of {CONFIG_FILE}: it {problem} weight '{min(keys)}'{more}"
            )
    for key, value in weights.items():
        if value.shape != state[key].shape:
            raise ModelError(
                f"{path} does not fit the network of {CONFIG_FILE}: "
                f"'{key}' has shape {tuple(value.shape)}, the network needs {tuple(state[key].shape)}"
            )
        if value.is_floating_point() and not _is_finite(value):
            raise ModelError(f"{path} is damaged: the weight '{key}' contains NaN or infinite values")
        page_out(value)


def _is_finite(value: Tensor) -> bool:
    """Test if all values are finite, by the least and the greatest: NaN is both of them where there is one."""
    return value.numel() == 0 or all(math.isfinite(end.item()) for end in value.aminmax())


def _kept(value: Tensor) -> Tensor:
    """Copy a mapped tensor to memory of its own, which is aligned as kernels expect it, and give back the file's pages.

    float16, in which few networks are sure to stay finite, is widened; bfloat16 stays.
    """
    copy = value.float() if value.dtype == torch.float16 else value.clone()
    page_out(value)
    return copy
