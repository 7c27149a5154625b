"""Devices and dtypes that networks run in, and autocast around a denoiser."""

from __future__ import annotations

import torch
from torch import Tensor

from rebridge.denoisers.base import Denoiser, Estimate

NETWORK_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
AUTO_DTYPE = "auto"
"""Instead of a dtype: what a measurement finds best on this machine."""
_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class Autocast:
    """A denoiser with its network in a lower precision.

    The estimate has the precision of the state.

    Args:
        denoiser: what is evaluated.
        device_type: "cpu", "cuda" or the like.
        dtype: the lower precision.
    """

    def __init__(self, denoiser: Denoiser, device_type: str, dtype: torch.dtype) -> None:
        self.denoiser = denoiser
        self.device_type = device_type
        self.dtype = dtype

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor | Estimate:
        """Estimate x0 from x_t (B, ...), t (B,) and y (B, ...)."""
        with torch.autocast(self.device_type, self.dtype):
            result = self.denoiser(x_t, t, y)
        if isinstance(result, Estimate):
            return Estimate(result.x0.to(x_t.dtype), None if result.noise is None else result.noise.to(x_t.dtype))
        return result.to(x_t.dtype)


def device_of(device: str | torch.device | None) -> torch.device:
    """Return the device of a name; for None or "auto" a GPU if there is one.

    Raises:
        ValueError: a device that does not exist here.
    """
    if device is None or device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.zeros(1, device=place).item()  # the device "meta" has no values
    except (RuntimeError, AssertionError, ValueError, NotImplementedError, ImportError):
        raise ValueError(f"there is no device '{device}' here; use cpu" + _gpus()) from None
    return place


def dtype_of(dtype: str | torch.dtype | None) -> torch.dtype:
    """Return the dtype of a name, float32 for None.

    Raises:
        ValueError: a dtype that networks are not run in.
    """
    name = str(dtype or "float32").removeprefix("torch.")
    name = _SHORT.get(name, name)
    if name not in NETWORK_DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(NETWORK_DTYPES)}, got '{dtype}'")
    return NETWORK_DTYPES[name]


def _gpus() -> str:
    return f" or one of cuda:0 to cuda:{torch.cuda.device_count() - 1}" if torch.cuda.is_available() else ""
