"""The operators of domain `ai.binas`: names for us, bodies of standard operators for everyone else.

A model carries these as model-local functions, so stock onnxruntime runs the file unchanged and the
weights stay packed. `core/bits.py` says what the bodies compute. A function must import the opset
of the model it lies in, so the bodies use what every opset from 13 on has.
"""

from __future__ import annotations

import onnx
import onnx.parser

DOMAIN = "ai.binas"
VERSION = 1
OPSET = 21  # of the standard operators in the models that we write
IR_VERSION = 10

_QUANTIZE = """
<domain: "ai.binas", opset_import: ["" : %d]>
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
# attribute every output shape is inferred, which Shape(x) would prevent. A padded tap holds
# pad_value where x - pad_value is padded with 0; so those are summed, and pad_value * sum(w) added.
_CONV = """
<domain: "ai.binas", opset_import: ["" : %d]>
BinaryConv2d <strides, pads, dilations, group, in_channels, pad_value>
(x, w_packed, scale, bias) => (y) {
  shifts = Constant <value = uint8[8] {0,1,2,3,4,5,6,7}> ()
  two8 = Constant <value = uint8[1] {2}> ()
  last = Constant <value_ints: ints = [-1]> ()
  axis3 = Constant <value_ints: ints = [3]> ()
  zero = Constant <value_ints: ints = [0]> ()
  octets = Unsqueeze (w_packed, last)
  shifted = BitShift <direction: string = "RIGHT"> (octets, shifts)
  bits = Mod (shifted, two8)
  flat_shape = Constant <value_ints: ints = [0, 0, 0, -1]> ()
  flat = Reshape (bits, flat_shape)
  channels = Constant <value_ints: ints = @in_channels> ()
  real = Slice (flat, zero, channels, axis3)
  krsc = Transpose <perm: ints = [0, 3, 1, 2]> (real)
  floats = Cast <to: int = 1> (krsc)
  two = Constant <value_float: float = 2.0> ()
  one = Constant <value_float: float = 1.0> ()
  doubled = Mul (floats, two)
  w = Sub (doubled, one)
  outside = Constant <value_float: float = @pad_value> ()
  centred = Sub (x, outside)
  centred_sums = Conv <pads: ints = @pads, strides: ints = @strides, dilations: ints = @dilations,
    group: int = @group> (centred, w)
  crs = Constant <value_ints: ints = [1, 2, 3]> ()
  taps = ReduceSum <keepdims: int = 0> (w, crs)
  per_channel = Constant <value_ints: ints = [-1, 1, 1]> ()
  a = Reshape (scale, per_channel)
  b = Reshape (bias, per_channel)
  all_taps = Reshape (taps, per_channel)
  of_outside = Mul (all_taps, outside)
  sums = Add (centred_sums, of_outside)
  scaled = Mul (sums, a)
  y = Add (scaled, b)
}
"""


def functions(opset: int = OPSET) -> list[onnx.FunctionProto]:
    """The two operators with their bodies, for a model of this opset."""
    return [onnx.parser.parse_function(text % opset) for text in (_QUANTIZE, _CONV)]


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of the standard operators that a model imports; 0 for none."""
    return max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
