"""The reference of a model: onnxruntime on the file, every value that a step reads or writes.

onnxruntime runs the function bodies of `ai.binas`, so nothing of our import, passes or kernels
takes part. The values become the taps of the artifact; every later link is compared with them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Its telemetry starts with the import and writes to the home folder; a compiler has no use for it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from binas.compile.graph import Graph, Value
from binas.compile.kernels import epilogue, family
from binas.compile.model import BinaryModel
from binas.compile.pixels import Pixels, pixels_of
from binas.compile.plan import plan
from binas.compile.recognise import proof
from binas.core import bits
from binas.core.errors import CompileError, UsageError
from binas.runtime import brief
from binas.runtime.artifact import Artifact

Arrays = dict[str, NDArray[Any]]

# A verification asks for bits within 1e-5 of their threshold; margins beyond this are stored as 1,
# for equal numbers compress to nothing.
NEAR = np.float32(1e-3)


def fixed_input(model: BinaryModel, pixels: Pixels | None = None) -> Arrays:
    """The input that an artifact is verified with; equal for equal models."""
    ports = model.inputs if pixels is None else (pixels.port,)
    return {port.name: brief.port_input(model.digest, port) for port in ports}


def reference(path: Path, artifact: Artifact, inputs: Arrays) -> Arrays:
    """The taps of any input, for an artifact that was made of a model.

    The outputs are those of the file as it is: of a model of another tool, what that tool wrote,
    nothing of our recognition in it. Steps are compared with the model as it was recognised.

    Args:
        path: The ONNX file that the artifact was compiled from.
        artifact: The artifact.
        inputs: Port name → array in the port's shape, float32 or bytes.

    Raises:
        UsageError: The artifact was made of another model.
        CompileError: The file is no model that can be compiled.
    """
    model = BinaryModel.load(path)
    made_of = artifact.manifest.model_digest
    if model.digest != made_of:
        raise UsageError(
            f"{artifact.path.name} was made of a model with digest {made_of}, "
            f"{path.name} has {model.digest}",
            hint=f"compile it again: binas-compile {path} --device {artifact.manifest.device}",
        )
    graph, pixels = plan(model), None
    if any(port.dtype == "uint8" for port in artifact.manifest.inputs):
        pixels = pixels_of(graph, model.inputs, artifact.manifest.normalisation)
    found = taps(model, graph, inputs, pixels)
    names = [port.name for port in model.outputs]
    as_written = proof.run_model(model.original, _entered(inputs, pixels), names)
    return found | {f"output:{name}": value for name, value in as_written.items()}


def taps(model: BinaryModel, graph: Graph, given: Arrays, pixels: Pixels | None = None) -> Arrays:
    """Reference values, named as `runtime/artifact.py` says.

    Args:
        model: The model.
        graph: Its fused plan.
        given: Port name → array in the port's shape, float32 or bytes.
        pixels: What bytes mean, where they are given.

    Returns:
        Every value of the graph in its layout, `margin:NAME` for bits, `input:NAME`, `output:NAME`.
    """
    quantized = {
        node.output[0]: node.input[0]
        for node in model.proto.graph.node
        if node.op_type == "BinaryQuantize"
    }
    wanted = dict.fromkeys(_in_file(value) for value in graph.values.values())
    wanted.update(dict.fromkeys(quantized[name] for name in wanted if name in quantized))
    wanted.update(dict.fromkeys(port.name for port in model.outputs))
    inputs = _entered(given, pixels)
    raw = _run(model, [name for name in wanted if name not in inputs], inputs)
    raw.update(inputs)
    found: Arrays = {f"input:{name}": value for name, value in given.items()}
    for port in model.outputs:
        found[f"output:{port.name}"] = raw[port.name]
    for name, value in graph.values.items():
        reference = _nhwc(raw[_in_file(value)], value)
        if value.dtype == "bits":
            behind = reference
            if value.sign_of is not None:
                behind = epilogue.through(value.sign_of.stages, reference)
            elif name in quantized:
                behind = _nhwc(raw[quantized[name]], value)
            found[name] = bits.pack(behind)
            margin = np.abs(behind)
            found[f"margin:{name}"] = np.where(margin < NEAR, margin, np.float32(1))
        else:
            found[name] = reference
    return found


def meanings(graph: Graph, reference: Arrays) -> Arrays:
    """What numpy makes of every step, each on the reference's inputs."""
    found: Arrays = {}
    for node in graph.nodes:
        results = family.meaning(node, [reference[name] for name in node.reads])
        for name, result in zip(node.writes, results, strict=True):
            wanted = np.uint32 if graph.values[name].dtype == "bits" else np.float32
            found[name] = result.astype(wanted, copy=False)
    return found


def _in_file(value: Value) -> str:
    """The value of the ONNX file that a value is, or is the sign of."""
    name = value.name if value.sign_of is None else value.sign_of.value
    return name.removesuffix("#float")


def _entered(given: Arrays, pixels: Pixels | None) -> Arrays:
    """The float32 arrays that the ONNX file declares."""
    if pixels is None:
        return given
    return {name: pixels.entered(value) for name, value in given.items()}


def _run(model: BinaryModel, names: list[str], inputs: Arrays) -> Arrays:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    # Reassociating rewrites would change what the reference means.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        results = session.run(names, inputs)
    except Exception as error:  # onnxruntime's errors share no importable base class
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise CompileError(f"onnxruntime does not run {model.name}: {first}") from None
    return dict(zip(names, results, strict=True))


def _nhwc(array: NDArray[Any], value: Value) -> NDArray[np.float32]:
    """[N, C, H, W], [N, C] or, where its axes say so, [N, H, W, C] → the value's [N, H, W, C]."""
    N, H, W, C = value.shape
    if value.channels_last:
        image = array.reshape(value.shape)
    else:
        image = array.reshape(N, C, H, W).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(image, dtype=np.float32)
