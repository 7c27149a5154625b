"""Prints what torch.compile gains for a network, what it costs, and from how many pixels on a batch repays it.

    python benchmarks/compiling.py --json docs/tables/compiling.json

Beside the packaged models stands one with the network of Refusion (depthwise convolutions, gates, norms), with random weights:
its speed is that of trained ones. The blocks of each are compiled for any size, the code is kept on disk, and its loading is
timed as another process would have it. The first row of a model that is not on disk yet takes a minute. `rebridge restore` and
`rebridge enlarge` decide by the same measurement.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from floor import machine, sentence
from torch import Tensor, nn

from rebridge import bridges
from rebridge.models import TrainedModel, load_model
from rebridge.models.compiling import Compiled, measure_compiled
from rebridge.networks.conditional_nafnet import ConditionalNAFNet

PACKAGED = ("rdbm-tiny", "rdbm-small", "enlarge-small", "inpaint-small")
REFUSION = "Refusion, width 32"


class Refusion(nn.Module):
    """The network of Refusion at half its width, and with fewer blocks, with random weights."""

    channels, multiple = 3, 16

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = ConditionalNAFNet(width=32, encoder=(1, 1, 1, 6))
        for weight in self.network.parameters():
            if not weight.any():
                nn.init.normal_(weight, std=0.05)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Compute the raw output; see `rebridge.networks.Network`."""
        output: Tensor = self.network(x, t, y)
        return output


def opened(name: str) -> TrainedModel:
    """Open a model by name."""
    if name == REFUSION:
        return TrainedModel.of(Refusion(), bridges.create("ir-sde"), "noise", name=name)
    model = load_model(name, "cpu")
    assert isinstance(model, TrainedModel)
    return model


def told(found: Compiled) -> str:
    """Say from how many pixels on a batch repays it."""
    if not found.faster:
        return "never"
    return f"from {found.loading / (found.plain - found.compiled) / 1e6:.0f} megapixels on"


def main() -> None:
    """Print a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[*PACKAGED, REFUSION])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    floor, rows = machine(), []
    print(sentence(floor))
    for name in given.models:
        model, began = opened(name), time.perf_counter()
        found = measure_compiled(model)
        if found is None:
            raise SystemExit(f"{name} cannot be compiled here")
        row = {
            "model": name,
            "plain": round(1e6 * found.plain, 3),
            "compiled": round(1e6 * found.compiled, 3),
            "loading": round(found.loading, 1),
            "levels": round(255 * found.change, 4),
            "repaid": told(found),
        }
        rows.append(row)
        print(
            f"{name}: {row['plain']:.2f} s a megapixel, compiled {row['compiled']:.2f} "
            f"({1 - found.compiled / found.plain:.0%} less), {row['levels']} levels apart at most; loading the code takes "
            f"{row['loading']:.1f} s, all of the measurement {time.perf_counter() - began:.0f} s: repaid {row['repaid']}",
            flush=True,
        )
    if given.json is not None:
        given.json.write_text(json.dumps({"machine": floor, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
