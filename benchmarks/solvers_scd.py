"""Prints what SCD's adaptation gives on images unlike the prior's training data: tomography with 60 angles, both ways round.

    REBRIDGE_DATA=... python benchmarks/solvers_scd.py
    python benchmarks/solvers_scd.py --photographs bsd432 --test cbsd68

Trains two small grey priors for minutes, one on random ellipses and one on crops of photographs, kept in --folder for the next
run. Then images of each kind are measured (parallel-beam Radon, noise of 1 % of the mean measurement) and solved with both
priors, by SCD and by the same method with the adaptation switched off; gamma is the best of --gammas for the latter.
Photographs come from train/bsd432 and eval/cbsd68 in the folder REBRIDGE_DATA unless named.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rebridge import bridges, networks, solve
from rebridge.data import ImageFolder
from rebridge.denoisers import NetworkDenoiser
from rebridge.evaluation.metrics import psnr
from rebridge.evaluation.solvers import centre_square
from rebridge.inverse import Method, create, operators
from rebridge.models import Model, TrainedModel, load_prior

NETWORK = {"widths": [24, 32, 48], "blocks": [1, 1], "middle": 2, "embedding": 32}


def ellipses(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Draw pictures (count, 1, side, side) of 5 to 20 overlapping ellipses whose grey values add up, in [0, 1]."""
    axis = torch.linspace(-1, 1, side)
    rows, columns = axis[:, None], axis[None]
    pictures = torch.zeros(count, 1, side, side)
    for picture in pictures:
        for _ in range(int(torch.randint(5, 21, (), generator=generator))):
            place = torch.rand(2, generator=generator) * 1.6 - 0.8
            size = torch.rand(2, generator=generator) * 0.45 + 0.05
            angle, grey = torch.rand((), generator=generator) * torch.pi, torch.rand((), generator=generator) - 0.4
            u = (rows - place[0]) * angle.cos() + (columns - place[1]) * angle.sin()
            v = (columns - place[1]) * angle.cos() - (rows - place[0]) * angle.sin()
            picture[0] += grey * ((u / size[0]).square() + (v / size[1]).square() < 1)
    return pictures.clamp(0, 1)


def photographs(folder: Path, limit: int, side: int) -> list[Tensor]:
    """Cut the grey middles (1, side, side) out of photographs."""
    images = ImageFolder(folder)
    return [centre_square(images[i], side).mean(0, keepdim=True) for i in range(min(limit, len(images)))]


def train(kind: str, folder: Path, photos: Path, iterations: int) -> Path:
    """Train a prior of that kind of images on vp, once; returns its folder."""
    place = folder / kind
    if place.is_dir():
        return place
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    pool = ellipses(400, 128, generator) if kind == "ellipses" else torch.stack(photographs(photos, 400, 256))
    network = networks.create("fast", channels=1, optional_condition=True, **NETWORK)
    denoiser = NetworkDenoiser(network, bridges.create("vp"), "preconditioned").train()
    began = time.perf_counter()
    losses = fitted(denoiser, pool, iterations, generator)
    print(
        f"trained on {kind}: {iterations} iterations, {time.perf_counter() - began:.0f} s, "
        f"loss {statistics.fmean(losses[-200:]):.4f}",
        flush=True,
    )
    sampler = {"name": "dbim", "steps": 50}
    described: dict[str, Any] = {"sampler": sampler, "tasks": [kind], "training": {"iterations": iterations}}
    return TrainedModel.of(network, bridges.create("vp"), "preconditioned", **described).save_pretrained(place)


def fitted(
    denoiser: NetworkDenoiser,
    pool: Tensor,
    iterations: int,
    generator: torch.Generator,
    batch: int = 8,
    patch: int = 64,
) -> list[float]:
    """Fit a denoiser to patches of images (n, 1, H, W) in [0, 1] and leave its averaged weights; returns the losses."""
    network, bridge = denoiser.network, denoiser.bridge
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=iterations)
    average = {key: value.clone() for key, value in network.state_dict().items()}
    losses = []
    for step in range(iterations):
        chosen = torch.randint(len(pool), (batch,), generator=generator)
        top, left = (torch.randint(pool.shape[-1] - patch + 1, (2,), generator=generator)).tolist()
        x0 = 2 * pool[chosen, :, top : top + patch, left : left + patch] - 1
        t = 0.001 + 0.999 * torch.rand(batch, generator=generator)
        x_t = bridge.forward(x0, x0, t, torch.randn(x0.shape, generator=generator))
        blank = torch.zeros_like(x0)
        loss = (denoiser.output(x_t, t, blank) - denoiser.target(x0, blank, x_t, t)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
        for key, value in network.state_dict().items():
            average[key].lerp_(value, max(0.005, 1 / (step + 1)))
        losses.append(loss.item())
    network.load_state_dict(average)
    return losses


def restored(images: list[Tensor], prior: Model, method: Method, angles: int) -> tuple[list[float], float]:
    """Restore images; returns the PSNR of each in dB, and seconds per image."""
    scores, began = [], time.perf_counter()
    for index, image in enumerate(images):
        operator = operators.create("radon", image.shape, angles=angles, tolerance=1e-3, iterations=10)
        y = operator.A(image[None])
        sigma = 0.01 * y.abs().mean().item()
        y = y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(index))
        found = solve(y, operator, prior, method, sigma_y=sigma)
        scores.append(psnr(found.mean, image[None]).item())
    return scores, (time.perf_counter() - began) / len(images)


@dataclass(frozen=True)
class Settings:
    """What is compared.

    Args:
        angles: of the projections.
        common: parameters of the method with and without adaptation.
        learning: parameters of the adaptation but tv and lr.
        gammas: tried without adaptation.
        tvs: tried with adaptation.
        lrs: tried with adaptation.
    """

    angles: int
    common: dict[str, Any]
    learning: dict[str, Any]
    gammas: list[float]
    tvs: list[float]
    lrs: list[float]


def compare(kind: str, subject: str, prior: Model, images: list[Tensor], settings: Settings) -> None:
    """Print the rows of one prior and one kind of images."""
    assert prior.network is not None
    before = {key: value.clone() for key, value in prior.network.state_dict().items()}
    plain = {
        gamma: restored(images, prior, create("scd", gamma=gamma, adapt=False, **settings.common), settings.angles)[0]
        for gamma in settings.gammas
    }
    gamma = max(plain, key=lambda g: statistics.fmean(plain[g]))
    base = statistics.fmean(plain[gamma])
    for tv, lr in itertools.product(settings.tvs, settings.lrs):
        method = create("scd", gamma=gamma, tv=tv, lr=lr, **settings.learning, **settings.common)
        scores, seconds = restored(images, prior, method, settings.angles)
        mean, state = statistics.fmean(scores), prior.network.state_dict()
        same = before.keys() == state.keys() and all(torch.equal(before[key], state[key]) for key in before)
        print(
            f"| {kind} | {subject} | {gamma:g} | {tv:g} | {lr:g} | {base:.2f} | {mean:.2f} | {mean - base:+.2f} "
            f"| {seconds:.1f} | {'yes' if same else 'NO'} |",
            flush=True,
        )


def parsed() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("REBRIDGE_DATA")
    known = [Path(data) / name for name in ("train/bsd432", "eval/cbsd68")] if data else [None, None]
    parser.add_argument("--photographs", type=Path, default=known[0], help="folder to train on")
    parser.add_argument("--test", type=Path, default=known[1], help="folder of other photographs")
    parser.add_argument("--folder", type=Path, default=Path("runs/scd"))
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--angles", type=int, default=60)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--adaptations", type=int, default=12, help="K, gradient steps each time")
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--lr", type=float, nargs="+", default=[1e-3])
    tvs = "the authors' defaults, and their walnut's"
    parser.add_argument("--tv", type=float, nargs="+", default=[1e-6, 1e-3], help=tvs)
    parser.add_argument("--gammas", type=float, nargs="+", default=[0.003, 0.01, 0.03, 0.1, 0.3])
    parser.add_argument("--like", action="store_true", help="also images of the kind that a prior was trained on")
    options = parser.parse_args()
    if options.photographs is None or options.test is None:
        parser.error("name the folders of photographs with --photographs and --test, or set REBRIDGE_DATA")
    return options


def main() -> None:
    options = parsed()
    learning = {"rank": options.rank, "iterations": options.adaptations, "every": options.every}
    common = {"steps": options.steps, "eta": 0.0}
    settings = Settings(options.angles, common, learning, options.gammas, options.tv, options.lr)
    folders = {
        kind: train(kind, options.folder, options.photographs, options.iterations)
        for kind in ("ellipses", "photographs")
    }
    tests = {
        "ellipses": list(ellipses(options.images, options.side, torch.Generator().manual_seed(1))),
        "photographs": photographs(options.test, options.images, options.side),
    }
    print(
        f"{options.side} x {options.side} pixels, {options.angles} angles, {options.steps} steps, {options.images} images"
    )
    print("| prior | images | gamma | tv | lr | not adapted | SCD | gain | s/image | prior unchanged |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for kind, folder in folders.items():
        prior = load_prior(folder, device="cpu")
        for subject, images in tests.items():
            if subject != kind or options.like:
                compare(kind, subject, prior, images, settings)


if __name__ == "__main__":
    main()
