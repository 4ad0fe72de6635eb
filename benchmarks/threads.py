"""Two threads beside one: `python -m benchmarks.threads --json FILE`.

Two cores need not be twice one: they may share caches, power, or the core itself with somebody
else. So the speed-up of Bi-Real-Net-18 is held against that of the binary register loop, run once
and then on both cores at the same time by the pool that the network runs on, all in turns in one
process, in batches of about the same length.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np

from benchmarks import engines, models, reference, report_file
from benchmarks.builder import Array
from benchmarks.ceiling import PEAKS
from benchmarks.engines import Subject
from benchmarks.native_code import NativeCall, library
from benchmarks.onnx_builder import OnnxBuilder
from benchmarks.reference import NumpyBuilder, Verdict
from benchmarks.session import Contender, Session, guarded
from benchmarks.timing import Batch
from benchmarks.works import SCALING
from binas.compile import isa as isas
from binas.core import cli
from binas.core.errors import MeasureError, UsageError
from binas.devices import registry

THREADS = (1, 2)
REPEATS = 100  # of the loop, per run: some 3 ms, as long as a call of the network


class Registers:
    """A loop on registers, `REPEATS` times a run on each of so many threads.

    Args:
        name: Of `ceiling.PEAKS`.
        threads: How many, the one that calls included.
    """

    def __init__(self, name: str, threads: int) -> None:
        """Start the threads; they end with this object.

        Raises:
            MeasureError: The system gives no thread.
        """
        function = ctypes.cast(getattr(library(), f"bench_peak_{name}"), ctypes.c_void_p)
        crew = library().bench_crew_start(function, threads, REPEATS)
        if crew is None:
            raise MeasureError(f"no {threads} threads to be had")
        weakref.finalize(self, library().bench_crew_stop, crew)
        self._call = NativeCall(library().bench_crew_run, crew, threads=threads)

    def output(self) -> Array:
        """It computes nothing."""
        return np.empty(0, np.float32)

    def batch(self, runs: int) -> Batch:
        """Run it so often on each."""
        return self._call.batch(runs)


@click.command(cls=cli.Command)
@report_file.option
@click.option("--rounds", type=click.IntRange(3), default=25, show_default=True)
def main(*, file: Path, rounds: int) -> None:
    """Time a network and the register loop on one thread and on two, interleaved."""
    cores = sorted(os.sched_getaffinity(0))[-max(THREADS) :]
    if len(cores) < max(THREADS):
        raise UsageError("this needs two cores", hint="taskset -c 0,1 python -m benchmarks.threads")
    session = Session.begin(-1, rounds)
    os.sched_setaffinity(0, set(cores))
    contenders: list[Contender] = []
    for threads, (ours, loop) in zip(THREADS, SCALING.engines, strict=True):
        gmacs = models.bireal18_gmacs()
        contenders.append(guarded(SCALING.work, ours, gmacs, partial(_network, threads)))
        contenders.append(loop_contender(loop, threads))
    session.time("call", contenders)
    session.save(file)


def _network(threads: int) -> tuple[Verdict, Sequence[Subject]]:
    x, build = models.network_image(), OnnxBuilder(models.bireal18.__name__)
    device = engines.our_device("binas")
    if isinstance(device, str):
        return Verdict(False, device), ()
    model = build.finish(models.bireal18(build))
    subject = engines.binas(model, device, x, threads=threads)
    return reference.near(subject.output(), models.bireal18(NumpyBuilder(x))), [subject]


def loop_contender(engine: str, threads: int) -> Contender:
    """The loop that counts as our kernels do here: its own work, on every thread."""
    host, names = registry.find("host"), [loop.name for loop in PEAKS]
    counting = isas.find(host.cpu, host.arch).counting
    name = counting if counting in names and not host.lacks(_needed(counting)) else None
    macs = 0 if name is None else library().bench_peak_work(names.index(name))
    return guarded(
        SCALING.work, engine, REPEATS * threads * macs / 1e9, partial(_registers, name, threads)
    )


def _registers(name: str | None, threads: int) -> tuple[Verdict, Sequence[Subject]]:
    if name is None:
        return Verdict(False, "not run: no loop counts as our kernels do on this CPU"), ()
    try:
        crew = Registers(name, threads)
    except MeasureError as error:
        return Verdict(False, f"not run: {error}"), ()
    return Verdict(True, f"{name}, computes nothing"), [crew]


def _needed(name: str) -> tuple[str, ...]:
    return next(loop.features for loop in PEAKS if loop.name == name)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.threads")
