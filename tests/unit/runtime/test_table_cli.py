"""binas-table show, compare and merge, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from binas.core import record
from binas.core.layer import Layer
from binas.runtime.artifact import Artifact
from binas.runtime.cli import table_compare, table_merge, table_show
from binas.runtime.measure import Failure
from binas.runtime.replay import invented, invented_fixed
from binas.runtime.table import Entry, LatencyTable
from tests.unit.runtime.conftest import call


def test_a_table_shows_failures_and_says_that_it_has_no_fit(tmp_path: Path) -> None:
    layers = [Layer(op="conv", in_shape=(1, 8, 8, 3), out_channels=k) for k in (8, 16)]
    table = LatencyTable(
        device="null",
        cpu="generic",
        arch="aarch64",
        kernel_version="k1",
        threads=1,
        entries=(
            Entry(layer=layers[0], result=invented(5e3)),
            Entry(layer=layers[1], result=Failure(kind="compile", message="no such kernel")),
        ),
        fixed=invented_fixed(),
    )
    record.save(table, tmp_path / "t.json")
    done = call(table_show, tmp_path / "t.json")
    assert done.exit_code == 0
    for words in ("1 layers, 1 failures", "5.00", "compile, no such kernel", "fit: not measured"):
        assert words in done.stdout
    found = json.loads(call(table_show, tmp_path / "t.json", "--json").stdout)
    assert found["schema"] == "binas.table-summary/1" and found["failures"] == 1
    assert found["entries"][0]["median_ns"] == 5e3


def test_a_file_of_another_kind_is_no_table(tmp_path: Path, net: Artifact) -> None:
    done = call(table_show, net.path)
    assert done.exit_code == 2 and "Error: " in done.stderr


def small_table(device: str, ns: float, channels: tuple[int, ...]) -> LatencyTable:
    entries = []
    for k in channels:
        one = Layer(op="elementwise", in_shape=(1, 1, 1, k), out_channels=k)
        entries.append(Entry(layer=one, result=invented(ns * k)))
    return LatencyTable(
        device=device,
        cpu="cortex-a72",
        arch="aarch64",
        kernel_version="k1",
        threads=1,
        entries=tuple(entries),
        fixed=invented_fixed(),
    )


def test_two_tables_of_one_board_are_compared_and_merged(tmp_path: Path) -> None:
    first, second, both = (tmp_path / f"{name}.json" for name in ("a", "b", "both"))
    record.save(small_table("rpi4", 100, (1, 2, 3)), first)
    record.save(small_table("rpi4", 104, (2, 3, 4)), second)
    found = json.loads(call(table_compare, first, second, "--json").stdout)
    assert (found["layers"], found["in_both"]) == (4, 2)
    assert found["median_abs_difference"] == pytest.approx(0.04)
    assert "2 layers in both, 4.0% apart (median)" in call(table_compare, first, second).stdout
    done = call(table_merge, first, second, "-o", both)
    assert done.stdout == f"{both}: 4 layers, 0 failures\n"
    assert len(record.load(LatencyTable, both).entries) == 4


@pytest.mark.parametrize("command", [table_compare, table_merge])
def test_tables_of_two_boards_are_neither_compared_nor_merged(
    tmp_path: Path, command: click.Command
) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    record.save(small_table("rpi4", 100, (1,)), first)
    record.save(small_table("rpi5", 100, (1,)), second)
    output = ["-o", tmp_path / "c.json"] if command is table_merge else []
    done = call(command, first, second, *output)
    assert done.exit_code == 2
    assert "do not belong together: device is 'rpi4' and 'rpi5'" in done.stderr
    assert not (tmp_path / "c.json").exists()


def test_a_table_cut_in_the_middle_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    record.save(small_table("rpi4", 100, (1, 2)), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for command, more in ((table_show, ()), (table_compare, (path,))):
        done = call(command, path, *more)
        assert done.exit_code == 2
        assert f"{path} is not JSON" in done.stderr
