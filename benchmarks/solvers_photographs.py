"""Prints every zero-shot method on every operator beside what needs no model: PSNR on crops of photographs.

    export REBRIDGE_DATA=data
    python benchmarks/solvers_photographs.py --limit 2 --json docs/tables/solvers.json
    python benchmarks/solvers_photographs.py --solver baselines --solver default --limit 4 --json docs/tables/solvers-default.json

Runs `rebridge compare --operator ... --solver ...` cell by cell, and writes each result down as soon as it is there: a run that
was stopped goes on with the cells that are missing, and one that is complete prints its table again. A cell that takes more
processor time than `--seconds` is given up. With another prior, other weights of it, other crops or other photographs everything
is measured anew.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rebridge.commands.compare import compare
from rebridge.commands.options import CompareOptions
from rebridge.images import write_atomic
from rebridge.inverse import MethodWarning, names
from rebridge.models import DEFAULT_PRIOR, load_prior

OPERATORS = (
    "noise@25",
    "sr4",
    "sr4@5",
    "average4",
    "blur@2",
    "blur:kind=gaussian,sigma=2@2",
    "box:side=0.25",
    "mask:missing=0.7",
    "colour",
    "cs:ratio=0.25@2",
    "radon:angles=45@2",
    "jpeg:quality=20",
)
SOLVERS = ("baselines", "default", *names())
Row = dict[str, Any]


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError once the process has computed for so long."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def fingerprint(prior: str) -> float:
    """The sum of the prior's weights, by which others of the same name are told apart."""
    network = load_prior(prior, device="cpu").network
    assert network is not None
    return round(sum(weight.double().sum().item() for weight in network.parameters()), 6)


def cell(operator: str, solver: str, settings: dict[str, Any]) -> list[Row]:
    """The rows of one solver, or of all baselines; psnr None where it does not fit, or takes too long."""
    options = CompareOptions(
        clean=Path(os.environ.get("REBRIDGE_DATA", "data")) / settings["photographs"],
        operators=[operator],
        solvers=[solver],
        prior=settings["prior"],
        crop=settings["crop"],
        limit=settings["limit"],
    )
    try:
        with limited(settings["seconds"]):
            rows = [asdict(row) for row in compare(options).rows]
    except TimeoutError:
        return [{"method": solver, "psnr": None, "late": True}]
    chosen = [row for row in rows if (row["method"] == "measured") <= (solver == "baselines")]
    return [{key: value for key, value in row.items() if key != "task"} for row in chosen]


def measured(
    path: Path | None, settings: dict[str, Any], operators: Sequence[str], solvers: Sequence[str]
) -> dict[str, list[Row]]:
    """The rows of each operator, kept in a file of the same settings or measured now."""
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path is not None and path.exists() else {}
    cells: dict[str, dict[str, list[Row]]] = kept["operators"] if kept.get("settings") == settings else {}
    for operator in operators:
        row = cells.setdefault(operator, {})
        for solver in solvers:
            if solver not in row:
                row[solver] = cell(operator, solver, settings)
                if path is not None:
                    content = json.dumps({"settings": settings, "operators": cells}, indent=1) + "\n"
                    write_atomic(path, content.encode(), overwrite=True)
    return {operator: [row for solver in solvers for row in cells[operator].get(solver, [])] for operator in operators}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", default=DEFAULT_PRIOR)
    parser.add_argument("--photographs", default="eval/cbsd68", help="folder below REBRIDGE_DATA")
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--limit", type=int, default=1, help="number of photographs")
    parser.add_argument("--seconds", type=float, default=60.0, help="of processor time, after which a cell is given up")
    parser.add_argument("--operator", action="append", help="only these; repeat it")
    parser.add_argument("--solver", action="append", help="only these; repeat it")
    parser.add_argument("--json", type=Path, help="where results are kept")
    options = parser.parse_args()
    warnings.simplefilter("ignore", MethodWarning)
    settings = {key: getattr(options, key) for key in ("prior", "photographs", "crop", "limit", "seconds")}
    settings["weights"] = fingerprint(options.prior)
    found = measured(options.json, settings, options.operator or OPERATORS, options.solver or SOLVERS)
    print(f"{options.limit} photographs, {options.crop} x {options.crop} pixels, {options.prior}; PSNR in dB")
    for operator, rows in found.items():
        print(f"\n{operator}")
        for row in rows:
            figure = f"more than {options.seconds:g} s" if row.get("late") else row["psnr"] and f"{row['psnr']:.2f}"
            print(f"  {row['method']:60s} {figure or '-'}")


if __name__ == "__main__":
    main()
