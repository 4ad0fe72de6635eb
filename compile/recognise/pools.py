"""Maxima of signs: FINN's and Brevitas's networks pool after the sign, and a bit wants it before.

A step that rises takes the largest of some numbers to the largest of their steps. So the pool can
be taken first, and what computes the step is written once more behind it.
"""

from __future__ import annotations

from math import prod

import onnx

from binas.compile.recognise import proof
from binas.compile.recognise.meaning import Step, meaning
from binas.compile.recognise.network import Network
from binas.core.errors import CompileError

DEPTH = 8  # pools behind one another; no network has more than a few
MAX_WORK = 1 << 30  # comparisons; a kernel as large as a large image costs its author nothing


def pool_before_signs(proto: onnx.ModelProto) -> None:
    """Rewrite in place every MaxPool of a rising step, where that changes nothing.

    Args:
        proto: Checked, shapes inferred.
    """
    for _ in range(DEPTH):  # a pool of a pool meets the step when the first has passed it
        if not _all_once(proto):
            return


def _all_once(proto: onnx.ModelProto) -> bool:
    """Let every pool pass the step that it reads; whether one did."""
    network = Network(proto)
    found = False
    for pool in proto.graph.node:
        if pool.op_type != "MaxPool" or pool.domain not in ("", "ai.onnx") or len(pool.output) > 1:
            continue
        step = meaning(network, pool.input[0])
        if not isinstance(step, Step) or step.below >= step.above:
            continue
        nodes = proof.between(network, pool.input[0], step.root)
        if not nodes or any(_differs_within_an_image(network, node) for node in nodes):
            continue
        made = _swapped(network, pool, nodes, step.root)
        if _is_proved(network, pool, [*nodes, pool], made, step):
            network.replace(pool, made)
            found = True
    if found:
        network.finish()
    return found


def _differs_within_an_image(network: Network, node: onnx.NodeProto) -> bool:
    constants = [network.constant(name) for name in node.input if name]
    return any(max(c.shape[-2:], default=1) > 1 for c in constants if c is not None)


def _swapped(
    network: Network, pool: onnx.NodeProto, nodes: list[onnx.NodeProto], root: str
) -> list[onnx.NodeProto]:
    """The pool of the root, then the nodes that compute the step; the last has the pool's name."""
    shape = network.shape(pool.output[0]) or ()
    first = onnx.NodeProto()
    first.CopyFrom(pool)
    renamed = {root: network.fresh(f"{pool.name}/before")}
    first.input[0], first.output[0] = root, renamed[root]
    network.declare(renamed[root], root, shape)
    made = [first]
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = network.fresh(f"{pool.name}/{node.name}")
        copy.input[:] = [renamed.get(name, name) for name in node.input]
        for at, name in enumerate(node.output):
            last = name == pool.input[0]
            renamed[name] = pool.output[0] if last else network.fresh(f"{pool.name}/{name}")
            copy.output[at] = renamed[name]
            if not last:
                network.declare(renamed[name], name, shape)
        made.append(copy)
    return made


def _is_proved(
    network: Network,
    pool: onnx.NodeProto,
    old: list[onnx.NodeProto],
    new: list[onnx.NodeProto],
    step: Step,
) -> bool:
    shape, output = network.shape(step.root), pool.output[0]
    if shape is None or network.shape(output) is None or prod(shape) > proof.MAX_ELEMENTS:
        return False
    if network.work(old) > MAX_WORK:
        return False
    feeds = {step.root: proof.samples(shape, step.border, zeros=True)}
    try:
        before = proof.run_nodes(network, old, feeds, [output])[output]
        after = proof.run_nodes(network, new, feeds, [output])[output]
    except CompileError:
        return False
    return proof.difference(before, after) <= proof.TOLERANCE
