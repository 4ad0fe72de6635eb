"""An estimate of where a network's time goes, from shapes alone; it is never called a latency.

Counted are the vector instructions that the inner loops of a step cannot do without, taps on the
padding included. Their rate is taken to be the same everywhere, so only shares of a network mean
anything; caches, borders and short rows are left out.
"""

from __future__ import annotations

from binas.compile.graph import sliced
from binas.compile.isa import Counting, Isa
from binas.compile.kernels import float_conv
from binas.core.layer import MOVES_BITS, Layer

# Instructions for as many binary MACs as a vector register has bits, by `Isa.counting`; the files
# `kernels/counting_*.py` say how.
_PER_REGISTER_OF_MACS: dict[Counting, float] = {
    "full_adder": 2.5,
    "popcount": 3.0,
    "adder_tree": 25 / 8,
    "nibbles": 4.0,
    "bytes": 3.0,
    "dot": 3.0,
}
_ADDER = {True: 2.5, False: 6.0}  # per tap in bit slices, by `Isa.ternary`
_MOVED = 4  # a word of bits that is shifted to its place
# From bit slices to the floats of a word of channels, per 8 lanes, by `Isa.masked`.
_EXPANSION = {True: 20, False: 40}


def vector_instructions(layer: Layer, isa: Isa) -> float:
    """Vector instructions of one run of a step."""
    return _accumulator(layer, isa) + _epilogue(layer, isa)


def shares(layers: list[Layer], isa: Isa) -> list[float]:
    """What part of the estimate each step has; they add up to 1."""
    counts = [vector_instructions(layer, isa) for layer in layers]
    total = sum(counts) or 1.0
    return [count / total for count in counts]


def _accumulator(layer: Layer, isa: Isa) -> float:
    N, P, Q, K = layer.out_shape
    outputs = N * P * Q * K
    if sliced(layer):
        slices = layer.macs / isa.vector_bits * _ADDER[isa.ternary]
        expanded = outputs / 32 * _EXPANSION[isa.masked] * 8 / isa.lanes if layer.float_out else 0.0
        return slices + expanded
    if layer.op == "binary_conv":
        return layer.macs / isa.vector_bits * _PER_REGISTER_OF_MACS[isa.counting]
    if layer.op == "conv":
        return layer.macs / isa.lanes * float_conv.instructions(layer, isa)
    taps = layer.kernel[0] * layer.kernel[1]
    if layer.op == "pool_bits":
        return outputs * taps / isa.vector_bits
    if layer.op in MOVES_BITS:
        return outputs / 32 * _MOVED
    return outputs * taps / isa.lanes  # a load each, and what is done with it


def _epilogue(layer: Layer, isa: Isa) -> float:
    if layer.op in MOVES_BITS:
        return 0.0
    N, P, Q, K = layer.out_shape
    per_vector = len(layer.stages) + layer.adds + layer.bits_affine
    per_vector += 2 * layer.float_out + 2 * layer.bits_out  # convert and store; compare and collect
    return N * P * Q * K / isa.lanes * per_vector
