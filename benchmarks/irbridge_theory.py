"""Costs of an unconditional prior and of a late schedule, on a mixture whose posterior is known exactly.

    python benchmarks/irbridge_theory.py

prints two tables and draws docs/images/irbridge-bias.png and docs/images/irbridge-schedules.png. No network and no image: the
denoisers are the exact ones of p(x0 | x_t, y) and p(x0 | x_t), so every difference from the posterior is the method's own.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rebridge import bridges
from rebridge.bridges import Bridge
from rebridge.denoisers import MixtureDenoiser
from rebridge.evaluation.plots import new_figure
from rebridge.irbridge import IRBridge

PRIOR = bridges.create("vp", schedule="scaled-linear")
WEIGHTS = torch.tensor([0.5, 0.5], dtype=torch.float64)
CENTRES = torch.tensor([[0.5, 0.35], [-0.5, -0.35]], dtype=torch.float64)
CLEAN = torch.tensor([[0.04, 0.02], [0.02, 0.05]], dtype=torch.float64)
NOISE = torch.tensor([0.1, 0.6], dtype=torch.float64)
"""Standard deviation of y - 0.8 x0: the second pixel is hardly seen."""
SEEN = torch.tensor([0.2, -0.3], dtype=torch.float64)
LEVELS = (0.5, 1, 2, 4, 8, 16)
SCHEDULES = ("critical", "critical+300-0", "critical+100", "linear-550", "linear-850", "critical+300")
STEPS = (10, 25, 50, 100, 200)


def denoiser(process: Bridge, conditional: bool) -> MixtureDenoiser:
    """Make the exact denoiser of the mixture for a process, with y or without (y then independent of x0)."""
    link = 0.8 * torch.eye(2, dtype=torch.float64) if conditional else torch.zeros(2, 2, dtype=torch.float64)
    cross = CLEAN @ link.mT
    observed = link @ CLEAN @ link.mT + torch.diag(NOISE.square())
    covariance = torch.cat([torch.cat([CLEAN, cross], 1), torch.cat([cross.mT, observed], 1)])
    means = torch.cat([CENTRES, CENTRES @ link.mT], 1)
    return MixtureDenoiser(process, WEIGHTS, means, torch.stack([covariance, covariance]))


def exact(conditional: bool, count: int, generator: torch.Generator) -> Tensor:
    """Draw samples (count, 2) of p(x0 | y), or of p(x0)."""
    weights, means, covariances = denoiser(PRIOR, conditional).posterior(SEEN[None])
    modes = torch.multinomial(weights[0], count, replacement=True, generator=generator)
    roots = torch.linalg.cholesky(covariances)[modes]
    noise = torch.randn(count, 2, 1, generator=generator, dtype=torch.float64)
    return means[0][modes] + (roots @ noise)[..., 0]


def distance(a: Tensor, b: Tensor, directions: int = 64) -> float:
    """Sliced Wasserstein-2 distance between two sets of as many points (n, 2)."""
    angles = torch.arange(directions, dtype=torch.float64) * torch.pi / directions
    axes = torch.stack([angles.cos(), angles.sin()])
    return ((a @ axes).sort(0).values - (b @ axes).sort(0).values).square().mean().sqrt().item()


def restored(lam: float, conditional: bool, count: int, seed: int, **settings: Any) -> Tensor:
    """Restore y by the loop, `count` samples."""
    bridge = bridges.create("ir-sde", lam=lam)
    loop = IRBridge(process=PRIOR, **settings)
    y = SEEN.repeat(count, 1)
    return loop(bridge, denoiser(PRIOR, conditional), y, generator=torch.Generator().manual_seed(seed))


def bias(count: int, path: Path) -> None:
    """Print the distance of samples from p(x0 | y) and p(x0), with either denoiser, over the bridge's noise."""
    posterior, other = (exact(True, count, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    prior = exact(False, count, torch.Generator().manual_seed(3))
    print("| lam (of 255) | conditional | conditional, start estimate | unconditional | unconditional, to p(x0) |")
    print("|---|---|---|---|---|")
    shown: dict[float, tuple[Tensor, Tensor]] = {}
    for lam in LEVELS:
        known, free = (restored(lam / 255, given, count, 4, steps=100, start="y") for given in (True, False))
        estimated = restored(lam / 255, True, count, 4, steps=100, start="estimate")
        shown[lam] = known, free
        figures = [distance(points, posterior) for points in (known, estimated, free)] + [distance(free, prior)]
        print(f"| {lam:g} | " + " | ".join(f"{value:.3f}" for value in figures) + " |", flush=True)
    print(f"Two sets of {count} exact samples are {distance(posterior, other):.3f} apart.\n")
    figure, axes = new_figure(columns=4, width=3.2, height=3.4)
    panels = (
        ("p(x0 | y), exact", posterior),
        ("conditional, lam 8/255", shown[8][0]),
        ("unconditional, lam 1/255", shown[1][1]),
        ("unconditional, lam 8/255", shown[8][1]),
    )
    for axis, (title, points) in zip(axes, panels, strict=True):
        axis.scatter(*prior[:1500].T, s=2, color="0.8", linewidths=0, label="p(x0)")
        axis.scatter(*points[:1500].T, s=2, color="tab:blue", linewidths=0, label="samples")
        axis.scatter(*SEEN[:, None], marker="x", color="tab:red", zorder=3, label="y")
        axis.set(title=title, xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
    axes[0].legend(fontsize=7, loc="upper left", markerscale=2)
    save(figure, path)


def variance(count: int, path: Path) -> None:
    """Print the share of the posterior's variance that each schedule keeps, over the number of steps."""
    target = exact(True, 10 * count, torch.Generator().manual_seed(1))
    print("| schedule | " + " | ".join(f"{steps} steps" for steps in STEPS) + " | distance at the last |")
    print("|---" * (len(STEPS) + 2) + "|")
    figure, (axis,) = new_figure()
    for name in SCHEDULES:
        kept, samples = [], target
        for steps in STEPS:
            samples = restored(8 / 255, True, count, 4, steps=steps, schedule=name)
            kept.append((samples.T.cov().trace() / target.T.cov().trace()).item())
        last = distance(samples, target[:count])
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in kept) + f" | {last:.3f} |", flush=True)
        axis.plot(STEPS, kept, marker="o", markersize=3, label=name)
    axis.axhline(1.0, color="black", linewidth=0.8)
    axis.set(xscale="log", xlabel="steps", ylabel="share of the posterior's variance")
    axis.legend(fontsize=7)
    axis.grid(alpha=0.3)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"wrote {path}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    bias(options.samples, options.output / "irbridge-bias.png")
    variance(options.samples, options.output / "irbridge-schedules.png")


if __name__ == "__main__":
    main()
