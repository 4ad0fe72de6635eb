"""`binas-report`: what each kind of file becomes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from binas.core import record
from binas.runtime import html, reports
from binas.runtime.artifact import load
from binas.runtime.commands.report import report
from binas.runtime.table import LatencyTable
from tests.fuzz import seeds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artifact, its times, and a table of its layers."""
    (tmp_path / "net.binas").write_bytes(seeds.artifact())
    manifest = load(tmp_path / "net.binas").manifest
    layers = [{"step": s.name, "median_ns": 1000.0 * (i + 1)} for i, s in enumerate(manifest.steps)]
    bench: dict[str, Any] = {
        "schema": "binas.bench/1",
        "model_digest": manifest.model_digest,
        "steady": {"median_ns": 4000.0},
        "layers": layers,
    }
    (tmp_path / "bench.json").write_text(json.dumps(bench))
    (tmp_path / "table.json").write_bytes(seeds.table())
    return tmp_path


def made(folder: Path, *names: str) -> dict[str, Any]:
    """Run the command."""
    files = [str(folder / name) for name in names]
    done = CliRunner().invoke(report, [*files, "-o", str(folder / "page.html"), "--json"])
    assert done.exit_code == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_an_artifact_with_its_times_shows_every_layer_and_its_share(folder: Path) -> None:
    told = made(folder, "net.binas", "bench.json")
    page = (folder / "page.html").read_text()
    assert told["schema"] == "binas.report/1"
    assert len(told["sections"]) == 1
    assert "1.00 µs · 33%" in page
    assert "2.00 µs · 67%" in page
    assert "4.00 µs" in page


def test_a_table_becomes_a_heat_map_a_fit_and_failures(folder: Path) -> None:
    made(folder, "table.json")
    page = (folder / "page.html").read_text()
    assert "33→64" in page
    assert "8x8, 3x3/1" in page
    assert "Measured against predicted" in page
    assert "too slow" in page


def test_two_tables_are_compared(folder: Path) -> None:
    (folder / "other.json").write_bytes(seeds.table().replace(b"11.5", b"31.5"))
    told = made(folder, "table.json", "other.json")
    assert told["sections"][0] == "other.json compared with table.json"
    assert len(told["sections"]) == 3


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["bench.json"], "times of a model whose artifact is not among the files"),
        (["nowhere.json"], "no such file"),
        (["text"], "neither an artifact nor JSON"),
        (["wrong.json"], "is not what binas-bench prints"),
        (["empty"], "holds no result.json"),
    ],
)
def test_what_is_no_report_is_refused(folder: Path, names: list[str], said: str) -> None:
    (folder / "text").write_text("hello")
    (folder / "wrong.json").write_text('{"schema": "binas.bench/1", "layers": 3}')
    (folder / "empty").mkdir()
    files = [str(folder / name) for name in names]
    done = CliRunner().invoke(report, [*files, "-o", str(folder / "page.html")])
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (folder / "page.html").exists()


def test_a_heat_map_tints_from_the_smallest_to_the_largest() -> None:
    heat = html.Heat(
        rows=("a",), columns=("x", "y", "z"), cells=((1.0, 10.0, 100.0),), title="", caption=""
    )
    assert [heat.tint(v) for v in (1.0, 10.0, 100.0)] == [0.0, 0.5, 1.0]
    alone = html.Heat(rows=("a",), columns=("x",), cells=((3.0,),), title="", caption="")
    assert alone.tint(3.0) == 0.5


def test_a_table_without_binary_convolutions_has_no_heat_map() -> None:
    table = record.loads(LatencyTable, seeds.table(), where="table")
    assert reports.heat([]) == []
    assert len(reports.table(table).blocks) == 5
