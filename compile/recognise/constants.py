"""What can be computed once is: weights that the file spells as arithmetic, packed or not."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from binas.compile.recognise.network import Network
from binas.compile.recognise.proof import run_nodes
from binas.core.errors import CompileError

MAX_ELEMENTS = (
    64 << 20
)  # of all folded values together; beyond this a shape is a trap, not a weight

# Not the same twice, or not a value.
_NEVER = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"}
_NEVER |= {"Multinomial", "Dropout", "If", "Loop", "Scan", "SequenceEmpty", "Optional"}


def fold_constants(proto: onnx.ModelProto) -> None:
    """Fold in place: nodes all of whose operands are constant become initialisers."""
    network = Network(proto)
    constant = set(network.tensors)
    foldable: list[onnx.NodeProto] = []
    elements = 0
    for node in proto.graph.node:
        ready = all(name in constant for name in node.input if name)
        if node.domain not in ("", "ai.onnx") or node.op_type in _NEVER or not ready:
            continue
        shapes = [network.shape(name) for name in node.output if name]
        sizes = [_elements(shape) for shape in shapes]
        if any(size is None for size in sizes):
            continue
        elements += sum(size for size in sizes if size is not None)
        if elements > MAX_ELEMENTS:
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


def _elements(shape: tuple[int, ...] | None) -> int | None:
    if shape is None:
        return None
    total = 1
    for size in shape:
        total *= size
    return total
