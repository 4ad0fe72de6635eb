"""The drawings of a demo's report, each from the record alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from binas.runtime import html, plots
from examples.demo.summary import Course, Demo, Stair

BASELINE, AWARE, TWIN, BITS = 0, 1, 2, 3  # hues, the same all over the page
LABELS = ("baseline", "latency-aware", "real-valued twin")


def panel(
    demo: Demo,
    field: Literal["accuracy", "expected_us", "entropy"],
    y_label: str,
    title: str,
    caption: str,
) -> html.Figure:
    """One quantity of both searches over their epochs."""
    latency, share = field == "expected_us", field == "accuracy"
    curves = []
    for hue, label, course in _courses(demo):
        known = [(e.epoch, y) for e in course.epochs if (y := getattr(e, field)) is not None]
        xs, ys = [x for x, _ in known], [y for _, y in known]
        curves.append(plots.Line(label=label, x=xs, y=ys, hue=hue))
    svg = plots.lines(
        curves,
        x_label="epoch",
        y_label=y_label,
        targets=[_target(demo)] if latency else (),
        percent=share,
        from_zero=not share,
        narrow=True,
    )
    return html.Figure(title=title, caption=caption, svg=svg)


def networks_plane(demo: Demo) -> str:
    """The retrained networks: measured latency, held-out accuracy."""
    nets = (demo.baseline, demo.latency_aware, demo.parent)
    points = [
        plots.Point(
            label=label, latency_us=net.measured_us, accuracy=net.accuracy, hue=hue, bold=True
        )
        for hue, (label, net) in enumerate(zip(LABELS, nets, strict=True))
    ]
    return plots.plane(points, targets_us=[_target(demo)], x_label="measured latency, µs")


def samples_plane(demo: Demo) -> str:
    """The networks drawn when deriving: predicted latency, accuracy with shared weights."""
    points = [
        plots.Point(
            label="chosen" if sample.chosen else "",
            latency_us=sample.predicted_us,
            accuracy=sample.accuracy,
            hue=hue,
            bold=sample.chosen,
        )
        for hue, _, course in _courses(demo)
        for sample in course.samples
    ]
    return plots.plane(points, targets_us=[_target(demo)], x_label="predicted latency, µs")


def staircase(stairs: Sequence[Stair]) -> str:
    """Measured latency of one convolution over its width, beside its multiply-accumulates."""
    scale = stairs[-1].measured_us / stairs[-1].macs
    channels = [stair.channels for stair in stairs]
    measured = plots.Line(
        label="measured, p10 to p90",
        x=channels,
        y=[stair.measured_us for stair in stairs],
        low=[stair.p10_us for stair in stairs],
        high=[stair.p90_us for stair in stairs],
        hue=BITS,
    )
    counted = plots.Line(
        label="in proportion to MACs",
        x=channels,
        y=[stair.macs * scale for stair in stairs],
        hue=BASELINE,
        dashed=True,
    )
    return plots.lines(
        [measured, counted],
        x_label="channels in and out of a binary 3x3 convolution",
        y_label="µs",
        from_zero=True,
    )


def time_per_mac(stairs: Sequence[Stair]) -> str:
    """The same measurements, divided by the work: flat if counting were enough."""
    line = plots.Line(
        label="measured",
        x=[stair.channels for stair in stairs],
        y=[1e6 * stair.measured_us / stair.macs for stair in stairs],
        low=[1e6 * stair.p10_us / stair.macs for stair in stairs],
        high=[1e6 * stair.p90_us / stair.macs for stair in stairs],
        hue=BITS,
    )
    return plots.lines(
        [line],
        x_label="channels in and out of a binary 3x3 convolution",
        y_label="ps per multiply-accumulate",
        from_zero=True,
    )


def _target(demo: Demo) -> tuple[str, float]:
    return f"asked for {html.microseconds(demo.target_us)}", demo.target_us


def _courses(demo: Demo) -> tuple[tuple[int, str, Course], ...]:
    searches = demo.searches
    return (
        (BASELINE, "without latency", searches["baseline"]),
        (AWARE, "with latency", searches["latency_aware"]),
    )
