"""Prints what is known about the zero-shot solvers: against an exact posterior, DeqIR's convergence, and wall times as ratios.

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
from pathlib import Path

import torch
from torch import Tensor

from rebridge import bridges, hub, networks
from rebridge.denoisers import NetworkDenoiser
from rebridge.evaluation.compare import Spec
from rebridge.inverse import GaussianProblem, Guided, Problem, operators, unconditional
from rebridge.inverse.deqir import DeqIR
from rebridge.inverse.fixed_point import Mixing, solve_chain
from rebridge.inverse.problem import Solver
from rebridge.restoration.solve import solver_of
from rebridge.inverse.walks import DDNM
from rebridge.irbridge import DEFAULT_PRIOR, load_prior
from rebridge.samplers.dbim import DBIM

Clock = Callable[[], float]

SHAPE = (1, 6, 8)
VP = bridges.create("vp")
ROWS = (
    "red-diff", "red-diff:weighting=sqrt", "red-diff:weighting=const", "red-diff:optimiser=sgd", "deqir:sweeps=15",
    "deqir:sweeps=25", "nrlg", "nrlg:variance=flat", "nrlg:reuse=model", "scd", "ddrm", "ddnm", "ddnm:eta=0.0", "dds",
    "dps", "dps:scale=0.3", "pigdm", "pigdm:reuse=refined", "diffpir", "diffpir:lam=1.0",
)  # fmt: skip


def exact_problem() -> GaussianProblem:
    """The problem of this module's first lines."""
    generator = torch.Generator().manual_seed(0)
    d = SHAPE[1] * SHAPE[2]
    rotation = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    covariance = rotation @ torch.diag(torch.logspace(0, -1.7, d, dtype=torch.float64)) @ rotation.T
    mean = 0.2 * torch.randn(d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return GaussianProblem(VP, operators.create("cs", SHAPE, ratio=0.4), mean, covariance, 0.05)


def posterior(count: int, adapted: int) -> None:
    """The table of all solvers against the exact posterior."""
    problem = exact_problem()
    _, y = problem.draw(1, torch.Generator().manual_seed(3))
    mean, covariance = problem.posterior(y)
    spread = covariance.diagonal().sqrt()
    scale = spread.square().mean().sqrt().item()
    print(
        f"posterior standard deviation {scale:.4f} (root mean square over the pixels), {count} samples, {adapted} of scd"
    )
    print("| solver | calls | error of the mean | standard deviation | error of the covariance | residual / noise |")
    print("|---|---|---|---|---|---|")

    def row(name: str, calls: int, x: Tensor) -> None:
        flat = x.flatten(1)
        error = (flat.mean(0) - mean.flatten()).square().mean().sqrt().item() / scale
        deviation = flat.std(0).square().mean().sqrt().item() / scale
        distance = ((flat.T.cov() - covariance).norm() / covariance.norm()).item()
        residual = (problem.operator.A(x) - y).square().mean().sqrt().item() / problem.sigma_y
        print(f"| {name} | {calls} | {error:.3f} | {deviation:.3f} | {distance:.3f} | {residual:.2f} |", flush=True)

    generator = torch.Generator().manual_seed(4)
    drawn = torch.randn(count, len(spread), generator=generator, dtype=torch.float64)
    row(
        "draws from the posterior",
        0,
        (mean.flatten() + drawn @ torch.linalg.cholesky(covariance).T).reshape(-1, *SHAPE),
    )
    many = y.expand(count, -1, -1)
    walk = DBIM(steps=100, grid="log-snr")
    guided = Guided(problem.prior, problem.guidance(many), VP)
    row("exact covariance", 100, walk(VP, guided, torch.zeros(count, *SHAPE).double(), generator=generator))
    for text in ROWS:
        spec = Spec.parse(text)
        solver = solver_of(spec.name, None, spec.params)
        rows = adapted if spec.name == "scd" else count
        posed = Problem(VP, problem.network, problem.operator, many[:rows], problem.sigma_y, problem.network)
        row(
            text,
            solver.calls,
            solver(posed, lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)),
        )


def convergence(steps: int, plot: Path | None) -> None:
    """DeqIR's residual and its distance from the sequential chain, sweep by sweep, for three kinds of mixing."""
    problem = exact_problem()
    _, y = problem.draw(4, torch.Generator().manual_seed(3))
    start = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    chain = DeqIR(steps=steps).chain(Problem(VP, problem.prior, problem.operator, y, problem.sigma_y))
    whole = solve_chain(chain, start, steps, "none").end
    kinds: dict[str, Mixing] = {"none (Picard)": "none", "per-step (the authors')": "per-step", "global": "global"}
    errors: dict[str, list[float]] = {name: [] for name in kinds}
    residuals: dict[str, list[float]] = {}
    for name, mixing in kinds.items():
        seen = errors[name]
        found = solve_chain(
            chain,
            start,
            steps,
            mixing,
            callback=lambda i, r, x, end, seen=seen: seen.append(((end - whole).norm() / whole.norm()).item()),
        )
        residuals[name] = found.residuals
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
    """Residual and error against sweeps."""
    from rebridge.evaluation.plots import new_figure

    figure, axes = new_figure(columns=2, width=5.0, height=3.6)
    pairs = ((residuals, "residual |X - F(X)| / |F(X)|"), (errors, "distance from the sequential result"))
    for axis, (lines, label) in zip(axes, pairs, strict=True):
        for name, values in lines.items():
            axis.semilogy(
                range(1, len(values) + 1), [max(value, 1e-16) for value in values], marker="o", markersize=3, label=name
            )
        axis.set_xlabel("sweeps")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].legend(title="mixing", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def speed(size: int, steps: int, runs: int, name: str, clock: Clock) -> None:
    """Time of DeqIR against the sequential chain, and of noise-refined guidance against DPS, in one run."""
    if name == DEFAULT_PRIOR and name not in hub.packaged():
        network = networks.create("fast", optional_condition=True)
        torch.nn.init.normal_(network.tail.weight, std=0.02)
        prior: NetworkDenoiser | Callable[[Tensor, Tensor, Tensor], Tensor] = NetworkDenoiser(
            network.requires_grad_(False), VP, "preconditioned"
        ).eval()
        print("the prior is not packaged here: an untrained network of its kind takes its place")
    else:
        prior = unconditional(load_prior(name, device="cpu")).denoiser
    operator = operators.create("sr4", (3, size, size))
    y = operator.A(2 * torch.rand(1, 3, size, size) - 1)
    posed = Problem(VP, prior, operator, y, 0.02)
    start = torch.randn(1, 3, size, size)
    whole, sequential = timed(DDNM(steps=steps, eta=0.0), posed, start, runs, clock)
    kind = "processor time" if clock is time.process_time else "wall time"
    print(f"{size} x {size} pixels, {torch.get_num_threads()} threads, {kind}, median of {runs} runs")
    print("| solver | network calls | seconds | ratio | distance from the sequential result |")
    print("|---|---|---|---|---|")
    print(f"| ddnm, {steps} steps | {steps} | {sequential:.2f} | 1.00 | 0 |")
    for sweeps in (5, 10, 15):
        solver = DeqIR(steps=steps, sweeps=sweeps)
        found, seconds = timed(solver, posed, start, runs, clock)
        distance = ((found - whole).norm() / whole.norm()).item()
        ratio = seconds / sequential
        print(f"| deqir, {sweeps} sweeps | {solver.calls} | {seconds:.2f} | {ratio:.2f} | {distance:.1e} |", flush=True)
    pair = [timed(solver_of(way, steps), posed, start, runs, clock)[1] for way in ("nrlg", "dps")]
    print(f"nrlg {pair[0]:.2f} s, dps {pair[1]:.2f} s at {steps} steps: {pair[1] / pair[0]:.2f} times faster")


def timed(solver: Solver, problem: Problem, start: Tensor, runs: int, clock: Clock) -> tuple[Tensor, float]:
    """The result and the median time; the first run warms up and does not count."""
    seconds = []
    for _ in range(runs + 1):
        began = clock()
        found = solver(problem, lambda like: start)
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
        speed(
            options.size,
            options.steps,
            options.runs,
            options.prior,
            time.process_time if options.shared else time.perf_counter,
        )


if __name__ == "__main__":
    main()
