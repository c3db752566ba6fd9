"""Rows of figures and how they are shown: one table, each figure with what it is compared to in the same run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `ratio` is `value` over the value of the row called `against` in the same part; None: there is nothing to
    compare, or it could not be measured (`value` None, the reason in `note`)."""

    part: str
    subject: str
    value: float | None
    unit: str
    ratio: float | None = None
    against: str = ""
    note: str = ""


def figure(value: float | None) -> str:
    """Three digits are all that a benchmark can say."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def ratio_text(row: Row) -> str:
    return "–" if row.ratio is None else f"{figure(row.ratio)} × {row.against}"


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    if len(values) < 2:
        return values[0], values[0]
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def show(rows: Iterable[Row], title: str) -> None:
    """The table for people."""
    table = Table(title=title, title_justify="left", show_lines=False)
    for name, justify in (("what", "left"), ("who", "left"), ("figure", "right"), ("ratio", "left"), ("and", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    part = None
    for row in rows:
        if part not in (None, row.part):
            table.add_section()
        table.add_row(
            row.part if row.part != part else "",
            row.subject,
            f"{figure(row.value)} {row.unit}" if row.value is not None else "–",
            ratio_text(row),
            row.note,
        )
        part = row.part
    console = Console()
    # In a log (no terminal) every line is kept whole.
    Console(width=None if console.is_terminal else 170).print(table)


def markdown(rows: Iterable[Row]) -> str:
    """The same for docs/benchmarks.md: ratios first."""
    lines = ["| What | Who | Ratio | Figure | And |", "|---|---|---|---|---|"]
    part = None
    for row in rows:
        value = f"{figure(row.value)} {row.unit}" if row.value is not None else "–"
        cells = (row.part if row.part != part else "", row.subject, ratio_text(row), value, row.note)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        part = row.part
    return "\n".join(lines)
