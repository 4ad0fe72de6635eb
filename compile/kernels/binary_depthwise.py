"""Binary depthwise convolution: every bit of a vector counts for one pixel and channel.

    sum = n - 2 * mismatches        n: taps inside the image

Activations stay packed along the channels. A vector of words is xored with the weights of a tap,
taps are added in bit slices (`bit_slices.py`), and the count is compared with a threshold per
channel, in slices too, or expanded to bytes and on to floats. Taps outside the image are left out:
rows by code for each range of kernel rows inside, columns likewise, and by masks in the vectors
that hold both sides of a border.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.graph import Affine, Node
from binas.compile.isa import Isa
from binas.compile.kernels import bit_slices, cutting, epilogue, row_vectors
from binas.compile.kernels import vector as v
from binas.compile.kernels.aligned_stack import aligned_stack
from binas.compile.kernels.bit_slices import Logic, Tap
from binas.compile.kernels.counting import Counted, bases
from binas.compile.kernels.counting_words import logic
from binas.compile.kernels.depthwise_limits import Limits, Rows, row_runs, wrapped, wrapped_size
from binas.compile.kernels.frame import Frame, Kernel, Parameter, floordiv, floormod, frame
from binas.compile.kernels.row_loads import gathered, only_inside
from binas.compile.kernels.row_vectors import Run, TapLanes
from binas.compile.kernels.thresholds import threshold, thresholded
from binas.core import bits
from binas.core.layer import Layer

_BIT_OF_BYTE = 0x8040201008040201 - (1 << 64)  # bit i in byte i, as int64
SCRATCH_WORDS = 255  # of a plane on the stack
_TOGETHER = 2  # words whose bytes fill a vector of 512 bits


def meaning(node: Node, x: NDArray[np.uint32]) -> NDArray[np.int32]:
    """The sums [N, P, Q, K] from packed x [N, H, W, words(C)], one tap at a time."""
    assert node.weights is not None  # noqa: S101
    layer, (top, left, bottom, right) = node.layer, node.padding
    values = bits.unpack(x, node.in_shape[3]).astype(np.int32)
    around = ((0, 0), (top, bottom), (left, right), (0, 0))
    image = np.pad(values, around, constant_values=node.pad_value)
    _, P, Q, _ = layer.out_shape
    sums = np.zeros(layer.out_shape, np.int32)
    for r in range(node.kernel[0]):
        for s in range(node.kernel[1]):
            rows = image[:, r * node.dilation[0] :: node.stride[0]][:, :P]
            taps = rows[:, :, s * node.dilation[1] :: node.stride[1]][:, :, :Q]
            sums += taps * node.weights[:, r, s, 0].astype(np.int32)
    return sums


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer; a unit is an output row, or two where that saves loads."""
    N, units = layer.out_shape[0], 0
    with frame(symbol, layer, parameters(layer, isa)) as made, aligned_stack(isa):
        emit = _Bits(made, isa) if thresholded(layer) else _Floats(made, isa)
        for rows in row_runs(layer, emit.together):
            with made.units(units, units + N * rows.units) as unit:
                index = unit - units if units else unit
                image, group = floordiv(index, rows.units), floormod(index, rows.units)
                emit.rows(image, group * rows.together + rows.first, rows)
            units += N * rows.units
    what = "threshold" if thresholded(layer) else "affine"
    return Kernel(made.function, units, f"binary_depthwise slices {what} {isa.cpu} {isa.lanes}x32")


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """Weights, then thresholds in slices, or sums without a mismatch and the epilogue's."""
    found = [Parameter("w", _weight_size(layer, isa), "int32")]
    if thresholded(layer):
        return [*found, Parameter("t", Limits(layer, isa).size, "int32")]
    rows, columns = cutting.classes(layer)
    room = bits.words(layer.out_channels) * bits.WORD_BITS
    found.append(Parameter("column_class", layer.out_shape[2], "int32"))
    found.append(Parameter("base", len(set(rows)) * len(set(columns)) * room, "int8"))
    return found + epilogue.parameters(layer, isa)


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The values of `parameters`, in the same order."""
    layer, weights, limits = node.layer, node.weights, None
    assert weights is not None  # noqa: S101
    if thresholded(layer):
        affine = node.stages[0]
        assert isinstance(affine, Affine)  # noqa: S101
        limits, flip = threshold(affine, layer.kernel[0] * layer.kernel[1])
        weights = np.where(flip[:, None, None, None], -weights, weights)
    # Where a threshold decides, taps that agree are counted: enough of them make the bit 1.
    counted = weights if limits is None else -weights
    words = bits.pack(counted[..., 0].transpose(1, 2, 0)).view(np.int32)  # [R, S, words]
    found: list[NDArray[Any]] = [wrapped(words, isa.lanes).reshape(-1)]
    _, n, base = bases(Counted(layer, weights, limits))
    if limits is not None:
        # base - 2 (n - m) >= t  ⟺  m >= n - floor((base - t) / 2)
        n = n[:, :, None]
        return [*found, Limits(layer, isa).array(np.clip(n - (base - limits) // 2, 0, n + 1))]
    _, columns = cutting.classes(layer)
    kinds = sorted(set(columns), key=repr)
    room = np.zeros((*n.shape, bits.words(layer.out_channels) * bits.WORD_BITS), np.int8)
    room[..., : layer.out_channels] = base
    found += [np.array([kinds.index(one) for one in columns], np.int32), room.reshape(-1)]
    return found + epilogue.arrays(node, isa)


def _weight_size(layer: Layer, isa: Isa) -> int:
    R, S = layer.kernel
    return R * S * wrapped_size(bits.words(layer.in_shape[3]), isa.lanes)


class _Slices:
    """Emits the taps of vectors; what becomes of them is the subclasses'."""

    def __init__(self, made: Frame, isa: Isa, together: int = 1) -> None:
        self.frame, self.layer, self.isa, self.together = made, made.layer, isa, together
        self.words = bits.words(made.layer.in_shape[3])
        self.logic = Logic(logic if isa.ternary else None, self._keep)

    def rows(self, image: Any, p: Any, rows: Rows) -> None:
        """Emit `together` output rows from row p on."""
        raise NotImplementedError

    def _keep(self, value: Any) -> Any:
        return v.Register("int32", self.isa.lanes, value).get()

    def vectors(self, image: Any, p: Any, rows: Rows, columns: range) -> Iterator[_Vector]:
        """Emit the taps of every vector of some columns; the caller counts them."""
        layer, V = self.layer, self.isa.lanes
        _, H, W, _ = layer.in_shape
        for run in row_vectors.runs(layer, V, columns):
            with v.loop(0, run.repeat) as index:
                # Where a vector begins within the words of a pixel.
                start = run.start + index * run.step
                word = v.const(0) if V % self.words == 0 else floormod(start, self.words)
                taps: list[list[Tap]] = [[] for _ in range(rows.together)]
                for r in rows.inside:
                    for i, found in enumerate(taps):
                        line = (p + i) * layer.stride[0] - layer.padding[0] + r * layer.dilation[0]
                        row = (image * H + line) * (W * self.words) + index * run.in_step
                        found += [self._tap(row, r, tap, run.used, word) for tap in run.taps]
                yield _Vector(run, start, word, taps)

    def _tap(self, row: Any, r: int, tap: TapLanes, used: int, word: Any) -> Tap:
        V, width = self.isa.lanes, wrapped_size(self.words, self.isa.lanes)
        x = self._keep(gathered(self.frame.operands[0], row + tap.base, tap, V))
        kernel = (r * self.layer.kernel[1] + tap.s) * width
        w = v.load(self.frame.parameters["w"], kernel + word, V)
        if len(tap.inside) == used:
            return Tap(x, w)
        return Tap(self._keep(only_inside(x ^ w, tap, used, V)), v.splat(0, V))


@dataclass(frozen=True, slots=True)
class _Vector:
    """Taps of a vector, in each of the rows that are made together.

    Attributes:
        run: The run it belongs to.
        start: Its first word in the output row.
        word: The same within a pixel, for arrays that go round.
        taps: Per row, what is counted; nothing where all are outside the image.
    """

    run: Run
    start: Any
    word: Any
    taps: list[list[Tap]]


class _Bits(_Slices):
    """Bits out: counts and limits are compared in slices."""

    def __init__(self, made: Frame, isa: Isa) -> None:
        R, S = made.layer.kernel
        # Two rows read weights once where registers do not hold them, and most activations.
        super().__init__(made, isa, 2 if isa.ternary and isa.registers < 2 * R * S else 1)
        self.limits = Limits(made.layer, isa)

    def rows(self, image: Any, p: Any, rows: Rows) -> None:
        V, (_, P, Q, _) = self.isa.lanes, self.layer.out_shape
        for vector in self.vectors(image, p, rows, range(Q)):
            at = self.limits.at(rows.kind, vector.run, vector.word)
            stride = self.limits.stride(vector.run)
            # Counts of fewer taps have lower limits, of fewer planes.
            planes = range((len(vector.taps[0]) + 1).bit_length())
            minus = [v.load(self.frame.parameters["t"], at + i * stride, V) for i in planes]
            for i, found in enumerate(bit_slices.reach(vector.taps, minus, self.logic)):
                first = (image * P + p + i) * (Q * self.words) + vector.start
                word = v.Register("int32", V, found)
                epilogue.store_lanes(self.frame.bits_out, first, word, vector.run.used)


class _Floats(_Slices):
    """Floats (and their bits) out: planes go through memory, a word of channels comes back."""

    def __init__(self, made: Frame, isa: Isa) -> None:
        super().__init__(made, isa)
        self.finish = epilogue.Epilogue(made, isa)
        R, S = made.layer.kernel
        self.per_chunk = max(1, (SCRATCH_WORDS - isa.lanes) // self.words)
        Q = made.layer.out_shape[2]
        size = min(Q, self.per_chunk) * self.words + isa.lanes - 1
        self.scratch = [v.array("int32", size) for _ in range((R * S).bit_length())]

    def rows(self, image: Any, p: Any, rows: Rows) -> None:
        V, (_, P, Q, K) = self.isa.lanes, self.layer.out_shape
        whole, rest = divmod(K, bits.WORD_BITS)
        for first in range(0, Q, self.per_chunk):
            columns = range(first, min(first + self.per_chunk, Q))
            for vector in self.vectors(image, p, rows, columns):
                at = vector.start - first * self.words
                planes = bit_slices.mismatches(vector.taps[0], self.logic)
                missing = [v.splat(0, V)] * (self._planes(rows) - len(planes))
                for i, plane in enumerate(planes + missing):
                    v.store(self.scratch[i], at, plane, V)
            with v.loop(0, len(columns)) as q:
                pixel = ((image * P + p) * Q + first) + q
                kind = v.load(self.frame.parameters["column_class"], q + first)
                emit = partial(self._words, rows, pixel, kind, q * self.words)
                together = _TOGETHER if self.isa.masked else 1
                if whole >= together:
                    with v.loop(0, whole // together) as i:
                        emit(i * together, together * bits.WORD_BITS)
                if whole % together:
                    emit(v.const(whole - whole % together), bits.WORD_BITS)
                if rest:
                    emit(v.const(whole), rest)

    def _planes(self, rows: Rows) -> int:
        """The most planes that a vector of these rows has."""
        return (len(rows.inside) * self.layer.kernel[1]).bit_length()

    def _words(
        self, rows: Rows, pixel: Any, kind: Any, first: Any, word: Any, channels: int
    ) -> None:
        """The epilogue of the channels of a word, or of two."""
        V, words = self.isa.lanes, -(-channels // bits.WORD_BITS)
        planes = [v.load(self.scratch[i], first + word, words) for i in range(self._planes(rows))]
        columns = len(set(cutting.classes(self.layer)[1]))
        entry = ((rows.kind * columns + kind) * self.words + word) * bits.WORD_BITS
        room = words * bits.WORD_BITS
        size = min(4 * V, room)  # bytes of a vector
        floats: list[Any] = []
        for part in range(0, room, size):
            if self.isa.masked:
                sums = self._masked_sums(planes, entry, size)
            else:
                sums = self._sums(planes, entry + part, part, size)
            floats += _floats(sums, size, V)
        self.finish.emit(pixel, word * bits.WORD_BITS, floats[: -(-channels // V)], channels)

    def _masked_sums(self, planes: list[Any], entry: Any, size: int) -> Any:
        """Bytes of sums: the bits of a plane say which of them are less."""
        total = v.Register("int8", size, v.load(self.frame.parameters["base"], entry, size))
        for i, plane in enumerate(planes):
            # `tirx.reinterpret` refuses booleans; the operation behind it is a plain LLVM bitcast.
            mask = tirx.call_intrin(f"boolx{size}", tvm.ir.Op.get("tirx.reinterpret"), plane)
            less = total.get() - _twice(i, size)
            total.set(tirx.Select(mask, less, total.get()))
        return total.get()

    def _sums(self, planes: list[Any], entry: Any, part: int, size: int) -> Any:
        """Bytes of sums: every byte looks at its own bit of each plane."""
        dtype = f"int8x{size}"
        total = v.Register("int8", size, v.load(self.frame.parameters["base"], entry, size))
        own = v.reinterpret(dtype, v.splat(v.const(_BIT_OF_BYTE, "int64"), size // 8, "int64"))
        for i, plane in enumerate(planes):
            octets = v.reinterpret(dtype, v.splat(plane, size // 4))
            # The octets repeat every four, so each lane finds its own among its neighbours.
            spread = [16 * (lane // 16) + (part + lane) // 8 % 4 for lane in range(size)]
            one = tirx.Shuffle([octets], [v.const(at) for at in spread]) & own
            hit = tirx.Select(tirx.EQ(one, own), _twice(i, size), v.splat(0, size, "int8"))
            total.set(total.get() - hit)
        return total.get()


def _twice(plane: int, size: int) -> Any:
    """What a mismatch of a plane takes from a sum, in bytes: modulo 256."""
    return v.splat((2 << plane) - (256 if plane == 6 else 0), size, "int8")


def _floats(octets: Any, size: int, V: int) -> list[Any]:
    """Bytes as float vectors."""
    if size == V:
        return [tirx.Cast(v.lanes("float32", V), octets)]
    half = f"int8x{size // 2}"
    return [y for part in (v.low, v.high) for y in _floats(part(octets, half), size // 2, V)]
