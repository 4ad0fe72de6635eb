"""Tiles found by estimate, held against another one: `python -m benchmarks.arm_tiles IN -o OUT`.

The tuner prices blocks of machine code one by one, each as if it followed itself. Here stretches of
the instructions as they are executed are priced, whatever blocks they are made of, in an artifact
that holds nothing but the rule's tile and the other one. So were chosen the entries for ARM in
`compile/tuned/`: those that gain by both.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.arm_stretches import traced
from binas.compile import cycles
from binas.compile import isa as isas
from binas.compile.build import compile_choices
from binas.compile.kernels import family
from binas.compile.tile import Choice
from binas.compile.tuning import Database, Estimated, Tuned, read
from binas.core import cli, record
from binas.devices import registry
from binas.devices.device import Device
from binas.runtime.artifact import Artifact

MARGIN = 0.03  # of the rule's cycles: what is less may be the model's doing
STRETCHES = 6  # of a kernel's run, evenly spread
INSTRUCTIONS = 30_000  # of a stretch: some tiles at least, and mostly rows


@click.command(cls=cli.Command)
@click.argument("database", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Database.")
@click.option("--device", "device_name", required=True, help="The tiles were found for.")
def main(*, database: Path, output: Path, device_name: str) -> None:
    """Keep the entries that gain 3 % both by blocks and by stretches of instructions."""
    device = registry.find(device_name)
    kept = []
    for entry in read(database).entries:
        by_blocks = tuned_by_rule(entry)
        if (entry.arch, entry.cpu) != (device.arch, device.cpu) or by_blocks > 1 - MARGIN:
            continue
        by_stretches = of_stretches(entry, device)
        if by_stretches <= 1 - MARGIN:
            kept.append(entry)
        cli.say(f"blocks {by_blocks:.3f} stretches {by_stretches:.3f} {entry.tile}  {entry.layer}")
    record.save(Database(entries=tuple(kept)), output)


def tuned_by_rule(entry: Tuned) -> float:
    """Cycles with the tile by cycles with the rule's; 1 where these were measured."""
    gain = entry.gain
    return gain.tuned_cycles / gain.rule_cycles if isinstance(gain, Estimated) else 1.0


def of_stretches(entry: Tuned, device: Device) -> float:
    """The same, priced another way.

    Raises:
        DeviceError: The emulator or a tool of LLVM is not installed.
    """
    rule = family.default_tile(entry.layer, isas.find(entry.cpu, entry.arch))
    choices = [Choice(entry.layer, tile) for tile in (rule, entry.tile)]
    with TemporaryDirectory() as folder:
        made = compile_choices(choices, {}, device, Path(folder) / "tiles.binas")
        rules, tuned = (priced(made, index, device.cpu) for index in range(2))
    return tuned / rules


def priced(artifact: Artifact, index: int, model: str) -> float:
    """Cycles of a step, from stretches of what it executes."""
    code, trace = traced(artifact, index)
    ends = list(itertools.accumulate(count for _, count in trace))
    stretches = [trace[first:stop] for first, stop in _cuts(ends)]
    seen = sum(count for blocks in stretches for _, count in blocks)
    texts = [
        "\n".join(line for b in blocks for line in code.instructions(*b)) for blocks in stretches
    ]
    return sum(cycles.priced(texts, "aarch64", model, iterations=1)) / seen * ends[-1]


def _cuts(ends: list[int]) -> list[tuple[int, int]]:
    """Where stretches begin and end in a trace whose blocks end after so many instructions."""
    if ends[-1] <= STRETCHES * INSTRUCTIONS:
        return [(0, len(ends))]
    starts = [
        int((place + 0.5) / STRETCHES * ends[-1]) - INSTRUCTIONS // 2 for place in range(STRETCHES)
    ]
    return [(bisect_left(ends, at), bisect_left(ends, at + INSTRUCTIONS)) for at in starts]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.arm_tiles")
