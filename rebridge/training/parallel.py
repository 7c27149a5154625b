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
from rebridge.training.config_files import ConfigError
from rebridge.training.muon import Muon
from rebridge.training.runtime import Runtime


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
        """See `Replicated.prepare`.

        Raises:
            ConfigError: an optimiser that needs whole matrices.
        """
        if isinstance(optimizer, Muon):
            raise ConfigError(
                "sharding: full leaves each process a part of every matrix, and optimisation.optimizer muon turns whole ones: "
                "use sharding none, or optimizer adamw"
            )
        return model, optimizer

    def part(self, model: Any, number: int) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = nullcontext() if number + 1 == self.accumulate else model.no_sync()
        return context

    def limit(self, model: Any, parameters: list[nn.Parameter], most: float | None) -> Tensor:
        norm: Tensor = model.clip_grad_norm_(math.inf if most is None else most)
        return norm

    def whole(self, model: Any) -> AbstractContextManager[Any]:
        return _summoned(model, False)

    def optimizer_tensors(self, model: Any, optimizer: Optimizer, module: nn.Module) -> dict[str, Tensor]:
        parameters = dict(module.named_parameters())
        found: dict[str, Tensor] = {}
        for quantity, example in self._quantities(optimizer).items():
            if example.ndim == 0:
                found |= {f"{name}|{quantity}": example.clone() for name in parameters}
                continue
            with self._in_their_place(parameters, optimizer, quantity), _summoned(model, False):
                found |= {f"{name}|{quantity}": value.detach().clone() for name, value in parameters_of(module)}
        return found

    def load_optimizer(
        self, model: Any, optimizer: Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]
    ) -> None:
        parameters = dict(module.named_parameters())
        weights = {name: value.detach().clone() for name, value in parameters.items()}
        for quantity in sorted({key.rpartition("|")[2] for key in tensors}):
            whole = {name: tensors[f"{name}|{quantity}"] for name in parameters if f"{name}|{quantity}" in tensors}
            if all(value.ndim == 0 for value in whole.values()):
                for name, value in whole.items():
                    optimizer.state[parameters[name]][quantity] = value.clone()
                continue
            with torch.no_grad(), _summoned(model, True):
                for name, value in parameters_of(module):
                    value.copy_(whole[name])
            for value in parameters.values():
                optimizer.state[value][quantity] = value.detach().clone()
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(weights[name])

    def _quantities(self, optimizer: Optimizer) -> dict[str, Tensor]:
        """An example of each quantity that the optimiser keeps, in the same order in all processes.

        Of counts it is the greatest: parameters of which a process holds nothing are not counted on.
        """
        found: dict[str, Tensor] = {}
        for state in optimizer.state.values():
            for key, value in state.items():
                if value is not None:
                    example, known = torch.as_tensor(value), found.get(key)
                    found[key] = example if known is None or example.ndim else torch.maximum(example, known)
        return dict(sorted(found.items()))

    @contextmanager
    def _in_their_place(
        self, parameters: Mapping[str, nn.Parameter], optimizer: Optimizer, quantity: str
    ) -> Iterator[None]:
        """Put a quantity in the place of the weights for a while, so that its parts are gathered as those of weights are."""
        weights = {name: value.detach().clone() for name, value in parameters.items()}
        with torch.no_grad():
            for value in parameters.values():
                kept = optimizer.state.get(value, {}).get(quantity)
                value.zero_() if kept is None else value.copy_(kept)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in parameters.items():
                    value.copy_(weights[name])


def parameters_of(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The named parameters of a module, as they are at this moment."""
    return list(module.named_parameters())


def strategy(runtime: Runtime, accumulate: int) -> Replicated:
    """Choose by the runtime how weights lie in several processes."""
    return (Sharded if runtime.sharded else Replicated)(runtime, accumulate)


def _fsdp() -> Any:
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel


@contextmanager
def _summoned(model: Any, keep: bool) -> Iterator[None]:
    """Whole weights in every process; changes are kept, if they are the same in all, or lost."""
    with _quietly(), _fsdp().summon_full_params(model, writeback=keep):
        yield


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's own notes, on state dicts and on processes without a GPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
