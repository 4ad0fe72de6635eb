"""The fused plan of a model: import, then the passes in the order below."""

from __future__ import annotations

from collections.abc import Callable

from binas.compile.graph import Graph
from binas.compile.importer import Build, label
from binas.compile.model import BinaryModel
from binas.compile.operators.table import OPERATORS
from binas.compile.passes.fold_affine import fold_affine
from binas.compile.passes.fuse_epilogue import fuse_epilogue
from binas.compile.passes.fuse_pack import fuse_pack
from binas.compile.passes.pack_once import pack_once
from binas.core.errors import UnsupportedOpError
from binas.core.layer import Layer

Pass = Callable[[Graph], None]

PASSES: tuple[Pass, ...] = (
    pack_once,  # first: one batch norm read by two packs would look like two readers
    fuse_epilogue,
    fold_affine,
    pack_once,
    fuse_pack,
    fold_affine,
)


def import_model(model: BinaryModel) -> Graph:
    """One node per operator, nothing fused.

    Raises:
        UnsupportedOpError: An operator, or a form of one, that we have no kernel for.
        CompileError: Shapes that are not static.
    """
    build = Build(model)
    build.begin()
    for node in model.proto.graph.node:
        operator = OPERATORS.get((node.domain, node.op_type))
        if operator is None:
            known = sorted(name for _, name in OPERATORS)
            raise UnsupportedOpError(
                f"{label(node)}: no kernel for {node.domain or 'ai.onnx'}.{node.op_type}",
                hint=f"known operators: {', '.join(known)}",
            )
        operator(build, node)
    build.graph.outputs = [build.output(output) for output in model.proto.graph.output]
    build.graph.check()
    return build.graph


def plan(model: BinaryModel) -> Graph:
    """The steps that will run, in order."""
    graph = import_model(model)
    for rewrite in PASSES:
        rewrite(graph)
        graph.check()
    return graph


def plan_layers(model: BinaryModel) -> tuple[tuple[str, Layer], ...]:
    """Name and Layer of every step, in order; takes milliseconds and needs no TVM."""
    return tuple((node.name, node.layer) for node in plan(model).nodes)
