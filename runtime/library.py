"""An artifact's C library in this process, through ctypes: what a program that embeds it does.

Arrays are read and written in place. Satisfies `session.Runner`, so the library goes through the
same verification as the executable. A library is machine code: load only artifacts that you, or
someone you trust, compiled.
"""

from __future__ import annotations

import ctypes
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from binas.core.errors import MeasureError, UsageError
from binas.runtime.artifact import Artifact, Port
from binas.runtime.layout import checked_inputs, from_layout, layout_bytes, tap_bytes

ALIGN = 64  # BINAS_ALIGN of model.h


class Library:
    """An artifact's libmodel.so, ready to run.

    Args:
        artifact: What to load; it must be for this machine's CPU.

    Raises:
        MeasureError: The library cannot be loaded, or refuses its own weights.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Load the library and create one context."""
        self._artifact = artifact
        self._one_at_a_time = threading.Lock()  # ctypes lets other threads run during a call
        with tempfile.TemporaryDirectory() as folder:  # once loaded, the file is not needed
            path = Path(folder) / "libmodel.so"
            path.write_bytes(artifact.read("libmodel.so"))
            try:
                self._c = ctypes.CDLL(str(path))
            except OSError as error:
                raise MeasureError(
                    f"{artifact.path.name}: libmodel.so does not load: {error}",
                    hint="make the artifact again with binas-compile",
                ) from None
        self._c.binas_status_text.restype = ctypes.c_char_p
        for name in ("context", "arena"):
            getattr(self._c, f"binas_{name}_bytes").restype = ctypes.c_size_t
        self._weights = _aligned(artifact.read("weights.bin"))
        self._arena = _aligned(bytes(self._c.binas_arena_bytes()))
        self._context = _aligned(bytes(self._c.binas_context_bytes()))
        created = self._c.binas_create(
            *_sized(self._context), *_sized(self._arena), *_sized(self._weights), ctypes.c_int(1)
        )
        self._must("binas_create", created)

    @property
    def artifact(self) -> Artifact:
        """What is run."""
        return self._artifact

    def run(
        self, inputs: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """One inference; as `Session.run`, in this process and without copies.

        The network reads the input arrays and writes the output arrays where they lie; an input
        that C could not read in place (strided, unaligned) is copied first.

        Args:
            inputs: Every input port's float32 array, of the port's shape, finite.
            out: Arrays for all outputs, float32, of the ports' shapes, contiguous, writable; None
                makes new ones.

        Returns:
            Every output port's array; those of `out` where they were given.

        Raises:
            UsageError: Arrays that do not fit the ports.
        """
        manifest = self._artifact.manifest
        given = checked_inputs(manifest, inputs)
        outputs = {p.name: np.empty(p.shape, np.float32) for p in manifest.outputs}
        if out is not None:
            outputs = {port.name: _writable(port, out.get(port.name)) for port in manifest.outputs}
        arrays = _pointers(given), _pointers(list(outputs.values()))
        with self._one_at_a_time:
            self._must("binas_run", self._c.binas_run(_pointer(self._context), *arrays))
        return outputs

    def steps(self, taps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every step alone, on the given values of its inputs; as `Session.steps`."""
        found: dict[str, np.ndarray] = {}
        with self._one_at_a_time:
            for index, step in enumerate(self._artifact.manifest.steps):
                for tensor in step.inputs:
                    data = tap_bytes(taps, tensor, self._artifact)
                    self._place(tensor.offset, len(data))[:] = np.frombuffer(data, np.uint8)
                status = self._c.binas_step(_pointer(self._context), ctypes.c_size_t(index))
                self._must(f"step {step.name}", status)
                for tensor in step.outputs:
                    place = self._place(tensor.offset, layout_bytes(tensor))
                    found[tensor.name] = from_layout(tensor, place.tobytes())
        return found

    def close(self) -> None:
        """Destroy the context; a later run answers with an error."""
        with self._one_at_a_time:
            self._c.binas_destroy(_pointer(self._context))

    def __enter__(self) -> Self:
        """Nothing to do: all is loaded."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Destroy the context."""
        self.close()

    def _place(self, offset: int, count: int) -> np.ndarray:
        """Bytes of the arena, which must hold them: an artifact's numbers are not trusted."""
        if not 0 <= offset <= offset + count <= self._arena.size:
            raise MeasureError(
                f"{self._artifact.path.name}: a tensor at {offset} of {count} bytes is outside "
                f"the arena of {self._arena.size}",
                hint="make the artifact again with binas-compile",
            )
        return self._arena[offset : offset + count]

    def _must(self, what: str, status: int) -> None:
        if status != 0:
            raise MeasureError(
                f"{self._artifact.path.name}: {what}: {self._c.binas_status_text(status).decode()}",
                hint="make the artifact again with binas-compile",
            )


def _aligned(data: bytes) -> np.ndarray:
    """A copy of bytes at an address that the C interface accepts."""
    memory = np.zeros(len(data) + ALIGN, np.uint8)
    start = -memory.ctypes.data % ALIGN
    part = memory[start : start + len(data)]
    part[:] = np.frombuffer(data, np.uint8)
    return part


def _writable(port: Port, array: np.ndarray | None) -> np.ndarray:
    """An output array that C can write in place."""
    fits = (
        array is not None
        and array.shape == port.shape
        and array.dtype == np.dtype("<f4")
        and array.flags.c_contiguous
        and array.flags.aligned
        and array.flags.writeable
    )
    if array is None or not fits:
        found = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
        raise UsageError(
            f"out holds {found} for output {port.name!r}, expected a contiguous, writable "
            f"float32 array {list(port.shape)}",
            hint="make it with numpy.empty(shape, numpy.float32), or leave out away",
        )
    return array


def _pointer(array: np.ndarray) -> Any:
    return ctypes.c_void_p(array.ctypes.data)


def _sized(array: np.ndarray) -> tuple[Any, Any]:
    return _pointer(array), ctypes.c_size_t(array.size)


def _pointers(arrays: list[np.ndarray]) -> Any:
    return (ctypes.c_void_p * max(len(arrays), 1))(*(array.ctypes.data for array in arrays))
