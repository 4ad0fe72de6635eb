"""An elementwise node moves into the epilogue of the node that makes its operand.

needs       nodes in an order in which they can run
guarantees  an elementwise node is left only where its operand has another reader, is a model input
            or output, or where its producer has already packed the operand's sign

Addition commutes, so of the two addends the one made last becomes the operand: the other is then in
memory when the fused node runs.
"""

from __future__ import annotations

from collections import Counter

from binas.compile.graph import Add, Graph, Node, renamed


def fuse_epilogue(graph: Graph) -> None:
    """Fuse in place, in one sweep: what a node is fused into is itself as fused as it can be."""
    readers = Counter(name for node in graph.nodes for name in node.reads)
    readers.update(graph.outputs)  # the caller reads those
    done: list[Node | None] = []
    made = dict.fromkeys(graph.inputs, -1)  # value → position in `done` of the node that writes it
    for original in graph.nodes:
        node = _latest_addend_first(original, made, readers)
        position = _fusable(node, done, made, readers)
        if position is not None:
            producer = done[position]
            assert producer is not None  # noqa: S101 (only fused nodes leave a hole)
            # The fused node runs where the elementwise one ran: all it adds is there by then, and
            # nobody read the operand in between.
            done[position] = None
            del graph.values[node.inputs[0]]
            node = renamed(
                producer,
                sources=producer.sources + node.sources,
                stages=producer.stages + node.stages,
                float_out=node.float_out,
                bits_out=node.bits_out,
                bits_affine=node.bits_affine,
            )
        made.update(dict.fromkeys(node.writes, len(done)))
        done.append(node)
    graph.nodes = [node for node in done if node is not None]


def _latest_addend_first(node: Node, made: dict[str, int], readers: Counter[str]) -> Node:
    """The same sum with the operand that is made last (and read by no other) in front."""
    if node.op != "elementwise" or not node.stages or not isinstance(node.stages[0], Add):
        return node
    operand, other = node.inputs[0], node.stages[0].value
    later = made[other] > made[operand] or readers[operand] > 1
    if readers[other] == 1 and later:
        return renamed(node, inputs=(other,), stages=(Add(operand), *node.stages[1:]))
    return node


def _fusable(
    node: Node, done: list[Node | None], made: dict[str, int], readers: Counter[str]
) -> int | None:
    """Position of the producer that `node` can move into."""
    if node.op != "elementwise":
        return None
    operand = node.inputs[0]
    if readers[operand] != 1 or made[operand] < 0:
        return None
    producer = done[made[operand]]
    if producer is None or producer.float_out != operand or producer.bits_out is not None:
        return None
    return made[operand]
