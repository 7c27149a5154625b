"""LoRA inside any network by peft, while a `with` block lasts.

Afterwards the network is the one it was.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from rebridge.inverse.methods.base import check_at_least


class Adapters:
    """Low-rank adapters on the linear and convolution layers of a network.

    Grouped convolutions are left out.

    with Adapters(network, rank) as lora: the layers are W + B A with A ~ N(0, 1/rank^2) (peft's "gaussian") and B = 0;
    `lora.parameters` are A and B of all layers, and `lora.switch(on=False)` gives the network without them.

    Args:
        network: any module.
        rank: of A and B.
        seed: of A.

    Raises:
        ValueError: peft is missing or the network has no such layer.
    """

    def __init__(self, network: nn.Module, rank: int, seed: int = 0) -> None:
        check_at_least(1, rank=rank)
        self.network, self.rank, self.seed = network, rank, seed
        self._originals: dict[str, nn.Module] = {
            name: module for name, module in network.named_modules() if name and _adaptable(module)
        }
        if not self._originals:
            raise ValueError("the prior's network has no linear or convolution layer that could be adapted")
        self._attributes = set(vars(network))
        self._wanted_gradients = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
        self.parameters: list[Tensor] = []

    def __enter__(self) -> Adapters:
        peft = _peft()
        config = peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.rank,
            init_lora_weights="gaussian",
            target_modules=list(self._originals),
        )
        try:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                peft.inject_adapter_in_model(config, self.network)
        except BaseException:
            self._restore()
            raise
        self._layers: list[Any] = [self.network.get_submodule(name) for name in self._originals]
        self.parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def switch(self, *, on: bool) -> None:
        """Switch the adapters on or off."""
        for layer in self._layers:
            layer.enable_adapters(on)

    def _restore(self) -> None:
        for name, module in self._originals.items():
            parent, _, key = name.rpartition(".")
            owner = self.network.get_submodule(parent)
            owner._modules[key] = module
        for name in set(vars(self.network)) - self._attributes:  # such as peft's own record of the adapters
            delattr(self.network, name)
        for parameter, wanted in self._wanted_gradients:
            parameter.requires_grad_(wanted)


def _adaptable(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return module.groups == 1
    return isinstance(module, nn.Linear)


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ValueError(
            f"scd needs extra packages ({error.name or error} is missing): pip install 'rebridge[priors]'"
        ) from None
    return peft
