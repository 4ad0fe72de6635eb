"""An artifact's C library in this process, through ctypes: what a program that embeds it does.

Satisfies `session.Runner`, so the library goes through the same verification as the executable. A
library is machine code: load only artifacts that you, or someone you trust, compiled.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from binas.core.errors import MeasureError
from binas.runtime.artifact import Artifact
from binas.runtime.layout import checked_inputs, from_layout, layout_bytes, split_ports, tap_bytes

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

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference; as `Session.run`."""
        manifest = self._artifact.manifest
        raw = [np.frombuffer(data, np.uint8) for data in checked_inputs(manifest, inputs)]
        out = [np.zeros(port.size_bytes, np.uint8) for port in manifest.outputs]
        status = self._c.binas_run(_pointer(self._context), _pointers(raw), _pointers(out))
        self._must("binas_run", status)
        return split_ports(manifest.outputs, b"".join(array.tobytes() for array in out))

    def steps(self, taps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every step alone, on the given values of its inputs; as `Session.steps`."""
        found: dict[str, np.ndarray] = {}
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
        """Destroy the context."""
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
                f"{self._artifact.path.name}: {what} answered status {status} of model.h",
                hint="make the artifact again with binas-compile",
            )


def _aligned(data: bytes) -> np.ndarray:
    """A copy of bytes at an address that the C interface accepts."""
    memory = np.zeros(len(data) + ALIGN, np.uint8)
    start = -memory.ctypes.data % ALIGN
    part = memory[start : start + len(data)]
    part[:] = np.frombuffer(data, np.uint8)
    return part


def _pointer(array: np.ndarray) -> Any:
    return ctypes.c_void_p(array.ctypes.data)


def _sized(array: np.ndarray) -> tuple[Any, Any]:
    return _pointer(array), ctypes.c_size_t(array.size)


def _pointers(arrays: list[np.ndarray]) -> Any:
    return (ctypes.c_void_p * max(len(arrays), 1))(*(array.ctypes.data for array in arrays))
