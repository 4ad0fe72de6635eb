"""Kernels run between pages that do not exist: by this CPU in a child process, or by Bochs.

Every kernel computes its outputs three times, its work cut another way each time. Where buffers lie
is `guarded_run.py`'s to say, for both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.devices import zig
from tests.integration.bare_machine import PAGE, BareMachine
from tests.integration.guarded_run import CANARY, SLACK, place, splits

CHILD = Path(__file__).with_name("guarded_run.py")
SPLITS = 3

# LLVM's name of a CPU → Bochs's of one that has all its instructions that kernels are made of.
MODELS = {
    "x86-64-v2": "corei5_lynnfield_750",
    "x86-64-v3": "corei7_haswell_4770",
    "x86-64-v4": "corei7_skylake_x",
    "icelake-server": "corei7_icelake_u",
    "znver4": "tigerlake",
}


@dataclass(frozen=True)
class Job:
    """One kernel and what it reads.

    Attributes:
        symbol: Its function.
        units: Of work.
        operands: Arrays that lie in the arena, with its slack behind them.
        parameters: Arrays with nothing behind them.
        output_bytes: Sizes of what it writes.
    """

    symbol: str
    units: int
    operands: Sequence[NDArray[Any]]
    parameters: Sequence[NDArray[Any]]
    output_bytes: Sequence[int]


@dataclass(frozen=True)
class Finished:
    """What became of jobs.

    Attributes:
        outputs: Symbol → per split, the bytes of each output; absent where it did not get so far.
        said: What was wrong; on this CPU also the symbol of each kernel that was begun.
        died: What ended them all before the last, if anything did.
    """

    outputs: dict[str, list[list[bytes]]]
    said: list[str]
    died: str


def on_this_cpu(jobs: Sequence[Job], objects: Path, folder: Path) -> Finished:
    """Run the kernels of an object file in a child process, which may crash."""
    zig.cc([*zig.library("x86_64"), str(objects), "-o", str(folder / "kernels.so")])
    entries = []
    for job in jobs:
        entry: dict[str, Any] = {"symbol": job.symbol, "units": job.units}
        for what, arrays in (("reads", job.operands), ("parameters", job.parameters)):
            entry[what] = [f"{job.symbol}.{what}{i}.npy" for i in range(len(arrays))]
            for file, array in zip(entry[what], arrays, strict=True):
                np.save(folder / file, array)
        entries.append({**entry, "writes": list(job.output_bytes)})
    (folder / "job.json").write_text(json.dumps(entries))
    done = subprocess.run(
        [sys.executable, str(CHILD), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    outputs = {}
    for job in jobs:
        files = [
            [folder / f"{job.symbol}.split{n}.out{i}.npy" for i in range(len(job.output_bytes))]
            for n in range(SPLITS)
        ]
        if all(file.exists() for row in files for file in row):
            outputs[job.symbol] = [[np.load(file).tobytes() for file in row] for row in files]
    died = f"the child ended with {done.returncode}" if done.returncode else ""
    return Finished(outputs, done.stdout.splitlines() + done.stderr.splitlines(), died)


def in_bochs(jobs: Sequence[Job], objects: Path, folder: Path, cpu: str) -> Finished:
    """Run them on another CPU, emulated."""
    machine = BareMachine(objects, folder)
    called: list[str] = []
    written: dict[str, list[list[tuple[int, int]]]] = {}
    for job in jobs:
        written[job.symbol] = []
        for number, calls in enumerate(splits(job.units)):
            buffers = list(_buffers(machine, job, at_start=number == 1))
            reads = len(buffers) - len(job.output_bytes)
            written[job.symbol].append(buffers[reads:])
            for begin, end in calls:
                machine.call(job.symbol, *(at for at, _ in buffers), begin, end)
                called.append(job.symbol)
    wanted = [output for found in written.values() for split in found for output in split]
    ended = machine.run(MODELS[cpu], wanted)
    returned = list(zip(called, ended.returned, strict=False))
    said = [f"failed {symbol}" for symbol, status in returned if status != 0]
    memory, outputs = iter(ended.found), {}
    for job in jobs:
        found = [[next(memory) for _ in split] for split in written[job.symbol]]
        if job.symbol in called[len(returned) :]:
            continue
        sized = [list(zip(split, job.output_bytes, strict=True)) for split in found]
        outputs[job.symbol] = [[data[:size] for data, size in split] for split in sized]
        if any(data[size:].strip(bytes([CANARY])) for split in sized for data, size in split):
            said.append(f"overwritten {job.symbol}")
    if ended.fault is None:
        return Finished(outputs, said, "")
    return Finished(outputs, [*said, called[len(returned)]], str(ended.fault))


def _buffers(machine: BareMachine, job: Job, *, at_start: bool) -> Iterator[tuple[int, int]]:
    """(Address, bytes to the page behind) of all that a kernel is given."""
    held = [(x.tobytes(), SLACK) for x in job.operands] + [(x.tobytes(), 0) for x in job.parameters]
    for contents, slack in held:
        yield _reserve(machine, len(contents), slack, contents, at_start=at_start, writable=False)
    for size in job.output_bytes:
        yield _reserve(machine, size, 0, b"", at_start=at_start, writable=True)


def _reserve(
    machine: BareMachine, size: int, slack: int, contents: bytes, *, at_start: bool, writable: bool
) -> tuple[int, int]:
    pages, offset = place(size, slack, at_start=at_start)
    room = bytearray([CANARY]) * (pages * PAGE)
    room[offset : offset + len(contents)] = contents
    return machine.reserve(bytes(room), writable=writable) + offset, len(room) - offset
