"""Reports on disk, and the page made from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import performance, plot
from benchmarks.schema import Report
from binas.core import record
from binas.core.errors import UsageError
from tests.unit.benchmarks.reports import report, row

ROWS = (
    row("bits_to_bits/r18_64x56", "binas", 100_000.0),
    row("bits_to_bits/r18_64x56", "openvino-binary", 130_000.0),
    row("network/bireal18", "binas", 3_000_000.0),
    row("network/bireal18", "openvino-binary", 6_000_000.0),
    row("bits_to_bits/r18_64x56", "ort-int8", None, checked=False),
)


def test_a_report_survives_the_disk(tmp_path: Path) -> None:
    made = report(*ROWS)
    record.save(made, tmp_path / "a.json")
    assert record.load(Report, tmp_path / "a.json") == made


def test_the_file_has_the_fields_it_promises() -> None:
    data = json.loads(record.dumps(report(*ROWS)))
    assert data["schema"] == "binas.benchmark/2"
    assert {"host", "ceiling", "rows"} < set(data)
    promised = {"work", "engine", "median_ns", "samples_ns", "checked", "gmacs_executed"}
    assert all(promised < set(one) for one in data["rows"])


def test_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"schema": "binas.benchmark/2"}')
    with pytest.raises(UsageError, match=r"binas\.benchmark/2"):
        record.load(Report, tmp_path / "a.json")


def test_the_page_says_what_is_met_and_what_is_not_measured(tmp_path: Path) -> None:
    record.save(report(*ROWS), tmp_path / "a.json")
    (tmp_path / "performance-notes.md").write_text("## What was tried\n\nMuch.\n")
    output = tmp_path / "performance.md"
    done = CliRunner().invoke(performance.main, [str(tmp_path / "a.json"), "-o", str(output)])
    assert done.exit_code == 0, done.output
    text = output.read_text()
    (network,) = (one for one in text.splitlines() if "time of OpenVINO's binary graph" in one)
    assert "| 0.5" in network
    assert network.endswith("| met |")
    assert "not measured" in text
    assert "| r18_64x56 | 100 / 1000 | 130 / 769 |" in text
    assert text.endswith("Much.\n")
    assert (tmp_path / "images" / "performance.svg").read_bytes().startswith(b"<?xml")


def test_equal_reports_give_equal_drawings() -> None:
    assert plot.draw([report(*ROWS)]) == plot.draw([report(*ROWS)])


def test_several_cpus_make_no_page(tmp_path: Path) -> None:
    record.save(report(*ROWS), tmp_path / "a.json")
    other = (tmp_path / "a.json").read_text().replace("A CPU", "Another CPU")
    (tmp_path / "b.json").write_text(other)
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    done = CliRunner().invoke(performance.main, [*files, "-o", str(tmp_path / "page.md")])
    assert done.exit_code == 2
    assert not (tmp_path / "page.md").exists()
