"""The fused plan of a model: import, then the passes in the order below."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from binas.compile.graph import Affine, Graph, PRelu
from binas.compile.importer import Build
from binas.compile.model import BinaryModel
from binas.compile.nodes import label
from binas.compile.operators.table import OPERATORS
from binas.compile.passes.concat_bits import concat_bits
from binas.compile.passes.drop_unread import drop_unread
from binas.compile.passes.finish_concat import finish_concat
from binas.compile.passes.fold_affine import fold_affine
from binas.compile.passes.fuse_epilogue import fuse_epilogue
from binas.compile.passes.fuse_pack import fuse_pack
from binas.compile.passes.fuse_prologue import fuse_prologue
from binas.compile.passes.pack_once import pack_once
from binas.compile.passes.pool_bits import pool_bits
from binas.compile.passes.shuffle_bits import absorb_shuffle, shuffle_bits
from binas.core.errors import CompileError, UnsupportedOpError
from binas.core.layer import Layer

Pass = Callable[[Graph], None]

# The reference keeps all of them; kernels count elements in 31 bits.
MAX_VALUES_BYTES = 2 << 30
_LARGEST = float(np.finfo(np.float32).max)

PASSES: tuple[Pass, ...] = (
    drop_unread,
    pack_once,  # before fusion: one batch norm read by two packs would look like two readers
    fuse_epilogue,
    fold_affine,
    pack_once,
    fuse_pack,
    fold_affine,
    shuffle_bits,
    absorb_shuffle,
    concat_bits,
    pool_bits,
    concat_bits,  # of what has become packed for a pool
    fuse_prologue,  # before concats are finished: one that several affines read stays one
    finish_concat,
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
        domain = "" if node.domain == "ai.onnx" else node.domain
        operator = OPERATORS.get((domain, node.op_type))
        if operator is None:
            known = sorted(name for _, name in OPERATORS)
            raise UnsupportedOpError(
                f"{label(node)}: no kernel for {node.domain or 'ai.onnx'}.{node.op_type}",
                hint=f"known operators: {', '.join(known)}",
            )
        operator(build, node)
    for output in model.proto.graph.output:
        build.graph.outputs.append(build.output(output))
    build.graph.check()
    _check_sizes(build.graph)
    return build.graph


def plan(model: BinaryModel) -> Graph:
    """The steps that will run, in order."""
    graph = import_model(model)
    for rewrite in PASSES:
        rewrite(graph)
        graph.check()
    _check_numbers(graph)
    return graph


def plan_layers(model: BinaryModel) -> tuple[tuple[str, Layer], ...]:
    """Name and Layer of every step, in order; takes milliseconds and needs no TVM."""
    return tuple((node.name, node.layer) for node in plan(model).nodes)


def _check_sizes(graph: Graph) -> None:
    """Refuse what no board could hold, before anything of that size is allocated."""
    total = sum(value.size_bytes for value in graph.values.values())
    if total > MAX_VALUES_BYTES:
        largest = max(graph.values.values(), key=lambda value: value.size_bytes)
        raise CompileError(
            f"the values of the network take {total / 2**30:.1f} GiB, {largest.name!r} alone "
            f"{largest.size_bytes / 2**30:.1f} GiB, expected at most {MAX_VALUES_BYTES >> 30} GiB",
            hint="export the model for a smaller image or batch",
        )


def _check_numbers(graph: Graph) -> None:
    """Refuse parameters that are no finite float32 once folded."""
    for node in graph.nodes:
        arrays = [node.weights] if node.weights is not None else []
        if node.weights is not None and node.in_affine is not None and node.layer.depthwise:
            arrays.append(node.weights * node.in_affine.scale[:, None, None, None])
            arrays.append(np.abs(node.weights).sum((1, 2, 3)) * node.in_affine.bias)
        for stage in (*node.stages, node.bits_affine, node.in_affine):
            if isinstance(stage, Affine):
                arrays += [stage.scale, stage.bias]
            elif isinstance(stage, PRelu):
                arrays.append(stage.slope)
        if not all((np.abs(array) <= _LARGEST).all() for array in arrays):  # false for NaN, too
            raise CompileError(
                f"node {node.name!r} has weights that are NaN, infinite or beyond float32",
                hint="look at its variances and at what is divided by zero; train again",
            )
