"""Passes: what several starts of the harness say together, and what is measured once more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from binas.runtime.measure import Facts, Failure, Measurement, Plan, measured
from binas.runtime.passes import agreement, is_suspicious, joined, outcome, settled

PLAN = Plan(repeats=6, min_batch_ns=1000)
FAILED = Failure(kind="run", message="it died")


def one(ns: float, *, yardstick: float = 100.0, repeats: int = 6) -> Measurement:
    return measured(
        [ns] * repeats,
        [0] * repeats,
        1000,
        plan=PLAN,
        facts=Facts(),
        yardsticks_ns=[yardstick] * repeats,
    )


def test_a_pass_beside_a_slow_yardstick_does_not_count() -> None:
    whole = joined([one(10), one(19, yardstick=140), one(10)], PLAN)
    assert whole.median_ns == 10
    assert len(whole.samples_ns) == 18 and len(whole.kept_ns) == 12
    assert whole.doubts == ()


def test_of_three_passes_one_may_be_off_without_moving_the_number() -> None:
    whole = joined([one(10), one(24), one(10)], PLAN)
    assert whole.median_ns == 10
    assert whole.doubts == ("spread (p90 - p10) is 140% of the median",)
    assert not is_suspicious([one(10), one(24), one(10)], PLAN, 100)


@pytest.mark.parametrize(
    ("passes", "quiet_ns", "suspicious"),
    [
        ([one(10), one(10)], 100.0, False),
        ([one(10), one(10)], None, False),
        ([one(10), one(10)], 90.0, True),  # the machine is known to be quicker than that
        ([one(10), one(11)], 100.0, True),  # they disagree
        ([one(10), FAILED], 100.0, True),
        ([one(10, repeats=2)], 100.0, True),  # too few that count
    ],
)
def test_what_is_measured_again(
    passes: list[Measurement | Failure], quiet_ns: float | None, *, suspicious: bool
) -> None:
    assert is_suspicious(passes, PLAN, quiet_ns) is suspicious


def test_a_layer_failed_only_where_all_its_passes_did() -> None:
    assert outcome([FAILED, one(10)], PLAN) == one(10)
    assert outcome([one(10), FAILED], PLAN) == one(10)
    assert outcome([FAILED, FAILED], PLAN) == FAILED


def test_disagreement_that_remains_is_a_doubt() -> None:
    assert "medians of 2 passes differ by 29%" in joined([one(10), one(13.4)], PLAN).doubts


def test_a_table_knows_how_far_its_passes_agree_and_drift() -> None:
    found = agreement([[one(10), one(11), one(12)], [one(10), one(10), one(12)], [one(5)]], 1)
    assert found is not None
    assert (found.passes, found.repeated) == (3, 1)
    assert found.median_abs_difference == pytest.approx(0.05)
    assert found.drift == pytest.approx(0.2)
    assert agreement([[one(5)]], 0) is None


A, B = Path("a.binas"), Path("b.binas")


class Machine:
    """Measures artifacts beside the yardsticks of a script: one per pass, the last one for ever."""

    def __init__(self, **scripts: Sequence[float]) -> None:
        self.scripts = {name: list(script) for name, script in scripts.items()}
        self.order: list[str] = []

    def time(self, path: Path, plan: Plan) -> Measurement:
        script = self.scripts[path.stem]
        self.order.append(path.stem)
        return one(10 * script[0], yardstick=script.pop(0) if len(script) > 1 else script[0])


def test_networks_are_measured_in_turns_and_no_further_where_the_machine_was_calm() -> None:
    machine, told, said = Machine(a=[100], b=[100]), list[tuple[int, int]](), list[str]()
    found = settled(
        machine.time,
        [A, B],
        PLAN,
        passes=3,
        waits=9,
        turned=lambda done, total: told.append((done, total)),
        say=said.append,
    )
    assert "".join(machine.order) == "ababab"
    assert {path: len(one.samples_ns) for path, one in found.items()} == {A: 18, B: 18}
    assert told[:3] == [(1, 3), (2, 3), (3, 3)]
    assert said == []


def test_a_network_that_was_never_measured_in_peace_is_measured_again_until_it_is() -> None:
    machine, said = Machine(a=[100], b=[140, 140, 140, 140, 100]), list[str]()
    found = settled(machine.time, [A, B], PLAN, passes=2, waits=9, quiet_ns=100.0, say=said.append)
    assert "".join(machine.order) == "abab" + "bbb"
    assert found[B].median_ns == 1000
    assert said == [
        "Waits for a quiet machine: something else had the core in every pass over 1 of 2 "
        "networks; at most 9 further passes"
    ]


def test_waiting_ends_where_a_machine_is_never_left_alone() -> None:
    machine, said = Machine(a=[140], b=[150]), list[str]()
    found = settled(machine.time, [A, B], PLAN, passes=2, waits=3, quiet_ns=100.0, say=said.append)
    assert "".join(machine.order) == "ab" * (2 + 3)
    assert len(said) == 1 and "over 2 of 2 networks" in said[0]
    assert set(found) == {A, B}


def test_a_core_that_one_network_found_tells_of_the_core_that_another_was_left_on() -> None:
    # Nobody was told what quiet is: each start of the harness learns it on the cores it looks at.
    machine = Machine(a=[140, 100], b=[140, 140, 140, 100])
    found = settled(machine.time, [A, B], PLAN, passes=2, waits=9)
    assert "".join(machine.order) == "abab" + "bb"
    assert found[A].median_ns == found[B].median_ns == 1000


def test_a_slow_machine_that_is_slow_for_all_is_not_waited_for() -> None:
    machine = Machine(a=[140], b=[141])
    settled(machine.time, [A, B], PLAN, passes=2, waits=9)
    assert "".join(machine.order) == "abab"
