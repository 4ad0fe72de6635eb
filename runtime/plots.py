"""Plots of a report as inline SVG: text stays text, colours follow the page.

matplotlib lays out; what it writes names no colour but variables of `templates/page.css`, so one
drawing reads on a light page and on a dark one. matplotlib is imported only when drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from binas.core.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

# Placeholders that matplotlib takes for colours → the page's variables.
_PAGE = {
    "#010101": "--ink",
    "#020202": "--muted",
    "#030303": "--line",
    "#040404": "--paper",
    "#050501": "--hue-1",
    "#050502": "--hue-2",
    "#050503": "--hue-3",
    "#050504": "--hue-4",
}
_INK, _MUTED, _LINE, _PAPER, *HUES = _PAGE
# At a phone's width the letters are still 9 points high; two wide or three narrow ones fill a row.
_WIDE_INCHES, _NARROW_INCHES = (4.3, 2.8), (3.5, 2.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve.

    Attributes:
        label: For the legend.
        x: Positions.
        y: Values, as many.
        hue: Index into the page's hues; equal things have equal hues across plots.
        dashed: Drawn broken: a reference, not a measurement.
        steps: Drawn as stairs with a mark at each point.
        low: Lower ends of a band around the curve; empty: none.
        high: Upper ends.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    hue: int = 0
    dashed: bool = False
    steps: bool = False
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One network in the plane of accuracy and latency.

    Attributes:
        label: Written beside the point where `bold`.
        latency_us: Microseconds.
        accuracy: 0 to 1.
        hue: Index into the page's hues.
        bold: One of the few that the report is about; others are its background.
    """

    label: str
    latency_us: float
    accuracy: float
    hue: int = 0
    bold: bool = False


def lines(
    curves: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    targets: Sequence[tuple[str, float]] = (),
    percent: bool = False,
    from_zero: bool = False,
    narrow: bool = False,
) -> str:
    """Curves over one axis.

    Args:
        curves: What to draw.
        x_label: With its unit.
        y_label: With its unit.
        targets: Labelled horizontal lines.
        percent: Whether y is a fraction to be written as percent.
        from_zero: Whether the y axis starts at zero: lengths are compared.
        narrow: One of three in a row instead of two.
    """
    figure, axes = _axes(x_label, y_label, _NARROW_INCHES if narrow else _WIDE_INCHES)
    for curve in curves:
        color = HUES[curve.hue]
        if curve.low:
            axes.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)
        axes.plot(
            curve.x,
            curve.y,
            color=color,
            label=curve.label,
            linewidth=1.8,
            linestyle="--" if curve.dashed else "-",
            drawstyle="steps-post" if curve.steps else "default",
            marker="o" if curve.steps or len(curve.x) == 1 else "",
            markersize=3.5,
        )
    for label, value in targets:
        _target(axes, label, value)
    if all(float(x).is_integer() for curve in curves for x in curve.x):
        axes.xaxis.set_major_locator(_few(integer=True))  # there is no half epoch
    if percent:
        _percent(axes)
    if from_zero:
        axes.set_ylim(bottom=0)
    if len(curves) > 1:
        axes.legend(loc="best", fontsize=8, labelcolor=_INK, frameon=False)
    return _svg(figure)


def plane(
    points: Sequence[Point], *, targets_us: Sequence[tuple[str, float]] = (), x_label: str
) -> str:
    """Accuracy over latency, with the Pareto front of all points.

    Args:
        points: Networks; the bold ones are drawn large and labelled.
        targets_us: Labelled vertical lines: latency asked for.
        x_label: What latency is shown: predicted or measured.
    """
    if not points:
        raise UsageError("a plane without a point", hint="give at least one network")
    figure, axes = _axes(x_label, "accuracy")
    front = pareto(points)
    axes.plot(
        [p.latency_us for p in front],
        [p.accuracy for p in front],
        color=_MUTED,
        linewidth=1,
        linestyle=":",
        drawstyle="steps-post",
        zorder=1,
    )
    bold = sorted((p for p in points if p.bold), key=lambda p: p.latency_us)
    for point in points:
        axes.scatter(
            point.latency_us,
            point.accuracy,
            s=52 if point.bold else 14,
            color=HUES[point.hue],
            alpha=1 if point.bold else 0.45,
            edgecolors=_PAPER if point.bold else "none",
            linewidths=1,
            zorder=3 if point.bold else 2,
        )
        if point.bold:
            # By turns above and below: neighbours of one accuracy would write over each other.
            above = bold.index(point) % 2 == 0
            side = _towards_the_middle(point.latency_us, points)
            axes.annotate(
                point.label,
                (point.latency_us, point.accuracy),
                xytext=({"left": 6, "center": 0, "right": -6}[side], 8 if above else -8),
                textcoords="offset points",
                va="bottom" if above else "top",
                ha=side,
                fontsize=8.5,
                color=_INK,
                zorder=4,
            )
    for label, value in targets_us:
        axes.axvline(value, color=_INK, linewidth=1, linestyle="--", zorder=1)
        axes.annotate(
            label,  # above the drawing, where no point's label can be
            (value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha=_towards_the_middle(value, points),
            fontsize=8,
            color=_INK,
        )
    axes.margins(0.12, 0.22)
    _percent(axes)
    return _svg(figure)


def _towards_the_middle(latency_us: float, points: Sequence[Point]) -> str:
    """Where in a label its point lies, so that no label leaves the drawing."""
    left = min(p.latency_us for p in points)
    span = max(p.latency_us for p in points) - left
    place = (latency_us - left) / span if span else 0.5
    return "left" if place < 0.25 else "right" if place > 0.75 else "center"


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both, from fast to slow."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency_us, -p.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def _axes(
    x_label: str, y_label: str, size_inches: tuple[float, float] = _WIDE_INCHES
) -> tuple[Figure, Axes]:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (0.4 s)
    except ImportError:
        raise UsageError(
            "reports with plots need matplotlib", hint="pip install 'binas[search]'"
        ) from None
    figure = Figure(figsize=size_inches, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label, fontsize=9, color=_MUTED)
    axes.set_ylabel(y_label, fontsize=9, color=_MUTED)
    axes.tick_params(labelsize=8.5, colors=_MUTED, length=0)
    axes.grid(axis="y", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_LINE)
    return figure, axes


def _target(axes: Axes, label: str, value: float) -> None:
    axes.axhline(value, color=_INK, linewidth=1, linestyle="--")
    axes.annotate(
        label,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=_INK,
    )


def _percent(axes: Axes) -> None:
    from matplotlib.ticker import PercentFormatter  # noqa: PLC0415 (loaded by now)

    axes.yaxis.set_major_locator(_few())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def _few(*, integer: bool = False) -> MaxNLocator:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 (loaded by now)

    return MaxNLocator(5, integer=integer)


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context  # noqa: PLC0415 (loaded by now)

    buffer = io.StringIO()
    with rc_context(
        {
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "binas",  # equal figures give equal bytes
            "text.parse_math": False,  # a name with a dollar sign is a name
        }
    ):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Several drawings share a page: only ids that are referred to may stay; equal ones are equal.
    text = re.sub(r' id="[a-z][a-z0-9.]*_\d+"', "", text)
    text = re.sub(r" ?font-family: [^;\"]+;", "", text)  # the page's own
    # A style element would rule the whole page.
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]+pt"', r'\1 role="img"', text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]+pt"', r"\1", text, count=1)
    for placeholder, variable in _PAGE.items():
        text = text.replace(placeholder, f"var({variable})")
    return text
