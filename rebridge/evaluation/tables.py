"""Tables of figures: on the terminal, as CSV, and as plain values for JSON."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table as RichTable
from rich.text import Text


@dataclass(frozen=True)
class Column:
    """A column: the key of its values, its heading, and for numbers the format, such as ".2f"."""

    key: str
    heading: str
    format: str = ""


SUMMARY = (
    Column("task", "task"),
    Column("images", "images", "d"),
    Column("input_psnr", "input PSNR", ".2f"),
    Column("psnr", "PSNR", ".2f"),
    Column("median_psnr", "median PSNR", ".2f"),
    Column("gain", "gain", "+.2f"),
    Column("median_gain", "median gain", "+.2f"),
    Column("input_ssim", "input SSIM", ".4f"),
    Column("ssim", "SSIM", ".4f"),
    Column("seconds", "s/image", ".2f"),
)
"""Columns of the rows of `Evaluation.summaries`."""

SCORES = (
    Column("task", "task"),
    Column("name", "image"),
    *(column for column in SUMMARY if column.key not in ("task", "images", "median_psnr", "median_gain")),
)
"""Columns of `Evaluation.scores`."""


def record(row: Any, columns: Sequence[Column]) -> dict[str, Any]:
    """The values of a row, a mapping or an object with attributes, by key; NaN and infinity are None, as JSON needs."""
    get = row.get if isinstance(row, Mapping) else lambda key: getattr(row, key)
    values = {column.key: get(column.key) for column in columns}
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}


def table(rows: Sequence[Any], columns: Sequence[Column], title: str | None = None) -> RichTable:
    """A table for the terminal; missing values are shown as a dash."""
    result = RichTable(title=title, title_justify="left", title_style="bold")
    for column in columns:
        result.add_column(column.heading, justify="right" if column.format else "left", overflow="fold")
    for row in rows:
        values = record(row, columns)
        result.add_row(*(Text(_shown(values[column.key], column.format)) for column in columns))
    return result


def to_csv(rows: Sequence[Any], columns: Sequence[Column]) -> str:
    """Comma-separated values with the keys as header, unrounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.key for column in columns])
    writer.writerows(record(row, columns).values() for row in rows)
    return text.getvalue()


def _shown(value: Any, format: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return f"{value:{format}}"
