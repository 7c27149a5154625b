"""Takes blocks out of the trunk of a `careful` network: those that are missed least; the rest is trained on afterwards.

    REBRIDGE_DATA=data python tools/thin_careful.py rdbm-small --blocks 1 2 1 --middle 2 --output runs/tiny-1/thin.pt

All blocks add to what they get, so that a network without some of them is one with a worse estimate, not another one.
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from train_careful import DATA, FOLDERS, in_range, mend_loss, network_of, patches

from rebridge.data.mixtures import Labelled, Photographs
from rebridge.models import load_model
from rebridge.networks.careful import Careful


@torch.no_grad()
def error(model: Careful, batches: Sequence[Labelled]) -> float:
    """Mean logarithm of the error of what is restored."""
    return sum(float(mend_loss(model, batch)[1]["restored"]) for batch in batches) / len(batches)


def thinned(model: Careful, counts: Sequence[int], batches: Sequence[Labelled]) -> None:
    """Leave so many blocks at each size, before and after the middle, and in the middle; print what that costs."""
    trunk = model.trunk
    sizes = [*zip(trunk.before, trunk.after, strict=True), (trunk.middle,)]
    print(f"all: {error(model, batches):.3f}", flush=True)
    for levels, count in zip(sizes, counts, strict=True):
        every = [itertools.combinations(cast(nn.Sequential, level.blocks), count) for level in levels]
        found = []
        for choice in itertools.product(*every):
            leave(levels, choice)
            found.append((error(model, batches), choice))
        least, choice = min(found, key=lambda one: one[0])
        leave(levels, choice)
        print(f"{count} left: {least:.3f}", flush=True)


def leave(levels: Sequence[nn.Module], choice: Sequence[Sequence[nn.Module]]) -> None:
    """Let levels have the blocks that were chosen for each."""
    for level, blocks in zip(levels, choice, strict=True):
        level.blocks = nn.Sequential(*blocks)


def main() -> None:
    """Read the options, thin and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="weights, or a packaged model")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--blocks", type=int, nargs="+", required=True)
    parser.add_argument("--middle", type=int, required=True)
    parser.add_argument("--batches", type=int, default=6, help="of eight patches, that it is judged by")
    options = parser.parse_args()
    torch.set_num_threads(1)
    state: dict[str, Tensor] = (
        torch.load(options.checkpoint)
        if options.checkpoint.endswith(".pt")
        else load_model(options.checkpoint).network.state_dict()
    )
    model = network_of(state, verdict="verdict.mean" in state).eval().to(memory_format=torch.channels_last)
    source = patches(
        Photographs([(DATA / "train" / name, weight) for name, weight in FOLDERS.items()]), 0.07, alarm=1.0
    )
    thinned(
        model,
        [*options.blocks, options.middle],
        [in_range(source.batch(8, 128, seed)) for seed in range(options.batches)],
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), options.output)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)


if __name__ == "__main__":
    main()
