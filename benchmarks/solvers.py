"""Prints what is known about the zero-shot methods: against an exact posterior, DeqIR's convergence, wall times as ratios.

    python benchmarks/solvers.py posterior
    python benchmarks/solvers.py convergence --plot docs/images/solvers-deqir.png
    python benchmarks/solvers.py speed

The exact problem: 6 x 8 pixels from a Gaussian whose spectrum falls from 1 to 0.02 along random directions, 19 of their 48
Walsh-Hadamard coefficients measured with noise of 0.05. With a Gaussian prior the posterior is Gaussian and known.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rebridge import bridges, inverse, networks
from rebridge.denoisers import Denoiser, NetworkDenoiser
from rebridge.inverse import GaussianProblem, Guided, Method, Problem, operators
from rebridge.inverse.methods import DDNM, DeqIR
from rebridge.inverse.methods.fixed_point import Mixing, solve_chain
from rebridge.models import DEFAULT_PRIOR, load_prior, packaged
from rebridge.samplers import create as create_sampler

Clock = Callable[[], float]

SHAPE = (1, 6, 8)
VP = bridges.create("vp")
ROWS = (
    "red-diff", "red-diff:weighting=sqrt", "red-diff:weighting=const", "red-diff:optimiser=sgd", "deqir:sweeps=15",
    "deqir:sweeps=25", "nrlg", "nrlg:variance=flat", "nrlg:reuse=model", "scd", "ddrm", "ddnm", "ddnm:eta=0.0", "dds",
    "dps", "dps:scale=0.3", "pigdm", "pigdm:reuse=refined", "diffpir", "diffpir:lam=1.0",
)  # fmt: skip


def exact_problem() -> GaussianProblem:
    """Make the problem of this module's first lines."""
    generator = torch.Generator().manual_seed(0)
    d = SHAPE[1] * SHAPE[2]
    rotation = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    covariance = rotation @ torch.diag(torch.logspace(0, -1.7, d, dtype=torch.float64)) @ rotation.T
    mean = 0.2 * torch.randn(d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return GaussianProblem(VP, operators.create("cs", SHAPE, ratio=0.4), mean, covariance, 0.05)


@dataclass(frozen=True)
class ExactPosterior:
    """The posterior that samples are compared with.

    Args:
        problem: with a Gaussian prior.
        y: one measurement (1, ...).
    """

    problem: GaussianProblem
    y: Tensor

    def figures(self, x: Tensor) -> str:
        """Compare samples x (n, C, H, W) with the posterior: the cells of a row."""
        mean, covariance = self.problem.posterior(self.y)
        scale, flat = self.scale, x.flatten(1)
        error = (flat.mean(0) - mean.flatten()).square().mean().sqrt().item() / scale
        deviation = flat.std(0).square().mean().sqrt().item() / scale
        distance = ((flat.T.cov() - covariance).norm() / covariance.norm()).item()
        residual = (self.problem.operator.A(x) - self.y).square().mean().sqrt().item() / self.problem.sigma_y
        return f"{error:.3f} | {deviation:.3f} | {distance:.3f} | {residual:.2f}"

    @property
    def scale(self) -> float:
        """Standard deviation of the posterior, root mean square over the pixels."""
        return self.problem.posterior(self.y)[1].diagonal().mean().sqrt().item()

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw samples (count, C, H, W) from the posterior itself."""
        mean, covariance = self.problem.posterior(self.y)
        drawn = torch.randn(count, len(covariance), generator=generator, dtype=torch.float64)
        return (mean.flatten() + drawn @ torch.linalg.cholesky(covariance).T).reshape(-1, *SHAPE)


def posterior(count: int, adapted: int) -> None:
    """Print the table of all methods against the exact posterior."""
    problem = exact_problem()
    _, y = problem.draw(1, torch.Generator().manual_seed(3))
    truth = ExactPosterior(problem, y)
    print(
        f"posterior standard deviation {truth.scale:.4f} (root mean square over the pixels), "
        f"{count} samples, {adapted} of scd"
    )
    print("| solver | calls | error of the mean | standard deviation | error of the covariance | residual / noise |")
    print("|---|---|---|---|---|---|")
    generator = torch.Generator().manual_seed(4)
    print(f"| draws from the posterior | 0 | {truth.figures(truth.draw(count, generator))} |", flush=True)
    many = y.expand(count, -1, -1)
    walk = create_sampler("dbim", steps=100, grid="log-snr")
    guided = Guided(problem.denoiser, problem.guidance(many), VP)
    exact = walk(VP, guided, torch.zeros(count, *SHAPE).double(), generator=generator)
    print(f"| exact covariance | 100 | {truth.figures(exact)} |", flush=True)
    for text in ROWS:
        method = inverse.parse(text)
        rows = adapted if method.name == "scd" else count
        posed = Problem(VP, problem.network, problem.operator, many[:rows], problem.sigma_y, problem.network)
        found = method(posed, noise=lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype))
        print(f"| {text} | {method.calls} | {truth.figures(found)} |", flush=True)


def convergence(steps: int, plot: Path | None) -> None:
    """Print DeqIR's distance from the sequential chain, sweep by sweep, for three kinds of mixing; plot: a PNG to draw."""
    problem = exact_problem()
    _, y = problem.draw(4, torch.Generator().manual_seed(3))
    start = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    chain = DeqIR(steps=steps).chain(Problem(VP, problem.denoiser, problem.operator, y, problem.sigma_y))
    whole = solve_chain(chain, start, steps, "none").end
    kinds: dict[str, Mixing] = {"none (Picard)": "none", "per-step (the authors')": "per-step", "global": "global"}
    errors: dict[str, list[float]] = {name: [] for name in kinds}
    residuals: dict[str, list[float]] = {}
    for name, mixing in kinds.items():

        def look(sweep: int, residual: float, x: Tensor, end: Tensor, seen: list[float] = errors[name]) -> None:
            seen.append(((end - whole).norm() / whole.norm()).item())

        residuals[name] = solve_chain(chain, start, steps, mixing, callback=look).residuals
    print(f"chain of {steps} steps, relative distance from the sequential result")
    print("| sweeps | network calls | " + " | ".join(kinds) + " |")
    print("|---|---|" + "---|" * len(kinds))
    for sweep in [n for n in (1, 2, 5, 10, 15, 20, steps) if n <= steps]:
        calls = DeqIR(steps=steps, sweeps=sweep).calls
        print(f"| {sweep} | {calls} | " + " | ".join(f"{errors[name][sweep - 1]:.1e}" for name in kinds) + " |")
    if plot is not None:
        draw(plot, residuals, errors)
        print(f"drew {plot}")


def draw(path: Path, residuals: dict[str, list[float]], errors: dict[str, list[float]]) -> None:
    """Draw residual and error against sweeps."""
    from rebridge.evaluation.plots import new_figure

    figure, axes = new_figure(columns=2, width=5.0, height=3.6)
    pairs = ((residuals, "residual |X - F(X)| / |F(X)|"), (errors, "distance from the sequential result"))
    for axis, (lines, label) in zip(axes, pairs, strict=True):
        for name, values in lines.items():
            heights = [max(value, 1e-16) for value in values]
            axis.semilogy(range(1, len(values) + 1), heights, marker="o", markersize=3, label=name)
        axis.set_xlabel("sweeps")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].legend(title="mixing", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def denoiser_of(name: str) -> Denoiser:
    """Load the prior of that name; an untrained network of its kind takes the place of one that is not packaged here."""
    if name != DEFAULT_PRIOR or name in packaged():
        return load_prior(name, device="cpu").given(None)
    network = networks.create("fast", optional_condition=True)
    tail = network.tail
    assert isinstance(tail, torch.nn.Conv2d)
    torch.nn.init.normal_(tail.weight, std=0.02)
    print("the prior is not packaged here: an untrained network of its kind takes its place")
    return NetworkDenoiser(network.requires_grad_(False), VP, "preconditioned").eval()


def speed(size: int, steps: int, runs: int, name: str, clock: Clock) -> None:
    """Print the time of DeqIR against the sequential chain, and of noise-refined guidance against DPS, in one run."""
    operator = operators.create("sr4", (3, size, size))
    y = operator.A(2 * torch.rand(1, 3, size, size) - 1)
    posed = Problem(VP, denoiser_of(name), operator, y, 0.02)
    start = torch.randn(1, 3, size, size)
    whole, sequential = timed(DDNM(steps=steps, eta=0.0), posed, start, runs, clock)
    kind = "processor time" if clock is time.process_time else "wall time"
    print(f"{size} x {size} pixels, {torch.get_num_threads()} threads, {kind}, median of {runs} runs")
    print("| solver | network calls | seconds | ratio | distance from the sequential result |")
    print("|---|---|---|---|---|")
    print(f"| ddnm, {steps} steps | {steps} | {sequential:.2f} | 1.00 | 0 |")
    for sweeps in (5, 10, 15):
        method = DeqIR(steps=steps, sweeps=sweeps)
        found, seconds = timed(method, posed, start, runs, clock)
        distance = ((found - whole).norm() / whole.norm()).item()
        ratio = seconds / sequential
        print(f"| deqir, {sweeps} sweeps | {method.calls} | {seconds:.2f} | {ratio:.2f} | {distance:.1e} |", flush=True)
    pair = [timed(inverse.create(way, steps=steps), posed, start, runs, clock)[1] for way in ("nrlg", "dps")]
    print(f"nrlg {pair[0]:.2f} s, dps {pair[1]:.2f} s at {steps} steps: {pair[1] / pair[0]:.2f} times faster")


def timed(method: Method, problem: Problem, start: Tensor, runs: int, clock: Clock) -> tuple[Tensor, float]:
    """Give the result and the median time; the first run warms up and does not count."""
    seconds = []
    for _ in range(runs + 1):
        began = clock()
        found = method(problem, noise=lambda like: start)
        seconds.append(clock() - began)
    return found, statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("posterior", "convergence", "speed"))
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--adapted", type=int, default=8, help="samples of scd, which adapts to each by itself")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--plot", type=Path, help="of convergence: a PNG")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prior", default=DEFAULT_PRIOR)
    parser.add_argument("--shared", action="store_true", help="count processor time: for a machine that others use too")
    options = parser.parse_args()
    if options.what == "posterior":
        posterior(options.samples, options.adapted)
    elif options.what == "convergence":
        convergence(options.steps, options.plot)
    else:
        clock = time.process_time if options.shared else time.perf_counter
        speed(options.size, options.steps, options.runs, options.prior, clock)


if __name__ == "__main__":
    main()
