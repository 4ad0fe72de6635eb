"""The engines: each makes of a model something that computes and can be timed."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx

from benchmarks.builder import Array
from benchmarks.native_code import ModelCall
from benchmarks.timing import Batch, python_batch
from binas.compile.build import compile_model
from binas.compile.model import BinaryModel
from binas.devices import registry
from binas.devices.device import CPUS, Device

# None of them may spin, start threads, pin itself elsewhere or compute in less than float32.
_OPENVINO = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,
}
_CALIBRATION_SAMPLES = 3


class Subject(Protocol):
    """A model in an engine, with its input in place."""

    def output(self) -> Array:
        """What one run computes."""

    def batch(self, runs: int) -> Batch:
        """Run it so often."""


def our_device(engine: str) -> Device | str:
    """What one of our engines compiles for, or why it does not run here."""
    host = registry.find("host")
    name = {"binas": "host", "binas-avx2": "x86-64-v3", "binas-avx512bw": "x86-64-v4"}[engine]
    if name == "host":
        return host
    lacking = host.lacks(CPUS["x86_64"][name])
    if lacking:
        return f"not run here: the CPU lacks {', '.join(lacking)}"
    return registry.find(name)


def binas(model: onnx.ModelProto, device: Device, x: Array, *, threads: int = 1) -> ModelCall:
    """Compile, verify step by step, and load what was verified."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "benchmark.binas"
        named = BinaryModel.of(model, "benchmark")
        return ModelCall(compile_model(named, device, output, verify=True).artifact, x, threads)


class OnnxRuntime:
    """onnxruntime with its input and output bound: nothing is copied per call."""

    def __init__(self, model: onnx.ModelProto | bytes, x: Array) -> None:
        """Create the session."""
        import onnxruntime  # noqa: PLC0415 (0.2 s)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        data = model if isinstance(model, bytes) else model.SerializeToString()
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        source, sink = session.get_inputs()[0], session.get_outputs()[0]
        value = onnxruntime.OrtValue
        self._x = value.ortvalue_from_numpy(x.reshape(source.shape))
        self._y = value.ortvalue_from_shape_and_type(sink.shape, np.float32)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(source.name, self._x)
        self._binding.bind_ortvalue_output(sink.name, self._y)
        self._session = session

    def run(self) -> None:
        """One inference."""
        self._session.run_with_iobinding(self._binding)

    def output(self) -> Array:
        """What one run computes."""
        self.run()
        return np.array(self._y.numpy())

    def batch(self, runs: int) -> Batch:
        """Run it so often."""
        return python_batch(self.run, runs)


class OpenVino:
    """An OpenVINO request with its input set; its output stays inside."""

    def __init__(self, model: Any, x: Array) -> None:
        """Compile for the CPU."""
        import openvino  # noqa: PLC0415

        self._request = _openvino_core().compile_model(model, "CPU", _OPENVINO)
        self._request = self._request.create_infer_request()
        self._x = np.ascontiguousarray(x)
        self._request.set_input_tensor(openvino.Tensor(self._x))
        self._infer: Callable[[], Any] = lambda: self._request.infer(share_outputs=True)

    def output(self) -> Array:
        """What one run computes."""
        self._infer()
        return np.array(self._request.get_output_tensor(0).data)

    def batch(self, runs: int) -> Batch:
        """Run it so often."""
        return python_batch(self._infer, runs)


def quantized(model: onnx.ModelProto, x: Array) -> bytes:
    """The model in int8 as onnxruntime's own tool makes it: QDQ, per channel, u8 activations."""
    from onnxruntime import quantization as q  # noqa: PLC0415

    name = model.graph.input[0].name
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]

    class Samples(q.CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        """The input that is timed, and others like it."""

        def __init__(self) -> None:
            rng = np.random.default_rng(2)
            more = (rng.permutation(x.reshape(-1)) for _ in range(_CALIBRATION_SAMPLES - 1))
            self._left: Iterator[Array] = iter([x, *more])

        def get_next(self) -> dict[str, Array] | None:
            """The next one."""
            found = next(self._left, None)
            return None if found is None else {name: found.reshape(shape)}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, str(before))
        logging.disable(logging.WARNING)  # it advises passes that find nothing to do here
        try:
            q.quantize_static(
                str(before),
                str(after),
                Samples(),
                quant_format=q.QuantFormat.QDQ,
                per_channel=True,
                activation_type=q.QuantType.QUInt8,
                weight_type=q.QuantType.QInt8,
            )
        finally:
            logging.disable(logging.NOTSET)
        return after.read_bytes()


@cache
def _openvino_core() -> Any:
    import openvino  # noqa: PLC0415

    return openvino.Core()
