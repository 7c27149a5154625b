"""Muon: momentum whose steps are turned into orthogonal matrices.

For the convolutions of a network; the rest is left to AdamW. Jordan et al. 2024 (kellerjordan.github.io/posts/muon); the scale
that lets one learning rate serve both kinds of parameters is that of Liu et al., arXiv 2502.16982.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

FEWEST_ROWS = 16
"""Weights with fewer rows or columns are left to AdamW: orthogonal steps are for matrices."""
NEWTON_SCHULZ_ROUNDS = 5
"""Of the Newton-Schulz iteration."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of its polynomial a x + b x^3 + c x^5, which brings singular values in (0, 1] near to 1, to about 0.3 at most off."""
ADAMS_SIZE = 0.2
"""Root mean square of the steps of AdamW in practice, in learning rates."""


class Muon(torch.optim.AdamW):
    """Muon for convolutions between features, AdamW for all other parameters.

    A convolution's weight counts as a matrix (out, in * height * width); depthwise ones, and those of fewer than `FEWEST_ROWS`
    rows or columns as at a network's ends, do not.

    Args:
        parameters: of a network.
        lr: of both.
        momentum: of Muon, in [0, 1); Nesterov's.
        betas, eps, weight_decay, fused: of AdamW; the decay is that of both.

    Raises:
        ValueError: a momentum outside [0, 1).
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 3e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum:g}")
        given = list(parameters)
        groups: list[dict[str, Any]] = [
            {"params": [p for p in given if is_matrix(p) == turned], "orthogonal": turned, "momentum": momentum}
            for turned in (False, True)
        ]
        used = [group for group in groups if group["params"]]
        super().__init__(used, lr, betas, eps, weight_decay, fused=fused)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one step.

        Args:
            closure: computes the loss anew, with gradients.

        Returns:
            What it returns.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        for group in groups:
            if group["orthogonal"]:
                self._turned_step(group)
        self.param_groups = [group for group in groups if not group["orthogonal"]]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def _turned_step(self, group: dict[str, Any]) -> None:
        alike: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                alike.setdefault(parameter.flatten(1).shape, []).append(parameter)
        for shape, parameters in alike.items():
            ahead = torch.stack([self._ahead(parameter, group["momentum"]) for parameter in parameters])
            size = ADAMS_SIZE * max(shape) ** 0.5
            for parameter, step in zip(parameters, orthogonal(ahead), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(step.view(parameter.shape), alpha=-group["lr"] * size)

    def _ahead(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Update the momentum of a parameter; returns Nesterov's, a matrix."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        mean = state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(mean, momentum).flatten(1)


def in_one_kernel(
    kind: Callable[..., torch.optim.Optimizer],
    parameters: Iterable[nn.Parameter],
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Make an optimiser whose step on a processor is one kernel for all parameters.

    Elsewhere torch chooses by itself.

    Args:
        kind: AdamW, or what is built on it.
        parameters: of a network.
        lr, betas, eps, weight_decay: of AdamW.
    """
    given = list(parameters)
    fused = True if all(one.device.type == "cpu" for one in given) else None
    return kind(given, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)


def is_matrix(parameter: Tensor) -> bool:
    """Test if a parameter is the weight of a convolution between features."""
    if parameter.ndim < 3 or parameter.shape[1] == 1:
        return False
    return min(parameter.shape[0], parameter[0].numel()) >= FEWEST_ROWS


def orthogonal(matrix: Tensor) -> Tensor:
    """Turn matrices (..., M, N) into nearly the nearest orthogonal ones.

    All singular values of those are 1. Five Newton-Schulz iterations: they come out between about 0.7 and 1.2, those below 1e-3
    of the norm smaller.

    Returns:
        (..., M, N), the same dtype.
    """
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = (matrix.mT if tall else matrix).float()
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-12)
    first, third, fifth = COEFFICIENTS
    for _ in range(NEWTON_SCHULZ_ROUNDS):
        square = x @ x.mT
        x = first * x + (third * square + fifth * square @ square) @ x
    return (x.mT if tall else x).to(matrix.dtype)
