"""Tuning for real: on this machine's clock, and by the estimate where there is no machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from binas.compile import isa as isas
from binas.compile import judges, tune
from binas.compile.build import compile_layers
from binas.compile.cli import main
from binas.compile.kernels import family
from binas.compile.tile import Tile
from binas.compile.tuning import Estimated, Measured, Tuning
from binas.core.layer import Layer
from binas.devices import registry

pytestmark = pytest.mark.slow

SMALL = Layer(op="conv", in_shape=(1, 1, 33, 5), out_channels=31, weight_bits=32)


@pytest.fixture
def few_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tiles of the small layer, so that nobody waits for forty kernels."""
    every = family.tiles

    def few(layer: Layer, isa: isas.Isa) -> list[Tile]:
        return every(layer, isa)[:3]

    monkeypatch.setattr(family, "tiles", few)


@pytest.mark.usefixtures("few_tiles")
def test_tiles_are_measured_here_and_the_artifact_takes_the_best(tmp_path: Path) -> None:
    device, path = registry.find("host"), tmp_path / "tuning.json"
    with judges.judge_for(device) as judge:
        (entry,) = tune.tune([SMALL], device, judge, path).entries
    assert isinstance(entry.gain, Measured)
    assert 0 < entry.gain.tuned_ns <= entry.gain.rule_ns < 1e6
    made = compile_layers([SMALL], device, tmp_path / "a.binas", Tuning.of_file(path))
    assert str(entry.tile) in made.manifest.steps[0].kernel
    assert made.manifest.tuning["user"] == Tuning.of_file(path).digests["user"]


@pytest.mark.usefixtures("few_tiles")
def test_without_a_board_tiles_are_ranked_by_cycles_and_called_so(
    needs: Callable[[str], str], tmp_path: Path
) -> None:
    needs("llvm-mca")
    device = registry.find("rpi4")
    with judges.judge_for(device) as judge:
        (entry,) = tune.tune([SMALL], device, judge, tmp_path / "tuning.json").entries
    assert isinstance(entry.gain, Estimated)
    assert entry.gain.pipeline == "cortex-a72"
    assert 0 < entry.gain.tuned_cycles < 1e5


def test_a_board_needs_tune_and_a_database_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "a.binas")
    done = CliRunner().invoke(main, ["example:digits", "-o", out, "--board", "host"])
    assert done.exit_code == 2
    assert "--board without --tune" in done.output
    monkeypatch.setenv("BINAS_TUNING", "off")
    done = CliRunner().invoke(main, ["example:digits", "-o", out, "--tune"])
    assert done.exit_code == 2
    assert "BINAS_TUNING is off" in done.output


def test_the_report_says_who_chose_a_tile(tmp_path: Path) -> None:
    out = str(tmp_path / "a.binas")
    done = CliRunner().invoke(main, ["example:digits", "-o", out, "--json"])
    answer = json.loads(done.output)
    assert {one["tile_from"] for one in answer["kernels"]} <= {"rule", "shipped"}
    assert answer["tuned"] is None
