"""The work of a survey: artifacts of layers, and the jobs that measure them on boards."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from binas.core.errors import DeviceError
from binas.core.layer import Layer
from binas.runtime.fleet import Fleet, Job
from binas.runtime.measure import Failure, Measurement, Plan, Result, quiet_ns_of
from binas.runtime.passes import is_suspicious, settled, was_never_calm
from binas.search.chunks import Store
from binas.search.workshop import Compiler, What, Workshop, compiled

Progress = Callable[[str, int, int], None]  # stage, done, in all
Say = Callable[[str], None]


class Campaign:
    """Compiles and measures until the store has what a table needs.

    Args:
        workshop: The compiler and the boards.
        store: Takes every answer at once.
        plan: How a layer is measured in one pass.
        tell: Told (stage, done, in all).
        say: Told what went wrong and what is waited for, for people.
        seed: Of the order of measuring.
    """

    def __init__(
        self,
        workshop: Workshop,
        store: Store,
        plan: Plan,
        *,
        tell: Progress,
        say: Say,
        seed: int,
    ) -> None:
        """Nothing starts yet."""
        self._workshop, self._store, self._plan = workshop, store, plan
        self._tell, self._say = tell, say
        self._random = random.Random(seed)  # noqa: S311 (an order, not a secret)
        self._groups: dict[Path, tuple[Layer, ...]] = {}
        self._fleet = Fleet(workshop.boards, lease_s=workshop.boards[0].lease_s, say=say)
        self.repeated: set[Layer] = set()

    def missing(self, folder: Path, passes: int) -> dict[Path, tuple[Layer, ...]]:
        """The artifacts still needed: path → its layers, those with too few passes."""
        found = {}
        for place, chunk in enumerate(self._store.chunks):
            part = tuple(layer for layer in chunk if len(self._store.results(layer)) < passes)
            if part:
                found[folder / f"chunk-{place}.binas"] = part
        return found

    def compile(
        self,
        compiler: Compiler,
        others: Mapping[Path, What],
        groups: Mapping[Path, tuple[Layer, ...]],
    ) -> None:
        """Make all artifacts; a group that fails is taken apart, so that one layer fails alone.

        Args:
            compiler: Has been given the orders for `others`.
            others: What must not fail; the first network among them becomes the boards' anchor.
            groups: What is to be measured.

        Raises:
            CompileError: One of `others` failed.
        """
        compiler.order(groups)
        errors = compiler.finish(self._counted("compile"))
        for path in others:
            if (error := errors[path]) is not None:
                raise error
        broken = [path for path in groups if errors[path] is not None]
        self._groups |= {path: groups[path] for path in groups if path not in broken}
        if broken:
            self._take_apart(broken, groups)
        networks = [path for path, what in others.items() if not isinstance(what, tuple)]
        for board in self._workshop.boards:
            board.anchor = networks[0] if networks else None

    def measure(self, passes: int) -> None:
        """Bring every layer of the groups to that many passes.

        Raises:
            DeviceError: No board is left.
        """
        if len(self._workshop.boards) == 1 and self._groups:
            self._workshop.boards[0].check()  # a fleet does so by itself
        self._run(self._jobs(self._groups, passes))
        failed = [
            path for path, part in self._groups.items() if len(part) > 1 and self._all_failed(part)
        ]
        if failed:
            groups = {path: self._groups.pop(path) for path in failed}
            before = set(self._groups)
            for part in groups.values():
                self._store.forget_failures(part)
            self._take_apart(failed, groups)
            self._run(self._jobs(set(self._groups) - before, passes))

    def repeat_suspicious(self, times: int, waits: int) -> None:
        """Measure again the layers of the groups against which something speaks.

        Args:
            times: For any reason.
            waits: After that, where the machine was never calm.

        Raises:
            DeviceError: No board is left.
        """
        for _ in range(times):
            self._repeat(lambda found, quiet_ns: is_suspicious(found, self._plan, quiet_ns))
        for _ in range(waits):
            self._repeat(was_never_calm)

    def _repeat(self, wanted: Callable[[Sequence[Result], float | None], bool]) -> None:
        quiet_ns, jobs = self._quiet_ns(), []
        for path, part in self._shuffled(self._groups):
            results = [self._store.results(layer) for layer in part]
            steps = tuple(
                step for step, found in enumerate(results) if found and wanted(found, quiet_ns)
            )
            self.repeated |= {part[step] for step in steps}
            if steps:
                jobs.append(self._job(path, steps))
        self._run(jobs)

    def networks(
        self, paths: Sequence[Path], plan: Plan, passes: int, waits: int
    ) -> dict[Path, Measurement]:
        """Whole networks, on the first board that can be trusted.

        Args:
            paths: Their artifacts.
            plan: How each is measured in one pass.
            passes: Over all of them.
            waits: Further passes over those for which the machine was never calm.

        Raises:
            DeviceError: There is none.
            MeasureError: It cannot measure them.
        """
        last: DeviceError | None = None
        for board in self._workshop.boards:
            if board.name in self._fleet.set_aside:
                continue
            try:
                return settled(
                    board.time,
                    paths,
                    plan,
                    passes=passes,
                    waits=waits,
                    quiet_ns=self._quiet_ns(),
                    turned=self._counted("fit"),
                    say=self._say,
                )
            except DeviceError as error:
                last = error
        raise last or DeviceError("no board can be trusted", hint="binas-devices check NAME")

    def clean(self) -> None:
        """Remove the artifacts of the groups."""
        for path in self._groups:
            path.unlink(missing_ok=True)

    def _take_apart(self, paths: Iterable[Path], groups: Mapping[Path, tuple[Layer, ...]]) -> None:
        """One artifact per layer of these groups; what cannot be compiled is a failed entry."""
        singles = {
            path.with_name(f"{path.stem}-{place}.binas"): (layer,)
            for path in paths
            for place, layer in enumerate(groups[path])
        }
        made = compiled(self._workshop, singles, self._counted("compile apart"))
        for path, error in made.items():
            if error is None:
                self._groups[path] = singles[path]
            else:
                failure = Failure(kind="compile", message=str(error))
                self._store.add(singles[path], [failure], board="")

    def _jobs(self, paths: Iterable[Path], passes: int) -> list[Job]:
        """Pass after pass over all groups, each in its own order."""
        found = []
        for turn in range(passes):
            for path, part in self._shuffled(paths):
                have = [len(self._store.results(layer)) for layer in part]
                steps = tuple(step for step, count in enumerate(have) if count <= turn)
                if steps:
                    found.append(self._job(path, steps))
        return found

    def _job(self, path: Path, steps: tuple[int, ...]) -> Job:
        return Job(path, steps, self._random.randrange(1 << 31))

    def _shuffled(self, paths: Iterable[Path]) -> list[tuple[Path, tuple[Layer, ...]]]:
        order = sorted(paths)
        self._random.shuffle(order)
        return [(path, self._groups[path]) for path in order]

    def _run(self, jobs: Sequence[Job]) -> None:
        done = 0

        def answered(job: Job, board: str, results: Sequence[Result]) -> None:
            nonlocal done
            done += 1
            self._store.add(self._layers(job), results, board)
            self._tell("measure", done, len(jobs))

        def withdrawn(job: Job, board: str) -> None:
            nonlocal done
            done -= 1
            self._store.withdraw(self._layers(job), board)

        self._fleet.run(jobs, answered, withdrawn)

    def _layers(self, job: Job) -> list[Layer]:
        return [self._groups[job.path][step] for step in job.steps]

    def _all_failed(self, part: Sequence[Layer]) -> bool:
        results = [result for layer in part for result in self._store.results(layer)]
        return all(isinstance(result, Failure) for result in results)

    def _quiet_ns(self) -> float | None:
        """The yardstick of the slowest board when it is left alone."""
        by_board: dict[str, list[Result]] = {}
        for part in self._groups.values():
            for one in (one for layer in part for one in self._store.passes(layer)):
                by_board.setdefault(one.board, []).append(one.result)
        quiet = [found for seen in by_board.values() if (found := quiet_ns_of(seen)) is not None]
        return max(quiet, default=None)

    def _counted(self, stage: str) -> Callable[[int, int], None]:
        return lambda done, total: self._tell(stage, done, total)
