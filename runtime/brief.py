"""A reference in brief: inputs that everybody can draw, and digests of what becomes of them.

Whole tensors of Bi-Real-18 take three times the room of its weights. So an artifact of a large
network carries none: each step is given numbers drawn from the model's digest, and the artifact
holds what is needed to tell right results from wrong ones.

- Bits: a digest per image row, and the few bits that lie at their thresholds by themselves. Those
  are cleared before a row is hashed; every other bit must be the reference's.
- Floats: a digest per image row of each value's *cell*, y / (100 limits) rounded down, a limit
  being what a float may differ by. Values within a limit of a cell's edge are marked, and counted
  in cells that are shifted by half of one. So a value within its limit is always in its cell, one
  that is off by a cell (a thousandth of the tensor's largest) never is, and one that is off by less
  is found with that chance, per value: errors of many values are found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import blake2b, shake_256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from binas.core import bits
from binas.core.errors import UsageError

if TYPE_CHECKING:
    from binas.runtime.artifact import Manifest, Port, Tensor

Arrays = dict[str, NDArray[Any]]

CELL_LIMITS = 100
_SHIFT = 0.37  # of the cells, so that 0, which a ReLU makes so often, is at no edge
_NO_CELL = np.iinfo(np.int64).min  # of NaN and infinities
_DIGEST_BYTES = 8
_LONG = 255


class Verdict(NamedTuple):
    """What a digest says of a tensor.

    Attributes:
        rows: Image rows it has, N * H.
        wrong: Rows that differ.
        flips: Bits that differ where the reference is at its threshold.
        bound: No float differs by more, if no row is wrong; 0 for bits.
    """

    rows: int
    wrong: int
    flips: int
    bound: float


def is_brief(stored: Mapping[str, NDArray[Any]]) -> bool:
    """Whether these are the values of a reference in brief."""
    return "brief:judged" in stored


def port_input(digest: str, port: Port) -> NDArray[Any]:
    """The fixed input of a port: bytes, or about normal numbers, some of them exactly 0 and -0."""
    stream = _stream(digest, f"input:{port.name}")
    if port.dtype == "uint8":
        return _bytes(stream, math.prod(port.shape)).reshape(port.shape)
    x = _floats(stream, math.prod(port.shape))
    x[:: max(1, x.size // 7)] = 0.0  # a bit of zero is +1; -0.0 follows
    x[1 :: max(2, x.size // 5)] = -0.0
    return x.reshape(port.shape)


def step_inputs(manifest: Manifest) -> Arrays:
    """What every step is given: a value for each tensor that one reads."""
    read = {tensor.name: tensor for step in manifest.steps for tensor in step.inputs}
    return {name: _drawn(manifest.model_digest, tensor) for name, tensor in read.items()}


def of_bits(name: str, words: NDArray[np.uint32], near: NDArray[np.bool_]) -> Arrays:
    """A tensor of bits in brief.

    Args:
        name: Of the tensor.
        words: The reference [N, H, W, words(C)].
        near: [N, H, W, C], bits that are at their thresholds.
    """
    places = np.flatnonzero(near).astype(np.uint32)
    values = bits.unpack(words, near.shape[3]).reshape(-1)[places] > 0
    cleared = words & ~_words_of(places, near.shape)
    return {
        f"brief:digest:{name}": _digests(cleared),
        f"brief:near:{name}": places,
        f"brief:value:{name}": values.astype(np.uint8),
    }


def of_floats(name: str, reference: NDArray[np.float32], tolerance: float) -> Arrays:
    """A float tensor [N, H, W, C] in brief; tolerance is relative to max(1, its largest)."""
    limit = tolerance * max(1.0, float(np.abs(reference).max(initial=0.0)))
    cell = CELL_LIMITS * limit
    place = reference.astype(np.float64) / cell + _SHIFT
    # A little more than the limit: the division rounds.
    near = np.abs(place - np.rint(place)) <= 1.01 / CELL_LIMITS
    return {
        f"brief:digest:{name}": _digests(_cells(reference, cell, near)),
        f"brief:near:{name}": _gaps(near.reshape(-1)),
        f"brief:cell:{name}": np.array([cell]),
    }


def judge_bits(stored: Mapping[str, NDArray[Any]], tensor: Tensor, got: NDArray[Any]) -> Verdict:
    """Compare a tensor of bits [N, H, W, words(C)] with its reference in brief.

    Raises:
        UsageError: There is none, or it is of another shape.
    """
    digests = _stored(stored, "digest", tensor.name, np.uint64, tensor.shape[0] * tensor.shape[1])
    places = _stored(stored, "near", tensor.name, np.uint32, None)
    values = _stored(stored, "value", tensor.name, np.uint8, places.size)
    if places.size and int(places.max()) >= math.prod(tensor.shape):
        raise _unfit(f"brief:near:{tensor.name}")
    found = bits.unpack(got, tensor.shape[3]).reshape(-1)[places] > 0
    wrong = _digests(got & ~_words_of(places, tensor.shape)) != digests
    return Verdict(digests.size, int(wrong.sum()), int((found != (values > 0)).sum()), 0.0)


def judge_floats(
    stored: Mapping[str, NDArray[Any]], name: str, got: NDArray[np.float32]
) -> Verdict:
    """Compare a float tensor [N, H, W, C] with its reference in brief.

    Raises:
        UsageError: There is none, or it is of another shape.
    """
    rows = got.shape[0] * got.shape[1]
    digests = _stored(stored, "digest", name, np.uint64, rows)
    gaps = _stored(stored, "near", name, np.uint8, None)
    cell = float(_stored(stored, "cell", name, np.float64, 1)[0])
    if not 0 < cell < math.inf:
        raise _unfit(f"brief:cell:{name}")
    near = _marks(gaps, got.size, name).reshape(got.shape)
    wrong = _digests(_cells(got, cell, near)) != digests
    return Verdict(rows, int(wrong.sum()), 0, cell)


def _drawn(digest: str, tensor: Tensor) -> NDArray[Any]:
    stream, count = _stream(digest, tensor.name), math.prod(tensor.shape)
    if tensor.dtype == "float32":
        return _floats(stream, count).reshape(tensor.shape)
    signs = _bytes(stream, -(-count // 8))
    return bits.pack(
        np.unpackbits(signs, count=count).reshape(tensor.shape).astype(np.int8) * 2 - 1
    )


def _stream(digest: str, name: str) -> Any:
    """Bytes that depend on nothing but these; numpy's generators may change with its version."""
    return shake_256(f"{digest}/{name}".encode())


def _bytes(stream: Any, count: int) -> NDArray[np.uint8]:
    return np.frombuffer(stream.digest(count), np.uint8).copy()


def _floats(stream: Any, count: int) -> NDArray[np.float32]:
    """Sums of four bytes: mean 0, deviation 1.15, multiples of 1/128 and so exact everywhere."""
    parts = _bytes(stream, 4 * count).reshape(4, count)
    sums = parts[0].astype(np.int16) + parts[1] + parts[2] + parts[3]
    found: NDArray[np.float32] = (sums - 510).astype(np.float32) / np.float32(128)
    return found


def _cells(y: NDArray[Any], cell: float, near: NDArray[np.bool_]) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        found = np.floor(y.astype(np.float64) / cell + _SHIFT + 0.5 * near)
        fits = np.abs(found) < 2.0**62  # False for NaN, too
        return np.where(fits, found, 0).astype("<i8") + np.where(fits, 0, _NO_CELL)


def _gaps(marks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """How many values lie before each marked one; 255 is as many of them, and no mark after."""
    before = np.diff(np.flatnonzero(marks), prepend=-1) - 1
    long, rest = np.divmod(before, _LONG)
    ends = np.cumsum(long + 1) - 1
    found = np.full(int(ends[-1]) + 1 if ends.size else 0, _LONG, np.uint8)
    found[ends] = rest
    return found


def _marks(gaps: NDArray[np.uint8], count: int, name: str) -> NDArray[np.bool_]:
    marked = gaps < _LONG
    places = (np.cumsum(gaps.astype(np.int64) + marked) - 1)[marked]
    if places.size and int(places[-1]) >= count:
        raise _unfit(f"brief:near:{name}")
    found = np.zeros(count, bool)
    found[places] = True
    return found


def _words_of(places: NDArray[np.uint32], shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """Packed words in which these bits are 1."""
    flat = np.full(math.prod(shape), -1, np.int8)
    flat[places] = 1
    return bits.pack(flat.reshape(shape))


def _digests(values: NDArray[Any]) -> NDArray[np.uint64]:
    """One per image row of [N, H, W, ...]."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    rows = np.ascontiguousarray(little).reshape(values.shape[0] * values.shape[1], -1)
    hashed = b"".join(blake2b(row.tobytes(), digest_size=_DIGEST_BYTES).digest() for row in rows)
    return np.frombuffer(hashed, "<u8").astype(np.uint64)


def _stored(
    stored: Mapping[str, NDArray[Any]], what: str, name: str, dtype: Any, count: int | None
) -> NDArray[Any]:
    found = stored.get(f"brief:{what}:{name}")
    if found is None or found.ndim != 1 or found.dtype != dtype:
        raise _unfit(f"brief:{what}:{name}")
    if count is not None and found.size != count:
        raise _unfit(f"brief:{what}:{name}")
    return found


def _unfit(name: str) -> UsageError:
    return UsageError(
        f"taps.npz does not hold {name} as the plan wants it",
        hint="make the artifact again with binas-compile",
    )
