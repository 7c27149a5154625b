"""Draws the figures of the pages on the systems, each from a problem of one or a few pixels whose answer is known.

    python benchmarks/figures.py                      # all of them, into docs/images/systems
    python benchmarks/figures.py goub odes3           # some of them

The pixel of most figures: x0 is 1 or -0.4 with equal probability, y their mean with noise, so that the degraded image does not
say which. Samplers are given the exact denoiser of that law.
"""

from __future__ import annotations

import argparse
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rebridge import bridges, inverse, samplers
from rebridge.denoisers import MixtureDenoiser
from rebridge.evaluation.plots import new_figure
from rebridge.images import write_atomic
from rebridge.inverse import GaussianProblem, Problem, operators
from rebridge.irbridge import critical_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).parent.parent / "docs"
BLUE, RED, GREY = "tab:blue", "tab:red", "0.6"
GAUSSIAN = (1, 4, 6)
"""Shape of the images of the linear problem."""


def seeded(seed: int) -> torch.Generator:
    """Make a source of random numbers."""
    return torch.Generator().manual_seed(seed)


def drawn_from(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Make the noise of a method: like `torch.randn_like`, from one source."""
    return lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)


def two_answers(bridge: bridges.Bridge) -> MixtureDenoiser:
    """Give the exact denoiser of the pixel with two possible answers."""
    means = torch.tensor([[1.0, 0.3], [-0.4, 0.3]], dtype=torch.float64)
    covariance = torch.diag(torch.tensor([0.02, 0.05], dtype=torch.float64))
    return MixtureDenoiser(bridge, torch.ones(2, dtype=torch.float64), means, covariance.expand(2, 2, 2))


def reverse_paths(bridge: bridges.Bridge, sampler: samplers.Sampler, count: int) -> tuple[list[float], Tensor]:
    """Run a sampler from y = 0.3; returns the times and the states (times, count)."""
    y = torch.full((count, 1, 1, 1), 0.3, dtype=torch.float64)
    times: list[float] = []
    states: list[Tensor] = []

    def keep(step: int, t: float, x: Tensor, x0: Tensor) -> None:
        times.append(t)
        states.append(x.flatten())

    end = sampler(bridge, two_answers(bridge), y, generator=seeded(1), callback=keep)
    return [*times, 0.0], torch.stack([*states, end.flatten()])


def panels(titles: list[str], height: float = 2.8, width: float = 3.2) -> tuple[Figure, list[Any]]:
    """Make a row of axes with titles."""
    figure, axes = new_figure(columns=len(titles), width=width, height=height)
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=9)
        axis.grid(alpha=0.25)
        axis.tick_params(labelsize=8)
    return figure, axes


def rdbm() -> Figure:
    """Forward paths of an intact and of a degraded pixel, under noise times the residual and under plain noise."""
    figure, axes = panels(["intact pixel, x0 = y", "degraded pixel, x0 = 1, y = -0.5"])
    t = torch.linspace(0, 1, 61, dtype=torch.float64)
    for axis, x0, y in zip(axes, (0.2, 1.0), (0.2, -0.5), strict=True):
        for modulation, scale, colour in (("one", 1.0, GREY), ("residual", abs(x0 - y), BLUE)):
            c = bridges.create("rdbm", modulation=modulation, lam=10 / 255).coefficients(t)
            mean, band = c.alpha * x0 + c.beta * y, 2 * c.gamma * scale
            axis.fill_between(t, mean - band, mean + band, color=colour, alpha=0.3, linewidth=0, label=modulation)
            axis.plot(t, mean, color=colour, linewidth=1.4)
        axis.set_xlabel("t", fontsize=8)
    axes[0].set_ylabel("state, two standard deviations", fontsize=8)
    axes[0].legend(title="modulation", fontsize=8, title_fontsize=8)
    return figure


def irbridge() -> Figure:
    """The time of Stable Diffusion's process that has the noise level of IR-SDE at each time, for five noise levels."""
    figure, (axis,) = panels(["time of the prior with the bridge's noise level"], width=4.6, height=3.0)
    prior = bridges.create("vp", schedule="scaled-linear")
    t = torch.linspace(0.05, 1, 39, dtype=torch.float64)
    for level in range(1, 6):
        bridge = bridges.create("ir-sde", lam=level / 255)
        axis.plot(t, [1000 * critical_time(bridge, float(time), prior) for time in t], label=f"{level}/255")
    axis.set_xlabel("time of the bridge", fontsize=8)
    axis.set_ylabel("critical time of 1000", fontsize=8)
    axis.legend(title="lambda", fontsize=8, title_fontsize=8)
    return figure


def paths_figure(rows: list[tuple[str, str, samplers.Sampler]], count: int = 24) -> Figure:
    """Reverse paths of the pixel with two answers: (title, bridge, sampler) for each panel."""
    figure, axes = panels([title for title, _, _ in rows])
    for axis, (_, name, sampler) in zip(axes, rows, strict=True):
        times, states = reverse_paths(bridges.create(name), sampler, count)
        axis.plot(times, states, color=BLUE, linewidth=0.6, alpha=0.7)
        axis.scatter([1], [0.3], color=RED, s=14, zorder=3)
        axis.scatter([0, 0], [1.0, -0.4], color=RED, marker="x", s=22, zorder=3)
        axis.set_xlim(1.03, -0.03)
        axis.set_xlabel("t", fontsize=8)
    axes[0].set_ylabel("state", fontsize=8)
    return figure


def goub() -> Figure:
    """GOUB's two samplers: the reverse SDE draws one of the answers, the mean-ODE goes to their mean."""
    return paths_figure(
        [
            ("sde, 50 steps", "goub", samplers.create("sde", steps=50)),
            ("mean-ode, 50 steps", "goub", samplers.create("mean-ode", steps=50)),
        ]
    )


def odes3() -> Figure:
    """Without noise at the start every path is the same; with it each goes to one of the answers, smoothly."""
    return paths_figure(
        [
            ("ode from the mean, 20 steps", "ddbm-vp", samplers.create("ode", steps=20, method="heun", start="mean")),
            ("odes3, 20 steps", "ddbm-vp", samplers.create("odes3", steps=20)),
            ("dbim, eta = 1, 20 steps", "ddbm-vp", samplers.create("dbim", steps=20, eta=1.0)),
        ]
    )


def linear_problem() -> GaussianProblem:
    """Make a problem of 24 pixels with a Gaussian prior, half of whose coefficients are measured."""
    d = GAUSSIAN[1] * GAUSSIAN[2]
    rotation = torch.linalg.qr(torch.randn(d, d, generator=seeded(0), dtype=torch.float64)).Q
    covariance = rotation @ torch.diag(torch.logspace(0, -1.7, d, dtype=torch.float64)) @ rotation.T
    mean = 0.2 * torch.randn(d, generator=seeded(1), dtype=torch.float64)
    return GaussianProblem(bridges.create("vp"), operators.create("cs", GAUSSIAN, ratio=0.5), mean, covariance, 0.05)


def red_diff() -> Figure:
    """Distance of the image from the posterior's mean while RED-diff descends, for three weightings of the prior."""
    figure, (axis,) = panels(["distance from the posterior mean"], width=4.6, height=3.0)
    problem = linear_problem()
    _, y = problem.draw(16, seeded(3))
    mean, covariance = problem.posterior(y)
    scale = covariance.diagonal().mean().sqrt()
    for weighting in ("linear", "sqrt", "const"):
        distances: list[float] = []

        def keep(step: int, t: float, x: Tensor, mu: Tensor, seen: list[float] = distances) -> None:
            seen.append(float((mu - mean).square().mean().sqrt() / scale))

        posed = Problem(problem.process, problem.denoiser, problem.operator, y, problem.sigma_y)
        method = inverse.create("red-diff", steps=100, weighting=weighting)
        method(posed, noise=drawn_from(seeded(4)), callback=keep)
        axis.plot(range(1, len(distances) + 1), distances, label=weighting)
    axis.axhline(1, color=GREY, linestyle=":", linewidth=1)
    axis.set_yscale("log")
    axis.set_xlabel("step", fontsize=8)
    axis.set_ylabel("in posterior standard deviations", fontsize=8)
    axis.legend(title="weighting", fontsize=8, title_fontsize=8)
    return figure


def nrlg() -> Figure:
    """How much an estimate trusts the measurement, over the noise level, at a measurement noise of 0.05."""
    figure, (axis,) = panels(["trust in the measurement, noise 0.05"], width=4.6, height=3.0)
    process = bridges.create("vp")
    c = process.coefficients(torch.linspace(0.02, 1, 60, dtype=torch.float64))
    level, square = c.gamma / c.alpha, 0.05**2
    flat = level.square() / square
    for label, values, colour in (
        ("nrlg, variance flat", flat, BLUE),
        ("nrlg, variance unit", c.gamma.square() / (c.alpha.square() + c.gamma.square()) / square, RED),
        ("diffpir, lam 1.75", flat / 1.75, "tab:green"),
        ("dds, constant", torch.full_like(flat, 10.0), GREY),
    ):
        axis.loglog(level, values, label=label, color=colour)
    axis.set_xlabel("noise level b/a of the state", fontsize=8)
    axis.set_ylabel("gamma of the proximal step", fontsize=8)
    axis.legend(fontsize=8)
    return figure


def boxes(count: int, side: int) -> Tensor:
    """Draw pictures (count, 1, side, side) of three boxes on a dark ground."""
    pictures = torch.full((count, 1, side, side), -0.5, dtype=torch.float64)
    for index in range(count):
        for box in range(3):
            draw = seeded(10 * index + box)
            top, left = torch.randint(0, side - 6, (2,), generator=draw).tolist()
            pictures[index, :, top : top + 6, left : left + 6] = torch.rand((), generator=draw).item() * 1.4 - 0.4
    return pictures


def scd() -> Figure:
    """Error along the walk of a prior that has only seen grain and meets boxes, adapted to the measurement and not."""
    figure, (axis,) = panels(["boxes, and a prior of grain"], width=4.6, height=3.0)
    side = 16
    place = torch.cartesian_prod(torch.arange(side), torch.arange(side)).double()
    covariance = (
        0.3 * torch.exp(-torch.cdist(place, place).square() / (2 * 0.6**2)) + 0.02 * torch.eye(side**2).double()
    )
    operator = operators.create("cs", (1, side, side), ratio=0.5)
    problem = GaussianProblem(bridges.create("vp"), operator, torch.zeros(side**2).double(), covariance, 0.05)
    truth = boxes(2, side)
    measured = operator.A(truth)
    y = measured + 0.05 * torch.randn(measured.shape, generator=seeded(5), dtype=torch.float64)
    start = torch.randn(truth.shape, generator=seeded(4), dtype=torch.float64)
    for adapt, label in ((False, "not adapted"), (True, "adapted")):
        errors: dict[float, list[float]] = {}

        def keep(step: int, t: float, x: Tensor, found: Tensor, seen: dict[float, list[float]] = errors) -> None:
            # Images are solved one by one, each with adapters of its own.
            row = len(seen.setdefault(t, []))
            seen[t].append(float((found[0] - truth[row]).square().mean()))

        posed = Problem(problem.process, problem.network, operator, y, problem.sigma_y, problem.network)
        method = inverse.create("scd", steps=30, every=3, iterations=8, lr=1e-2, tv=1e-3, eta=0.0, adapt=adapt)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", inverse.MethodWarning)  # of the noise that it fits
            method(posed, x=start, callback=keep)
        axis.plot(list(errors), [(sum(found) / len(found)) ** 0.5 for found in errors.values()], label=label)
    axis.set_xlim(1.03, -0.03)
    axis.set_xlabel("t", fontsize=8)
    axis.set_ylabel("root mean square error", fontsize=8)
    axis.legend(fontsize=8)
    return figure


def hi_diff() -> Figure:
    """PSNR with the latent prior and without, two seeds, from docs/tables/hi-diff.json."""
    figure, (axis,) = panels(["camera shake, CBSD68"], width=4.0, height=3.0)
    table = json.loads((DOCS / "tables" / "hi-diff.json").read_text(encoding="utf-8"))
    rows = table["rows"]
    for place, variant in enumerate(("none", "prior")):
        found = [row["psnr"] for row in rows if row["variant"] == variant]
        axis.scatter([place] * len(found), found, color=BLUE, zorder=3)
    axis.axhline(rows[0]["input"], color=GREY, linestyle=":", label="degraded")
    axis.set_xticks([0, 1], ["without the prior", "with it"])
    axis.set_xlim(-0.6, 1.6)
    axis.set_ylabel("PSNR (dB)", fontsize=8)
    axis.legend(fontsize=8)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "rdbm": rdbm,
    "irbridge": irbridge,
    "goub": goub,
    "odes3": odes3,
    "red-diff": red_diff,
    "nrlg": nrlg,
    "scd": scd,
    "hi-diff": hi_diff,
}


def main() -> None:
    """Draw the figures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*FIGURES, []], help="figures (default: all)")
    parser.add_argument("--out", type=Path, default=DOCS / "images" / "systems", help="folder (default: %(default)s)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    import matplotlib

    # The same figure has the same bytes, whenever it is drawn.
    matplotlib.rcParams.update({"svg.hashsalt": "rebridge", "svg.fonttype": "path"})
    for name in options.names or FIGURES:
        content = io.BytesIO()
        FIGURES[name]().savefig(content, format="svg", metadata={"Date": None})
        path = options.out / f"{name}.svg"
        write_atomic(path, content.getvalue(), overwrite=True)
        print(f"drew {path}")


if __name__ == "__main__":
    main()
