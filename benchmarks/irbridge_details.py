"""Details that the option `detail` wins back from what an autoencoder loses, on and off.

    python benchmarks/irbridge_details.py --clean $REBRIDGE_DATA/eval/cbsd68 --train $REBRIDGE_DATA/train/bsd432

A latent prior returns D(x0) where a pixel prior returns x0. So an image is restored by a pixel prior, passed through an
autoencoder of diffusers' kind (AutoencoderKL, trained here for some minutes), and then given the input's details back or not.
Printed are PSNR in dB of the degraded image, of the restored one before the autoencoder, after it (off), and with `keep_details`
(on). `--model perfect` takes the clean image as the restored one, which leaves the autoencoder's loss alone to be seen.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from motion_blur import add_clean, clean_of
from torch import Tensor

from rebridge.data import ImageFolder
from rebridge.data.crops import crop, random_corner
from rebridge.data.folders import as_float
from rebridge.evaluation import synthetic_cases
from rebridge.evaluation.metrics import psnr
from rebridge.irbridge import keep_details
from rebridge.models import load_prior
from rebridge.networks.layers import pad_to_multiple
from rebridge.restoration import Restorer


def trained_autoencoder(folder: Path, iterations: int, batch: int = 8, patch: int = 64) -> Any:
    """A small AutoencoderKL that shrinks images by 4, trained on patches of a folder of images by L1."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    network = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=8, block_out_channels=(24, 32, 48), norm_num_groups=8, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, mid_block_add_attention=False,
    )  # fmt: skip
    images = ImageFolder(folder)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    generator = torch.Generator().manual_seed(0)
    for iteration in range(iterations):
        chosen = torch.randint(len(images), (batch,), generator=generator).tolist()
        stored = [images.stored(index) for index in chosen]
        patches = [as_float(crop(image, *random_corner(image, patch, generator), patch)) for image in stored]
        x = 2 * torch.stack(patches) - 1
        loss = (network.decode(network.encode(x).latent_dist.mode()).sample - x).abs().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if (iteration + 1) % 100 == 0:
            print(f"autoencoder: {iteration + 1}/{iterations} iterations, mean error {loss.item() / 2:.4f}", flush=True)
    return network.eval()


@torch.no_grad()
def through(network: Any, image: Tensor) -> Tensor:
    """D(E(image)) of an image (1, 3, H, W) in [0, 1]."""
    height, width = image.shape[-2:]
    decoded = network.decode(network.encode(2 * pad_to_multiple(image, 4) - 1).latent_dist.mode()).sample
    return (decoded / 2 + 0.5).clamp(0, 1)[..., :height, :width]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_clean(parser)
    parser.add_argument("--train", type=Path, required=True, help="images to train the autoencoder on")
    parser.add_argument("--model", default="pixel-prior-tiny")
    parser.add_argument("--tasks", nargs="+", default=["inpaint", "rain", "snow", "raindrop", "haze", "lowlight"])
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--dtype", default=None)
    parser.add_argument(
        "--autoencoder", type=Path, default=Path("runs/details-autoencoder"), help="kept here, and reused"
    )
    options = parser.parse_args()
    options.clean = clean_of(options, parser)
    if options.autoencoder.is_dir():
        from diffusers import AutoencoderKL

        network = AutoencoderKL.from_pretrained(options.autoencoder).eval()
    else:
        network = trained_autoencoder(options.train, options.iterations)
        network.save_pretrained(options.autoencoder)
    print("| task | degraded | restored | off: through the autoencoder | on: detail 1 | gain |")
    print("|---|---|---|---|---|---|")
    for task in options.tasks:
        restore = None
        if options.model != "perfect":
            restore = Restorer.from_preset(load_prior(options.model, dtype=options.dtype), task=task)
        rows: list[tuple[float, ...]] = []
        for case in synthetic_cases(options.clean, [task], limit=options.limit):
            clean, degraded = (image[None] for image in case.load())
            restored = clean if restore is None else restore(degraded, steps=options.steps)
            off = through(network, restored)
            on = keep_details(off, degraded, through(network, degraded)).clamp(0, 1)
            rows.append(tuple(float(psnr(image, clean)) for image in (degraded, restored, off, on)))
        means = [statistics.fmean(column) for column in zip(*rows, strict=True)]
        print(
            f"| {task} | " + " | ".join(f"{value:.2f}" for value in means) + f" | {means[3] - means[2]:+.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
