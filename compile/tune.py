"""The tuner: every tile of a layer is tried, on the device or, where none is at hand, by estimate.

    shapes      pixels times channels of every tile, the loops as the rule has them
    orders      of the three best: how far loops are unrolled; measured, rows or channels first
    final       the three best again, and the rule's, in turns

A machine's speed changes by more than tiles differ, so all that is compared lies in one program and
takes turns in rounds; a tile's score is the median over the rounds of its cost, by the rule's in
the same round. Only a tile that beats the rule's by `MARGIN` in the final replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from binas.compile import isa as isas
from binas.compile.forms import GainEstimated, GainMeasured, TuneAnswer, TunedLayer
from binas.compile.isa import Isa
from binas.compile.judges import Judge
from binas.compile.kernels import family, version
from binas.compile.tile import Choice, Tile
from binas.compile.tuning import Estimated, Measured, Tuned, Tuning, read
from binas.core import record
from binas.core.layer import Layer
from binas.devices.device import Device
from binas.runtime.measure import percentile

ROUNDS, FINAL_ROUNDS = 3, 9
FINALISTS = 3
MARGIN = 0.01  # of the rule's time: what is less may be the machine's doing

Progress = Callable[[int, int], None]  # layers done, in all


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the tuner came to.

    Attributes:
        entries: Of the layers that there is something to choose for.
        reused: How many of them were known before.
    """

    entries: tuple[Tuned, ...]
    reused: int


def tune(
    layers: Iterable[Layer],
    device: Device,
    judge: Judge,
    path: Path,
    progress: Progress = lambda _done, _all: None,
) -> Outcome:
    """Find the best tile of every layer that the database does not know yet.

    The database is written after each layer: interrupted, the same call goes on.

    Args:
        layers: Equal ones are tuned once.
        device: Compiled for.
        judge: Measures, or estimates.
        path: The user's database.
        progress: Told how many layers are done.

    Raises:
        UsageError: The file is no database.
        MeasureError: A tile could not be measured.
    """
    isa = isas.find(device.cpu, device.arch)
    wanted = [one for one in dict.fromkeys(layers) if len(family.tiles(one, isa)) > 1]
    found, reused = [], 0
    for done, layer in enumerate(wanted):
        progress(done, len(wanted))
        known = Tuning({"user": read(path)}).known(layer, isa)
        if known is not None and not _is_better(judge, known):
            reused += 1
            found.append(known)
            continue
        entry = tune_layer(layer, isa, judge)
        record.save(read(path).with_entry(entry), path)
        found.append(entry)
    progress(len(wanted), len(wanted))
    return Outcome(tuple(found), reused)


def _is_better(judge: Judge, known: Tuned) -> bool:
    """Whether the judge has a clock and the entry was made without one."""
    return isinstance(known.gain, Estimated) and _has_clock(judge)


def _has_clock(judge: Judge) -> bool:
    return isinstance(judge.gain(1.0, 1.0), Measured)


def tune_layer(layer: Layer, isa: Isa, judge: Judge) -> Tuned:
    """The best tile of a layer; by a clock, of either order of rows and channels.

    Rows first read all weights once per row: what that costs is in caches, which no estimate sees.
    """
    tiles = family.tiles(layer, isa)
    rule = tiles[0]
    if not _has_clock(judge):
        tiles = [tile for tile in tiles if tile.rows_first == rule.rows_first]
    shapes = [t for t in tiles if (t.unroll, t.rows_first) == (rule.unroll, rule.rows_first)]
    best = _ranked(layer, shapes, judge, ROUNDS)[:FINALISTS]
    same = {(tile.pixels, tile.vectors) for tile in best}
    orders = [t for t in tiles if (t.pixels, t.vectors) in same and t not in shapes]
    if orders:
        best = _ranked(layer, [rule, *best, *orders], judge, ROUNDS)[:FINALISTS]
    final = _scores(layer, [rule, *best], judge, FINAL_ROUNDS)
    winner = min(final, key=lambda tile: final[tile].by_rule)
    # Round by round and as a whole: what is quoted must show what is believed.
    if max(final[winner].by_rule, final[winner].cost / final[rule].cost) > 1 - MARGIN:
        winner = rule
    return Tuned(
        layer=layer,
        arch=isa.arch,
        cpu=isa.cpu,
        made_by=version.made_by(layer, isa),
        tile=winner,
        gain=judge.gain(final[winner].cost, final[rule].cost),
        tried=len({*shapes, *orders}),
    )


@dataclass(frozen=True, slots=True)
class _Score:
    """Medians over rounds: a tile's cost, and that by the rule's in the same round."""

    cost: float
    by_rule: float


def _ranked(layer: Layer, tiles: Sequence[Tile], judge: Judge, rounds: int) -> list[Tile]:
    """The tiles, the first being the rule's, from the cheapest."""
    scores = _scores(layer, tiles, judge, rounds)
    return sorted(scores, key=lambda tile: scores[tile].by_rule)


def _scores(layer: Layer, tiles: Sequence[Tile], judge: Judge, rounds: int) -> dict[Tile, _Score]:
    """What each tile costs; the first is the rule's."""
    distinct = list(dict.fromkeys(tiles))
    costs = judge.costs([Choice(layer, tile) for tile in distinct], rounds)
    return {
        tile: _Score(
            percentile([one[i] for one in costs], 0.5),
            percentile([one[i] / one[0] for one in costs], 0.5),
        )
        for i, tile in enumerate(distinct)
    }


def tuned_record(outcome: Outcome, path: Path) -> TuneAnswer:
    """What the tuner did, for `--json`."""
    return {
        "database": str(path),
        "reused": outcome.reused,
        "layers": [_layer_record(entry) for entry in outcome.entries],
    }


def tuned_text(answer: TuneAnswer) -> list[str]:
    """The same for people: a line per layer whose tile is not the rule's."""
    changed = [one for one in answer["layers"] if one["tile"] != one["rule"]]
    lines = [
        f"  tuned           {len(answer['layers'])} layers, {answer['reused']} known before, "
        f"{len(changed)} with another tile than the rule's: {answer['database']}"
    ]
    for one in changed:
        if (clock := one["measured"]) is not None:
            said = f"{clock['rule_ns'] / 1e3:.2f} → {clock['tuned_ns'] / 1e3:.2f} µs"
        elif (model := one["estimated"]) is not None:
            said = f"{model['rule_cycles']:,.0f} → {model['tuned_cycles']:,.0f} cycles, estimated"
        lines.append(f"    {one['rule']} → {one['tile']}: {said}  {one['layer']}")
    return lines


def _layer_record(entry: Tuned) -> TunedLayer:
    isa = isas.find(entry.cpu, entry.arch)
    gain, measured = entry.gain, isinstance(entry.gain, Measured)
    return {
        "layer": str(entry.layer),
        "tile": str(entry.tile),
        "rule": str(family.default_tile(entry.layer, isa)),
        "tried": entry.tried,
        "measured": cast("GainMeasured", asdict(gain)) if measured else None,
        "estimated": None if measured else cast("GainEstimated", asdict(gain)),
    }
