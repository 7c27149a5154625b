"""Tables of figures: on the terminal, as CSV, and as plain values for JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Column:
    """Column of a table: key, heading and, for numbers, the format such as ".2f"."""

    key: str
    heading: str
    format: str = ""


def record(row: Any, columns: Sequence[Column]) -> dict[str, Any]:
    """Take a row's values by key; NaN and infinity become None, as JSON needs."""
    get = row.get if isinstance(row, Mapping) else lambda key: getattr(row, key)
    values = {column.key: get(column.key) for column in columns}
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}


def table(rows: Sequence[Any], columns: Sequence[Column], title: str | None = None) -> RichTable:
    """Lay rows out as a table for the terminal; missing values are shown as a dash."""
    from rich.table import Table as RichTable
    from rich.text import Text

    result = RichTable(title=title, title_justify="left", title_style="bold")
    for column in columns:
        result.add_column(column.heading, justify="right" if column.format else "left", overflow="fold")
    for row in rows:
        values = record(row, columns)
        result.add_row(*(Text(_shown(values[column.key], column.format)) for column in columns))
    return result


def to_csv(rows: Sequence[Any], columns: Sequence[Column]) -> str:
    """Write comma-separated values with the keys as header, unrounded."""
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
