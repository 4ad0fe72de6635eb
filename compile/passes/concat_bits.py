"""A concat that only its sign is read of joins bits: every part is packed where it is made.

needs       fuse_epilogue, fold_affine, fuse_pack
guarantees  a concat that writes bits alone, and adds nothing, reads floats only where a part is a
            model's input, stands in it twice, or is made by a step that packs another sign of
            it, or where the floats of all parts leave in any case
"""

from __future__ import annotations

from binas.compile.graph import Add, Affine, Graph, Node, PRelu, Stage, renamed
from binas.compile.passes.early_sign import EarlySigns


def concat_bits(graph: Graph) -> None:
    """Rewrite in place, last concat first: a part may be a concat."""
    signs = EarlySigns(graph)
    for position in reversed(range(len(graph.nodes))):
        node = graph.nodes[position]
        if not _joins_signs(node):
            continue
        parts = list(zip(node.inputs, _shares(node), strict=True))
        # Where all floats leave in any case, packing them beside costs what the concat would.
        beside = any(signs.is_alone(value) for value, _ in parts)
        if all(signs.can_take(value, share, beside=beside) for value, share in parts):
            packed = tuple(signs.take(value, share) for value, share in parts)
            graph.nodes[position] = renamed(node, op="concat_bits", inputs=packed, stages=())


def _joins_signs(node: Node) -> bool:
    """Whether the signs of a concat's parts are all that is read of it."""
    bits_alone = node.float_out is None and node.bits_affine is None
    adds = any(isinstance(stage, Add) for stage in node.stages)
    several = 1 < len(node.inputs) == len(set(node.inputs))
    filled = sum(node.parts) == node.out_channels
    return node.op == "concat" and bits_alone and several and filled and not adds


def _shares(node: Node) -> list[tuple[Stage, ...]]:
    """What of the stages is for the channels of each part."""
    found, first = [], 0
    for part in node.parts:
        found.append(tuple(_share(stage, slice(first, first + part)) for stage in node.stages))
        first += part
    return found


def _share(stage: Stage, channels: slice) -> Stage:
    if isinstance(stage, Affine):
        return Affine(stage.scale[channels], stage.bias[channels])
    return PRelu(stage.slope[channels]) if isinstance(stage, PRelu) else stage
