"""Searches in a report: alone, and side by side with what they share and what they do not."""

from __future__ import annotations

import html as entities
import json
import re
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from binas.runtime import html
from binas.runtime.commands.report import report
from binas.search import beside
from tests.searches import finished, of_another_table


def cells(page: str) -> list[list[str]]:
    """The rows of all tables of a page."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [
        [entities.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    ]


def made(folder: Path, *runs: Path) -> tuple[dict[str, Any], str]:
    """What the command answers, and its page."""
    page = folder / "page.html"
    done = CliRunner().invoke(report, [*map(str, runs), "-o", str(page), "--json"])
    assert done.exit_code == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told, page.read_text()


def test_two_searches_stand_side_by_side_before_each_stands_alone(tmp_path: Path) -> None:
    plain = finished(tmp_path / "plain", strategy="random")
    fast = finished(tmp_path / "fast", seed=1, epochs=6)
    told, page = made(tmp_path, plain, fast)
    assert told["sections"] == [
        "plain beside fast",
        "Search plain, seed 0",
        "Search fast, seed 1",
    ]
    rows = cells(page)
    first, second = (next(row for row in rows if row[:1] == [name]) for name in ("plain", "fast"))
    assert first[1:6] == ["random", "0", "90.0%", "60.0 µs (table)", "-"]
    assert second[1:6] == ["bars", "1", "89.0%", "50.0 µs (table)", "45.0 µs"]
    assert float(first[6].split()[0]) > 0 and first[6] != second[6]
    assert [first[7], second[7]] == ["40 s", "41 s"]
    assert ["epochs", "4", "6"] in rows
    assert not [row for row in rows if row[:1] == ["rate"]]  # it is the same
    assert "One space, the same images" in page
    assert page.count("<title>network of ") == 2
    assert page.count("asked for 45.0 µs") == 1
    assert '<span class="swatch binary">' in page


def test_one_search_has_nobody_beside_it(tmp_path: Path) -> None:
    told, page = made(tmp_path, finished(tmp_path / "only"))
    assert told["sections"] == ["Search only, seed 0"]
    assert "beside" not in page


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    one = finished(tmp_path / "one")
    other = finished(tmp_path / "other", data_digest="9" * 12, space_name="cifar10")
    of_another_table(other)
    text = beside.section([beside.read(one), beside.read(other)]).text
    assert text == (
        "The spaces differ, so the networks had not the same choices. "
        "The images differ: accuracies do not compare. "
        "The latency tables differ: predictions come from two measurings."
    )


def test_a_search_without_a_table_is_named_and_not_drawn(tmp_path: Path) -> None:
    runs = [
        beside.read(finished(tmp_path / "timed")),
        beside.read(finished(tmp_path / "untimed", seed=2, table=False)),
    ]
    page = html.render(
        html.Report(title="", lead="", facts=(), sections=(beside.section(runs),), footer="")
    )
    assert "Without a table, so not here: untimed." in page
    assert next(row for row in cells(page) if row[:1] == ["untimed"])[4] == "-"


def test_a_folder_without_its_request_is_shown_with_what_is_known(tmp_path: Path) -> None:
    one, other = finished(tmp_path / "one"), finished(tmp_path / "other", epochs=9)
    (other / "config.json").unlink()
    (other / "log.jsonl").unlink()
    told, page = made(tmp_path, one, other)
    assert told["sections"][0] == "one beside other"
    assert "Of a folder without config.json the settings are not known." in page
    assert next(row for row in cells(page) if row[:1] == ["other"])[1] == "-"


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "fast", tmp_path / "b" / "fast", tmp_path / "b" / "slow"]
    assert beside.names_of(folders) == ["a/fast", "b/fast", "b/slow"]
    assert beside.names_of(folders[1:]) == ["fast", "slow"]
    assert beside.names_of([folders[0], folders[0]]) == ["fast", "fast"]


def test_a_search_that_weighed_nothing_is_damaged(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    found = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**found, "candidates": []}))
    done = CliRunner().invoke(report, [str(run), "-o", str(tmp_path / "page.html")])
    assert done.exit_code == 2
    assert "holds no candidate" in done.stderr


def test_a_damaged_log_is_named(tmp_path: Path) -> None:
    one, other = finished(tmp_path / "one"), finished(tmp_path / "other")
    (other / "log.jsonl").write_bytes(b'{"epoch": 0}\n\xff')
    done = CliRunner().invoke(report, [str(one), str(other), "-o", str(tmp_path / "page.html")])
    assert done.exit_code == 2
    assert f"{other / 'log.jsonl'} is damaged" in done.stderr
    assert not (tmp_path / "page.html").exists()
