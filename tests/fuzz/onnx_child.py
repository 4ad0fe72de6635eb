"""Read broken ONNX models under limits; a program of its own, as a model may crash a reader in C++.

    python -m tests.fuzz.onnx_child SECONDS SEED FOLDER

FOLDER/case.onnx is what is being read. The last line of stdout is a JSON object: how many were
refused and accepted, and any fault.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import onnx
from onnx import TensorProto

from binas.compile.model import BinaryModel
from binas.compile.plan import plan
from binas.core.errors import BinasError

MODELS = Path(__file__).resolve().parents[1] / "models"
LIMIT_S = 2.0  # of CPU, for this machine may be busy with other things
LIMIT_BYTES = 1 << 30
SIZES = (0, -1, 1, 2, 3, 255, 65_537, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))
OPERATORS = (
    *("Conv", "Sign", "Where", "Reshape", "Transpose", "Pad", "Concat", "Slice", "Softmax", "Clip"),
    *(
        "Gemm",
        "MatMul",
        "Expand",
        "ConstantOfShape",
        "Tile",
        "Range",
        "Resize",
        "Loop",
        "If",
        "Nix",
    ),
    *("MaxPool", "ReduceMean", "BatchNormalization", "Cast", "Squeeze", "Flatten", "BinaryConv2d"),
    *("BipolarQuant", "FakeQuantize", "QuantizeLinear", "NonZero", "Einsum", "Gather"),
)
WORDS = ("", "x", "../../etc/passwd", "ai.binas", "org.openvinotoolkit", "input:x", "\0", "é" * 300)


class LateError(BaseException):
    """The time is over; not an Exception, so that nobody catches it."""


def late(_signal: int, _frame: FrameType | None) -> None:
    """SIGPROF."""
    raise LateError(f"more than {LIMIT_S} s of CPU")


def broken(data: bytes, random: Random) -> bytes:
    """One to three faults: in the graph, or now and then in the bytes."""
    if random.random() < 0.15:
        found = bytearray(data)
        for _ in range(random.randint(1, 8)):
            found[random.randrange(len(found))] ^= 1 << random.randrange(8)
        return bytes(found[: random.choice((len(found), random.randrange(len(found))))])
    proto = onnx.ModelProto()
    proto.ParseFromString(data)
    for _ in range(random.randint(1, 3)):
        random.choice((_node, _node, _attribute, _tensor, _tensor, _port, _header))(proto, random)
    return bytes(proto.SerializeToString())


def _node(proto: onnx.ModelProto, random: Random) -> None:
    nodes = proto.graph.node
    if not nodes:
        return
    node, other = random.choice(nodes), random.choice(nodes)
    kind = random.randrange(7)
    if kind == 0:
        node.op_type = random.choice(OPERATORS)
    elif kind == 1 and node.input and other.output:  # a circle, or what is made only later
        node.input[random.randrange(len(node.input))] = random.choice(other.output)
    elif kind == 2 and node.input:
        del node.input[random.randrange(len(node.input))]
    elif kind == 3:
        node.domain = random.choice(WORDS)
    elif kind == 4:
        nodes.append(other)
    elif kind == 5:
        nodes.remove(node)
    elif node.output:
        node.output[0] = random.choice((*WORDS, *other.input))


def _attribute(proto: onnx.ModelProto, random: Random) -> None:
    with_attributes = [node for node in proto.graph.node if node.attribute]
    if not with_attributes:
        return
    node = random.choice(with_attributes)
    found = random.choice(node.attribute)
    kind = random.randrange(5)
    if kind == 0:
        node.attribute.remove(found)
    elif kind == 1:
        found.type = random.randrange(15)
    elif kind == 2:
        found.name = random.choice(("group", "pads", "perm", "axis", "levels", "auto_pad", "value"))
    elif found.ints:
        found.ints[random.randrange(len(found.ints))] = random.choice(SIZES)
    else:
        found.i = random.choice(SIZES)


def _tensor(proto: onnx.ModelProto, random: Random) -> None:
    if not proto.graph.initializer:
        return
    tensor = random.choice(proto.graph.initializer)
    kind = random.randrange(6)
    if kind == 0 and tensor.dims:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice(SIZES)
    elif kind == 1:
        tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data) + 1)]
    elif kind == 2:
        tensor.data_type = random.randrange(27)
    elif kind == 3:
        tensor.dims.append(random.choice(SIZES))
    elif kind == 4:
        tensor.data_location = TensorProto.EXTERNAL
        places = ("location", "offset", "length")
        values = (*WORDS, "/dev/zero", "case.onnx", "-1", "0", str(2**40))
        for key in random.sample(places, random.randint(0, 3)):
            tensor.external_data.add(key=key, value=random.choice(values))
    else:
        tensor.raw_data = random.randbytes(len(tensor.raw_data))


def _port(proto: onnx.ModelProto, random: Random) -> None:
    values = [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    value = random.choice(values)
    kind = random.randrange(4)
    dims = value.type.tensor_type.shape.dim
    if kind == 0 and dims:
        random.choice(dims).dim_value = random.choice(SIZES)
    elif kind == 1 and dims:
        random.choice(dims).dim_param = "batch"
    elif kind == 2:
        value.type.tensor_type.elem_type = random.randrange(27)
    else:
        value.name = random.choice(WORDS)


def _header(proto: onnx.ModelProto, random: Random) -> None:
    kind = random.randrange(4)
    if kind == 0 and proto.opset_import:
        random.choice(proto.opset_import).version = random.choice((0, 1, 7, 12, 13, 26, 27, 99, -1))
    elif kind == 1:
        proto.ir_version = random.choice((0, 1, 3, 8, 13, 14, 999))
    elif kind == 2:
        del proto.functions[:]
    else:
        proto.metadata_props.add(key=random.choice(("labels", "normalisation")), value='{"a": [')


def main(seconds: float, seed: int, folder: Path) -> None:
    """Until the time is over or one model is a fault."""
    seeds = [path.read_bytes() for path in sorted(MODELS.glob("*.onnx"))]
    case, random = folder / "case.onnx", Random(seed)
    for data in seeds:  # imports happen here, and a valid model is accepted
        case.write_bytes(data)
        plan(BinaryModel.load(case))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, used + LIMIT_BYTES))
    signal.signal(signal.SIGPROF, late)
    told: dict[str, Any] = {"refused": 0, "accepted": 0, "fault": ""}
    until = time.process_time() + seconds
    while not told["fault"] and time.process_time() < until:
        case.write_bytes(broken(random.choice(seeds), random))
        try:
            signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
            model = BinaryModel.load(case)
            assert len(model.labels) < 1000
            plan(model)
            told["accepted"] += 1
        except BinasError as error:
            told["refused"] += 1
            if not str(error) or len(str(error)) > 2000 or "\n" in str(error):
                told["fault"] = f"no message for people: {error!r:.300}"
        except (Exception, LateError):
            told["fault"] = traceback.format_exc()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
