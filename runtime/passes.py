"""Several passes over the same layers: what they say together, and which of them to repeat.

A pass is one start of the harness, with its own order of the layers, its own placement of the
program in memory and its own minute of the machine's life. What differs between passes is not a
property of the layer, so it is found by repeating and not by measuring longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from binas.runtime.measure import (
    MAX_DISTURBANCE,
    Measurement,
    Plan,
    Result,
    measured,
    percentile,
    quiet_ns_of,
)

CALM = 1.2  # a yardstick slower than this: no lower clock, but somebody else on the same core
CALM_BATCHES = 5  # as many must have been calm before a median is worth something


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well the passes of a table agree with each other.

    Attributes:
        passes: Passes over every layer, repeats of single layers not counted.
        median_abs_difference: Of a layer's first two passes, relative; the median over layers.
        drift: From a layer's first pass to its last, relative and signed; the median over layers.
        repeated: Layers that were measured again because something spoke against them.
    """

    passes: int
    median_abs_difference: float
    drift: float
    repeated: int


def outcome(results: Sequence[Result], plan: Plan) -> Result:
    """What a layer's passes come to: a failure only where all failed, and then the last one."""
    good = [result for result in results if isinstance(result, Measurement)]
    return joined(good, plan) if good else results[-1]


def joined(good: Sequence[Measurement], plan: Plan) -> Measurement:
    """One measurement of all passes: their samples in a row, and doubts raised over all of them."""
    if len(good) == 1:
        return good[0]
    always = [doubt for doubt in good[0].doubts if all(doubt in one.doubts for one in good)]
    whole = measured(
        [sample for one in good for sample in one.samples_ns],
        [count for one in good for count in one.preemptions],
        min(one.runs_per_batch for one in good),
        plan=plan,
        facts=replace(
            good[-1].facts,
            temperature_before_c=good[0].facts.temperature_before_c,
            throttled=tuple(dict.fromkeys(w for one in good for w in one.facts.throttled)),
        ),
        yardsticks_ns=[y for one in good for y in one.yardsticks_ns]
        if all(one.yardsticks_ns for one in good)
        else (),
        quiet_ns=min((one.quiet_ns for one in good if one.quiet_ns is not None), default=None),
    )
    spread = _disagreement(good)
    if spread > plan.max_spread:
        always.append(f"medians of {len(good)} passes differ by {spread:.0%}")
    return replace(whole, doubts=tuple(dict.fromkeys((*always, *whole.doubts))))


def is_suspicious(results: Sequence[Result], plan: Plan, quiet_ns: float | None) -> bool:
    """Whether to measure a layer once more.

    Args:
        results: Of its passes so far.
        plan: How they were measured.
        quiet_ns: The device's yardstick when it is left alone; None where it has none.
    """
    good = [result for result in results if isinstance(result, Measurement)]
    if len(good) < len(results):
        return True
    whole = joined(good, plan)
    if quiet_ns and whole.quiet_ns and whole.quiet_ns > MAX_DISTURBANCE * quiet_ns:
        return True
    return len(whole.undisturbed_ns) < plan.repeats or _disagreement(good) > plan.max_spread


def was_never_calm(results: Sequence[Result], quiet_ns: float | None) -> bool:
    """Whether something else had the core in all passes over a layer: then only waiting helps.

    Args:
        results: Of its passes so far.
        quiet_ns: The device's yardstick when it is left alone; None where it has none.
    """
    good = [result for result in results if isinstance(result, Measurement)]
    if quiet_ns is None or not all(one.yardsticks_ns for one in good):
        return False
    calm = sum(y <= CALM * quiet_ns for one in good for y in one.yardsticks_ns)
    return bool(good) and calm < CALM_BATCHES


def settled(
    time: Callable[[Path, Plan], Measurement],
    paths: Sequence[Path],
    plan: Plan,
    *,
    passes: int,
    waits: int,
    quiet_ns: float | None = None,
    turned: Callable[[int, int], None] = lambda _done, _all: None,
    say: Callable[[str], None] = lambda _line: None,
) -> dict[Path, Measurement]:
    """Whole networks in several passes, and further ones where the machine was never calm.

    Args:
        time: Measures an artifact once.
        paths: Of the artifacts.
        plan: How each is measured in one pass.
        passes: Over all of them.
        waits: Further passes at most.
        quiet_ns: The device's yardstick when it is left alone, if known.
        turned: Told (passes done, in all) after each.
        say: Told, for people, that the further passes begin.
    """
    found: dict[Path, list[Measurement]] = {path: [] for path in paths}
    for turn in range(passes + waits):
        told = [quiet_ns, *map(quiet_ns_of, found.values())]
        quiet = min(filter(None, told), default=None)
        left = [p for p, seen in found.items() if turn < passes or was_never_calm(seen, quiet)]
        if left and turn == passes:
            say(
                f"Waits for a quiet machine: something else had the core in every pass over "
                f"{len(left)} of {len(paths)} networks; at most {waits} further passes"
            )
        for path in left:
            found[path].append(time(path, plan))
        turned(min(turn + 1, passes), passes)
    return {path: joined(seen, plan) for path, seen in found.items()}


def agreement(passes: Sequence[Sequence[Result]], repeated: int) -> Agreement | None:
    """What the passes of many layers say of each other; None where nothing was measured twice.

    Args:
        passes: Per layer, its passes in the order taken.
        repeated: Layers that were measured again.
    """
    medians = [
        [one.median_ns for one in results if isinstance(one, Measurement)] for results in passes
    ]
    twice = [found for found in medians if len(found) > 1]
    if not twice:
        return None
    return Agreement(
        passes=min(len(found) for found in twice),
        median_abs_difference=percentile([abs(a[1] / a[0] - 1) for a in twice], 0.5),
        drift=percentile([found[-1] / found[0] - 1 for found in twice], 0.5),
        repeated=repeated,
    )


def _disagreement(good: Sequence[Measurement]) -> float:
    """Range of the passes' medians but for the most distant one of three or more, relative."""
    medians = sorted(one.median_ns for one in good)
    middle = percentile(medians, 0.5)
    if len(medians) > 2:
        far = medians[0] if middle - medians[0] > medians[-1] - middle else medians[-1]
        medians.remove(far)
    return (medians[-1] - medians[0]) / middle
