"""Trains the same small network with different ways of drawing times and states, with and without its classifier and the
frequency loss, and prints PSNR at 1, 2, 5 and 10 steps.

    REBRIDGE_DATA=... python benchmarks/time_sampling.py --seeds 0 1 2 --json docs/tables/time-sampling.json

Every variant sees the same pairs for the same number of iterations (configs/time-sampling.yaml); figures are means over held-out
images of all tasks and over seeds, with the standard deviation between seeds. Finished runs are kept and not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from rebridge import samplers
from rebridge.evaluation.metrics import psnr
from rebridge.models import load_model
from rebridge.training import load_config, train
from rebridge.training.data import validation_pairs

CONFIG = Path(__file__).parent.parent / "configs" / "time-sampling.yaml"
VARIANTS: dict[str, list[str]] = {
    "one-step regression (t = 1 only)": ["objective=regression"],
    "end 7/8, rollout 1/8 (configs/rdbm-fast.yaml)": [],
    "blend, all at the end, half again at rollouts uniform in weight": [
        *["prediction=blend", "states={end_fraction: 1.0, rollout_again: 0.5, times: uniform-in-weight}"],
    ],
    "end 7/8, bridge 1/8": ["states.rollout_fraction=0.0"],
    "t uniform": ["states.end_fraction=0.0", "states.rollout_fraction=0.0"],
    "t uniform, lam 10/255": ["states.end_fraction=0.0", "states.rollout_fraction=0.0", "bridge.lam=0.0392"],
    "one-step regression, no guide": ["objective=regression", "network.kinds=0", "loss.guide=0"],
    "one-step regression, L1 only": ["objective=regression", "loss.frequency=0", "loss.weight=1"],
    "blend, all at the end, all again at rollouts uniform in weight": [
        *["prediction=blend", "states={end_fraction: 1.0, rollout_again: 1.0, times: uniform-in-weight}"],
    ],
    "one-step regression, equaliser": [
        *["objective=regression", "network.equalise=true", "start_from=runs/equaliser-tiny/model"],
    ],
}
STEPS = (1, 2, 5, 10)


def run(variant: str, seed: int, overrides: list[str], output: Path, grid: str) -> dict[str, float]:
    """Train one variant with one seed, or read what it gave before; PSNR in dB by number of steps."""
    slug = "".join(c if c.isalnum() else "-" for c in " ".join([variant, *overrides]))
    folder = output / f"{slug}-{seed}"
    result = folder / ("result.json" if grid == "uniform" else f"result-{grid}.json")
    if result.is_file():
        return json.loads(result.read_text())
    config = load_config(CONFIG, [*VARIANTS[variant], *overrides, f"seed={seed}", f"output={folder}"])
    trained = train(config, resume=True)
    assert trained.model is not None, "the run was stopped"
    model = load_model(str(trained.model))
    low, high = model.process.value_range
    scores: dict[str, list[float]] = {}
    for pair in validation_pairs(config.data, seed=0):
        y = pair.degraded[None] * (high - low) + low
        for steps in STEPS:
            x0 = samplers.create("dbim", steps=steps, grid=grid)(model.process, model.given(pair.degraded[None]), y)
            scores.setdefault(str(steps), []).append(psnr((x0 - low) / (high - low), pair.clean[None]).item())
    metrics = {steps: statistics.mean(values) for steps, values in scores.items()}
    result.write_text(json.dumps(metrics))
    return metrics


def show(rows: dict[str, list[dict[str, float]]]) -> None:
    """Print means and standard deviations over seeds as a Markdown table."""
    print("| training, equal iterations | " + " | ".join(f"{steps} steps" for steps in STEPS) + " |")
    print("|---|" + "---|" * len(STEPS))
    for name, results in rows.items():
        cells = []
        for steps in STEPS:
            values = [metrics[str(steps)] for metrics in results]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--variants", type=int, nargs="+", default=list(range(len(VARIANTS))), help="numbers of variants"
    )
    parser.add_argument("--grid", default="uniform", help="of the times that are stepped through")
    parser.add_argument("--output", type=Path, default=Path("runs/time-sampling"))
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("overrides", nargs="*", help="key=value for every run")
    options = parser.parse_args()
    names = list(VARIANTS)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        for number in options.variants:
            metrics = run(names[number], seed, options.overrides, options.output, options.grid)
            rows.setdefault(names[number], []).append(metrics)
            print(f"{names[number]} (seed {seed}):", {k: round(v, 2) for k, v in metrics.items()}, flush=True)
    show(rows)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"seeds": options.seeds, "variants": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
