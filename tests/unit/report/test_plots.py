"""Plots say what they are given: ends of axes, fronts, targets."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.core.errors import UsageError
from binas.runtime import plots

POINTS = st.lists(
    st.builds(
        plots.Point,
        label=st.just("n"),
        latency_us=st.floats(1, 1000),
        accuracy=st.floats(0, 1),
    ),
    min_size=1,
    max_size=30,
)


def texts(svg: str) -> list[str]:
    """Everything written in a drawing."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@given(POINTS)
def test_no_point_beats_one_of_the_front_in_both(points: list[plots.Point]) -> None:
    front = plots.pareto(points)
    for point in points:
        assert any(f.latency_us <= point.latency_us and f.accuracy >= point.accuracy for f in front)
    for one in front:
        for other in front:
            beaten = other.latency_us <= one.latency_us and other.accuracy >= one.accuracy
            assert one is other or not beaten


@given(POINTS)
def test_the_front_does_not_depend_on_the_order(points: list[plots.Point]) -> None:
    shuffled = random.Random(0).sample(points, len(points))
    assert plots.pareto(shuffled) == plots.pareto(points)


def test_a_plane_names_its_bold_points_and_its_target() -> None:
    points = [
        plots.Point(label="baseline", latency_us=20, accuracy=0.98, bold=True),
        plots.Point(label="sample", latency_us=10, accuracy=0.9),
    ]
    said = texts(plots.plane(points, targets_us=[("asked for 13", 13)], x_label="measured, µs"))
    assert {"baseline", "asked for 13", "measured, µs", "accuracy"} <= set(said)
    assert "sample" not in said


def test_a_plane_without_a_point_is_refused() -> None:
    with pytest.raises(UsageError):
        plots.plane([], x_label="µs")


def test_a_single_curve_needs_no_legend() -> None:
    one = plots.Line(label="only", x=(1, 2), y=(1, 2))
    assert "only" not in texts(plots.lines([one], x_label="x", y_label="y"))
    two = plots.Line(label="other", x=(1, 2), y=(2, 1), hue=1)
    assert {"only", "other"} <= set(texts(plots.lines([one, two], x_label="x", y_label="y")))


def test_lengths_are_compared_from_zero() -> None:
    line = plots.Line(label="a", x=(1, 2, 3), y=(90, 95, 99))
    assert "0" in texts(plots.lines([line], x_label="epoch", y_label="µs", from_zero=True))
    assert "0" not in texts(plots.lines([line], x_label="epoch", y_label="µs"))


def test_whole_positions_get_whole_ticks() -> None:
    line = plots.Line(label="a", x=(1, 2, 3), y=(5, 6, 7))
    assert not [t for t in texts(plots.lines([line], x_label="epoch", y_label="")) if "1.5" in t]


def test_fractions_are_written_as_percent() -> None:
    line = plots.Line(label="a", x=(1, 2), y=(0.1, 0.9))
    assert any(
        t.endswith("%") for t in texts(plots.lines([line], x_label="", y_label="", percent=True))
    )
