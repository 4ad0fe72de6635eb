"""Run an artifact from Python: in this process without copies, or on a board.

    python examples/native/classify.py net.binas x.npy
    python examples/native/classify.py net.binas x.npy --device rpi4-desk

The first way loads the artifact's library into this process: it must be compiled for this machine,
and by somebody you trust, for it is machine code. The second goes through a link and needs only
that the board is known to `binas-devices`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from binas.core.errors import BinasError
from binas.devices import registry
from binas.runtime import artifact
from binas.runtime.library import Library
from binas.runtime.session import Session


def here(path: Path, x: np.ndarray) -> np.ndarray:
    """The first output; `y` is written in place, as often as there are inputs to run."""
    loaded = artifact.load(path)
    (entry, *_), (result, *_) = loaded.manifest.inputs, loaded.manifest.outputs
    outputs = {port.name: np.empty(port.shape, np.float32) for port in loaded.manifest.outputs}
    with Library(loaded) as network:
        network.run({entry.name: x}, out=outputs)
    return outputs[result.name]


def there(path: Path, x: np.ndarray, device: str) -> np.ndarray:
    """The first output, computed on a device."""
    loaded = artifact.load(path)
    (entry, *_), (result, *_) = loaded.manifest.inputs, loaded.manifest.outputs
    with registry.connect(registry.find(device)) as link, Session(loaded, link) as session:
        return session.run({entry.name: x})[result.name]


def main() -> int:
    """Print the index and the value of the largest output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("input", type=Path, help="array as the artifact's input wants it, .npy")
    parser.add_argument("--device", default="", help="as in binas-devices list")
    given = parser.parse_args()
    x = np.load(given.input, allow_pickle=False)
    try:
        y = there(given.artifact, x, given.device) if given.device else here(given.artifact, x)
    except BinasError as error:
        sys.stderr.write(f"{error}\n{error.hint}\n")
        return error.exit_code
    sys.stdout.write(f"{y.argmax()} {y.max():.6g}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
