"""Which instructions of a binary 3x3 layer are priced, found in the order of their execution.

inner   one turn of the innermost loop: from the block that counts most to itself again
tile    a whole tile away from the borders, from its first instruction to that of the next tile;
        where an image has none, the whole row
row     one row of the image and one block of channels in the middle of it, from its first
        instruction to that of the next row: borders, thresholds or floats, and stores included

MACs are those inside the image. Each 16-byte `cnt` does 128 of them; a layer that counted anything
another way, or on padding, would not come out even, and is reported as wrong.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.macs import Conv, executed
from binas.compile import cycles
from binas.core.errors import MeasureError
from binas.runtime.artifact import Artifact, Step
from binas.runtime.emulated import EmulatedSession

REGISTER_MACS = 128  # of one `cnt v.16b`

Block = tuple[int, int]  # address, instructions


class Stretch(NamedTuple):
    """Instructions, and the MACs that they do."""

    text: str
    macs: int


class Stretches(NamedTuple):
    """What is priced of a layer."""

    inner: Stretch
    tile: Stretch
    row: Stretch


def traced(artifact: Artifact, index: int) -> tuple[cycles.Code, list[Block]]:
    """The kernels' code, and the blocks of it that a step executes, in order."""
    with TemporaryDirectory() as folder:
        bench = Path(folder) / "bench"
        bench.write_bytes(artifact.read("bench"))
        code = cycles.disassembled(bench, "aarch64")
    executed_blocks = EmulatedSession(artifact).trace(index)
    return code, [(at, size // 4) for at, size in executed_blocks if at in code.addresses]


def stretches(artifact: Artifact, index: int) -> Stretches:
    """The inner loop, a tile and a middle row of a step.

    Raises:
        MeasureError: It does not count as it should.
    """
    step = artifact.manifest.steps[index]
    code, trace = traced(artifact, index)
    counts = Counter(trace)
    texts = {block: code.instructions(*block) for block in counts}
    counting = {block: sum(map(_counts, lines)) for block, lines in texts.items()}
    done = REGISTER_MACS * sum(counting[block] * n for block, n in counts.items())
    if done != counted(step):
        raise MeasureError(
            f"step {step.name} counts {done} of {counted(step)} MACs with vectors",
            hint="it has fallen back to something else: look at binas-compile --emit asm",
        )
    hottest = max(counts, key=lambda block: counting[block] * counts[block])
    row = _row(step, trace, counts)
    whole = _stretch(row, texts)
    inner = _stretch(_loop(hottest, trace), texts)
    return Stretches(inner, _tile(step, row, texts) or whole, whole)


def _loop(head: Block, trace: Sequence[Block]) -> Sequence[Block]:
    """The most frequent way from a block back to it."""
    places = [place for place, block in enumerate(trace) if block == head]
    ways = Counter(tuple(trace[a:b]) for a, b in itertools.pairwise(places))
    return ways.most_common(1)[0][0] if ways else ()


def _row(step: Step, trace: Sequence[Block], counts: Mapping[Block, int]) -> Sequence[Block]:
    """From the beginning of the middle row to that of the next one."""
    P, channels = step.layer.out_shape[1], _tile_size(step)[1]
    rows = P * -(-step.layer.out_channels // channels)
    heads = [block for block, n in counts.items() if n == rows]
    if not heads:
        raise MeasureError(
            f"no block of step {step.name} begins its {rows} rows", hint="has the nest changed?"
        )
    places = [place for place, block in enumerate(trace) if block == heads[0]]
    middle = rows // 2 + P // 2 - (rows // 2) % P  # an inner row of some block of channels
    return trace[places[middle] : places[middle + 1]]


def _tile(step: Step, row: Sequence[Block], texts: Mapping[Block, list[str]]) -> Stretch | None:
    """A way from a block back to it that does the MACs of a tile without borders."""
    pixels, channels = _tile_size(step)
    wanted = pixels * channels * math.prod(step.layer.kernel) * step.layer.in_shape[3]
    ways = (_stretch(_loop(head, row), texts) for head in dict.fromkeys(row))
    return next((way for way in ways if way.macs == wanted), None)


def _tile_size(step: Step) -> tuple[int, int]:
    """Pixels and channels, as in "binary_conv dot affine cortex-a72 4x16"."""
    found = re.search(r" (\d+)x(\d+)\b", step.kernel)
    if found is None:
        raise MeasureError(
            f"step {step.name} has no tile: {step.kernel}", hint="look at its family"
        )
    return int(found[1]), int(found[2])


def _stretch(blocks: Sequence[Block], texts: Mapping[Block, list[str]]) -> Stretch:
    lines = [line for block in blocks for line in texts[block]]
    return Stretch("\n".join(lines), REGISTER_MACS * sum(map(_counts, lines)))


def _counts(line: str) -> bool:
    return line.startswith("cnt") and ".16b" in line


def counted(step: Step) -> int:
    """Binary MACs of a step that lie inside the image."""
    _, H, _, C = step.layer.in_shape
    K = step.layer.out_channels
    return executed(Conv(channels=C, filters=K, size=H), binary=True)
