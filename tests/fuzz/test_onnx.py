"""Whatever a model file holds: it is planned, or refused with a sentence, soon and in few bytes.

Models are broken at random from real ones of other tools; below, by hand, what a stranger would
try. `make fuzz` takes its time and another seed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from binas.compile.model import BinaryModel
from binas.compile.plan import plan
from binas.core.errors import BinasError, CompileError

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 4.0


def test_broken_models_are_planned_or_refused(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    seconds = max(SECONDS, pytestconfig.getoption("--fuzz-seconds", 0))
    seed = pytestconfig.getoption("--fuzz-seed", 0)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.onnx_child", str(seconds), str(seed), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200 + 60 * seconds,
    )
    lines = done.stdout.splitlines()
    told = json.loads(lines[-1]) if lines else {}
    fault = told.get("fault", f"it ended with {done.returncode}: {done.stderr[-3000:]}")
    if fault:
        kept = ROOT / "runs" / "fuzz" / f"onnx-{seed}.onnx"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "case.onnx", kept)
        pytest.fail(f"{kept} (seed {seed}):\n{fault}")
    assert told["refused"] > 0


def model(
    nodes: list[onnx.NodeProto],
    *weights: onnx.TensorProto,
    x: tuple[int, ...] = (1, 8, 4, 4),
    opset: int = 17,
    domain: str = "",
) -> onnx.ModelProto:
    """A model from x to y."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])],
        list(weights),
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, 1)] if domain else []
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def outside(location: str, **entries: str) -> onnx.ModelProto:
    """A convolution whose weights lie in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8, 8, 1, 1])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return model([helper.make_node("Conv", ["x", "w"], ["y"])], tensor)


def doubling(depth: int) -> onnx.ModelProto:
    """Functions each of which calls the one before twice."""
    proto = model([helper.make_node(f"f{depth}", ["x"], ["y"], domain="d")], domain="d")
    for i in range(depth + 1):
        inner = ("d", f"f{i - 1}") if i else ("", "Relu")
        nodes = [
            helper.make_node(inner[1], ["a"], ["m"], domain=inner[0]),
            helper.make_node(inner[1], ["m"], ["b"], domain=inner[0]),
        ]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
        proto.functions.append(helper.make_function("d", f"f{i}", ["a"], ["b"], nodes, opsets))
    return proto


def circular() -> onnx.ModelProto:
    """A function that calls itself."""
    proto = doubling(0)
    proto.functions[0].node[0].op_type, proto.functions[0].node[0].domain = "f0", "d"
    return proto


def shaped(*sizes: int) -> onnx.ModelProto:
    """A constant of a shape that nobody could hold."""
    shape = numpy_helper.from_array(np.array(sizes, np.int64), "s")
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    return model(nodes, shape)


def ones(*shape: int) -> onnx.TensorProto:
    """Weights of 1."""
    return numpy_helper.from_array(np.ones(shape, np.float32), "w")


def garbled() -> onnx.ModelProto:
    """A node whose name is no UTF-8; found by fuzzing."""
    proto = model([helper.make_node("Relu", ["x"], ["y"], name="name")])
    proto.ParseFromString(proto.SerializeToString().replace(b"name", b"n\xafme"))
    return proto


def labelled(labels: str) -> onnx.ModelProto:
    """A model with names of classes."""
    proto = model([helper.make_node("Relu", ["x"], ["y"])])
    helper.set_model_props(proto, {"labels": labels})
    return proto


def losing() -> onnx.ModelProto:
    """Signs of 2112 values, reshaped to 64, which shape inference believes; found by fuzzing."""
    sizes = ((name, np.array(to, np.int64)) for name, to in (("f", [1, 64]), ("i", [1, 10, 1, 1])))
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["above"]),
        helper.make_node("Where", ["above", "one", "minus"], ["signs"]),
        helper.make_node("Reshape", ["signs", "f"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
        helper.make_node("Reshape", ["scores", "i"], ["y"]),
    ]
    numbers = (("zero", 0.0), ("one", 1.0), ("minus", -1.0))
    scalars = [numpy_helper.from_array(np.array(v, np.float32), name) for name, v in numbers]
    shapes = [numpy_helper.from_array(to, name) for name, to in sizes]
    return model(nodes, ones(64, 10), *scalars, *shapes, x=(1, 33, 8, 8))


HOSTILE: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a path upwards": (lambda: outside("../w.bin"), "not below the model's folder"),
    "an absolute path": (lambda: outside("/etc/passwd"), "not below the model's folder"),
    "a link outwards": (lambda: outside("link.bin"), "which is not there"),
    "a file that is not there": (lambda: outside("w.bin"), "which is not there"),
    "a file too short": (lambda: outside("short.bin"), "256 were expected"),
    "an offset beyond": (lambda: outside("short.bin", offset="9999"), "256 were expected"),
    "an offset below": (lambda: outside("short.bin", offset="-256"), "256 were expected"),
    "a length of words": (lambda: outside("short.bin", length="all"), "is no number"),
    "a circle": (
        lambda: model(
            [helper.make_node("Relu", ["y"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
        ),
        "is not a valid model",
    ),
    "functions that grow": (lambda: doubling(60), "once its functions are inlined"),
    "a function that calls itself": (circular, "calls itself"),
    "a function that is missing": (
        lambda: model([helper.make_node("f", ["x"], ["y"], domain="d")], domain="d"),
        "",
    ),
    "an opset of tomorrow": (
        lambda: model([helper.make_node("Relu", ["x"], ["y"])], opset=99),
        "uses ONNX opset 99",
    ),
    "a constant of exabytes": (lambda: shaped(8, 8, 2**30, 2**30), ""),
    "a constant of gigabytes": (lambda: shaped(8, 8, 2**13, 2**13), ""),
    "an image of terabytes": (
        lambda: model([helper.make_node("Relu", ["x"], ["y"])], x=(1, 8, 2**20, 2**20)),
        "GiB",
    ),
    "a name that is no text": (garbled, "is no UTF-8 text"),
    "a name that clears the screen": (
        lambda: model([helper.make_node("Relu", ["x"], ["y"], name="\x1b[2J")]),
        r"the name '\x1b[2J' is no single line",
    ),
    "a value as long as a book": (
        lambda: model(
            [
                helper.make_node("Relu", ["x"], ["b" * 70_000]),
                helper.make_node("Relu", ["b" * 70_000], ["y"]),
            ]
        ),
        "of at most 1024 printable characters",
    ),
    "a class that clears the screen": (lambda: labelled("cat\nd\x1b[2Jog"), "is no single line"),
    "a reshape that loses values": (losing, ""),
    "pools as large as images, of signs": (
        lambda: model(
            [
                helper.make_node("Sign", ["x"], ["s"]),
                helper.make_node(
                    "MaxPool", ["s"], ["p"], kernel_shape=[400, 400], pads=[199, 199, 200, 200]
                ),
                helper.make_node("Conv", ["p", "w"], ["c"]),
                helper.make_node("Tanh", ["c"], ["y"]),
            ],
            ones(8, 8, 3, 3),
            x=(1, 8, 400, 400),
        ),
        "no kernel for ai.onnx.Tanh",
    ),
    "a sign of gigabytes": (
        lambda: model(
            [helper.make_node("Sign", ["x"], ["s"]), helper.make_node("Conv", ["s", "w"], ["y"])],
            ones(8, 8, 3, 3),
            x=(1, 8, 2**13, 2**13),
        ),
        "",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_strangers_model_is_refused_at_once(name: str, tmp_path: Path) -> None:
    make, said = HOSTILE[name]
    (tmp_path / "short.bin").write_bytes(bytes(255))
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    path = tmp_path / "m.onnx"
    path.write_bytes(make().SerializeToString())
    start = time.process_time()
    with pytest.raises(BinasError) as refused:
        plan(BinaryModel.load(path))
    assert time.process_time() - start < 2
    assert said in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_weights_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    """As PyTorch's exporter saves every model."""
    w = np.random.default_rng(0).standard_normal((8, 8, 1, 1)).astype(np.float32)
    (tmp_path / "weights.data").write_bytes(bytes(64) + w.tobytes())
    path = tmp_path / "m.onnx"
    path.write_bytes(outside("weights.data", offset="64", length="256").SerializeToString())
    loaded = BinaryModel.load(path)
    np.testing.assert_array_equal(plan(loaded).nodes[0].weights, w.transpose(0, 2, 3, 1))
    (tmp_path / "weights.data").write_bytes(bytes(64) + (-w).tobytes())
    assert BinaryModel.load(path).digest != loaded.digest
    with pytest.raises(CompileError, match="lies in another file"):
        BinaryModel.parse(path.read_bytes(), "m", where="memory")
