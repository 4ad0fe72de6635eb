"""A concat that only its sign is read of joins bits: every part is packed where it is made.

needs       fuse_epilogue, fold_affine, fuse_pack
guarantees  a concat that writes bits alone, and adds nothing, reads floats only where a part is a
            model's input, stands in it twice, or is made by a step that has packed another sign
            of it or cannot pack this one
"""

from __future__ import annotations

from collections import Counter

from binas.compile.graph import Add, Affine, Graph, Node, PRelu, Stage, Staged, renamed


def concat_bits(graph: Graph) -> None:
    """Rewrite in place, last concat first: a part may be a concat."""
    readers = Counter(name for node in graph.nodes for name in node.reads)
    readers.update(graph.outputs)
    made = graph.producers()
    for position in reversed(range(len(graph.nodes))):
        node = graph.nodes[position]
        if not _joins_signs(node):
            continue
        shares = list(_shares(node))
        makers = [graph.nodes[made[name]] if made[name] >= 0 else None for name in node.inputs]
        packing = [
            None if maker is None else _packing(maker, name, share, alone=readers[name] == 1)
            for maker, name, share in zip(makers, node.inputs, shares, strict=True)
        ]
        if None in packing:
            continue
        packed = []
        for name, share, maker in zip(node.inputs, shares, packing, strict=True):
            assert maker is not None  # noqa: S101 (looked at above)
            packed.append(graph.packed(name, Staged(name, share)))
            graph.nodes[made[name]] = renamed(maker, bits_out=packed[-1])
            readers[name] -= 1
            if maker.float_out is None:
                del graph.values[name]
        graph.nodes[position] = renamed(node, op="concat_bits", inputs=tuple(packed), stages=())


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


def _packing(maker: Node, value: str, stages: tuple[Stage, ...], *, alone: bool) -> Node | None:
    """The step that makes a part as it is when it packs it, its name left open; None: it cannot."""
    if not maker.can_pack(value):
        return None
    if alone:
        return renamed(maker, stages=maker.stages + stages, float_out=None)
    if not stages:
        return maker
    (affine, *more) = stages
    return renamed(maker, bits_affine=affine) if isinstance(affine, Affine) and not more else None
