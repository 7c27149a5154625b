"""Weights of several processes: all of them in each (DDP), or a part (FSDP).

The loss of a task as a whole is wrapped, so a task calls its module and its methods as anywhere else. What needs whole weights
(the average, validation, checkpoints, the result) runs inside `whole`. Checkpoints hold names and whole tensors in both cases,
so that any number of processes resumes them, sharded or not.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rebridge.training.checkpoints import load_optimizer, optimizer_tensors
from rebridge.training.runtime import Runtime

_PREFIX = "module."
"""Of the names of a task's weights in the wrapped loss."""


class Replicated:
    """Every process holds all weights; gradients are averaged by DDP.

    Args:
        runtime: of the run.
        accumulate: parts of an iteration.
    """

    def __init__(self, runtime: Runtime, accumulate: int) -> None:
        self.runtime, self.accumulate = runtime, accumulate

    def wrap(self, loss: nn.Module) -> Any:
        """Wrap the loss of a task before its optimiser is made."""
        return loss

    def prepare(self, model: Any, optimizer: Optimizer) -> tuple[Any, Any]:
        """Make the model that is called, and what steps, once both are in their state."""
        prepared: tuple[Any, Any] = self.runtime.accelerator.prepare(model, optimizer)
        return prepared

    def part(self, model: Any, number: int) -> AbstractContextManager[Any]:
        """The context of a part of an iteration; the last one exchanges gradients."""
        context: AbstractContextManager[Any] = self.runtime.accelerator.accumulate(model)
        return context

    def limit(self, model: Any, parameters: list[nn.Parameter], most: float | None) -> Tensor:
        """Limit the norm of the gradients, if it is to be; returns it."""
        if most is None:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            return torch.nn.utils.get_total_norm(gradients)
        norm: Tensor = self.runtime.accelerator.clip_grad_norm_(parameters, most)
        return norm

    def whole(self, model: Any) -> AbstractContextManager[Any]:
        """Whole weights in every process, for a while."""
        return nullcontext()

    def optimizer_tensors(self, model: Any, optimizer: Optimizer, module: nn.Module) -> dict[str, Tensor]:
        """The state of the optimiser as whole named tensors."""
        return optimizer_tensors(optimizer, module)

    def load_optimizer(
        self, model: Any, optimizer: Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]
    ) -> None:
        """Put back what `optimizer_tensors` took."""
        load_optimizer(optimizer, module, tensors)


class Sharded(Replicated):
    """Every process holds a part of weights, gradients and optimiser (FSDP)."""

    def wrap(self, loss: nn.Module) -> Any:
        with _quietly():
            return _fsdp()(loss, use_orig_params=True, device_id=self.runtime.device)

    def prepare(self, model: Any, optimizer: Optimizer) -> tuple[Any, Any]:
        return model, optimizer

    def part(self, model: Any, number: int) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = nullcontext() if number + 1 == self.accumulate else model.no_sync()
        return context

    def limit(self, model: Any, parameters: list[nn.Parameter], most: float | None) -> Tensor:
        norm: Tensor = model.clip_grad_norm_(math.inf if most is None else most)
        return norm

    def whole(self, model: Any) -> AbstractContextManager[Any]:
        return _summoned(model)

    def optimizer_tensors(self, model: Any, optimizer: Optimizer, module: nn.Module) -> dict[str, Tensor]:
        with _quietly():
            state = _fsdp().full_optim_state_dict(model, optimizer, rank0_only=False)["state"]
        return {
            f"{name.removeprefix(_PREFIX)}|{quantity}": torch.as_tensor(value).clone()
            for name, quantities in state.items()
            for quantity, value in quantities.items()
            if value is not None
        }

    def load_optimizer(
        self, model: Any, optimizer: Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]
    ) -> None:
        if not tensors:
            return
        state: dict[str, dict[str, Any]] = {}
        for key, value in tensors.items():
            name, _, quantity = key.rpartition("|")
            state.setdefault(_PREFIX + name, {})[quantity] = value
        settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        gathered = {"state": state, "param_groups": [{**settings[0], "params": list(state)}]}
        with _quietly():
            own = _fsdp().optim_state_dict_to_load(model, optimizer, gathered)
        optimizer.load_state_dict(own)


def strategy(runtime: Runtime, accumulate: int) -> Replicated:
    """Choose by the runtime how weights lie in several processes."""
    return (Sharded if runtime.sharded else Replicated)(runtime, accumulate)


def _fsdp() -> Any:
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel


@contextmanager
def _summoned(model: Any) -> Iterator[None]:
    with _quietly(), _fsdp().summon_full_params(model, writeback=False):
        yield


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's own notes, on state dicts and on processes without a GPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
