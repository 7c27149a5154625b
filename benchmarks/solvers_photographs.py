"""Prints every zero-shot method on every operator beside what needs no model: PSNR on crops of photographs.

    export REBRIDGE_DATA=data
    python benchmarks/solvers_photographs.py --json docs/tables/solvers.json

Runs `rebridge compare --operator ...` operator by operator, and writes each result down as soon as it is there: a run that was
stopped goes on with the operators that are missing, and one that is complete prints its table again. With another prior, other
crops or other photographs everything is measured anew.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rebridge.commands.compare import compare
from rebridge.commands.options import CompareOptions
from rebridge.evaluation.baselines import BASELINES
from rebridge.images import write_atomic
from rebridge.inverse import MethodWarning, OperatorSpec, recommended_text
from rebridge.models import DEFAULT_PRIOR

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
SOLVERS = ("baselines", "all", "diffpir:zeta=0.8")
WITHOUT_MODEL = ("measured", *BASELINES)
Row = dict[str, Any]


def measured(path: Path | None, settings: dict[str, Any], operators: Sequence[str]) -> Iterator[list[Row]]:
    """The rows of each operator, kept in a file of the same settings or measured now."""
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path is not None and path.exists() else {}
    known = kept["operators"] if kept.get("settings") == settings else {}
    for operator in operators:
        if operator not in known:
            options = CompareOptions(
                clean=Path(os.environ.get("REBRIDGE_DATA", "data")) / settings["photographs"],
                operators=[operator],
                solvers=SOLVERS,
                prior=settings["prior"],
                crop=settings["crop"],
                limit=settings["limit"],
            )
            known[operator] = [asdict(row) for row in compare(options).rows]
            if path is not None:
                content = json.dumps({"settings": settings, "operators": known}, indent=1) + "\n"
                write_atomic(path, content.encode(), overwrite=True)
        yield known[operator]


def table(rows: Sequence[Sequence[Row]]) -> Iterator[str]:
    """The lines of a table in Markdown: a way a line, an operator a column.

    The best way of all is bold, the best without a model in italics; the last line has what `rebridge solve` takes by default.
    """
    by_way = [{row["method"]: row["psnr"] for row in column} for column in rows]
    ways = list(dict.fromkeys(way for column in by_way for way in column))
    ways.sort(key=lambda way: way not in WITHOUT_MODEL)
    yield "| way | " + " | ".join(f"`{column[0]['task']}`" for column in rows) + " |"
    yield "|---" * (len(rows) + 1) + "|"
    for way in ways:
        yield f"| {way} | " + " | ".join(_cell(way, column) for column in by_way) + " |"
    chosen = []
    for column in rows:
        spec = OperatorSpec.parse(column[0]["task"])
        chosen.append(recommended_text(spec.operator((3, 32, 32)), spec.sigma_y))
    yield "| default | " + " | ".join(f"`{name}`" for name in chosen) + " |"


def _cell(way: str, column: dict[str, float | None]) -> str:
    value = column.get(way)
    if value is None:
        return "-"
    known = {name: number for name, number in column.items() if number is not None}
    simple = [number for name, number in known.items() if name in WITHOUT_MODEL]
    text = f"{value:.2f}"
    if value == max(known.values()):
        return f"**{text}**"
    return f"*{text}*" if way in WITHOUT_MODEL and value == max(simple) else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", default=DEFAULT_PRIOR)
    parser.add_argument("--photographs", default="eval/cbsd68", help="folder below REBRIDGE_DATA")
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--limit", type=int, default=3)
    parser.add_argument("--operator", action="append", help="only these; repeat it")
    parser.add_argument("--json", type=Path, help="where results are kept")
    options = parser.parse_args()
    warnings.simplefilter("ignore", MethodWarning)
    settings = {key: getattr(options, key) for key in ("prior", "photographs", "crop", "limit")}
    rows = list(measured(options.json, settings, options.operator or OPERATORS))
    print(f"{options.limit} photographs, {options.crop} x {options.crop} pixels, {options.prior}; PSNR in dB\n")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
