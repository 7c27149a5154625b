"""Tasks: the protocol that the training loop knows, and a plain implementation.

A task is one object with a module and a loss. Everything else has a default in `Task`, so that

    task = Task(network, lambda network, batch: (network(batch[0]) - batch[1]).abs().mean())

is complete. Inside `loss` the module and its methods are called as anywhere else, `network(x)` or `network.classify(y)`: where
several processes train together, it is the loss as a whole that `torch.nn.parallel.DistributedDataParallel` wraps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Validation:
    """The result of one validation.

    Attributes:
        metrics: numbers by name, such as "psnr/1 step/rain"; the last ones are kept in the result of the run.
        text: the same in one line.
        pictures: images (C, H, W) in [0, 1] by name, for TensorBoard.
        score: one number by which weights are compared, larger is better; the best are kept. None keeps none.
    """

    metrics: dict[str, float]
    text: str = ""
    pictures: dict[str, Tensor] = field(default_factory=dict)
    score: float | None = None


class Trainable(Protocol):
    """A task, as the loop knows it.

    `Task` has defaults for all but the module and the loss.
    """

    module: nn.Module
    """What is optimised.

    Its parameters and buffers go into the optimiser's state by their names.
    """

    def to(self, device: torch.device) -> Any:
        """Move the task to the device that the run chose, before the optimiser is made."""
        ...

    def loss(self, batch: Any, first: int) -> Tensor:
        """The loss of a batch, a scalar with gradients.

        first: number of the batch's first sample in the run.
        """
        ...

    def after_step(self, iteration: int) -> None:
        """Follow the optimiser's step of iteration number `iteration`, from 0."""
        ...

    def state_dict(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The tensors of a checkpoint by file and name, beside those of the optimiser."""
        ...

    def load_state_dict(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take back what `state_dict` gave.

        KeyError or RuntimeError where it does not fit.
        """
        ...

    def metrics(self) -> dict[str, float]:
        """Numbers of the last batch to log beside the loss and the learning rate."""
        ...

    def describe(self) -> str:
        """A few words on what is trained, for the first line of a run."""
        ...

    def validate(self) -> Validation | None:
        """Measure the current state, on the first process only.

        None where there is nothing to measure on.
        """
        ...

    def export(self, folder: Path, validation: Mapping[str, float]) -> Path | None:
        """Write the result below `folder`, on the first process only.

        Returns where it is.

        Args:
            folder: the output folder of the run.
            validation: the last metrics of `validate`.
        """
        ...

    def explain(self, error: Exception) -> Exception:
        """The error to raise instead of one of the first iteration, or that error itself."""
        ...


class Task:
    """A module with a loss, trained as it is.

    Args:
        module: what is optimised.
        loss: called as loss(module, batch), returns a scalar; a subclass may define the method `loss` instead.
    """

    def __init__(self, module: nn.Module, loss: Callable[[nn.Module, Any], Tensor] | None = None) -> None:
        self.module = module
        self._loss = loss

    def to(self, device: torch.device) -> Task:
        """Move the module to a device; returns the task itself."""
        self.module.to(device)
        return self

    def loss(self, batch: Any, first: int) -> Tensor:
        """The loss of a batch, a scalar with gradients.

        first: number of the batch's first sample in the run.
        """
        if self._loss is None:
            raise NotImplementedError("give Task a loss, or define loss(batch, first) in a subclass")
        return self._loss(self.module, batch)

    def after_step(self, iteration: int) -> None:
        """Do nothing."""

    def state_dict(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The module's tensors."""
        return {"model": self.module.state_dict()}

    def load_state_dict(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take back what `state_dict` gave."""
        self.module.load_state_dict(tensors["model"])

    def metrics(self) -> dict[str, float]:
        """Nothing beside the loss."""
        return {}

    def describe(self) -> str:
        """The module's class and its number of parameters."""
        return f"{type(self.module).__name__} ({count_parameters(self.module):,} parameters)"

    def validate(self) -> Validation | None:
        """Measure nothing."""
        return None

    def export(self, folder: Path, validation: Mapping[str, float]) -> Path | None:
        """Write the module's tensors as `model.safetensors`."""
        from safetensors.torch import save

        from rebridge.images.atomic import write_atomic

        tensors = {name: value.detach().cpu().contiguous() for name, value in self.module.state_dict().items()}
        write_atomic(folder / "model.safetensors", save(tensors), overwrite=True)
        return folder / "model.safetensors"

    def explain(self, error: Exception) -> Exception:
        """The error itself."""
        return error


def count_parameters(module: nn.Module) -> int:
    """Count the numbers that a module is made of."""
    return sum(parameter.numel() for parameter in module.parameters())
