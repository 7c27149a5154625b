"""Reading of weights from published files, whatever their container.

Containers: a plain state dict, prefixes `module.` and `_orig_mod.`, BasicSR's params and params_ema, lucidrains'
{model, ema}, I2SB's list of averages without names, BBDM's shadow dict, Lightning, safetensors. Averaged weights (EMA) are
preferred, and it is said which were taken. Files are mapped into memory, so what is not used is not read.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from rebridge.images.regular import irregular
from rebridge.models.formats.published import inert, scanning
from rebridge.models.formats.published.errors import FormatError

StateDict = dict[str, Tensor]
WRAPPERS = ("module.", "_orig_mod.")
PLAIN_KEYS = ("state_dict", "model", "net", "params", "ema", "model_state_dict", "weight", "weights", "network")
"""Where training scripts put a plain state dict, in the order in which it is looked for."""
TEXT_ENDINGS = (".yml", ".yaml", ".json", ".txt", ".md", ".py", ".toml")


@dataclass(frozen=True)
class Weights:
    """The weights of one file.

    Args:
        state: Tensors by the authors' names, wrappers' prefixes removed.
        taken: Which weights of the file these are, in words.
        source: The file.
    """

    state: StateDict
    taken: str
    source: Path


def read_weights(path: str | Path) -> Weights:
    """Read the best weights of a published file.

    Args:
        path: A .pth, .pt, .ckpt or .safetensors file.

    Raises:
        FormatError: One sentence that begins with the file's name: no such file, truncated, not weights, harmful,
            or averaged weights that do not fit the others.
    """
    path = Path(path)
    try:
        state, taken = unwrap(read_content(path))
        _check_sound(state, path.stat().st_size)
    except FormatError as error:
        raise FormatError(f"{path.name} {error}") from None
    return Weights(state, taken, path)


def read_content(path: Path) -> Any:
    """Load a file without running anything, with tensors mapped from it.

    Raises FormatError, a phrase about the file, if that is impossible.
    """
    if path.is_dir():
        raise FormatError("is a folder: give the file of weights inside it")
    problem = irregular(path, "a file of weights")
    if problem not in (None, "no such file"):
        raise FormatError(str(problem))
    try:
        with open(path, "rb") as file:
            head = file.read(256)
    except OSError as error:
        raise FormatError(f"cannot be read ({error.strerror or error})") from None
    if not head:
        raise FormatError("is empty: fetch it again")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise FormatError(f"is damaged ({inert.first_line(error)}): fetch it again") from None
    _refuse_text(path, head)
    scanning.check(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # what that leaves unread is read below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=head.startswith(b"PK"))
    except Exception:  # it holds more than weights, or it is damaged, for which the strict reader has many errors
        return inert.load(path)


def unwrap(content: Any) -> tuple[StateDict, str]:
    """Find the state dict in a container and say which it is.

    Raises:
        FormatError: If there are no weights, or averages that do not fit the trained weights.
    """
    if not isinstance(content, Mapping):
        raise FormatError("holds no state dict but something else that was pickled; only weights by name can be read")
    if _is_state(content.get("params_ema")):
        return _clean(content["params_ema"]), "averaged weights (params_ema)"
    averages = content.get("ema")
    if isinstance(averages, Mapping) and isinstance(averages.get("shadow_params"), list):
        return _nameless(content, averages["shadow_params"])
    trained = next((_clean(content[key]) for key in ("model", "net") if _is_state(content.get(key))), None)
    if _is_state(averages):
        return _averaged(_clean(averages), trained)
    for key in PLAIN_KEYS:
        if _is_state(content.get(key)):
            return _clean(content[key]), f"trained weights ({key})"
    if _is_state(content):
        return _clean(content), "the only weights of the file"
    raise FormatError(f"holds no weights by name; it has {_listing(map(str, content))}")


def _nameless(content: Mapping[str, Any], averages: list[Any]) -> tuple[StateDict, str]:
    """Name I2SB's averages, which are in the order of the parameters of `net`."""
    if not _is_state(content.get("net")):
        raise FormatError("holds averaged weights without names, and no 'net' that would name them")
    net = _clean(content["net"])
    named = {name: value for name, value in net.items() if not name.endswith("noise_levels")}
    if len(averages) != len(named):
        raise FormatError(
            f"holds {len(averages)} averaged weights for {len(named)} trained ones: the two are of different networks"
        )
    pairs = dict(zip(named, averages, strict=True))
    _check_alike(pairs, named)
    return net | pairs, "averaged weights (ema, in the order of net)"


def _averaged(averages: StateDict, trained: StateDict | None) -> tuple[StateDict, str]:
    """Take the averages of lucidrains (under ema_model) or of BBDM.

    BBDM averages what is trained; the rest comes from the whole model.
    """
    inner = {
        name.removeprefix("ema_model."): value for name, value in averages.items() if name.startswith("ema_model.")
    }
    if inner:
        if trained is not None:
            _check_alike(inner, trained)
            _check_known({name: value for name, value in inner.items() if value.ndim > 1}, trained)
        return inner, "averaged weights (ema)"
    if trained is None:
        return averages, "averaged weights (ema)"
    _check_alike(averages, trained)
    _check_known(averages, trained)
    return trained | averages, "averaged weights (ema)"


def _check_sound(state: StateDict, size: int) -> None:
    """Refuse what is no plain array of numbers, or larger than the file that it is in."""
    for name, value in state.items():
        plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.is_complex():
            raise FormatError(f"holds something else than plain numbers as {name}")
        if value.numel() * value.element_size() > scanning.UNPACKED * size:
            raise FormatError(
                f"is too small for {name} of shape {tuple(value.shape)}: it is damaged, or made to do harm"
            )


def _check_known(averages: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> None:
    missing = [name for name in averages if name not in trained]
    if missing:
        raise FormatError(f"holds averaged weights that its model has not, such as {missing[0]}")


def _check_alike(averages: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> None:
    for name, value in averages.items():
        if not isinstance(value, Tensor):
            raise FormatError(f"holds something else than a tensor as the average of {name}")
        if name in trained and trained[name].shape != value.shape:
            raise FormatError(
                f"holds averaged weights of another size than the trained ones: {name} is {tuple(value.shape)} "
                f"against {tuple(trained[name].shape)}"
            )


def _is_state(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Recognise a state dict: at least half of its entries are tensors by name."""
    if not isinstance(value, Mapping) or not value:
        return False
    tensors = sum(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())
    return 2 * tensors >= len(value)


def _clean(state: Mapping[str, Any]) -> StateDict:
    """Drop prefixes that parallel training and compilation put before all names."""
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    for prefix in _wrappers(tensors):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _wrappers(state: StateDict) -> Iterator[str]:
    names = list(state)
    while names:
        prefix = next((prefix for prefix in WRAPPERS if all(name.startswith(prefix) for name in names)), None)
        if prefix is None:
            return
        yield prefix
        names = [name.removeprefix(prefix) for name in names]


def _refuse_text(path: Path, head: bytes) -> None:
    lowered = head.lstrip().lower()
    if lowered.startswith((b"<!doctype", b"<html")):
        raise FormatError("is a web page and no weights: the download did not give the file, fetch it by hand")
    if lowered.startswith(b"version https://git-lfs"):
        raise FormatError("is a pointer of Git LFS and no weights: fetch the file itself")
    printable = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    if path.suffix.lower() in TEXT_ENDINGS or (printable and len(head) > 3):
        raise FormatError(
            "is a text file, such as settings, and no weights: give the .pth or .pt file (settings are not needed)"
        )


def _listing(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "nothing"
