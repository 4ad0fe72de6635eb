"""Run a whole network between guard pages; a program of its own, as it may crash.

    python -m tests.integration.guarded_network FILE.binas

The context, the arena, the weights, and every input and output touch an unreadable page: first the
one behind them, then the one before. Weights and inputs cannot be written. Outputs are compared
with the artifact's reference; what is wrong is printed.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from pathlib import Path

import numpy as np

from binas.runtime.artifact import Artifact, load
from tests.integration.guarded_run import guarded, held, say


def run(artifact: Artifact, library: ctypes.CDLL, *, at_start: bool, threads: int) -> None:
    """One inference."""
    taps = artifact.taps()
    sizes = library.binas_context_bytes(), library.binas_arena_bytes()
    context, arena = (guarded(size, 0, at_start=at_start)[0] for size in sizes)
    section = np.frombuffer(artifact.read("weights.bin"), np.uint8)
    weights = held(section, 0, at_start=at_start)
    # Ports need no more than the alignment of a float.
    inputs = [
        held(taps[f"input:{port.name}"], 0, at_start=at_start, align=4)
        for port in artifact.manifest.inputs
    ]
    outputs = [
        guarded(port.size_bytes, 0, at_start=at_start, align=4)
        for port in artifact.manifest.outputs
    ]
    p, size = ctypes.c_void_p, ctypes.c_size_t
    created = library.binas_create(
        *(p(context), size(sizes[0]), p(arena), size(sizes[1]), p(weights), size(section.size)),
        ctypes.c_int(threads),
    )
    given = (p * len(inputs))(*inputs)
    wanted = (p * len(outputs))(*(address for address, _ in outputs))
    status = library.binas_run(p(context), given, wanted)
    library.binas_destroy(p(context))
    if (created, status) != (0, 0):
        say(f"status {created} and {status}")
    for port, (_, view) in zip(artifact.manifest.outputs, outputs, strict=True):
        found = view[: port.size_bytes].view(np.float32).reshape(port.shape)
        expected = taps[f"output:{port.name}"]
        limit = 1e-4 * max(1.0, float(np.abs(expected).max()))
        if not np.allclose(found, expected, rtol=0, atol=limit):
            say(f"wrong {port.name}")


def main(path: Path) -> None:
    """Both ends of the buffers, one thread and several."""
    artifact = load(path)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "libmodel.so"
        file.write_bytes(artifact.read("libmodel.so"))
        library = ctypes.CDLL(str(file))
    library.binas_context_bytes.restype = ctypes.c_size_t
    library.binas_arena_bytes.restype = ctypes.c_size_t
    for at_start in (False, True):
        for threads in (1, 3):
            run(artifact, library, at_start=at_start, threads=threads)
    say("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
