"""Prints what sampling costs beside the network: its own time in 10 steps at 256x256, and host waits in the loop.

    python benchmarks/overhead.py

The network is that of the packaged model. Time outside it is measured inside one run: the whole walk less the time
spent in network calls. Waits are counted as calls of Tensor.item, tolist, bool or a copy to the CPU between the first network
call and the last.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.denoisers import NetworkDenoiser
from rebridge.models import load_model

SAMPLERS = ["dbim", "dbim:2", "dbim:eta", "ode", "heun-churn", "sde", "mean-ode", "odes3", "exponential"]


class Timed(torch.nn.Module):
    """A network that adds up the time spent in it, and what happens between its calls."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seconds = 0.0
        self.calls = 0

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        began = time.perf_counter()
        out = self.network(x, t, y)
        self.seconds += time.perf_counter() - began
        self.calls += 1
        return out


def build(name: str, steps: int) -> samplers.Sampler:
    """A sampler of the list, by its short name."""
    if name == "dbim:2":
        return samplers.create("dbim", order=2, steps=steps)
    if name == "dbim:eta":
        return samplers.create("dbim", eta=1.0, steps=steps)
    return samplers.create(name, steps=steps)


def waits(sampler: samplers.Sampler, bridge: bridges.Bridge, y: Tensor) -> int:
    """Host waits inside the loop: reads of a value, between the first and the last call of a denoiser that counts them."""
    counts: list[int] = []
    seen = 0
    originals = {name: getattr(Tensor, name) for name in ("item", "tolist", "__bool__", "cpu", "__float__", "__int__")}

    def counting(name: str) -> Callable[..., object]:
        def call(self: Tensor, *args: object, **kwargs: object) -> object:
            nonlocal seen
            seen += 1
            return originals[name](self, *args, **kwargs)

        return call

    def denoiser(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        counts.append(seen)
        return 0.5 * x + 0.5 * y

    try:
        for name in originals:
            setattr(Tensor, name, counting(name))
        sampler(bridge, denoiser, y)
    finally:
        for name, original in originals.items():
            setattr(Tensor, name, original)
    return counts[-1] - counts[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    y = torch.rand(1, 3, options.size, options.size) * 2 - 1
    y = y.contiguous(memory_format=torch.channels_last)
    bridge = bridges.create("goub")
    packaged = load_model("rdbm-tiny").network
    assert packaged is not None
    print(
        "| sampler | network calls | ms in the network | ms outside | share of the network's time | waits in the loop |"
    )
    print("|---|---|---|---|---|---|")
    for name in SAMPLERS:
        sampler = build(name, 10)
        network = Timed(packaged)
        denoiser = NetworkDenoiser(network, bridge, "preconditioned").eval()
        inside, outside, calls = [], [], 0
        for _ in range(options.runs + 1):
            network.seconds, network.calls = 0.0, 0
            began = time.perf_counter()
            sampler(bridge, denoiser, y)
            total = time.perf_counter() - began
            inside.append(network.seconds)
            outside.append(total - network.seconds)
            calls = network.calls
        spent, own = statistics.median(inside[1:]), statistics.median(outside[1:])
        share = own / spent
        print(f"| {name} | {calls} | {spent * 1e3:.0f} | {own * 1e3:.1f} | {share:.1%} | {waits(sampler, bridge, y)} |")


if __name__ == "__main__":
    main()
