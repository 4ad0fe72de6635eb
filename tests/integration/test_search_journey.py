"""The whole way on a space as small as can be, by the commands that a user types."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from binas.compile.cli import main as compile_command
from binas.core import record
from binas.runtime.artifact import load
from binas.runtime.cli import run as run_command
from binas.runtime.cli import table as table_command
from binas.runtime.measure import Failure
from binas.runtime.table import Entry, LatencyTable
from binas.search.cli import main as search_command
from binas.search.genotype import Genotype
from binas.search.run import Config
from tests.integration.typed import SHORT, answer, asked, begun, call, must_refuse


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space, images, and a table measured on this machine."""
    folder = begun(tmp_path_factory.mktemp("journey"))
    space = ["--space", folder / "tiny.toml"]
    built = answer(
        table_command, "build", *space, "--fit-nets", "2", "-o", folder / "table.json", "--jobs", 1
    )
    assert built["schema"] == "binas.table-build/1"
    assert built["failures"] == 0
    assert built["reused"] == 0
    assert built["fit"]["networks"] == 2
    return folder


def test_from_a_space_to_a_verified_answer_on_this_machine(home: Path) -> None:
    again = answer(
        table_command,
        *("build", "--space", home / "tiny.toml", "--fit-nets", "0", "-o", home / "table.json"),
    )
    assert again["reused"] == again["layers"] > 10
    shown = answer(table_command, "show", home / "table.json")
    assert shown["schema"].startswith("binas.table")

    plain = answer(search_command, "run", *asked(home), *SHORT, "-o", home / "plain")
    assert plain["schema"] == "binas.found/1"
    assert plain["predicted_ns"] is None
    fast = answer(
        search_command,
        *("run", *asked(home), *SHORT, "--table", home / "table.json"),
        *("--budget-ratio", "1.0", "--baseline", home / "plain", "-o", home / "fast"),
    )
    assert 0 < fast["predicted_ns"] <= fast["budget_ns"]
    log = [json.loads(line) for line in (home / "fast" / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [0, 1]
    assert log[0]["budget_ns"] == fast["budget_ns"]

    trained = answer(
        search_command,
        *("retrain", home / "fast", "--data", home / "images.npz", "--epochs", "6"),
        *("--batch", "8", "-o", home / "net"),
    )
    assert trained["schema"] == "binas.trained/1"
    assert trained["accuracy"] > 0.8
    exported = answer(search_command, "export", home / "net", "-o", home / "net.onnx")
    assert exported["schema"] == "binas.export/1"
    assert exported["bytes"] == (home / "net.onnx").stat().st_size

    compiled = answer(
        compile_command,
        *(home / "net.onnx", "--device", "host", "-o", home / "net.binas", "--verify"),
    )
    assert compiled["schema"] == "binas.compile/1"
    assert compiled["binary_layers"] == exported["binary_convolutions"]
    assert all(link["binary_layers_exact"] for link in compiled["verified"].values())
    searched = record.load(Config, home / "fast" / "config.json")
    genotype = record.load(Genotype, home / "fast" / "genotype.json")
    assert load(home / "net.binas").manifest.sources == {
        "genotype": record.digest(genotype),
        "space": record.digest(genotype.space),
        "table": record.digest_bytes((home / "table.json").read_bytes()),
        "search_data": searched.data_digest,
        "data": searched.data_digest,
    }
    with np.load(home / "images.npz") as arrays:
        x, y = arrays["x_test"], arrays["y_test"]
    right = 0
    for place in range(5):
        np.save(home / "x.npy", x[place : place + 1])
        ran = answer(
            run_command,
            *(home / "net.binas", "--device", "host", "--input", home / "x.npy"),
            *("-o", home / "y.npy"),
        )
        assert ran["schema"] == "binas.run/1"
        right += int(np.load(home / "y.npy").argmax() == y[place])
    assert right >= 4


def test_sampled_networks_are_measured_while_the_search_evaluates_them(
    home: Path, tmp_path: Path
) -> None:
    search = ["run", *asked(home), *SHORT, "--measure", "--device", "host", "-o", tmp_path / "run"]
    found = answer(search_command, *search)
    assert len(found["candidates"]) == 2
    assert all(one["measured_ns"] > 0 for one in found["candidates"])
    assert not list(tmp_path.rglob("*.binas"))
    shown = call(search_command, *search)  # reused: the numbers are kept, not measured again
    assert f"measured latency {found['candidates'][0]['measured_ns'] / 1e3:.1f} us" in shown.stdout
    nowhere = call(search_command, *(word for word in search if word not in ("--device", "host")))
    must_refuse(nowhere, 2, "--measure needs to know where", "give --device NAME")


def test_wrong_input_is_refused_before_anything_is_written(home: Path, tmp_path: Path) -> None:
    table: LatencyTable = record.load(LatencyTable, home / "table.json")
    shutil.copytree(home / "table.build", tmp_path / "t.build")
    failed = Entry(layer=table.entries[0].layer, result=Failure(kind="run", message="it died"))
    paths = {}
    for name, changed in {
        "failures": replace(table, entries=(failed, *table.entries[1:])),
        "foreign": replace(table, entries=table.entries[1:]),
        "kernels": replace(table, kernel_version="0" * 12),
        "threads": replace(table, threads=4),
        "elsewhere": replace(table, facts={**table.facts, "model": "a machine of 1999"}),
    }.items():
        paths[name] = tmp_path / f"{name}.json"
        record.save(changed, paths[name])
    corrupt = tmp_path / "genotype.json"
    corrupt.write_text('{"schema": "binas.genotype/1", "widths": [')
    output = tmp_path / "out"
    search = ["run", *asked(home), *SHORT, "-o", output]
    priced = [*search, "--table", home / "table.json"]
    retrain = ["retrain", "-o", output, "--data", home / "images.npz"]
    for arguments, code, said, hint in (
        ([*search, "--table", paths["failures"]], 6, "run, it died", "again"),
        ([*search, "--table", paths["foreign"]], 2, "has no layer", "binas-table build"),
        ([*search, "--table", paths["kernels"]], 2, "kernel version", "binas-table build"),
        ([*search, "--table", paths["threads"]], 2, "threads", "binas-table build"),
        ([*priced, "--device", "rpi4"], 2, "expected rpi4", "binas-table build --device rpi4"),
        (
            [*search, "--table", paths["elsewhere"], "--device", "host"],
            *(2, "on another machine, a machine of 1999", "binas-table build --device host"),
        ),
        ([*search, "--table", corrupt], 2, "is not JSON", ""),
        ([*search, "--table", home / "tiny.toml"], 2, "is not JSON", ""),
        ([*search, "--budget", "60us"], 2, "a budget needs a latency table", "--table"),
        ([*priced, "--budget", "60"], 2, "is no time", "500us"),
        (
            [*priced, "--budget", "1ns"],
            3,
            "the fastest",
            "--budget",
        ),
        ([*search, "--budget-ratio", "0.5"], 2, "belong together", "--baseline"),
        ([*search, "--space", "digit"], 2, "unknown search space 'digit'", "did you mean digits?"),
        ([*search, "--data", "digit"], 2, "unknown data set 'digit'", "digits"),
        ([*search, "--space", "digits"], 2, "the space is for 10 classes", "--space"),
        ([*search, "--epochs", "1"], 2, "warmup_epochs is 1", "warm up for fewer"),
        ([*retrain, corrupt], 2, "is not JSON", "binas.genotype/1"),
        ([*retrain, tmp_path / "nothing.json"], 2, "no such file", ""),
        (["export", tmp_path, "-o", output], 2, "no such file", ""),
    ):
        must_refuse(call(search_command, *arguments), code, said, hint)
        assert not output.exists(), arguments
    unknown = call(table_command, "build", "--device", "rip4", "-o", output)
    must_refuse(unknown, 2, "unknown device 'rip4'", "rpi4")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["t.build", "genotype.json", *(path.name for path in paths.values())]
    )


def test_a_table_of_the_host_that_another_machine_was_is_doubted(
    home: Path, tmp_path: Path
) -> None:
    table: LatencyTable = record.load(LatencyTable, home / "table.json")
    shutil.copytree(home / "table.build", tmp_path / "elsewhere.build")
    elsewhere = tmp_path / "elsewhere.json"
    record.save(replace(table, facts={"model": "a machine of 1999"}), elsewhere)
    search = ["run", *asked(home), *SHORT, "--json"]
    done = call(search_command, *search, "--table", elsewhere, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["predicted_ns"] > 0
    (doubt,) = (line for line in done.stderr.splitlines() if line.startswith("Doubt: "))
    assert f"{elsewhere} was measured on another machine, a machine of 1999" in doubt
    done = call(search_command, *search, "--table", home / "table.json", "-o", tmp_path / "own")
    assert "Doubt: " not in done.stderr


def test_a_table_made_with_another_tuning_database_is_doubted(home: Path, tmp_path: Path) -> None:
    table: LatencyTable = record.load(LatencyTable, home / "table.json")
    assert any(entry.tile for entry in table.entries)
    shutil.copytree(home / "table.build", tmp_path / "tuned.build")
    place = next(i for i, entry in enumerate(table.entries) if entry.tile)
    entries = list(table.entries)
    entries[place] = replace(entries[place], tile="9x9 u9")
    record.save(replace(table, entries=tuple(entries)), tmp_path / "tuned.json")
    search = ["run", *asked(home), *SHORT, "--table", tmp_path / "tuned.json"]
    done = call(search_command, *search, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert f"Doubt: 1 of {len(entries)} layers of {tmp_path / 'tuned.json'} " in done.stderr
    assert "another tuning database" in done.stderr


def test_strategies_are_compared_and_their_networks_put_in_one_plane(
    home: Path, tmp_path: Path
) -> None:
    compare = ["compare", *asked(home), "--strategy", "bars", "--seeds", 2, "--images", 200]
    compare += ["--epochs", 2, "--device", "host", "-o", tmp_path / "both"]
    found = answer(search_command, *compare)
    assert found["schema"] == "binas.comparison/1"
    assert [(e["strategy"], e["seed"]) for e in found["entries"]] == [("bars", 0), ("bars", 1)]
    assert all(e["latency_us"] > 0 and e["parameters"] > 0 for e in found["entries"])
    page = (tmp_path / "both" / "compare.html").read_text()
    assert "<svg" in page
    assert page.count("<title>network of bars") == 1
    again = call(search_command, *compare)
    assert again.exit_code == 0
    assert again.stderr.count("is finished: reused") == 4

    front = answer(
        search_command,
        *("pareto", tmp_path / "both" / "retrain", "--table", home / "table.json"),
        *("-o", tmp_path / "front.html"),
    )
    assert front["schema"] == "binas.pareto/1"
    assert front["latency"] == "predicted"
    assert [Path(net["run"]).name for net in front["networks"]] == ["bars-0", "bars-1"]
    assert any(net["front"] for net in front["networks"])
    assert "<svg" in (tmp_path / "front.html").read_text()
    (tmp_path / "empty").mkdir()
    nothing = call(search_command, "pareto", tmp_path / "empty", "--table", home / "table.json")
    must_refuse(nothing, 2, "no finished")
    must_refuse(call(search_command, "pareto", tmp_path), 2, "one source", "--device")
    must_refuse(
        call(search_command, *compare, "--budget", "1us"), 2, "a budget needs a latency table"
    )
