"""How the benchmark of searches does its units: several processes, each result kept."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.search import units
from benchmarks.search.records import Result, Unit


@dataclass(slots=True)
class Work:
    """Where units are done.

    Attributes:
        folder: Keeps them.
        processes: At once, of one thread each.
        bars: Shows how far they are.
        commit: Of the sources now.
        commits: Of the sources that each result was made with.
    """

    folder: Path
    processes: int
    bars: Any
    commit: str
    commits: set[str] = field(default_factory=set)

    def do(self, what: str, wanted: Sequence[Unit]) -> list[Result]:
        """All results, in order."""
        bar = self.bars.add_task(what, total=len(wanted))
        # Spawned: a forked torch may hang in its thread pool.
        with ProcessPoolExecutor(self.processes, mp_context=get_context("spawn")) as pool:
            waiting = [pool.submit(units.do, unit, self.folder, self.commit) for unit in wanted]
            found = []
            for future in waiting:
                found.append(future.result())
                self.commits.add(found[-1].commit)
                self.bars.advance(bar)
        return found
