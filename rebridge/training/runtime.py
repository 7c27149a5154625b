"""Devices, processes and precision of a run.

All that the training package uses of accelerate is here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rebridge.denoisers.machine import prepare
from rebridge.training.config import FitConfig
from rebridge.training.config_files import ConfigError
from rebridge.training.extra import needed
from rebridge.training.task import Trainable

PATIENCE = timedelta(days=7)
"""Time that processes wait for what the first one does alone, such as a validation."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Runtime:
    """The device of this process, and what the processes of a run do together.

    Precision is not accelerate's affair: a task computes in the precision of its configuration itself (`InPrecision`), and
    the gradient scaler of fp16 is torch's own. So runs of different precision can follow one another in a process.
    """

    def __init__(self, config: FitConfig) -> None:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        self.accelerator = needed("accelerate").Accelerator(
            device_placement=False,
            mixed_precision="no",
            gradient_accumulation_steps=config.optimisation.accumulate,
            cpu=several and config.device == "cpu",
        )
        self.device = torch.device("cpu") if config.device == "cpu" else self.accelerator.device
        prepare()
        self.processes: int = self.accelerator.num_processes
        self.sharded = config.sharding == "full" and self.processes > 1
        if self.sharded and config.precision == "fp16":
            raise ConfigError("sharding: full is trained in bf16 or fp32")
        # A group of its own, since the limit of collectives (NCCL's 10 minutes) would end a run in a long validation.
        self._waiting: Any = dist.new_group(backend="gloo", timeout=PATIENCE) if dist.is_initialized() else None
        self.rank: int = self.accelerator.process_index
        self.main: bool = self.accelerator.is_main_process
        if config.precision == "fp16" and self.device.type == "cpu":
            warnings.warn("precision: fp16 is slow on a CPU; bf16 and fp32 are faster there", stacklevel=2)
        self.scaler = torch.amp.GradScaler(self.device.type) if config.precision == "fp16" else None

    def place(self, batch: Any) -> Any:
        """Move the tensors of a batch, however nested, to the device."""
        return needed("accelerate.utils").send_to_device(batch, self.device, non_blocking=self.device.type == "cuda")

    def mean(self, value: Tensor) -> Tensor:
        """Average a scalar over the processes."""
        result: Tensor = self.accelerator.reduce(value, reduction="mean")
        return result

    def wait(self) -> None:
        """Wait until all processes have come here, as long as it takes."""
        if self._waiting is not None:
            dist.barrier(self._waiting)

    def any(self, flag: bool) -> bool:
        """True if the flag is set in any process."""
        if self.processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device), reduction="sum") > 0)


class TaskLoss(nn.Module):
    """The loss of a task as a module, which several processes share.

    Its forward is the loss of a batch.
    """

    def __init__(self, task: Trainable) -> None:
        super().__init__()
        self.module = task.module
        self._task = [task]  # in a list, so that a task that is a module is not registered as a part

    def forward(self, batch: Any, first: int) -> Tensor:
        """The loss of a batch, a scalar."""
        return self._task[0].loss(batch, first)


class InPrecision(nn.Module):
    """A function computed in a lower precision by autocast.

    Its results are float32 again.

    Args:
        function: a network or a method of one.
        device: where it computes.
        precision: "fp32" (nothing changes), "bf16" or "fp16".
    """

    def __init__(self, function: Callable[..., Any], device: torch.device, precision: str) -> None:
        super().__init__()
        self._function = [function]  # in a list, so that a network keeps its own name and mode
        self._device_type, self._dtype = device.type, DTYPES[precision]

    def forward(self, *inputs: Tensor, **options: Any) -> Any:
        """The function's result."""
        if self._dtype == torch.float32:
            return self._function[0](*inputs, **options)
        with torch.autocast(self._device_type, dtype=self._dtype):
            result = self._function[0](*inputs, **options)
        return _as_float32(result)


def _as_float32(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_as_float32(value) for value in result)
    return result.float() if result.dtype in (torch.bfloat16, torch.float16) else result
