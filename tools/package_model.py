"""Puts a trained model into the package: float16 weights, and a card with the figures that `rebridge evaluate` printed.

rebridge evaluate --model runs/rdbm-tiny-5/model --clean ../shared/data/eval/cbsd68 --steps 1 --json > docs/tables/rdbm-tiny.json
python tools/package_model.py runs/rdbm-tiny-5/model configs/rdbm-tiny.yaml configs/equaliser-tiny.yaml configs/rdbm-tiny-2.yaml \
    configs/equaliser-tiny-2.yaml configs/rdbm-tiny-3.yaml configs/rdbm-tiny-4.yaml \
    configs/rdbm-tiny-5.yaml --figures docs/tables/rdbm-tiny.json --steps 1 \
    --command "rebridge evaluate --model rdbm-tiny --clean ../shared/data/eval/cbsd68 --json"
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from rebridge import hub
from rebridge.models.card import card

MODELS = Path(hub.__file__).parent / "models"
DATA = """
## Data and terms

Trained on photographs of the Berkeley Segmentation Data Set (the 432 of BSDS500 that are not in CBSD68, less those
held out for validation, `data.holdout` above), free for non-commercial research (cite Arbelaez, Maire, Fowlkes and
Malik, PAMI 2011); degraded by `rebridge.degradations`.
No other data, no pretrained weights.
The weights are released under the licence of rebridge, Apache-2.0. Trained by {commands}.

It knows the degradations as `rebridge degrade` makes them. Real rain, snow and haze differ; a mixture of several
degradations in one image was not trained.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model folder of the run")
    parser.add_argument("configs", type=Path, nargs="+", help="configurations it was trained with, in their order")
    parser.add_argument("--name", help="name in the package, by default that of the first configuration")
    parser.add_argument("--figures", type=Path, help="JSON of `rebridge evaluate`")
    parser.add_argument("--command", help="command that printed the figures", default="rebridge evaluate --json")
    parser.add_argument("--steps", type=int, help="steps that the model recommends, by default those of the run")
    options = parser.parse_args()
    name = options.name or options.configs[0].stem
    model = hub.load_model(options.model)
    sampler = dict(model.config["sampler"])
    if options.steps:
        sampler["steps"] = options.steps
    commands = " and ".join(f"`rebridge train {config}`" for config in options.configs)
    text = card(name, model.config | {"sampler": sampler}, model.parameters) + DATA.format(commands=commands)
    if options.figures:
        text += f"\n## Figures\n\n`{options.command}`\n\n{table(json.loads(options.figures.read_text()))}"
    folder = hub.save_model(
        MODELS / name,
        model.denoiser.network,
        model.bridge,
        model.config["prediction"],
        sampler,
        model.config["tasks"],
        model.config["training"],
        card=text,
        dtype=torch.float16,
        predictor=model.predictor.network if model.predictor else None,
        scale=model.denoiser.scale,
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {model.parameters:,} parameters, {size / 1e6:.2f} MB")


def table(figures: dict[str, Any]) -> str:
    """Markdown of what `rebridge evaluate --json` prints."""
    sampler = f"{figures['sampler']}, {figures['steps']} steps, seed {figures['seed']}; means over images, PSNR in dB"
    lines = [
        "| task | images | PSNR in | PSNR out | gain | median PSNR out | SSIM in | SSIM out |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in figures["tasks"]:
        cells = [task["task"], str(task["images"])]
        cells += [f"{task[key]:.2f}" for key in ("input_psnr", "psnr", "gain", "median_psnr")]
        cells += [f"{task[key]:.3f}" for key in ("input_ssim", "ssim")]
        lines.append(f"| {' | '.join(cells)} |")
    return f"{sampler}:\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
