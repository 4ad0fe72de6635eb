"""One run of a benchmark: pinned, its ceilings sampled between the rounds, its rows gathered."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median

import click

from benchmarks import commit as commits
from benchmarks.ceiling import Ceiling
from benchmarks.engines import Subject
from benchmarks.reference import Verdict
from benchmarks.schema import Host, Method, Report, Row
from benchmarks.timing import DEPTHS, Series, interleave, levels, slopes
from binas.core import record
from binas.core.errors import UsageError
from binas.devices import probe, registry

_PACKAGES = ("binas", "apache-tvm", "ziglang", "onnx", "onnxruntime", "openvino", "numpy")
_CEILING_EVERY = 3  # rounds


@dataclass(slots=True)
class Contender:
    """An engine on a work: what it made, and whether that is right.

    Attributes:
        work: Name of the work.
        engine: Its name; one contender per engine can be timed at once.
        gmacs: 1e9 multiply-adds of the work.
        verdict: What the check found, or why there is nothing to check.
        subjects: A model per depth; empty where there is nothing to time.
    """

    work: str
    engine: str
    gmacs: float
    verdict: Verdict
    subjects: Sequence[Subject] = ()


@dataclass(slots=True)
class Session:
    """What all works of a run share.

    Attributes:
        core: Everything is pinned to it.
        rounds: Samples wanted per engine and work.
        ceiling: Of the CPU.
        rows: Gathered so far.
        load_before: Of the machine, when the run began.
        commit: Of the sources, when the run began.
    """

    core: int
    rounds: int
    ceiling: Ceiling
    rows: list[Row] = field(default_factory=list)
    load_before: float | None = None
    commit: str = commits.UNKNOWN

    @staticmethod
    def begin(core: int, rounds: int) -> Session:
        """Pin this process before any engine starts a thread."""
        host = registry.find("host")
        if host.arch != "x86_64":
            raise UsageError(
                f"these benchmarks run on x86_64, this is {host.arch}", hint="binas-bench"
            )
        allowed = os.sched_getaffinity(0)
        core = max(allowed) if core < 0 else core
        if core not in allowed:
            raise UsageError(f"core {core} is not ours, expected one of {sorted(allowed)}")
        load = os.getloadavg()[0]
        os.sched_setaffinity(0, {core})
        return Session(
            core=core,
            rounds=rounds,
            ceiling=Ceiling(host),
            load_before=load,
            commit=commits.of_sources(),
        )

    def time(
        self, method: Method, contenders: Sequence[Contender], depths: tuple[int, int] = DEPTHS
    ) -> None:
        """Time those whose numbers are right, in turns; every contender gets a row."""
        right = {one.engine: one.subjects for one in contenders if one.verdict.agrees}
        rounds, before = 0, self.ceiling.counts()

        def between() -> None:
            nonlocal rounds
            if rounds % _CEILING_EVERY == 0:
                self.ceiling.sample()
            rounds += 1

        series = interleave(
            right, self.ceiling.gauge, rounds=self.rounds, seed=len(self.rows), between=between
        )
        peaks = self.ceiling.since(before)
        for one in contenders:
            self.rows.append(row(one, method, series.get(one.engine, []), peaks, depths))
            click.echo(line(self.rows[-1]), err=True)

    def report(self) -> Report:
        """All of it."""
        machine = probe.this_machine()
        host = Host(
            cpu=machine.model,
            best=registry.find("host").cpu,
            cores=machine.cores,
            core=self.core,
            load_before=self.load_before,
            load_after=os.getloadavg()[0],
            versions=versions(),
            commit=self.commit,
        )
        return Report(host=host, ceiling=self.ceiling.peaks(), rows=tuple(self.rows))

    def save(self, file: Path) -> None:
        """Write the report; called after every work, so an interrupt loses one."""
        record.save(self.report(), file)


def row(
    one: Contender,
    method: Method,
    series: Sequence[Series],
    peaks: dict[str, float],
    depths: tuple[int, int] = DEPTHS,
) -> Row:
    """What was measured of a contender."""
    samples: list[float] = []
    if series:
        layers = depths[1] - depths[0]
        samples = levels(series[0]) if method == "call" else slopes(series[0], series[1], layers)
    by_depth = dict(zip(map(str, depths), series, strict=False))
    return Row(
        work=one.work,
        engine=one.engine,
        median_ns=median(samples) if samples else None,
        samples_ns=tuple(samples),
        checked=one.verdict.agrees,
        gmacs_executed=one.gmacs,
        method=method,
        check=one.verdict.words,
        calls_ns={depth: own.kept for depth, own in by_depth.items()},
        disturbed_ns={depth: tuple(own.disturbed) for depth, own in by_depth.items()},
        peaks=peaks,
        note="every batch was disturbed" if series and not samples else "",
    )


def line(made: Row) -> str:
    """A row for people who watch."""
    if made.median_ns is None:
        return f"{made.work:<34} {made.engine:<16} -  {made.note or made.check}"
    kept = sum(len(calls) for calls in made.calls_ns.values())
    lost = sum(len(calls) for calls in made.disturbed_ns.values())
    return (
        f"{made.work:<34} {made.engine:<16} {made.median_ns / 1000:9.1f} us "
        f"{made.gmacs_per_s or 0:7.0f} GMAC/s  {made.check}"
        f"  ({lost} of {kept + lost} batches disturbed)"
    )


def versions() -> dict[str, str]:
    """Of the packages that decide the numbers."""
    found: Mapping[str, str | None] = {name: _version(name) for name in _PACKAGES}
    return {name: text for name, text in found.items() if text is not None}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def guarded(
    work: str, engine: str, gmacs: float, make: Callable[[], tuple[Verdict, Sequence[Subject]]]
) -> Contender:
    """A contender, or the reason why there is none: an engine that fails does not stop the rest."""
    subjects: Sequence[Subject] = ()
    try:
        verdict, subjects = make()
    except ModuleNotFoundError as error:
        verdict = Verdict(False, f"{error.name} is not installed: pip install 'binas[bench]'")
    except NotImplementedError as error:
        verdict = Verdict(False, f"not run: {error}")
    except RuntimeError as error:  # what OpenVINO and onnxruntime raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        verdict = Verdict(False, f"failed: {first[:200]}")
    return Contender(work, engine, gmacs, verdict, subjects)
