"""Plots of comparisons and of trajectories, by Matplotlib without a display."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rebridge import bridges
from rebridge.bridges import Bridge
from rebridge.evaluation.compare import SamplerScores
from rebridge.images import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MARKERS = "osv^Dx*P"
LINES = ("-", "--", ":", "-.")


def check_plotting() -> None:
    """Check that plots can be drawn.

    Raises:
        ValueError: Matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        missing = error.name or error
        raise ValueError(f"plots need Matplotlib ({missing} is missing): pip install 'rebridge[train]'") from None


def new_figure(columns: int = 1, width: float = 6.0, height: float = 4.5) -> tuple[Figure, list[Any]]:
    """Make an empty figure with a row of axes, drawn without a window.

    Raises:
        ValueError: Matplotlib is not installed.
    """
    check_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def plot_comparison(rows: Sequence[SamplerScores], path: Path, quality: str, logarithmic: bool = False) -> Path:
    """Plot quality against network calls and seconds, with confidence bands.

    One line per subject and sampler. With several of both, a colour is a subject, and a kind of line and marker a sampler.
    """
    names = list(dict.fromkeys((row.subject, row.sampler) for row in rows))
    subjects, kinds = (list(dict.fromkeys(column)) for column in zip(*names, strict=True))
    figure, axes = new_figure(columns=2, height=4.5 + 0.16 * math.ceil(len(names) / 3))
    for axis, key, label in zip(axes, ("nfe", "seconds"), ("network calls", "seconds"), strict=True):
        for subject, sampler in names:
            line = sorted(
                (row for row in rows if (row.subject, row.sampler) == (subject, sampler)), key=lambda r: getattr(r, key)
            )
            kind = kinds.index(sampler)
            colour = f"C{subjects.index(subject) if len(subjects) > 1 else kind}"
            look: dict[str, Any] = {"marker": MARKERS[kind % len(MARKERS)], "linestyle": LINES[kind % len(LINES)]}
            x = [getattr(row, key) for row in line]
            name = f"{subject}, {sampler}" if len(subjects) > 1 else sampler
            axis.plot(x, [row.quality for row in line], color=colour, markersize=4, label=name, **look)
            axis.fill_between(x, [row.low for row in line], [row.high for row in line], color=colour, alpha=0.12)
        axis.set_xscale("log")
        if logarithmic:
            axis.set_yscale("log")
        axis.set_xlabel(label)
        axis.set_ylabel(quality)
        axis.grid(alpha=0.3)
    axes[0].set_xticks(sorted({row.steps for row in rows}))
    axes[0].xaxis.set_major_formatter("{x:g}")
    axes[0].minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return _saved(figure, path)


def plot_trajectories(names: Sequence[str], path: Path, x0: float = 1.0, y: float = -0.5, paths: int = 12) -> Path:
    """Plot forward paths of one pixel from x0 at t = 0 to y at t = 1.

    Shown are the mean, two standard deviations, and sampled paths. The paths are drawn from the Markov process itself, step by
    step, so that they show its roughness.
    """
    figure, axes = new_figure(columns=len(names), width=3.2, height=3.2)
    t = torch.linspace(0.0, 1.0, 301, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for axis, name in zip(axes, names, strict=True):
        bridge = bridges.create(name)
        c = bridge.coefficients(t)
        scale = {"residual": abs(x0 - y), "one": 1.0, "zero": 0.0}[bridge.modulation]
        mean, std = c.alpha * x0 + c.beta * y, c.gamma * scale
        axis.fill_between(t, mean - 2 * std, mean + 2 * std, color="tab:blue", alpha=0.15, linewidth=0)
        for _ in range(paths):
            axis.plot(t, mean + scale * _markov_path(bridge, t, generator), color="tab:blue", linewidth=0.5, alpha=0.6)
        axis.plot(t, mean, color="black", linewidth=1.2)
        axis.scatter([0, 1], [x0, y], color="tab:red", zorder=3, s=14)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("t")
    axes[0].set_ylabel("one pixel")
    return _saved(figure, path)


def _saved(figure: Figure, path: Path) -> Path:
    """Write a figure whole or not at all, in the format of the suffix."""
    content = io.BytesIO()
    figure.savefig(content, dpi=130, format=path.suffix[1:] or "png")
    write_atomic(path, content.getvalue(), overwrite=True)
    return path


def _markov_path(bridge: Bridge, t: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Noise gamma(t) eps(t) of a Markov process along t: n = gamma/alpha grows by independent increments."""
    c = bridge.coefficients(t)
    level = torch.where(c.alpha > 0, (c.gamma / c.alpha.clamp(min=1e-300)).square(), torch.zeros_like(c.alpha))
    level = torch.cummax(level, 0).values
    steps = level.diff(prepend=level[:1]).clamp(min=0).sqrt()
    path = (steps * torch.randn(len(t), generator=generator, dtype=torch.float64)).cumsum(0)
    return c.alpha * path
