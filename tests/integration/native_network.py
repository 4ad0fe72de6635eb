"""Networks for this machine as a C program sees them: a library, weights, memory of its own."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.build import compile_model
from binas.compile.model import BinaryModel, ModelWriter
from binas.devices import registry
from binas.runtime.artifact import Artifact

OK, NULL, SIZE, UNALIGNED, WEIGHTS, THREADS, RANGE, KERNEL, STATE = range(9)
SIZES = ("context_bytes", "arena_bytes", "weights_bytes", "input_count", "output_count")
Array = NDArray[Any]


def network(channels: int) -> BinaryModel:
    """Two binary convolutions and an activation; two outputs."""
    generator = np.random.default_rng(channels)
    w = ModelWriter("net")
    x = w.input("x", (1, channels, 6, 6))
    for i in range(2):
        values = np.where(generator.random((channels, 3, 3, channels)) < 0.5, 1.0, -1.0)
        x = w.binary_conv2d(
            w.binary_quantize(x),
            values,
            scale=generator.standard_normal(channels),
            bias=generator.standard_normal(channels),
            pads=(1, 1, 1, 1),
            name=f"conv{i}",
        )
    return BinaryModel.of(w.finish([x, w.node("Relu", [x])]), "net")


def aligned(data: bytes | int) -> Array:
    """Bytes at a multiple of 64."""
    size = data if isinstance(data, int) else len(data)
    room = np.zeros(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    view = room[start : start + size]
    if not isinstance(data, int):
        view[:] = np.frombuffer(data, np.uint8)
    return view


def at(array: Array | None, offset: int = 0) -> ctypes.c_void_p:
    """A pointer."""
    return ctypes.c_void_p(None if array is None else array.ctypes.data + offset)


class Network:
    """One loaded library with its weights and what the reference says."""

    def __init__(self, artifact: Artifact, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "libmodel.so").write_bytes(artifact.read("libmodel.so"))
        self.library = ctypes.CDLL(str(folder / "libmodel.so"))
        for name in SIZES:
            getattr(self.library, f"binas_{name}").restype = ctypes.c_size_t
        for name in ("input_bytes", "output_bytes"):
            getattr(self.library, f"binas_{name}").restype = ctypes.c_size_t
            getattr(self.library, f"binas_{name}").argtypes = [ctypes.c_size_t]
        self.library.binas_step_name.restype = ctypes.c_char_p
        self.library.binas_step_name.argtypes = [ctypes.c_size_t]
        self.weights = aligned(artifact.read("weights.bin"))
        taps = artifact.taps()
        self.inputs = [taps[f"input:{port.name}"] for port in artifact.manifest.inputs]
        self.expected = [taps[f"output:{port.name}"] for port in artifact.manifest.outputs]
        self.arena_bytes = self.library.binas_arena_bytes()
        self.context_bytes = self.library.binas_context_bytes()

    def context(self) -> Array:
        """Memory for a context."""
        return aligned(self.context_bytes)

    def create(self, memory: Array, room: Array | None = None, **changes: Any) -> int:
        """binas_create in `memory` with `room` as the arena; `changes` replace arguments."""
        room = aligned(self.arena_bytes) if room is None else room
        arguments: dict[str, Any] = {
            "context": at(memory),
            "context_bytes": self.context_bytes,
            "arena": at(room),
            "arena_bytes": self.arena_bytes,
            "weights": at(self.weights),
            "weights_bytes": self.weights.size,
            "threads": 1,
        }
        assert set(changes) <= set(arguments)
        given = {**arguments, **changes}
        for name, value in given.items():
            given[name] = ctypes.c_size_t(value) if name.endswith("_bytes") else value
        return int(self.library.binas_create(*given.values()))

    def run(self, context: Array) -> tuple[int, list[Array]]:
        """binas_run on the fixed input."""
        outputs = [np.full_like(y, np.nan) for y in self.expected]
        status = self.library.binas_run(at(context), pointers(self.inputs), pointers(outputs))
        return int(status), outputs

    def is_right(self, outputs: list[Array]) -> bool:
        """Whether outputs are the reference's."""
        return all(
            np.allclose(y, expected, rtol=0, atol=1e-4 * max(1.0, np.abs(expected).max()))
            for y, expected in zip(outputs, self.expected, strict=True)
        )


def pointers(arrays: list[Array]) -> Any:
    """A C array of pointers."""
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def compiled(folder: Path, *channels: int) -> list[Artifact]:
    """Networks for this machine."""
    host = registry.find("host")
    return [compile_model(network(C), host, folder / f"{C}.binas").artifact for C in channels]
