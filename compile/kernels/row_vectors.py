"""Vectors of words along an output row, for kernels that work on packed channels as they lie.

An output row is a string of words, pixel after pixel. At column stride 1 so is what one kernel tap
reads of an input row: a vector may begin anywhere and span pixels. At other strides a vector holds
whole pixels, or a part of one. Lanes whose tap lies outside the image hold nothing to count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from binas.compile.kernels import cutting
from binas.core import bits
from binas.core.layer import Layer


@dataclass(frozen=True, slots=True)
class TapLanes:
    """What a kernel column reads for one vector.

    Attributes:
        s: The kernel column.
        base: Word of the input row that the first lane inside the image reads.
        offsets: Per lane, its word relative to `base`; None where the tap is outside.
    """

    s: int
    base: int
    offsets: tuple[int | None, ...]

    @property
    def inside(self) -> range:
        """The lanes whose tap is inside the image; they are neighbours."""
        lanes = [lane for lane, offset in enumerate(self.offsets) if offset is not None]
        return range(lanes[0], lanes[-1] + 1)


@dataclass(frozen=True, slots=True)
class Run:
    """`repeat` vectors, `step` words apart, that read alike.

    Attributes:
        start: Word of the output row where the first vector begins.
        step: Words from one vector to the next, in the output row.
        in_step: The same in an input row.
        repeat: How many vectors.
        used: Lanes that are written.
        kinds: Per used lane, its column class (index into the distinct ranges of taps).
        taps: The kernel columns that are inside for any lane.
    """

    start: int
    step: int
    in_step: int
    repeat: int
    used: int
    kinds: tuple[int, ...]
    taps: tuple[TapLanes, ...]


def runs(layer: Layer, V: int, columns: range) -> list[Run]:
    """Vectors of `V` words over some columns of an output row, neighbours that are alike as one."""
    words, stride = bits.words(layer.in_shape[3]), layer.stride[1]
    _, valid = cutting.classes(layer)
    kinds = sorted(set(valid), key=repr)
    found: list[Run] = []
    for start, used, step in _vectors(words, stride, V, columns):
        lanes = [divmod(start + lane, words) for lane in range(used)]
        run = Run(
            start=start,
            step=step,
            in_step=step * stride,
            repeat=1,
            used=used,
            kinds=tuple(kinds.index(valid[q]) for q, _ in lanes),
            taps=tuple(_taps(layer, lanes, valid, words)),
        )
        last = found[-1] if found else None
        if last is not None and _continues(last, run):
            found[-1] = replace(last, repeat=last.repeat + 1)
        else:
            found.append(run)
    return found


def _vectors(words: int, stride: int, V: int, columns: range) -> Iterator[tuple[int, int, int]]:
    """First word, lanes used and distance to the next, of every vector of a row."""
    if stride == 1:
        stop = columns.stop * words
        for start in range(columns.start * words, stop, V):
            yield start, min(V, stop - start), V
    elif words < V:
        pixels = V // words
        for q in range(columns.start, columns.stop, pixels):
            yield q * words, min(pixels, columns.stop - q) * words, pixels * words
    else:
        # The last words of all pixels first: who stores whole vectors overwrites with them the
        # first words of the next pixel, which are still to come.
        for first in reversed(range(0, words, V)):
            for q in columns:
                yield q * words + first, min(V, words - first), words


def _taps(
    layer: Layer, lanes: list[tuple[int, int]], valid: list[range], words: int
) -> Iterator[TapLanes]:
    for s in range(layer.kernel[1]):
        shift = s * layer.dilation[1] - layer.padding[1]
        reads = [
            (q * layer.stride[1] + shift) * words + word if s in valid[q] else None
            for q, word in lanes
        ]
        inside = [at for at in reads if at is not None]
        if inside:
            base = inside[0]
            offsets = tuple(None if at is None else at - base for at in reads)
            yield TapLanes(s, base, offsets)


def _continues(run: Run, following: Run) -> bool:
    """Whether a vector is the next repetition of a run."""
    moved = replace(
        following,
        start=following.start - run.repeat * run.step,
        repeat=run.repeat,
        taps=tuple(
            replace(tap, base=tap.base - run.repeat * run.in_step) for tap in following.taps
        ),
    )
    return moved == run
