"""Puts a calibrated `careful` network into the package: its weights, and a card with the figures of benchmarks/pictures.py.

python tools/package_careful.py runs/small/calibrated.pt --figures docs/tables/pictures.json --commands runs/small/commands.txt
python tools/package_careful.py runs/tiny/calibrated.pt --name rdbm-tiny --eight-bits --figures ...
"""

import argparse
import json
from pathlib import Path

import torch
from package_model import TERMS
from train_careful import network_of

from rebridge import bridges, models
from rebridge.denoisers import NetworkDenoiser
from rebridge.models.card import card
from rebridge.networks.careful import KINDS

MODELS = Path(models.__file__).parent / "packaged"
SAMPLER = {"name": "dbim", "steps": 1, "start": "mean"}
ABOUT = """
## How it works

It first decides what ails the picture, {kinds}, with a probability for each; kinds may act together. What it is not
sure of it leaves alone: where nothing is found, the result is the picture itself, bit for bit. Where rain, haze or raindrops are
open, they are taken out of parts of the picture for a trial, and what was taken away and what is left decide; an exported graph
makes no trial. Air and exposure are undone by a map of few parameters, all else by a small U-Net, and a map of trust blends the
U-Net's change in where it is expected to help. To say yourself what is wrong, and how strongly to treat it:

    from rebridge.models import load_model
    network = load_model("{name}").network
    change = network.treating(["noise"], strength=0.7)(y, t, y)     # y in [-1, 1]; clean estimate: y + change

It is a regression: more steps and other seeds change nothing.

## Data and terms

Trained on photographs reduced to 0.4-0.85 of their size, so that no trace of JPEG is left: BSDS500 without CBSD68
(Arbelaez et al. 2011, non-commercial research),
{terms}; every twelfth picture of each folder was kept out, by name.
Degraded by `rebridge.degradations.mixture`; besides, PolyU real noise (non-commercial research), MEFB exposures (research)
and rain layers of VRGNet. The weights are released under the licence of rebridge, Apache-2.0.

Trained by

{commands}

## What it does not do

{limits}

## Figures

`python benchmarks/pictures.py --model rdbm-tiny --model rdbm-small --own 8 --write docs/tables/pictures.json`; PSNR in dB, means
over crops of at most 320 pixels; for clean pictures it is that of the result against the untouched input. "Named" is
with the kind given.

| set | n | input | {other} | {name} | worst | made worse by 0.1 dB | named |
|---|---|---|---|---|---|---|---|
{rows}
"""


def rows(tables: dict[str, dict[str, dict[str, float]]], name: str, other: str) -> str:
    """Lines of the table of figures, one for each set."""
    lines = []
    for key, row in tables[name].items():
        old = tables[other].get(key)
        start = f"{row['in']:.2f}" if row["in"] < 100 else "-"
        named = f"{row['named']:.2f}" if "named" in row else "-"
        figure = "median" if start == "-" else "out"
        middle = f"{old[figure]:.2f} | {row[figure]:.2f}" if old else f"- | {row[figure]:.2f}"
        worse = f"{row['worse by 0.1']:.0f}" if start != "-" else f"{row['below 30']:.0f} below 30"
        lines.append(f"| {key} | {row['images']:.0f} | {start} | {middle} | {row['worst']:.2f} | {worse} | {named} |")
    return "\n".join([*lines, "", "Sets without an input figure are clean: there the columns hold medians."])


def main() -> None:
    """Write the model folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--name", default="rdbm-small")
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--commands", type=Path, required=True)
    parser.add_argument("--limits", type=Path, required=True)
    parser.add_argument("--eight-bits", action="store_true", help="store the large weights in eight bits")
    options = parser.parse_args()
    state = torch.load(options.checkpoint)
    network = network_of(state, verdict="verdict.mean" in state)
    bridge = bridges.create("rdbm", lam=1e-4)
    tasks = list(KINDS)
    config = {
        "bridge": {"name": bridge.name, **bridge.params},
        "network": network.config,
        "sampler": SAMPLER,
        "prediction": "blend",
        "tasks": tasks,
    }
    parameters = sum(weight.numel() for weight in network.parameters())
    (other,) = (name for name in ("rdbm-tiny", "rdbm-small") if name != options.name)
    text = card(options.name, config, parameters) + ABOUT.format(
        name=options.name,
        other=other,
        kinds=", ".join(KINDS),
        terms=TERMS,
        commands="\n".join(f"    {line}" for line in options.commands.read_text().splitlines()),
        limits=options.limits.read_text().strip(),
        rows=rows(json.loads(options.figures.read_text()), options.name, other),
    )
    denoiser = NetworkDenoiser(network, bridge, "blend")
    model = models.TrainedModel(denoiser, sampler=SAMPLER, tasks=tasks, name=options.name)
    folder = model.save_pretrained(
        MODELS / options.name, card=text, dtype=torch.int8 if options.eight_bits else torch.float16
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {parameters:,} parameters, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
