"""Feed broken files to readers under limits; a program of its own, as a reader may crash it.

    python -m tests.fuzz.child GROUP SECONDS SEED FOLDER

Every case lies in FOLDER/case* while it is read: the parent finds the one that ended the program.
A line of stdout per kind is a JSON object: how many were refused and accepted, and any fault.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from binas.core.errors import BinasError
from tests.fuzz.targets import GROUPS, Target

LIMIT_S = 2.0  # of CPU, for this machine may be busy with other things
LIMIT_BYTES = 1 << 30
FORBIDDEN = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class"),
    *("socket.connect", "ctypes.dlopen", "code.__new__", "webbrowser.open"),
)
WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod")


class FaultError(BaseException):
    """The reader did what no reader may; not an Exception, so that nobody catches it."""


class Guard:
    """Watches time, memory, and what is opened; only while a case is read."""

    def __init__(self, folder: Path) -> None:
        """Install the watchers."""
        self.armed, self.folder = False, str(folder)
        sys.dont_write_bytecode = True
        sys.addaudithook(self.audit)
        signal.signal(signal.SIGPROF, self.late)

    def audit(self, event: str, given: tuple[Any, ...]) -> None:
        """Refuse what would leave the folder, or run something."""
        if not self.armed:
            return
        if event in FORBIDDEN:
            raise FaultError(f"{event}{given!r:.300}")
        writes = event in WRITES
        if event == "open" and isinstance(given[0], str):
            writes = bool(given[2] & 3) or "w" in str(given[1]) or "a" in str(given[1])
        if writes and not str(given[0]).startswith(self.folder):
            raise FaultError(f"{event} outside: {given!r:.300}")

    def late(self, _signal: int, _frame: FrameType | None) -> None:
        """The time is over."""
        raise FaultError(f"more than {LIMIT_S} s of CPU")

    def __enter__(self) -> None:
        """Arm."""
        self.armed = True
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)

    def __exit__(self, *_: object) -> None:
        """Disarm."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.armed = False


def feed(kind: str, target: Target, seconds: float, seed: int, guard: Guard) -> dict[str, Any]:
    """Read the valid file, then broken ones until the time is over or one is a fault."""
    random, case = Random(f"{kind} {seed}"), Path(guard.folder) / f"case{target.suffix}"
    counts, fault = {"refused": 0, "accepted": 0}, ""
    until = time.process_time() + seconds
    while not fault and (time.process_time() < until or sum(counts.values()) < 20):
        case.write_bytes(random.choice(target.breaks)(target.seed, random))
        try:
            with guard:
                target.read(case)
            counts["accepted"] += 1
        except BinasError as error:
            counts["refused"] += 1
            if not str(error) or len(str(error)) > 2000:
                fault = f"no message for people: {error!r:.300}"
        except (Exception, FaultError):
            fault = traceback.format_exc()
    return {"kind": kind, "case": str(case), **counts, "fault": fault}


def main(group: str, seconds: float, seed: int, folder: Path) -> None:
    """Every kind of a group, until one is a fault."""
    found = GROUPS[group]()
    for target in found.values():  # imports happen here, and a valid file is accepted
        case = folder / f"case{target.suffix}"
        case.write_bytes(target.seed)
        target.read(case)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, used + LIMIT_BYTES))
    warnings.simplefilter("error")  # a file is no reason to bother people about our code
    guard = Guard(folder)
    for kind, target in found.items():
        sys.stdout.write(json.dumps({"kind": kind}) + "\n")
        sys.stdout.flush()
        told = feed(kind, target, seconds, seed, guard)
        sys.stdout.write(json.dumps(told) + "\n")
        if told["fault"]:
            break


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
