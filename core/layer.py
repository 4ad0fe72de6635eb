"""Layer: one step of a deployed network, the key under which everything is measured.

A Layer says all that decides how long a step takes and nothing else: no weights, no name, no
device. Two steps with equal Layers share one kernel and one entry of a LatencyTable, and a Layer
alone is enough to generate, compile and measure its kernel (`compile/build.py: compile_layers`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from binas.core import record
from binas.core.errors import UsageError

MAX_SIZE = 1 << 24  # of one side of a tensor

Op = Literal[
    "binary_conv",  # ±1 activations, ±1 weights: xor and popcount
    "conv",  # real activations; weights real, or ±1 where weight_bits is 1
    "pool_max",
    "pool_avg",  # divisor counts real taps, or all taps where pads_count
    "pool_bits",  # of packed signs, per channel the maximum or the minimum: OR or AND of bits
    "softmax",  # over the channels
    "elementwise",  # nothing but its stages
    "constant",  # an array of the weights, as if it were an input
    "concat_bits",  # of packed signs; its parts fill it
    "shuffle",  # of channels: `groups` of them dealt out in turn
    "shuffle_bits",  # of packed signs
    "concat",  # the leading `parts` channels of each input side by side, zeros up to out_channels
    "slice",  # out_channels channels behind the first `parts`
]

READS_BITS: frozenset[Op] = frozenset(("binary_conv", "pool_bits", "concat_bits", "shuffle_bits"))
POOLS: frozenset[Op] = frozenset(("pool_max", "pool_avg", "pool_bits"))
_OTHER_CHANNELS: frozenset[Op] = frozenset(("binary_conv", "conv", "concat", "slice"))
MOVES_BITS: frozenset[Op] = READS_BITS - {"binary_conv"}  # bits in, bits out, no epilogue

# What happens to a value between the accumulator and memory, in this order, fused into the step.
# "add" reads one more tensor of the output's shape; "affine" and "prelu" are per channel; "sign"
# writes the sign as float32, for the rare consumer that is not a binary convolution.
Stage = Literal["affine", "relu", "prelu", "add", "sign"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Layer:
    """One fused step.

    Attributes:
        op: The kernel family.
        in_shape: N, H, W, C of the input (C of all inputs together for concat, of itself for
            constant).
        out_channels: K.
        kernel: R, S.
        stride: Rows, columns.
        padding: Top, left, bottom, right.
        dilation: Rows, columns.
        groups: Convolution groups.
        pad_value: Value of padded taps of a binary convolution: 0, +1 or -1.
        pads_count: Whether an average pool divides by padded taps, too.
        parts: How many leading channels a concat takes of each input; how many, one number, a
            slice leaves out; empty for other ops.
        in_bits: 1 where the input is packed bits, 32 for float32.
        weight_bits: 1, 32, or 0 where there are no weights.
        stages: The epilogue, in order.
        float_out: Whether the result after the stages is written as float32.
        bits_out: Whether the sign of the result is written as packed bits.
        bits_affine: Whether the bits have a per-channel affine of their own before the sign.
        in_affine: Whether the operand goes through a per-channel affine first; padded taps stay 0.
            Of a convolution of reals that is depthwise, or 1x1 with weights of one bit.
    """

    op: Op
    in_shape: tuple[int, int, int, int]
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_value: int = 0
    pads_count: bool = False
    parts: tuple[int, ...] = ()
    in_bits: int = 32
    weight_bits: int = 0
    stages: tuple[Stage, ...] = ()
    float_out: bool = True
    bits_out: bool = False
    bits_affine: bool = False
    in_affine: bool = field(default=False, metadata={record.UNSAID: True})

    def __post_init__(self) -> None:
        """Refuse what no kernel could compute: a layer may come from a stranger's file."""
        sizes = (*self.in_shape, self.out_channels, *self.kernel, *self.stride, *self.dilation)
        if min(*sizes, self.groups) < 1 or max(*sizes, *self.padding, *self.parts) > MAX_SIZE:
            raise _fault("a size", sizes, f"1 to {MAX_SIZE}")
        if min(*self.padding, *self.parts) < 0:
            raise _fault("padding or parts", (*self.padding, *self.parts), "0 or more")
        if self.in_shape[3] % self.groups or self.out_channels % self.groups:
            raise _fault("groups", self.groups, "a divisor of both channel counts")
        if min(self.out_shape) < 1:
            raise _fault("an output", self.out_shape, "a window that fits into the padded input")
        if self.op in POOLS and any(self.padding) and self._has_empty_window():
            sides = "x".join(map(str, self.in_shape[1:3]))
            raise _fault(
                "a pool's window",
                f"nothing but padding (kernel {self.kernel} dilated by {self.dilation} at stride "
                f"{self.stride} on {sides} padded by {self.padding})",
                "some of the image in each: nothing has no average and no maximum",
            )
        if self.pad_value not in (-1, 0, 1):
            raise _fault("pad_value", self.pad_value, "-1, 0 or 1")
        if self.in_bits not in (1, 32) or self.weight_bits not in (0, 1, 32):
            raise _fault("bits", (self.in_bits, self.weight_bits), "1 or 32")
        if self.in_affine and not self.takes_affine:
            expected = "a convolution of reals, depthwise or 1x1 with weights of one bit"
            raise _fault("an affine in front", self.op, expected)
        self._check_moves()

    def _has_empty_window(self) -> bool:
        """Whether a window lies before the image or behind it, or steps over it."""
        for axis in (0, 1):
            size, taps, step = self.in_shape[1 + axis], self.kernel[axis], self.dilation[axis]
            starts = range(
                -self.padding[axis],
                self.out_shape[1 + axis] * self.stride[axis] - self.padding[axis],
                self.stride[axis],
            )
            if starts[0] + step * (taps - 1) < 0 or starts[-1] >= size:
                return True
            # A tap that is `start % step` is the first inside, unless that is behind the image.
            if step > size and any(start % step >= size for start in starts if start < 0):
                return True
        return False

    def _check_moves(self) -> None:
        """What moves channels has those that it is given; of bits it writes nothing but bits."""
        C, K = self.in_shape[3], self.out_channels
        if self.op not in _OTHER_CHANNELS and C != K:
            raise _fault("channels", (C, K), "equally many in and out")
        more = self.stages or self.float_out or self.bits_affine or not self.bits_out
        if self.op in MOVES_BITS and more:
            raise _fault("outputs", str(self), "bits alone and no stages")
        if self.op == "concat_bits" and sum(self.parts) != K:
            raise _fault("parts", self.parts, f"{K} channels in all")
        if self.op == "concat" and not self._takes_what_is_there():
            raise _fault("parts", self.parts, f"up to {K} of {C} channels, all of several inputs")
        if self.op == "slice" and (len(self.parts) != 1 or self.parts[0] + K > C):
            raise _fault("parts", self.parts, f"one number, {K} channels behind it of {C}")

    def _takes_what_is_there(self) -> bool:
        """Whether a concat takes leading channels of one input, or all of several."""
        taken, C = sum(self.parts), self.in_shape[3]
        return 0 < taken <= self.out_channels and taken in (
            (C,) if self.parts[1:] else range(C + 1)
        )

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        """N, P, Q, K."""
        N, H, W, _ = self.in_shape
        R, S = self.kernel
        top, left, bottom, right = self.padding
        P = (H + top + bottom - self.dilation[0] * (R - 1) - 1) // self.stride[0] + 1
        Q = (W + left + right - self.dilation[1] * (S - 1) - 1) // self.stride[1] + 1
        return N, P, Q, self.out_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a convolution, padded taps included; 0 for other ops."""
        if self.op not in ("binary_conv", "conv"):
            return 0
        N, P, Q, K = self.out_shape
        R, S = self.kernel
        return N * P * Q * K * R * S * (self.in_shape[3] // self.groups)

    @property
    def binary_macs(self) -> int:
        """The macs done by xor and popcount."""
        return self.macs if self.op == "binary_conv" else 0

    @property
    def depthwise(self) -> bool:
        """Whether every output channel is a convolution of one input channel of its own."""
        return 1 < self.groups == self.in_shape[3] == self.out_channels

    @property
    def signed_sums(self) -> bool:
        """Whether it adds real activations of one pixel, by the signs that its weights are."""
        plain = self.kernel == (1, 1) and self.groups == 1 and not any(self.padding)
        return self.op == "conv" and plain and self.weight_bits == 1

    @property
    def takes_affine(self) -> bool:
        """Whether kernels of this layer can take its operand through an affine (`in_affine`)."""
        return self.signed_sums or (self.op == "conv" and self.depthwise)

    @property
    def adds(self) -> int:
        """How many tensors the epilogue reads besides the input."""
        return self.stages.count("add")

    def __str__(self) -> str:
        """A line for people: `binary_conv 3x3/1 8x8x32→8x8x32 affine relu add → f32+bits`.

        What happens to the operand first stands in front: `affine → conv 3x3/1 ...`.
        """
        _, H, W, C = self.in_shape
        _, P, Q, K = self.out_shape
        outs = "+".join(n for n, on in (("f32", self.float_out), ("bits", self.bits_out)) if on)
        kernel = (
            f" {self.kernel[0]}x{self.kernel[1]}/{self.stride[0]}" if self.kernel != (1, 1) else ""
        )
        before = ["affine", "→"] if self.in_affine else []
        step = [f"{self.op}{kernel}", f"{H}x{W}x{C}→{P}x{Q}x{K}"]
        words = [*before, *step, *self.stages, f"→ {outs}"]
        return " ".join(words)


def _fault(what: str, found: object, expected: str) -> UsageError:
    return UsageError(f"a layer has {what} of {found}, expected {expected}")
