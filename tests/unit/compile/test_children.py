"""Work in forked children: all of it is done, the first failure ends the rest, nothing is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binas.compile import children
from binas.core.errors import CompileError


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The children that were made; afterwards all have been waited for, and no pipe is open."""
    made: list[int] = []
    fork = os.fork

    def noted() -> int:
        made.append(fork())
        return made[-1]

    before = open_pipes()
    monkeypatch.setattr(os, "fork", noted)
    yield made
    for child in made:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
    assert open_pipes() <= before


def open_pipes() -> set[str]:
    return {file.name for file in Path("/proc/self/fd").iterdir() if file.is_fifo()}


def claiming(folder: Path, work: Callable[[Path], None]) -> Callable[[], None]:
    """Ten pieces of work, each for whoever makes its file."""

    def done() -> None:
        for i in range(10):
            try:
                (folder / str(i)).touch(exist_ok=False)
            except FileExistsError:
                continue
            work(folder / str(i))

    return done


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_children_share_the_work(tmp_path: Path, forked: list[int], jobs: int) -> None:
    def work(file: Path) -> None:
        time.sleep(0.05)
        file.write_text(str(os.getpid()))

    children.run(claiming(tmp_path, work), jobs)
    workers = [int(file.read_text()) for file in tmp_path.iterdir()]
    assert len(workers) == 10
    assert len(forked) == jobs
    assert set(workers) <= set(forked) and (len(set(workers)) > 1) == (jobs > 1)


def test_a_child_may_say_more_than_a_pipe_holds(forked: list[int]) -> None:
    children.run(lambda: os.write(1, b"x" * 1_000_000), 3)
    assert len(forked) == 3


def refuse() -> None:
    raise CompileError("no such instruction")


def fail() -> None:
    raise ValueError("a bug")


@pytest.mark.parametrize(
    ("end", "error", "words"),
    [
        (refuse, CompileError, "^no such instruction$"),
        (fail, children.EndedError, r"^\(exit code 1\): ValueError: a bug$"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), children.EndedError, "signal SIGKILL"),
        (lambda: os._exit(os.write(2, b"full\n")), children.EndedError, r"^\(exit code 5\): full$"),
    ],
)
def test_the_first_failure_ends_the_others(
    forked: list[int],
    tmp_path: Path,
    end: Callable[[], None],
    error: type[Exception],
    words: str,
) -> None:
    def work() -> None:
        try:
            (tmp_path / "first").touch(exist_ok=False)
        except FileExistsError:
            time.sleep(60)
        end()

    start = time.monotonic()
    with pytest.raises(error, match=words):
        children.run(work, 3)
    assert time.monotonic() - start < 30
    assert len(forked) == 3


def test_an_interrupt_ends_all(forked: list[int]) -> None:
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(KeyboardInterrupt):
        children.run(lambda: time.sleep(60), 2)
    assert len(forked) == 2


def test_fewer_children_than_wanted_do_it_all(
    tmp_path: Path, forked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = os.fork

    def scarce() -> int:
        if len(forked) == 2:
            raise BlockingIOError("no more processes")
        return fork()

    monkeypatch.setattr(os, "fork", scarce)
    children.run(claiming(tmp_path, lambda file: None), 5)
    assert len(forked) == 2 and len(list(tmp_path.iterdir())) == 10


def test_no_child_at_all_is_an_error(forked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "fork", none)
    with pytest.raises(BlockingIOError):
        children.run(lambda: None, 2)
    assert forked == []
