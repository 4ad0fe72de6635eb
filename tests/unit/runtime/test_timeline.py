"""Where the time goes: the rows add up to the total in every form."""

from __future__ import annotations

import csv
import io

import pytest

from binas.runtime.artifact import Artifact
from binas.runtime.measure import Facts, Failure, Measurement, Plan, measured
from binas.runtime.timeline import REST, Row, chrome_trace, rows, text, to_csv


def took(ns: float) -> Measurement:
    return measured([ns] * 20, [0] * 20, 10**6, plan=Plan(), facts=Facts())


@pytest.fixture
def found(net: Artifact) -> tuple[Row, ...]:
    return rows(net.manifest.steps, [took(300), took(600)], took(1000))


def test_rows_add_up_to_the_total(found: tuple[Row, ...]) -> None:
    assert sum(row.median_ns or 0 for row in found) == pytest.approx(1000)
    assert sum(row.share or 0 for row in found) == pytest.approx(1)
    assert [row.name for row in found] == ["scale", "shift", REST]


def test_people_see_the_largest_first(found: tuple[Row, ...]) -> None:
    lines = text(found, took(1000)).splitlines()
    assert [line.split("%")[1].split()[0] for line in lines[1:3]] == ["shift", "scale"]
    assert REST in lines[3] and lines[4].endswith("total")
    assert max(len(line) for line in lines) <= 100


def test_a_failed_layer_has_no_time_and_says_why(net: Artifact) -> None:
    broken = Failure(kind="run", message="illegal instruction")
    found = rows(net.manifest.steps, [took(300), broken], took(1000))
    assert found[1].median_ns is None and found[1].remark == "run: illegal instruction"
    assert sum(row.median_ns or 0 for row in found) == pytest.approx(1000)
    assert "illegal instruction" in to_csv(found)
    assert "0.00" not in text(found, took(1000)).splitlines()[3]


def test_csv_has_its_units_in_the_header(found: tuple[Row, ...]) -> None:
    parsed = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert [row["median_ns"] for row in parsed] == ["300.0", "600.0", "100.0"]


def test_a_trace_has_one_event_per_layer_end_to_end(found: tuple[Row, ...]) -> None:
    trace = chrome_trace(found, title="tiny on host")
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [(e["name"], e["ts"], e["dur"]) for e in events] == [
        ("scale", 0.0, 0.3),
        ("shift", 0.3, 0.6),
        (REST, pytest.approx(0.9), pytest.approx(0.1)),
    ]
