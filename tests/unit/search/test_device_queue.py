"""DeviceQueue: networks are measured in the background; a lost board leaves its to the others."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from binas.core.errors import TransportError
from binas.devices import registry
from binas.runtime.measure import Failure, Measurement, Plan
from binas.runtime.replay import invented
from binas.search import device_queue
from binas.search.device_queue import DeviceQueue
from binas.search.genotype import Genotype
from binas.search.space import Space
from binas.search.strategy.settings import Candidate
from binas.search.strategy.timing import within
from binas.search.survey import NET_PLAN, random_genotypes
from tests.unit.search.scripted import Scripted, ScriptedBoard


class AtOnce(Executor):
    """Compiles in this thread: an empty file."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        args[2].touch()
        done.set_result(None)
        return done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


class TimingBoard(ScriptedBoard):
    """Takes 1 ms of invented time for anything, once it may."""

    may: Event
    broken = False

    def time(self, path: Path, plan: Plan) -> Measurement:
        assert self.may.wait(10)
        if self.broken:
            raise TransportError(f"{self.name} broke")
        assert path.exists()
        return invented(1e6, plan)


def board(name: str, *, broken: bool = False) -> TimingBoard:
    found = TimingBoard(Scripted(), name)
    found.may, found.broken = Event(), broken
    return found


@pytest.fixture
def nets(tiny: Space) -> tuple[Genotype, ...]:
    return random_genotypes(tiny, 4, 0)


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(device_queue, "ProcessPoolExecutor", lambda *_a, **_k: AtOnce())
    yield


def test_submitting_does_not_wait_and_the_same_network_is_measured_once(
    nets: tuple[Genotype, ...], tmp_path: Path
) -> None:
    one = board("a")
    with DeviceQueue(registry.find("null"), [one], tmp_path, NET_PLAN) as queue:
        waiting = [queue.submit(net) for net in (*nets, nets[0])]
        assert not any(future.done() for future in waiting)
        one.may.set()
        results = [future.result(10) for future in waiting]
    assert waiting[0] is waiting[-1]
    assert all(isinstance(r, Measurement) and r.median_ns == 1e6 for r in results)
    assert not list(tmp_path.iterdir())


def test_a_lost_boards_network_goes_to_another(nets: tuple[Genotype, ...], tmp_path: Path) -> None:
    lost, good = board("lost", broken=True), board("good")
    with DeviceQueue(registry.find("null"), [lost, good], tmp_path, NET_PLAN) as queue:
        waiting = [queue.submit(net) for net in nets]
        lost.may.set()
        good.may.set()
        assert all(isinstance(future.result(10), Measurement) for future in waiting)


def test_where_no_board_is_left_every_network_is_a_failure(
    nets: tuple[Genotype, ...], tmp_path: Path
) -> None:
    lost = board("lost", broken=True)
    lost.may.set()
    with DeviceQueue(registry.find("null"), [lost], tmp_path, NET_PLAN) as queue:
        results = [queue.submit(net).result(10) for net in nets]
    assert {r.message for r in results if isinstance(r, Failure)} == {
        "no board is left to measure it; the last said: lost broke"
    }
    assert len(results) == 4


def test_a_fault_of_ours_in_a_boards_thread_leaves_its_network_to_another(
    nets: tuple[Genotype, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty, good = board("faulty"), board("good")

    def fails(_path: Path, _plan: Plan) -> Measurement:
        good.may.set()  # not before: the faulty one is to have a network
        raise OSError("no space left on this machine")

    monkeypatch.setattr(faulty, "time", fails)
    with DeviceQueue(registry.find("null"), [faulty, good], tmp_path, NET_PLAN) as queue:
        waiting = [queue.submit(net) for net in nets]
        assert all(isinstance(future.result(10), Measurement) for future in waiting)


def test_where_the_compilers_process_is_gone_networks_are_failures(
    nets: tuple[Genotype, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(AtOnce):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            raise BrokenProcessPool("it was killed")

    monkeypatch.setattr(device_queue, "ProcessPoolExecutor", lambda *_a, **_k: Killed())
    with DeviceQueue(registry.find("null"), [board("a")], tmp_path, NET_PLAN) as queue:
        found = queue.submit(nets[0]).result(10)
    assert found == Failure(kind="compile", message="it was killed")


def test_candidates_measured_above_the_budget_are_left_out_unless_all_are(
    nets: tuple[Genotype, ...],
) -> None:
    times = (90.0, 110.0, None, 100.0)
    found = [
        Candidate(genotype=net, accuracy=0.5, predicted_ns=95.0, measured_ns=ns)
        for net, ns in zip(nets, times, strict=True)
    ]
    assert [one.measured_ns for one in within(found, 100.0)] == [90.0, None, 100.0]
    assert within(found[1:2], 100.0) == found[1:2]
    assert within(found, None) == found
