"""Reports: one HTML file, readable on a phone and in the dark, with nothing to fetch and no script.

A report is a value: sections of blocks, and a block is a figure, a table, bars, or facts. Whoever
has something to show builds one and calls `write`; how it looks is in `templates/`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from binas.core import record
from binas.core.errors import UsageError

Tone = Literal["", "binary", "float", "plain", "hue-1", "hue-2", "hue-3", "hue-4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One number worth large letters."""

    value: str
    label: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A row of them."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing with its sentence.

    Attributes:
        svg: From `runtime.plots` or `runtime.drawing`, which escape what they are given.
        caption: What one should see in it.
        title: Above it; may be empty.
    """

    svg: str
    caption: str
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures side by side, or one below the other where the page is narrow."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under a head; the first column names the row, the others are numbers.

    Attributes:
        head: Column titles with their units.
        rows: As many cells as the head has.
        caption: What the numbers are.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        """A ragged table is a bug of the caller."""
        if any(len(row) != len(self.head) for row in self.rows):
            raise ValueError("a row has more or fewer cells than the head")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: its length is `value` over the largest of all bars that are drawn together."""

    label: str
    value: float
    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Labelled bars in the order given.

    Attributes:
        bars: From top to bottom.
        caption: What one should see.
        title: Above them; may be empty.
        largest: Length of a full bar; 0: the largest value. Give two groups the same to compare
            them by eye.
    """

    bars: tuple[Bar, ...]
    caption: str
    title: str = ""
    largest: float = 0

    @property
    def scale(self) -> float:
        """The value of a full bar."""
        return max([self.largest, *(bar.value for bar in self.bars)]) or 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """Numbers in rows and columns, tinted by size on a logarithmic scale.

    Attributes:
        rows: Their names.
        columns: Their names.
        cells: A row of numbers above 0 per row name; None where there is none.
        title: Above it.
        caption: What the numbers are, with their unit.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[float | None, ...], ...]
    title: str
    caption: str

    def tint(self, value: float) -> float:
        """0 for the smallest number, 1 for the largest."""
        known = [math.log(cell) for row in self.cells for cell in row if cell]
        span = max(known) - min(known)
        return (math.log(value) - min(known)) / span if span else 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Blocks side by side, or one below the other where the page is narrow."""

    blocks: tuple[Bars | Figure | Table, ...]


Content = Facts | Figures | Table | Bars | Heat | Columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading, a few sentences, and what they are about."""

    title: str
    text: str
    blocks: tuple[Content, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A page.

    Attributes:
        title: Its name.
        lead: What it shows, in a sentence or two.
        facts: The numbers to see first.
        sections: In reading order.
        footer: Where the numbers come from: versions, device, date.
        legend: Tones that are used all over the page, with their meaning.
    """

    title: str
    lead: str
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    footer: str
    legend: tuple[tuple[Tone, str], ...] = ()


def render(report: Report) -> str:
    """The page as text.

    Raises:
        UsageError: Jinja2 is not installed.
    """
    try:
        from jinja2 import (  # noqa: PLC0415 (only where a page is made)
            Environment,
            PackageLoader,
            StrictUndefined,
        )
        from markupsafe import Markup  # noqa: PLC0415 (comes with jinja2)
    except ImportError:
        raise UsageError("reports need Jinja2", hint="pip install 'binas[search]'") from None
    environment = Environment(
        loader=PackageLoader("binas.runtime", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["svg"] = Markup  # only figures: made by us from escaped text
    style = (files("binas.runtime") / "templates" / "page.css").read_text()
    return environment.get_template("page.html").render(report=report, style=Markup(style))  # noqa: S704


def write(report: Report, path: Path) -> None:
    """Write the page beside and rename it into place."""
    record.write_atomic(path, render(report).encode())


def microseconds(value: float) -> str:
    """Microseconds for people: three figures, whether the thing is a layer or a network.

    Example:
        >>> [microseconds(value) for value in (0.0414, 6.33, 93.21, 1204.5)]
        ['0.041 µs', '6.33 µs', '93.2 µs', '1,204 µs']
    """
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f} µs"


def share_bars(
    layers: Sequence[tuple[str, float, Tone]], *, title: str, caption: str, largest: float = 0
) -> Bars:
    """Time per layer: name, microseconds and tone, in execution order, with each one's share."""
    total = sum(value for _, value, _ in layers) or 1.0
    return Bars(
        bars=tuple(
            Bar(
                label=name,
                value=value,
                text=f"{microseconds(value)} · {value / total:.0%}",
                tone=tone,
            )
            for name, value, tone in layers
        ),
        title=title,
        caption=caption,
        largest=largest,
    )
