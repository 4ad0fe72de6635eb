"""The whole of recognition, in order: from a checked model of anybody's to one of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from binas.compile import functions
from binas.compile.recognise import proof
from binas.compile.recognise.constants import fold_constants
from binas.compile.recognise.contract import rewrite
from binas.compile.recognise.layers import Judged, judge, weighted
from binas.compile.recognise.network import Network, has_subgraphs
from binas.compile.recognise.pools import pool_before_signs
from binas.compile.recognise.steps import float_steps
from binas.compile.recognise.weights import worth_packing
from binas.core.errors import CompileError

MAX_ELEMENTS = 128 << 20  # of all values of a network that is run as a trial
MAX_WORK = 20e9  # multiply-accumulates and comparisons of it

_REMEDY = "Where(x >= 0, 1, -1) has no zero"


@dataclass(frozen=True, slots=True)
class Recognised:
    """What recognition leaves besides the rewritten model.

    Attributes:
        reasons: Node → why it, or its activations, stay float.
        notes: Node → what is true of it but for a set of inputs that no sample meets.
    """

    reasons: Mapping[str, str]
    notes: Mapping[str, str]


def recognise(proto: onnx.ModelProto) -> Recognised:
    """Rewrite a model in place.

    Args:
        proto: Checked, functions inlined (`foreign.inline`), shapes inferred, nodes named.
    """
    if has_subgraphs(proto):
        return Recognised({}, {})
    fold_constants(proto)
    pool_before_signs(proto)
    network = Network(proto)
    judged = [judge(network, layer) for layer in weighted(network)]
    reasons, notes = _trial(network, judged)
    quantized: dict[Any, str] = {}
    rewritten = 0
    for found in judged:
        name = found.layer.node.name
        wanted = found.bits is not None and (found.sign or worth_packing(found.bits))
        if name not in reasons and wanted:
            reason = rewrite(network, found, quantized)
            rewritten += not reason
            if not reason and found.sign is not None:
                continue
            found.reason = reason or found.reason
        if found.reason and name not in reasons:
            reasons[name] = found.reason
    spelled = float_steps(network)
    if rewritten or spelled:
        imports = proof.opsets(proto)
        del proto.opset_import[:]
        proto.opset_import.extend(imports)
        proto.ir_version = max(proto.ir_version, functions.IR_VERSION)
    network.finish()
    left = {name: note for name, note in notes.items() if name not in reasons}
    return Recognised(reasons, left)


def _trial(network: Network, judged: list[Judged]) -> tuple[dict[str, str], dict[str, str]]:
    """Whether ONNX's Sign, which knows a zero, ever gives one: run the whole model and count.

    Returns:
        Per layer, why it cannot be taken; and what to say of those that can.
    """
    unsure = [f for f in judged if f.bits is not None and f.sign and not f.sign.is_exact]
    if not unsure:
        return {}, {}
    values_elements = sum(prod(network.shape(name) or ()) for name in network.positions)
    if values_elements > MAX_ELEMENTS or network.work(network.proto.graph.node) > MAX_WORK:
        return {
            found.layer.node.name: "its Sign gives 0 at 0; too large to try" for found in unsure
        }, {}
    generator = np.random.default_rng(0)
    feeds: dict[str, NDArray[Any]] = {}
    for name in network.inputs:
        shape = network.shape(name)
        if name not in network.tensors and shape is not None:
            feeds[name] = generator.standard_normal(shape).astype(np.float32)
    roots = {found.walk.value for found in unsure}  # of the signs, and before what is padded
    wanted = sorted(roots.difference(feeds))
    try:
        values = dict(feeds)
        if wanted:
            values |= proof.run_nodes(network, list(network.proto.graph.node), feeds, wanted)
    except CompileError as error:
        return {found.layer.node.name: str(error) for found in unsure}, {}
    reasons, notes = {}, {}
    for found in unsure:
        value, name = values[found.walk.value], found.layer.node.name
        zeros = int((value == 0).sum())
        if zeros:
            reasons[name] = (
                f"its Sign gives 0 for {zeros} of {value.size} values of a random run, and a bit "
                f"is never 0; {_REMEDY}"
            )
        else:
            notes[name] = (
                f"Sign of exactly 0 was 0 and is +1 now (none of {value.size} values of a random "
                f"run was); {_REMEDY}"
            )
    return reasons, notes
