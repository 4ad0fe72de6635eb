"""C of our own in this process: the timing loop, the register peaks, and an artifact's library."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import Batch, Gauge
from binas import runtime
from binas.compile import link
from binas.core.errors import MeasureError
from binas.runtime.artifact import Artifact

Array = NDArray[Any]

_OWN = Path(__file__).parent / "native"
_HARNESS = Path(runtime.__path__[0]) / "native"
_SOURCES = (
    *(_OWN / name for name in ("loop.c", "peak.c", "crew.c")),
    *(_HARNESS / name for name in ("sampling.c", "threads.c")),
)
_ALIGN = 4096  # a page: where memory happens to lie must not tell engines apart


class NativeCall:
    """A function of `binas_run`'s shape with its arguments.

    Args:
        function: Address.
        context: First argument.
        inputs: Arrays it reads.
        outputs: Arrays it writes.
        threads: How many it keeps busy, the one that calls included.
    """

    def __init__(
        self,
        function: Any,
        context: int = 0,
        inputs: Sequence[Array] = (),
        outputs: Sequence[Array] = (),
        threads: int = 1,
    ) -> None:
        """Keep the arrays alive as long as the call."""
        self._function = ctypes.cast(function, ctypes.c_void_p)
        self._context = ctypes.c_void_p(context)
        self._arrays = (*inputs, *outputs)
        self._inputs = _pointers(inputs)
        self._outputs = _pointers(outputs)
        self._result = (ctypes.c_int64 * 3)()
        self._threads = threads

    def batch(self, runs: int) -> Batch:
        """Run in a loop in C; with several threads, after a call that wakes them."""
        arguments = (self._function, self._context, self._inputs, self._outputs)
        uncounted = int(self._threads > 1)
        status = library().bench_loop(*arguments, uncounted, runs, self._result)
        if status != 0:
            raise MeasureError(f"a kernel under benchmark ended with status {status}")
        wall_ns, cpu_ns, switches = self._result
        return Batch(wall_ns, cpu_ns, switches, runs, self._threads)


class ModelCall:
    """An artifact's library, loaded into this process as a C program would.

    Args:
        artifact: What was compiled, and verified when it was.
        x: Its one input.
        threads: How many, the one that calls included.
    """

    def __init__(self, artifact: Artifact, x: Array, threads: int = 1) -> None:
        """Create a context.

        Raises:
            MeasureError: The library refuses.
        """
        # Under a name of its own: equal names would be one library to the loader.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "libmodel.so"
            path.write_bytes(artifact.read("libmodel.so"))
            model = ctypes.CDLL(str(path))  # stays mapped when the file is gone
        for name in ("binas_context_bytes", "binas_arena_bytes"):
            getattr(model, name).restype = ctypes.c_size_t
        manifest = artifact.manifest
        weights = np.frombuffer(artifact.read("weights.bin"), np.uint8)
        self._context = aligned(model.binas_context_bytes())
        self._arena = aligned(manifest.arena_bytes)
        self._weights = aligned(weights.size)
        self._weights[:] = weights
        self._output = aligned(manifest.outputs[0].size_bytes)
        self._shape = manifest.outputs[0].shape
        status = model.binas_create(
            *_sized(self._context),
            *_sized(self._arena),
            *_sized(self._weights),
            ctypes.c_int(threads),
        )
        if status != 0:
            raise MeasureError(f"binas_create of {artifact.path.name} returned {status}")
        entry = aligned(x.nbytes)
        entry[:] = np.ascontiguousarray(x, np.float32).view(np.uint8).reshape(-1)
        self._call = NativeCall(
            model.binas_run, self._context.ctypes.data, [entry], [self._output], threads
        )

    def output(self) -> Array:
        """What one run computes."""
        self._output[:] = 0xFF
        self._call.batch(1)
        return self._output.view(np.float32).reshape(self._shape).copy()

    def batch(self, runs: int) -> Batch:
        """Run in a loop in C."""
        return self._call.batch(runs)


def aligned(size_bytes: int) -> Array:
    """Zeroed bytes from the beginning of a page."""
    room = np.zeros(size_bytes + _ALIGN, np.uint8)
    first = -room.ctypes.data % _ALIGN
    return room[first : first + size_bytes]


@cache
def library() -> Any:
    """`native/` and the harness's yardstick, compiled and loaded."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "libbench.so"
        flags = ["-target", "x86_64-linux-gnu.2.28", "-shared", "-fPIC", "-std=gnu11", "-O2"]
        # zig's default would trap on what C leaves undefined, and slow the loops down.
        flags += ["-fno-sanitize=undefined", "-Wall", "-Wextra", "-Werror", f"-I{_HARNESS}"]
        link.zig([*flags, *map(str, _SOURCES), "-lm", "-pthread", "-o", str(path)])
        loaded = ctypes.CDLL(str(path))
    loaded.bench_loop.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 2 + [ctypes.c_void_p]
    loaded.bench_crew_start.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int64]
    loaded.bench_crew_start.restype = ctypes.c_void_p
    loaded.bench_crew_stop.argtypes = [ctypes.c_void_p]
    loaded.bench_peak_work.restype = ctypes.c_int64
    loaded.binas_yardstick_ns.restype = ctypes.c_double
    return loaded


def gauge() -> Gauge:
    """The harness's own yardstick, in this process."""
    return Gauge(library().binas_yardstick_ns)


def _pointers(arrays: Sequence[Array]) -> Any:
    return (ctypes.c_void_p * max(1, len(arrays)))(*(array.ctypes.data for array in arrays))


def _sized(array: Array) -> tuple[Any, Any]:
    return ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.size)
