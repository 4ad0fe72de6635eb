"""Reports on disk, and the page made from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import page, performance, plot, report_file
from benchmarks.schema import AnyReport, Report
from benchmarks.targets import TIMES
from binas.core import record
from binas.core.errors import UsageError
from tests.unit.benchmarks.reports import (
    arm_network_report,
    arm_report,
    arm_row,
    footprint_report,
    report,
    row,
)

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
    assert data["schema"] == "binas.benchmark/3"
    assert {"host", "ceiling", "rows"} < set(data)
    promised = {"work", "engine", "median_ns", "samples_ns", "checked", "gmacs_executed"}
    assert all(promised < set(one) for one in data["rows"])


def weighed() -> list[AnyReport]:
    """A report of each kind that is not of times."""
    return [
        arm_report(arm_row("cortex-a72", "rpi4", 84.0)),
        arm_network_report(),
        footprint_report(),
    ]


@pytest.mark.parametrize("made", weighed(), ids=lambda made: type(made).__name__)
def test_a_report_of_any_kind_is_read_as_what_it_is(made: AnyReport, tmp_path: Path) -> None:
    record.save(made, tmp_path / "a.json")
    assert report_file.read(tmp_path / "a.json") == made


def test_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"schema": "binas.benchmark/1"}')
    with pytest.raises(UsageError, match=r"binas\.benchmark/1"):
        report_file.read(tmp_path / "a.json")


def test_a_file_from_before_commits_were_recorded_is_read(tmp_path: Path) -> None:
    old = record.to_dict(report(*ROWS))
    old["schema"] = "binas.benchmark/2"
    del old["host"]["commit"]
    (tmp_path / "a.json").write_text(json.dumps(old))
    read = report_file.read(tmp_path / "a.json")
    assert isinstance(read, Report)
    assert (read.host.commit, read.rows) == ("unknown", ROWS)


def test_the_page_says_what_is_met_and_what_is_not_measured(tmp_path: Path) -> None:
    record.save(report(*ROWS), tmp_path / "a.json")
    (tmp_path / "performance-notes.md").write_text("## What was tried\n\nMuch.\n")
    output = tmp_path / "performance.md"
    done = CliRunner().invoke(performance.main, [str(tmp_path / "a.json"), "-o", str(output)])
    assert done.exit_code == 0, done.output
    text = output.read_text()
    (network,) = (one for one in text.splitlines() if "time of OpenVINO's binary graph" in one)
    assert "| 0.5" in network
    assert network.endswith("| met, 1 of 5 runs |")
    assert "1 files, made at commit 0123456789ab+." in text
    assert "not measured" in text
    assert "| r18_64x56 | 100 / 1000 | 130 / 769 |" in text
    assert text.endswith("Much.\n")
    assert (tmp_path / "images" / "performance.svg").read_bytes().startswith(b"<?xml")


def test_the_page_of_another_cpu_has_notes_and_a_drawing_of_its_own(tmp_path: Path) -> None:
    record.save(report(*ROWS), tmp_path / "a.json")
    (tmp_path / "performance-notes.md").write_text("Of one CPU.\n")
    (tmp_path / "performance-other-notes.md").write_text("Of another.\n")
    output = tmp_path / "performance-other.md"
    done = CliRunner().invoke(performance.main, [str(tmp_path / "a.json"), "-o", str(output)])
    assert done.exit_code == 0, done.output
    text = output.read_text()
    assert "performance-other-notes.md, at the end" in text
    assert "(images/performance-other.svg)" in text
    assert text.endswith("Of another.\n")
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["performance-other.svg"]


PAGES = sorted((Path(__file__).parents[3] / "docs").glob("performance*-notes.md"))


@pytest.mark.parametrize("notes", PAGES, ids=lambda path: path.stem)
def test_a_page_in_the_documentation_ends_with_the_notes_beside_it(notes: Path) -> None:
    page = notes.with_name(notes.name.replace("-notes", ""))
    assert page.read_text().strip().endswith(notes.read_text().strip())


def two_threads(loop_ns: float, together_ns: float = 100.0) -> str:
    """The page of a network that takes 160 ns with one thread, beside such a loop."""
    engines = ("binas", "registers", "binas-2-threads", "registers-2-threads")
    times = zip(engines, (160.0, 100.0, together_ns, loop_ns), strict=True)
    made = report(*(row("threads/bireal18", engine, ns) for engine, ns in times))
    return page.page([made], name="performance", plot="", notes="")


def test_two_threads_are_shown_by_what_each_side_gains() -> None:
    text = two_threads(100.0)
    assert "| network's gain | loop's gain | ratio of gains |" in text
    assert f"| 1.600{TIMES} | 2.000{TIMES} | 0.800{TIMES} |" in text
    assert "registers / binas" not in text
    assert "not judged" not in text


def test_a_run_in_doubt_is_told_and_not_judged() -> None:
    for text in (two_threads(90.0), two_threads(100.0, together_ns=72.0)):
        assert "1 of 1 runs are not judged" in text
        assert "2.22 times" in text
        assert "no figures of threads/bireal18" in text


def test_the_page_lists_the_commits_of_its_files() -> None:
    old = report(*ROWS)
    new = replace(old, host=replace(old.host, commit="ba9876543210"))
    text = page.page([old, new, old], name="performance", plot="", notes="")
    assert "made at commit 0123456789ab+, commit ba9876543210." in text


def test_arm_and_footprint_stand_in_the_table_where_their_reports_are_given(
    tmp_path: Path,
) -> None:
    made = [report(*ROWS), *weighed(), arm_network_report("rpi3", rest_cycles=1.6e6)]
    files = [str(tmp_path / f"{number}.json") for number in range(len(made))]
    for file, one in zip(files, made, strict=True):
        record.save(one, Path(file))
    page_file = tmp_path / "page.md"
    done = CliRunner().invoke(performance.main, [*files, "-o", str(page_file)])
    assert done.exit_code == 0, done.output
    text = page_file.read_text()
    lines = {one.split(" | ")[0]: one for one in text.splitlines()}
    (network,) = (one for title, one in lines.items() if "on ARM" in title)
    assert network.endswith("| each ≤ 0.15 | 0.16 | arm_network/rpi3 | 1 | **not met** |")
    (arena,) = (one for title, one in lines.items() if "arena, of" in title)
    assert arena.endswith("| 1 | met |")
    assert "1 files, made at commit 0123456789ab, commit 0123456789ab+." in text
    alone = page.page([report(*ROWS)], name="performance", plot="", notes="")
    assert not any(words in alone for words in ("cortex-a72", "on ARM", "arena"))


def test_a_page_needs_times(tmp_path: Path) -> None:
    record.save(footprint_report(), tmp_path / "a.json")
    words = [str(tmp_path / "a.json"), "-o", str(tmp_path / "page.md")]
    done = CliRunner().invoke(performance.main, words)
    assert done.exit_code == 2
    assert "benchmarks.layers --json" in done.output


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
