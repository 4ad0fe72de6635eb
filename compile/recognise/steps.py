"""Steps that no layer takes as bits stay what they were, spelled with the one sign that we have.

With sign(x) = +1 where x >= 0, else -1, and a step from b to a at 0:

    x >= 0    (a - b) / 2 * sign(x) + (a + b) / 2
    x > 0     (b - a) / 2 * sign(-x) + (a + b) / 2
    Sign(x)   (sign(x) - sign(-x)) / 2, which is 0 at 0
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from binas.compile import functions
from binas.compile.recognise.meaning import Step, meaning
from binas.compile.recognise.network import Network
from binas.compile.recognise.proof import (
    MAX_ELEMENTS,
    TOLERANCE,
    between,
    difference,
    run_nodes,
    samples,
)
from binas.core.errors import CompileError

_ENDS = {"Sign", "Where", "Sub", "Add", "Mul"}  # operators that can be the last of a step


def float_steps(network: Network) -> bool:
    """Respell in place every remaining step; whether there was one."""
    found = False
    for node in network.untouched_backwards():
        if node.op_type not in _ENDS or node.domain not in ("", "ai.onnx"):
            continue
        read = meaning(network, node.output[0])
        if isinstance(read, Step) and (read.is_exact or read.is_sign):
            made = _spelled(network, node, read)
            if _is_proved(network, node.output[0], read, made):
                network.replace(node, made)
                found = True
    return found


def _is_proved(network: Network, output: str, step: Step, made: list[onnx.NodeProto]) -> bool:
    """Whether the new nodes give what the old ones do, zeros and borders included."""
    shape, old = network.shape(step.root), between(network, output, step.root)
    if shape is None or old is None or prod(shape) > MAX_ELEMENTS:
        return False
    feeds = {step.root: samples(shape, step.border, zeros=True)}
    try:
        before = run_nodes(network, old, feeds, [output])[output]
        after = run_nodes(network, made, feeds, [output])[output]
    except CompileError:
        return False
    return difference(before, after) <= TOLERANCE


def _spelled(network: Network, node: onnx.NodeProto, step: Step) -> list[onnx.NodeProto]:
    made: list[onnx.NodeProto] = []
    shape = network.shape(step.root) or ()
    stem = node.name

    def add(op: str, *inputs: str, stem: str, domain: str = "") -> str:
        new, name = network.new_node(op, inputs, shape, stem=stem, domain=domain)
        made.append(new)
        return name

    def constant(value: float, name: str) -> str:
        return network.new_constant(np.array(value, np.float32), f"{stem}/{name}")

    def sign(x: str, name: str) -> str:
        return add("BinaryQuantize", x, stem=f"{stem}/{name}", domain=functions.DOMAIN)

    x = step.root
    if step.border is not None:
        border = network.new_constant(step.border, f"{stem}/border")
        x = add("Sub", x, border, stem=f"{stem}/above")
    if not step.is_exact:
        mirrored = sign(add("Neg", x, stem=f"{stem}/negative"), "sign_of_negative")
        minus = add("Neg", mirrored, stem=f"{stem}/minus")
        both = add("Add", sign(x, "sign"), minus, stem=f"{stem}/twice")
        half = constant(step.above / 2, "half")
        last = onnx.helper.make_node("Mul", [both, half], [node.output[0]], name=stem)
        return [*made, last]
    low, high = step.below, step.above
    if step.zero_is_below:
        x = add("Neg", x, stem=f"{stem}/negative")
        low, high = high, low
    scale, shift = constant((high - low) / 2, "half"), constant((high + low) / 2, "middle")
    scaled = add("Mul", sign(x, "sign"), scale, stem=f"{stem}/scaled")
    return [*made, onnx.helper.make_node("Add", [scaled, shift], [node.output[0]], name=stem)]
