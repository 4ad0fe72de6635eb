"""Operators of other tools, as functions of standard operators that everybody can run.

BipolarQuant   QONNX (Brevitas, FINN): +scale where x >= 0, else -scale.
FakeQuantize   OpenVINO (NNCF), levels = 2: the upper value above the middle of the input range.
"""

from __future__ import annotations

import onnx
import onnx.inliner
import onnx.parser

from binas.compile import functions
from binas.core.errors import CompileError

_BIPOLAR = """
<domain: "%s", opset_import: ["" : %d]>
BipolarQuant (x, scale) => (y) {
  zero = Constant <value_float: float = 0.0> ()
  plus = Constant <value_float: float = 1.0> ()
  minus = Constant <value_float: float = -1.0> ()
  positive = GreaterOrEqual (x, zero)
  bipolar = Where (positive, plus, minus)
  y = Mul (bipolar, scale)
}
"""

# At the middle itself the quotient is one half, which OpenVINO rounds to even: to the lower value.
_FAKE = """
<domain: "%s", opset_import: ["" : %d]>
FakeQuantize <levels> (x, input_low, input_high, output_low, output_high) => (y) {
  half = Constant <value_float: float = 0.5> ()
  sum = Add (input_low, input_high)
  middle = Mul (sum, half)
  above = Greater (x, middle)
  y = Where (above, output_high, output_low)
}
"""

_BODIES = {
    ("qonnx.custom_op.general", "BipolarQuant"): _BIPOLAR,
    ("finn.custom_op.general", "BipolarQuant"): _BIPOLAR,
    ("onnx.brevitas", "BipolarQuant"): _BIPOLAR,
    ("org.openvinotoolkit", "FakeQuantize"): _FAKE,
}

MAX_NODES = 100_000  # after inlining; the largest network of the field has a few thousand


def inline(proto: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model with the operators above, and all functions of the file, inlined.

    Operators of `ai.binas` stay what they are.

    Raises:
        CompileError: Functions that call each other in a circle, or grow beyond all measure.
    """
    opset = functions.opset_of(proto)
    own = [f for f in proto.functions if f.domain != functions.DOMAIN]
    known = {(f.domain, f.name) for f in own}
    used = {(node.domain, node.op_type) for node in proto.graph.node if _is_ours(node)}
    for domain, name in sorted(used - known):
        own.append(onnx.parser.parse_function(_BODIES[domain, name] % (domain, opset)))
    del proto.functions[:]
    if not own:
        return proto
    _check_growth(proto, own, where)
    proto.functions.extend(own)
    _import_domains(proto, own)
    try:
        return onnx.inliner.inline_local_functions(proto)
    except Exception as error:  # a C++ exception without a Python class of its own
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise CompileError(
            f"{where}: its functions cannot be inlined: {first}", hint="check it with onnx.checker"
        ) from None


def _is_ours(node: onnx.NodeProto) -> bool:
    if (node.domain, node.op_type) not in _BODIES:
        return False
    levels = [a.i for a in node.attribute if a.name == "levels"]
    return node.op_type != "FakeQuantize" or levels == [2]


def _import_domains(proto: onnx.ModelProto, bodies: list[onnx.FunctionProto]) -> None:
    imported = {opset.domain for opset in proto.opset_import}
    for domain in sorted({body.domain for body in bodies} - imported):
        proto.opset_import.append(onnx.helper.make_opsetid(domain, 1))


def _check_growth(proto: onnx.ModelProto, bodies: list[onnx.FunctionProto], where: str) -> None:
    """Nodes after inlining, counted before: functions of functions can grow exponentially."""
    by_name = {(body.domain, body.name): body for body in bodies}
    sizes: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], above: tuple[tuple[str, str], ...]) -> int:
        if key not in by_name:
            return 1
        if key in above or len(above) > 100:
            raise CompileError(
                f"{where}: function {key[1]!r} calls itself", hint="check it with onnx.checker"
            )
        if key not in sizes:
            inner = [(node.domain, node.op_type) for node in by_name[key].node]
            sizes[key] = sum(size(name, (*above, key)) for name in inner)
        return sizes[key]

    total = sum(size((node.domain, node.op_type), ()) for node in proto.graph.node)
    if total > MAX_NODES:
        raise CompileError(
            f"{where} has {total} nodes once its functions are inlined, expected at most "
            f"{MAX_NODES}",
            hint="is it the right file?",
        )
