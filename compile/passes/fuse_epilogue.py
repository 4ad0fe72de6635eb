"""An elementwise node moves into the epilogue of the node that makes its operand.

needs       nodes in an order in which they can run
guarantees  an elementwise node is left only where its operand has another reader, is a model input
            or output, or where its producer has already packed the operand's sign

Addition commutes, so of the two addends the one made last becomes the operand: the other is then in
memory when the fused node runs.
"""

from __future__ import annotations

from binas.compile.graph import Add, Graph, Node, renamed


def fuse_epilogue(graph: Graph) -> None:
    """Fuse in place until nothing changes."""
    position = 0
    while position < len(graph.nodes):
        node = _latest_addend_first(graph, graph.nodes[position])
        producer = _fusable_producer(graph, node)
        if producer is None:
            position += 1
            continue
        # The fused node runs where the elementwise one ran: all it adds is there by then, and
        # nobody read the operand in between.
        graph.nodes[position] = renamed(
            producer,
            sources=producer.sources + node.sources,
            stages=producer.stages + node.stages,
            float_out=node.float_out,
            bits_out=node.bits_out,
            bits_affine=node.bits_affine,
        )
        graph.nodes.remove(producer)
        del graph.values[node.inputs[0]]


def _latest_addend_first(graph: Graph, node: Node) -> Node:
    """The same sum with the operand that is made last (and read by no other) in front."""
    if node.op != "elementwise" or not node.stages or not isinstance(node.stages[0], Add):
        return node
    made, readers = graph.producers(), graph.consumers()
    operand, other = node.inputs[0], node.stages[0].value
    alone = {name: len(readers[name]) == 1 for name in (operand, other)}
    if alone[other] and (not alone[operand] or made[other] > made[operand]):
        swapped = renamed(node, inputs=(other,), stages=(Add(operand), *node.stages[1:]))
        graph.swap(node, swapped)
        return swapped
    return node


def _fusable_producer(graph: Graph, node: Node) -> Node | None:
    if node.op != "elementwise":
        return None
    operand = node.inputs[0]
    producer = next((p for p in graph.nodes if operand in p.writes), None)
    if producer is None or producer.float_out != operand or producer.bits_out is not None:
        return None
    if operand in graph.outputs or len(graph.consumers()[operand]) != 1:
        return None
    return producer
