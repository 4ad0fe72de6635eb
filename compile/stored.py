"""What of the reference an artifact carries: whole tensors of small networks, else digests.

Whole tensors are those that onnxruntime made of one input. In brief (`runtime/brief.py`), a step is
given drawn numbers and its reference is the numpy meaning, for onnxruntime has no steps; that the
meaning is onnxruntime's is a link of its own (`compile/chain.py`), and a whole run is compared with
onnxruntime's outputs in both forms.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Affine, Graph, Node
from binas.compile.kernels import epilogue, family
from binas.runtime import brief
from binas.runtime.artifact import Manifest
from binas.runtime.verify import OUTPUT_TOLERANCE, STEP_TOLERANCE, near_a_threshold

Arrays = dict[str, NDArray[Any]]

MAX_WHOLE_BYTES = 48 << 10  # of a reference in whole tensors, compressed
MAX_OUTPUT_BYTES = 16 << 10  # of a network's output, where the steps are in brief

# Sums of ±1 and copies of values that were given are exact everywhere, their zeros, too.
_EXACT = (
    "binary_conv",
    "concat",
    "elementwise",
    "pool_max",
    "pool_bits",
    "concat_bits",
    "shuffle",
    "shuffle_bits",
    "slice",
)


def reference_of(graph: Graph, manifest: Manifest, taps: Arrays) -> bytes:
    """The member `taps.npz`.

    Args:
        graph: The fused plan.
        manifest: Of the artifact.
        taps: All reference values, of `truth.taps`; empty for layers alone.
    """
    small = sum(tap.nbytes for tap in taps.values()) < 16 * MAX_WHOLE_BYTES
    whole = _zipped(taps) if small else b""
    if small and len(whole) <= MAX_WHOLE_BYTES:
        return whole
    return _zipped(_in_brief(graph, manifest, taps))


def _in_brief(graph: Graph, manifest: Manifest, taps: Arrays) -> Arrays:
    judged = not near_a_threshold(manifest, taps)
    found: Arrays = {"brief:judged": np.array([judged], np.uint8)}
    for port in manifest.outputs:
        name = f"output:{port.name}"
        if taps[name].nbytes <= MAX_OUTPUT_BYTES:
            found[name] = taps[name]
        else:
            rows = taps[name].reshape(1, -1, 1, port.shape[-1])
            found |= brief.of_floats(name, rows, OUTPUT_TOLERANCE)
    given = brief.step_inputs(manifest)
    for node in graph.nodes:
        y = family.staged(node, [given[name] for name in node.reads])
        outputs = dict(zip(node.writes, epilogue.outputs(node, y), strict=True))
        if node.float_out is not None:
            reference = outputs[node.float_out].astype(np.float32, copy=False)
            found |= brief.of_floats(node.float_out, reference, STEP_TOLERANCE)
        if node.bits_out is not None:
            found |= brief.of_bits(node.bits_out, outputs[node.bits_out], _near(node, y))
    return found


def _near(node: Node, y: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which bits [N, P, Q, K] rounding may turn.

    What is summed in floats may be off by as much as a float output of it, whatever the bit's
    threshold.
    """
    margin = np.abs(epilogue.decision(node, y))
    affine = node.bits_affine is not None or any(isinstance(s, Affine) for s in node.stages)
    limit = STEP_TOLERANCE
    if node.op not in _EXACT:
        limit *= max(1.0, float(margin.max(initial=0.0)))
    near = np.asarray(margin <= limit)
    return near if affine or node.op not in _EXACT else near & (margin > 0)


def _zipped(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(buffer, **named)
    return buffer.getvalue()
