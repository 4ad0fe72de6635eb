"""One piece of work in several forked children, any of which a library may end.

LLVM ends the whole process where it cannot go on. Here it ends a child; the first child that fails
ends the others, and what it said is told.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from binas.core.errors import CompileError

MOST = 8  # each has some 100 MB of its own, and eight share what there is to do well enough

_REFUSED = 3  # exit code of a child that has an error of ours to tell


class EndedError(Exception):
    """A child was ended by what it called: how, and the last line it said."""

    def __init__(self, code: int, said: str) -> None:
        """Exit code, negative for a signal; all that the child said."""
        self.signal = signal.Signals(-code) if code < 0 else None
        how = f"exit code {code}" if self.signal is None else f"signal {self.signal.name}"
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "no message")
        super().__init__(f"({how}): {last}")


def run(work: Callable[[], object], jobs: int) -> None:
    """Do `work` in so many children at once and wait for all; they share it out themselves.

    Raises:
        CompileError: The work raised it in a child.
        EndedError: A child was ended.
        OSError: No child could be made.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    children: list[_Child] = []
    try:
        for _ in range(jobs):
            try:
                _fork(work, children)
            except OSError:
                if not children:
                    raise
                break  # those that there are do it all
        _listen(children)
    finally:
        for child in children:
            child.end()


def cores() -> int:
    """Of this machine, as far as this process may use them."""
    return len(os.sched_getaffinity(0))


@dataclass(slots=True)
class _Child:
    process: int
    reader: int  # of what it says
    said: bytearray = field(default_factory=bytearray)
    code: int | None = None  # None: it has not been waited for

    def wait(self) -> int:
        """Its exit code, soon: it has closed its pipe or was killed."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return self.code

    def end(self) -> None:
        """Nothing is left of it."""
        if self.code is None:
            os.kill(self.process, signal.SIGKILL)
        self.wait()
        os.close(self.reader)


def _fork(work: Callable[[], object], children: list[_Child]) -> None:
    """One more child; Ctrl-C waits until it is known, and in the child until it ends that alone."""
    reader, writer = os.pipe()
    with _without_interrupts():
        try:
            process = os.fork()
        except OSError:
            os.close(reader)
            os.close(writer)
            raise
        if process == 0:
            _live(work, writer, [reader, *(child.reader for child in children)])
        os.close(writer)
        children.append(_Child(process, reader))


@contextmanager
def _without_interrupts() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _live(work: Callable[[], object], writer: int, readers: Sequence[int]) -> NoReturn:
    """A child's life, without the parent's ends of pipes; it leaves without its clean-up."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for reader in readers:
            os.close(reader)
        for stream in (1, 2):  # what LLVM says to people goes to the parent
            os.dup2(writer, stream)
        work()
        code = 0
    except CompileError as error:
        os.write(writer, str(error).encode())
        code = _REFUSED
    except BaseException:  # a bug: its traceback goes to the parent
        os.write(writer, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _listen(children: list[_Child]) -> None:
    """Hear all children out; the first failure is raised."""
    with selectors.DefaultSelector() as selector:
        for child in children:
            selector.register(child.reader, selectors.EVENT_READ, child)
        while selector.get_map():
            for key, _ in selector.select():
                said = os.read(key.fd, 1 << 16)
                key.data.said += said
                if not said:
                    selector.unregister(key.fd)
                    _must_be_well(key.data)


def _must_be_well(child: _Child) -> None:
    code, said = child.wait(), child.said.decode(errors="replace").strip()
    if code == _REFUSED:
        raise CompileError(said or "code generation failed")
    if code != 0:
        raise EndedError(code, said)
