"""Equal elementwise nodes become one, so a tensor is packed once per threshold.

needs       nothing
guarantees  no two elementwise nodes have equal operands, stages and kinds of output
"""

from __future__ import annotations

from binas.compile.graph import Add, Affine, Graph, Node, PRelu, Stage, renamed


def pack_once(graph: Graph) -> None:
    """Drop repeated nodes in place; their readers read the first one."""
    seen: dict[tuple[object, ...], Node] = {}
    replaced: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        now = _reading(node, replaced)
        if now.op == "elementwise" and not set(now.writes) & set(graph.outputs):
            first = seen.setdefault(_key(now), now)
            if first is not now:
                replaced.update(zip(now.writes, first.writes, strict=True))
                for name in now.writes:
                    del graph.values[name]
                continue
        kept.append(now)
    graph.nodes = kept


def _reading(node: Node, replaced: dict[str, str]) -> Node:
    if not set(node.reads) & set(replaced):
        return node
    stages = tuple(
        Add(replaced.get(s.value, s.value)) if isinstance(s, Add) else s for s in node.stages
    )
    return renamed(node, inputs=tuple(replaced.get(n, n) for n in node.inputs), stages=stages)


def _key(node: Node) -> tuple[object, ...]:
    stages = tuple(_stage_key(stage) for stage in node.stages)
    return (node.inputs, stages, node.float_out is None, node.bits_out is None)


def _stage_key(stage: Stage) -> tuple[object, ...]:
    if isinstance(stage, Affine):
        return (stage.name, stage.scale.tobytes(), stage.bias.tobytes())
    if isinstance(stage, PRelu):
        return (stage.name, stage.slope.tobytes())
    if isinstance(stage, Add):
        return (stage.name, stage.value)
    return (stage.name,)
