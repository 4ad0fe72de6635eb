"""The operators of domain `ai.binas`: names for us, bodies of standard operators for everyone else.

A model carries these as model-local functions, so stock onnxruntime runs the file unchanged and the
weights stay packed. `core/bits.py` says what the bodies compute.
"""

from __future__ import annotations

import onnx
import onnx.parser

DOMAIN = "ai.binas"
VERSION = 1
OPSET = 21  # of the standard operators, in the bodies and in the models
IR_VERSION = 10

_QUANTIZE = """
<domain: "ai.binas", opset_import: ["" : 21]>
BinaryQuantize (x) => (y) {
  zero = Constant <value_float: float = 0.0> ()
  plus = Constant <value_float: float = 1.0> ()
  minus = Constant <value_float: float = -1.0> ()
  positive = GreaterOrEqual (x, zero)
  y = Where (positive, plus, minus)
}
"""

# Attributes: strides, dilations [2]; pads [4] top left bottom right; group and in_channels [1];
# pad_value, a float that padded taps hold. in_channels is channels per group: with the shape as an
# attribute every output shape is inferred, which Shape(x) would prevent.
_CONV = """
<domain: "ai.binas", opset_import: ["" : 21]>
BinaryConv2d <strides, pads, dilations, group, in_channels, pad_value>
(x, w_packed, scale, bias) => (y) {
  shifts = Constant <value = uint8[8] {0,1,2,3,4,5,6,7}> ()
  one8 = Constant <value = uint8[1] {1}> ()
  last = Constant <value_ints: ints = [-1]> ()
  axis3 = Constant <value_ints: ints = [3]> ()
  zero = Constant <value_ints: ints = [0]> ()
  octets = Unsqueeze (w_packed, last)
  shifted = BitShift <direction: string = "RIGHT"> (octets, shifts)
  bits = BitwiseAnd (shifted, one8)
  flat_shape = Constant <value_ints: ints = [0, 0, 0, -1]> ()
  flat = Reshape (bits, flat_shape)
  channels = Constant <value_ints: ints = @in_channels> ()
  real = Slice (flat, zero, channels, axis3)
  krsc = Transpose <perm: ints = [0, 3, 1, 2]> (real)
  floats = CastLike (krsc, x)
  two = Constant <value_float: float = 2.0> ()
  one = Constant <value_float: float = 1.0> ()
  doubled = Mul (floats, two)
  w = Sub (doubled, one)
  pad_sizes = Constant <value_ints: ints = @pads> ()
  pad_with = Constant <value_float: float = @pad_value> ()
  pad_axes = Constant <value_ints: ints = [2, 3]> ()
  padded = Pad (x, pad_sizes, pad_with, pad_axes)
  sums = Conv <strides: ints = @strides, dilations: ints = @dilations, group: int = @group>
    (padded, w)
  per_channel = Constant <value_ints: ints = [-1, 1, 1]> ()
  a = Reshape (scale, per_channel)
  b = Reshape (bias, per_channel)
  scaled = Mul (sums, a)
  y = Add (scaled, b)
}
"""


def functions() -> list[onnx.FunctionProto]:
    """The two operators with their bodies."""
    return [onnx.parser.parse_function(text) for text in (_QUANTIZE, _CONV)]
