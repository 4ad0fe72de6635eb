"""Parts of a network run by onnxruntime: what decides whether a rewrite changes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

# Its telemetry starts with the import and writes to the home folder; a compiler has no use for it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from binas.compile import functions
from binas.compile.recognise.network import Network
from binas.core.errors import CompileError

Array = NDArray[Any]

# Of float sums in another order, relative to the largest value that is compared.
TOLERANCE = 1e-5

MAX_ELEMENTS = 8 << 20  # of what is run: 64 channels at 224x224, in and out, are 6.4 million


def between(network: Network, output: str, root: str) -> list[onnx.NodeProto] | None:
    """The nodes that make `output` of `root` and constants; None where they need anything else."""
    found: dict[int, onnx.NodeProto] = {}
    pending = [output]
    while pending:
        name = pending.pop()
        if name == root or not name or network.constant(name) is not None:
            continue
        node = network.producers.get(name)
        if node is None:
            return None
        if network.positions[name] not in found:
            found[network.positions[name]] = node
            pending.extend(node.input)
    return [found[at] for at in sorted(found)]


def samples(shape: tuple[int, ...], border: Array | None, *, zeros: bool) -> Array:
    """Numbers around a border, and on it; around 0 with both zeros, or with none.

    Args:
        shape: Of the numbers.
        border: The smallest number on the upper side, as it broadcasts to them; None for 0.
        zeros: Whether both sides of a rewrite know what a zero is.
    """
    generator = np.random.default_rng(0)
    x = generator.standard_normal(shape).astype(np.float32)
    if border is not None:
        x = (x + border).astype(np.float32)
        x = np.where(generator.random(shape) < 0.1, border, x)
        below = np.nextafter(border, np.float32(-np.inf))
        return np.where(generator.random(shape) < 0.1, below, x).astype(np.float32)
    if zeros:
        x[generator.random(shape) < 0.1] = 0.0
        x[generator.random(shape) < 0.1] = -0.0
    else:
        x[x == 0] = 1.0
    return x


def run_nodes(
    network: Network,
    nodes: Sequence[onnx.NodeProto],
    feeds: Mapping[str, Array],
    wanted: Sequence[str],
) -> dict[str, Array]:
    """Some nodes of a network, fed with given values.

    Args:
        network: Where the nodes' constants are.
        nodes: In an order in which they can run.
        feeds: Value → array, for all that is neither constant nor made by a node.
        wanted: Values to return.

    Raises:
        CompileError: onnxruntime refuses them.
    """
    made = {name for node in nodes for name in node.output} | set(feeds)
    read = {name for node in nodes for name in node.input if name} | set(wanted)
    constants = {name: network.constant(name) for name in sorted(read - made)}
    graph = helper.make_graph(
        list(nodes),
        "part",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
            for name, value in feeds.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in wanted],
        [numpy_helper.from_array(a, name) for name, a in constants.items() if a is not None],
    )
    model = helper.make_model(
        graph, opset_imports=opsets(network.proto), ir_version=functions.IR_VERSION
    )
    if any(node.domain == functions.DOMAIN for node in nodes):
        model.functions.extend(functions.functions(functions.opset_of(network.proto)))
    return run_model(model, feeds, wanted)


def run_model(
    model: onnx.ModelProto, feeds: Mapping[str, Array], wanted: Sequence[str]
) -> dict[str, Array]:
    """A whole model.

    Raises:
        CompileError: onnxruntime refuses it.
    """
    import onnxruntime  # noqa: PLC0415 (0.2 s, and most models need no proof)

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # Reassociating rewrites would change what is compared.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        results = session.run(list(wanted), dict(feeds))
    except Exception as error:  # onnxruntime's errors share no importable base class
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise CompileError(f"onnxruntime does not run it: {first}") from None
    return dict(zip(wanted, results, strict=True))


def opsets(proto: onnx.ModelProto) -> list[onnx.OperatorSetIdProto]:
    """What a model imports, and the contract's domain."""
    kept = [opset for opset in proto.opset_import if opset.domain != functions.DOMAIN]
    return [*kept, helper.make_opsetid(functions.DOMAIN, functions.VERSION)]


def difference(before: Array, after: Array) -> float:
    """Largest difference, relative to the largest value; infinite where shapes or NaNs differ."""
    if before.shape != after.shape or not np.isfinite(before).all():
        return float("inf")
    largest = max(float(np.abs(before).max(initial=0)), 1e-30)
    error = float(np.abs(before.astype(np.float64) - after).max(initial=0))
    return error / largest if np.isfinite(error) else float("inf")
