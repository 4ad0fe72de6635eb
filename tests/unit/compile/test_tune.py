"""The tuner: what it picks when costs are known, what it keeps when it is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from binas.compile import isa as isas
from binas.compile import judges, tune
from binas.compile.kernels import family
from binas.compile.tile import Choice, Tile
from binas.compile.tuning import Estimated, Measured, Tuning, read
from binas.core.errors import UsageError
from binas.core.layer import Layer
from binas.devices import registry

DEVICE = registry.find("x86-64-v3")
ISA = isas.find("x86-64-v3", "x86_64")
LAYER = Layer(
    op="binary_conv",
    in_shape=(1, 9, 33, 65),
    out_channels=129,
    kernel=(3, 3),
    padding=(1, 1, 1, 1),
    in_bits=1,
    weight_bits=1,
)
OTHER = replace(LAYER, out_channels=63)
POOL = Layer(op="pool_max", in_shape=(1, 8, 8, 31), out_channels=31, kernel=(2, 2), stride=(2, 2))
TILES = family.tiles(LAYER, ISA)


@dataclass
class Known:
    """A judge to whom every tile's cost is known, but for the machine's moods.

    Attributes:
        cost: Of a tile.
        moods: Whether whole rounds are slow, and single tiles within them by 30 % one way.
        measured: What it calls its costs.
        asked: Layers of every question.
    """

    cost: Callable[[Tile], float]
    moods: bool = False
    measured: bool = True
    asked: list[Layer] = field(default_factory=list)

    def costs(self, choices: Sequence[Choice], rounds: int) -> list[list[float]]:
        """Costs of tiles, in rounds."""
        self.asked.append(choices[0].layer)
        generator = np.random.default_rng(len(self.asked))
        found = []
        for _ in range(rounds):
            costs = [self.cost(choice.tile) for choice in choices if choice.tile is not None]
            if self.moods:
                speed = generator.uniform(1, 3)
                costs = [cost * speed * generator.uniform(1, 1.003) for cost in costs]
            found.append(costs)
        return found

    def gain(self, tuned: float, rule: float) -> Measured | Estimated:
        """Two costs."""
        if self.measured:
            return Measured(tuned_ns=tuned, rule_ns=rule, machine="known")
        return Estimated(tuned_cycles=tuned, rule_cycles=rule, pipeline="known")


def distance(best: Tile) -> Callable[[Tile], float]:
    """A cost that is least at one tile and rises in every direction."""

    def cost(tile: Tile) -> float:
        return (
            100
            + 20 * abs(tile.pixels - best.pixels)
            + 10 * abs(tile.vectors - best.vectors)
            + 4 * (tile.rows_first != best.rows_first)
        )

    return cost


@pytest.mark.parametrize("place", range(1, len(TILES), 7))
def test_the_cheapest_tile_is_found_wherever_it_is(place: int) -> None:
    best = TILES[place]
    entry = tune.tune_layer(LAYER, ISA, Known(distance(best), moods=True))
    assert entry.tile == best
    assert entry.tried >= sum(not tile.rows_first for tile in TILES)


def test_a_gain_below_the_margin_leaves_the_rules_tile() -> None:
    best = TILES[3]
    small = Known(lambda tile: 99.1 if tile == best else 100.0)
    assert tune.tune_layer(LAYER, ISA, small).tile == TILES[0]
    large = Known(lambda tile: 98.9 if tile == best else 100.0)
    entry = tune.tune_layer(LAYER, ISA, large)
    assert entry.tile == best
    assert entry.gain == Measured(tuned_ns=98.9, rule_ns=100.0, machine="known")


def test_an_estimate_which_sees_no_cache_leaves_the_order_of_rows_to_the_rule() -> None:
    best = next(tile for tile in TILES if tile.rows_first)
    assert tune.tune_layer(LAYER, ISA, Known(distance(best))).tile == best
    guess = tune.tune_layer(LAYER, ISA, Known(distance(best), measured=False))
    assert guess.tile == replace(best, rows_first=False)


def test_equal_layers_are_tuned_once_and_those_without_a_choice_never(tmp_path: Path) -> None:
    judge = Known(distance(TILES[2]))
    found = tune.tune([LAYER, POOL, LAYER], DEVICE, judge, tmp_path / "tuning.json")
    assert [entry.layer for entry in found.entries] == [LAYER]
    assert set(judge.asked) == {LAYER}
    assert Tuning({"user": read(tmp_path / "tuning.json")}).tile(LAYER, ISA) == (TILES[2], "user")


def test_an_interrupted_run_keeps_its_layers_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"

    def stop(tile: Tile) -> float:
        if judge.asked[-1] == OTHER:
            raise KeyboardInterrupt
        return float(tile.pixels)

    judge = Known(stop)
    with pytest.raises(KeyboardInterrupt):
        tune.tune([LAYER, OTHER], DEVICE, judge, path)
    assert [entry.layer for entry in read(path).entries] == [LAYER]
    again = Known(lambda tile: float(tile.pixels))
    found = tune.tune([LAYER, OTHER], DEVICE, again, path)
    assert found.reused == 1
    assert set(again.asked) == {OTHER}
    assert [entry.layer for entry in found.entries] == [LAYER, OTHER]


def test_a_clock_replaces_estimates_and_an_estimate_never_a_measurement(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    guess = Known(distance(TILES[1]), measured=False)
    assert tune.tune([LAYER], DEVICE, guess, path).reused == 0
    assert tune.tune([LAYER], DEVICE, guess, path).reused == 1
    clock = Known(distance(TILES[2]))
    assert tune.tune([LAYER], DEVICE, clock, path).entries[0].tile == TILES[2]
    assert tune.tune([LAYER], DEVICE, guess, path).entries[0].tile == TILES[2]


def test_what_people_and_programs_are_told_calls_an_estimate_one(tmp_path: Path) -> None:
    guess = Known(distance(TILES[1]), measured=False)
    found = tune.tune([LAYER], DEVICE, guess, tmp_path / "tuning.json")
    answer = tune.tuned_record(found, tmp_path / "tuning.json")
    assert answer["layers"][0]["measured"] is None
    assert answer["layers"][0]["estimated"] is not None
    assert "cycles, estimated" in tune.tuned_text(answer)[1]
    assert "µs" not in tune.tuned_text(answer)[1]


def test_a_device_that_invents_its_times_tunes_nothing() -> None:
    with (
        pytest.raises(UsageError, match="invents"),
        judges.judge_for(DEVICE, registry.find("null")),
    ):
        raise AssertionError("the body of a judge that there is none of")


def test_a_board_that_is_only_described_is_judged_by_its_pipeline() -> None:
    with judges.judge_for(registry.find("rpi4"), jobs=3) as judge:
        assert judge == judges.Pipeline(registry.find("rpi4"), "cortex-a72", jobs=3)
