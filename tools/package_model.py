"""Put a trained model into the package: float16 weights, and a card with the metrics that `rebridge evaluate` printed.

rebridge train configs/rdbm-fast.yaml
rebridge evaluate --model runs/rdbm-fast/low-light/model --clean $REBRIDGE_DATA/eval/cbsd68 --steps 1 --json \\
    > docs/tables/rdbm-fast.json
python tools/package_model.py configs/rdbm-fast.yaml --metrics docs/tables/rdbm-fast.json --steps 1 \
    --command "rebridge evaluate --model rdbm-fast --clean \\$REBRIDGE_DATA/eval/cbsd68 --json"
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rebridge import models, training

PACKAGED = Path(models.__file__).parent / "packaged"
DATA = """
## Data and terms

Trained on photographs of the Berkeley Segmentation Data Set (the 432 of BSDS500 that are not in CBSD68), free for
non-commercial research (cite Arbelaez, Maire, Fowlkes and Malik, PAMI 2011){more}; those held out for validation
(`data.holdout` above) left out. Degraded by `rebridge.degradations`.
No other data, no pretrained weights.
The weights are released under the licence of rebridge, Apache-2.0. Trained by `rebridge train {config}`.

{limits}
"""
WIDE = "${REBRIDGE_DATA}/train/clean"
"""A folder of pictures of many kinds."""
TERMS = """elementary/wallpapers (free licences picture by picture), a sample of ImageNet (non-commercial research), Urban100 and
SunHays80 (Huang et al. 2015, Sun & Hays 2012, research), T91 (Yang et al. 2010, research), CamVid (Brostow et al. 2009,
academic), eight faces of CelebA-HQ (non-commercial research), SROIE receipts (research), nextcloud screenshots
(CC BY-SA 4.0), and pictures drawn for the project"""
"""What it holds, with terms."""
LIMITS = """It knows the degradations as `rebridge degrade` makes them. Real rain, snow and haze differ; a mixture of several
degradations in one image was not trained."""


def package(
    model: models.TrainedModel,
    name: str,
    config: Path,
    metrics: str = "",
    steps: int | None = None,
    limits: str = LIMITS,
) -> Path:
    """Write a model into the package.

    Args:
        model: what was trained.
        name: in the package.
        config: the file that it was trained by.
        metrics: a section of the card.
        steps: that the model recommends, by default those of the run.
        limits: what it does not do.

    Returns:
        The folder.
    """
    sampler = dict(model.info.sampler) | ({} if steps is None else {"steps": steps})
    model.info = replace(model.info, name=name, sampler=sampler)
    clean = training.load_stages(config)[-1].config.data.clean
    more = f", and, at last, besides:\n{TERMS}" if isinstance(clean, list) and Path(WIDE) in clean else ""
    data = DATA.format(config=config, limits=limits, more=more)
    return model.save_pretrained(PACKAGED / name, dtype=torch.float16, card=model.card() + data + metrics)


def table(metrics: dict[str, Any]) -> str:
    """Make a Markdown table of what `rebridge evaluate --json` prints."""
    steps = f"{metrics['steps']} step{'s' * (metrics['steps'] != 1)}"
    sampler = f"{metrics['sampler']}, {steps}, seed {metrics['seed']}; means over images, PSNR in dB"
    lines = [
        "| task | images | PSNR in | PSNR out | gain | median PSNR out | SSIM in | SSIM out |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in metrics["tasks"]:
        other = task.get("method", "model")
        cells = [task["task"] if other == "model" else f"{task['task']}, {other}", str(task["images"])]
        cells += [f"{task[key]:.2f}" for key in ("input_psnr", "psnr", "gain", "median_psnr")]
        cells += [f"{task[key]:.3f}" for key in ("input_ssim", "ssim")]
        lines.append(f"| {' | '.join(cells)} |")
    return f"{sampler}:\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Read the command line, and package the result of the file's last stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="the file that the model was trained by")
    parser.add_argument("--model", type=Path, help="model folder, by default that of the file's last stage")
    parser.add_argument("--name", help="name in the package, by default that of the file")
    parser.add_argument("--metrics", type=Path, help="JSON of `rebridge evaluate`")
    parser.add_argument("--command", help="command that printed the metrics", default="rebridge evaluate --json")
    parser.add_argument("--steps", type=int, help="steps that the model recommends, by default those of the run")
    parser.add_argument("--limits", type=Path, help="text of what it does not do")
    options = parser.parse_args()
    model = models.load_model(str(options.model or training.load_stages(options.config)[-1].result))
    if not isinstance(model, models.TrainedModel):
        parser.error("only models of this library's own folders can be packaged")
    text = ""
    if options.metrics:
        text = f"\n## Figures\n\n`{options.command}`\n\n{table(json.loads(options.metrics.read_text()))}"
    limits = options.limits.read_text().strip() if options.limits else LIMITS
    folder = package(model, options.name or options.config.stem, options.config, text, options.steps, limits)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {model.parameters:,} parameters, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
