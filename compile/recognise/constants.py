"""What can be computed once is: weights that the file spells as arithmetic, packed or not."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
from onnx import numpy_helper

from binas.compile.nodes import attribute
from binas.compile.recognise.network import Network, has_subgraphs
from binas.compile.recognise.proof import run_nodes
from binas.core.errors import CompileError

# A folded value beyond this, and beyond what the file itself holds (a byte of eight bits becomes
# eight floats), is a trap and no weight; and so are many of them.
MAX_BYTES = 16 << 20
_GROWTH = 32
_MAX_VALUE_BYTES, _MAX_TOTAL_BYTES = 256 << 20, 1 << 30

# Not the same twice, or not a value.
_NEVER = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"}
_NEVER |= {"Multinomial", "Dropout", "If", "Loop", "Scan", "SequenceEmpty", "Optional"}

# Work that no size of a result bounds; weights are made of it in no model, small tables may be.
_HEAVY = {"Attention", "AveragePool", "Conv", "ConvInteger", "ConvTranspose", "DFT", "DeformConv"}
_HEAVY |= {"Det", "Einsum", "GRU", "Gemm", "LRN", "LSTM", "LpPool", "MatMul", "MatMulInteger"}
_HEAVY |= {"MaxPool", "MaxRoiPool", "NonMaxSuppression", "QLinearConv", "QLinearMatMul", "RNN"}
_HEAVY |= {"RoiAlign", "STFT"}
_MAX_HEAVY_ELEMENTS = 4096  # of operands and results


def fold_constants(proto: onnx.ModelProto) -> None:
    """Fold in place: nodes all of whose operands are constant become initialisers."""
    network = Network(proto)
    constant = set(network.tensors)
    foldable: list[onnx.NodeProto] = []
    constants = [node for node in proto.graph.node if node.op_type == "Constant"]
    held = sum(part.ByteSize() for part in (*proto.graph.initializer, *constants))
    largest = min(MAX_BYTES + _GROWTH * held, _MAX_VALUE_BYTES)
    left = min(8 * largest, _MAX_TOTAL_BYTES)
    for node in proto.graph.node:
        ready = all(name in constant for name in node.input if name)
        if node.domain not in ("", "ai.onnx") or node.op_type in _NEVER or not ready:
            continue
        sizes = [network.size_bytes(name) for name in node.output if name]
        known = [size for size in sizes if size is not None]
        if len(known) < len(sizes) or max(known) > largest or _is_too_heavy(network, node):
            continue
        left -= sum(known)
        if left < 0:
            break
        foldable.append(node)
        constant.update(node.output)
    if all(node.op_type == "Constant" for node in foldable):
        return
    made = {name for node in foldable for name in node.output if name}
    inside = {id(node) for node in foldable}
    wanted = [
        name
        for name in made
        if name in network.outputs
        or any(id(reader) not in inside for reader in network.readers.get(name, []))
    ]
    wanted = sorted(name for name in wanted if name not in network.outputs)
    try:
        values = run_nodes(network, foldable, {}, wanted)
    except CompileError:
        return  # the import names what is wrong
    for name in wanted:
        proto.graph.initializer.append(numpy_helper.from_array(values[name], name))
    folded = set(wanted)
    kept = [n for n in proto.graph.node if not folded.issuperset(name for name in n.output if name)]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    Network(proto).finish()


def fold_shapes(proto: onnx.ModelProto) -> bool:
    """Make shapes of values whose shape is known constants, in place, and what is made of them.

    Exporters that began with a variable batch ask for it before every Reshape.

    Returns:
        Whether there was one: then shapes have to be inferred anew.
    """
    if has_subgraphs(proto):
        return False
    network = Network(proto)
    found = {}
    for node in proto.graph.node:
        shape = network.shape(node.input[0]) if node.op_type == "Shape" else None
        if shape is not None and node.domain in ("", "ai.onnx"):
            first, last = attribute(node, "start", 0), attribute(node, "end", None)
            found[node.output[0]] = np.array(shape, np.int64)[first:last]
    for name, sizes in found.items():
        proto.graph.initializer.append(numpy_helper.from_array(sizes, name))
    if not found:
        return False
    del proto.graph.value_info[:]  # whose variables inference would keep
    for output in proto.graph.output:
        kind = output.type.tensor_type
        if any(not dim.HasField("dim_value") for dim in kind.shape.dim):
            kind.ClearField("shape")
    kept = [node for node in proto.graph.node if not found.keys() & set(node.output)]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    fold_constants(proto)
    return True


def _is_too_heavy(network: Network, node: onnx.NodeProto) -> bool:
    names = [name for name in (*node.input, *node.output) if name]
    elements = sum(prod(network.shape(name) or ()) for name in names)
    return node.op_type in _HEAVY and elements > _MAX_HEAVY_ELEMENTS
