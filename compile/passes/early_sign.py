"""Taking a sign before a step that only moves values: what both passes that do so share.

A value is packed by the step that makes it, in the place of its floats where nobody else reads
them, beside them where somebody does.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from binas.compile.graph import Affine, Graph, Node, Stage, Staged, renamed


class EarlySigns:
    """The packed signs that the steps of a graph can make of their own values.

    Args:
        graph: Rewritten in place; its nodes keep their positions.
    """

    def __init__(self, graph: Graph) -> None:
        """Look who makes and who reads each value."""
        self._graph, self._made = graph, graph.producers()
        self._readers = Counter(name for node in graph.nodes for name in node.reads)
        self._readers.update(graph.outputs)

    def is_alone(self, value: str) -> bool:
        """Whether a value has one reader: its floats need not leave."""
        return self._readers[value] == 1

    def can_take(self, value: str, stages: tuple[Stage, ...], *, beside: bool) -> bool:
        """Whether whoever makes a value can pack its sign after some stages.

        Args:
            value: Read, for its sign alone, by the step that is rewritten.
            stages: What happens to it before its sign is taken; no sums.
            beside: Whether that is wanted beside floats, too.
        """
        maker = self._maker(value)
        if maker is None:
            return False
        if _packs(maker, value, stages):
            return True
        single = not stages or (len(stages) == 1 and isinstance(stages[0], Affine))
        return maker.can_pack(value) and (self.is_alone(value) or (beside and single))

    def take(self, value: str, stages: tuple[Stage, ...]) -> str:
        """Let the maker of a value pack what it can; the packed value's name."""
        maker = self._maker(value)
        assert maker is not None  # noqa: S101 (can_take says so)
        self._readers[value] -= 1
        if not _packs(maker, value, stages):
            packed = self._graph.packed(value, Staged(value, stages))
            (affine,) = stages if len(stages) == 1 else (None,)
            maker = renamed(maker, bits_out=packed)
            if self._readers[value] == 0:
                maker = renamed(maker, stages=maker.stages + stages, float_out=None)
            elif isinstance(affine, Affine):
                maker = renamed(maker, bits_affine=affine)
        elif self._readers[value] == 0:
            after = () if maker.bits_affine is None else (maker.bits_affine,)
            maker = renamed(maker, stages=maker.stages + after, float_out=None, bits_affine=None)
        if maker.float_out is None:
            del self._graph.values[value]
        assert maker.bits_out is not None  # noqa: S101
        self._graph.nodes[self._made[value]] = maker
        self._readers[maker.bits_out] += 1
        self._made[maker.bits_out] = self._made[value]
        return maker.bits_out

    def _maker(self, value: str) -> Node | None:
        position = self._made[value]
        return None if position < 0 else self._graph.nodes[position]


def _packs(maker: Node, value: str, stages: tuple[Stage, ...]) -> bool:
    """Whether that sign is already taken."""
    if maker.bits_out is None or maker.float_out != value:
        return False
    if maker.bits_affine is None:
        return not stages
    (affine, *more) = stages or (None,)
    return (
        not more
        and isinstance(affine, Affine)
        and np.array_equal(affine.scale, maker.bits_affine.scale)
        and np.array_equal(affine.bias, maker.bits_affine.bias)
    )
