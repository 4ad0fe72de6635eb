"""Fleet: boards that die, hang or lie are set aside, and every job is answered once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.fleet import race
from binas.core.errors import DeviceError, TransportError, WrongAnswerError
from binas.runtime.fleet import CHECK_EVERY, Fleet, Job
from binas.runtime.measure import Facts, Failure, Plan, Result, measured

PLAN = Plan(repeats=2)
JOBS = [Job(Path(f"{number}.binas"), (0, 1)) for number in range(60)]


@dataclass
class Fake:
    """A board that answers, until it is told not to."""

    name: str
    dies_after: int = 10**9
    hangs_after: int = 10**9
    anchor_ns: float = 100.0
    wrong_after: int = 10**9
    poison: frozenset[Job] = frozenset()
    done: list[Job] = field(default_factory=list)
    checks: int = 0

    def layers(self, job: Job) -> Sequence[Result]:
        if job in self.poison or len(self.done) >= self.dies_after:
            raise TransportError(f"{self.name} broke")
        if len(self.done) >= self.hangs_after:
            time.sleep(5)
        self.done.append(job)
        time.sleep(0.001)  # so that the others get jobs, too
        return [one()] * len(job.steps)

    def check(self) -> float:
        self.checks += 1
        if len(self.done) >= self.wrong_after:
            raise WrongAnswerError(f"{self.name} computes wrongly")
        return self.anchor_ns


def one() -> Result:
    return measured([10.0, 10.0], [0, 0], 10**6, plan=PLAN, facts=Facts())


def run(*boards: Fake, lease_s: float = 30.0) -> tuple[dict[Job, list[str]], Fleet]:
    answers: dict[Job, list[str]] = {job: [] for job in JOBS}
    fleet = Fleet(boards, lease_s=lambda _: lease_s)
    fleet.run(
        JOBS,
        lambda job, name, _results: answers[job].append(name),
        lambda job, name: answers[job].remove(name),
    )
    return answers, fleet


def test_the_work_is_shared_and_every_job_is_answered_once() -> None:
    answers, fleet = run(Fake("a"), Fake("b"), Fake("c"))
    assert all(len(names) == 1 for names in answers.values())
    assert set(Counter(names[0] for names in answers.values())) == {"a", "b", "c"}
    assert fleet.set_aside == {}


def test_a_board_that_dies_keeps_what_it_answered_and_leaves_the_rest() -> None:
    answers, fleet = run(Fake("a", dies_after=5), Fake("b"))
    assert all(len(names) == 1 for names in answers.values())
    assert sum(names == ["a"] for names in answers.values()) == 5
    assert fleet.set_aside == {"a": "a broke"}


def test_a_board_that_hangs_is_not_waited_for() -> None:
    began = time.monotonic()
    answers, fleet = run(Fake("a", hangs_after=3), Fake("b"), lease_s=0.3)
    assert time.monotonic() - began < 4
    assert all(len(names) == 1 for names in answers.values())
    assert fleet.set_aside == {"a": "it does not answer"}


def test_of_a_board_that_computes_wrongly_nothing_stays_that_was_not_vouched_for() -> None:
    answers, fleet = run(Fake("a", wrong_after=1), Fake("b"), Fake("c"))
    assert all(len(names) == 1 and names != ["a"] for names in answers.values())
    assert fleet.set_aside == {"a": "a computes wrongly"}


def test_the_board_whose_anchor_is_far_from_two_others_is_the_odd_one() -> None:
    answers, fleet = run(Fake("a"), Fake("fast", anchor_ns=60.0), Fake("c"))
    assert all(len(names) == 1 and names != ["fast"] for names in answers.values())
    assert fleet.set_aside == {"fast": "its anchor differs by -40% from the others'"}


def test_two_boards_that_differ_stay_since_nobody_can_say_who_is_right() -> None:
    _, fleet = run(Fake("a"), Fake("b", anchor_ns=60.0))
    assert fleet.set_aside == {}


def test_a_job_that_costs_board_after_board_is_given_up() -> None:
    poison = frozenset({JOBS[7]})
    boards = [Fake(name, poison=poison) for name in "abcde"]
    failures: list[Job] = []
    fleet = Fleet(boards, lease_s=lambda _: 30.0)
    fleet.run(
        JOBS,
        lambda job, _name, found: failures.append(job) if isinstance(found[0], Failure) else None,
    )
    assert failures == [JOBS[7]]
    assert len(fleet.set_aside) == 3


def test_a_board_alone_is_taken_at_its_word_and_its_error_is_the_fleets() -> None:
    with pytest.raises(TransportError, match="a broke"):
        run(Fake("a", dies_after=3))


def test_where_all_are_lost_the_error_names_each() -> None:
    with pytest.raises(DeviceError, match="no board is left and 52 jobs are open: ") as caught:
        run(Fake("a", dies_after=4), Fake("b", dies_after=4))
    assert "a: a broke" in str(caught.value) and "b: b broke" in str(caught.value)


def test_a_fault_of_ours_in_a_boards_thread_does_not_leave_the_fleet_waiting() -> None:
    class Faulty(Fake):
        def layers(self, job: Job) -> Sequence[Result]:
            raise ZeroDivisionError

    answers, fleet = run(Faulty("a"), Fake("b"))
    assert all(names == ["b"] for names in answers.values())
    assert fleet.set_aside == {"a": "ZeroDivisionError: "}


def test_boards_are_checked_before_during_and_after() -> None:
    boards = [Fake("a"), Fake("b")]
    fleet = Fleet(boards, lease_s=lambda _: 30.0)
    jobs = [Job(Path(f"{n}.binas"), (0,)) for n in range(3 * CHECK_EVERY)]
    fleet.run(jobs, lambda _job, _name, _found: None)
    assert all(board.checks >= 2 for board in boards)
    assert max(board.checks for board in boards) >= 3


def test_five_thousand_layers_on_a_hundred_boards_cost_little(tmp_path: Path) -> None:
    found = race(tmp_path, boards=100, layers=5_000)
    assert found["answered"] == 5_000
    assert found["set_aside"] == 2
    assert found["overhead_ms_per_layer"] <= 2
    assert found["grown_bytes_per_layer"] < 20_000
