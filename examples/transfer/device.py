"""From a trained network to answers of the compiled one, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from binas.compile.build import compile_model
from binas.compile.model import BinaryModel
from binas.devices import registry
from binas.runtime.library import Library
from binas.search.export import Writable, export
from binas.search.genotype import AnyGenotype


class Deployed:
    """A compiled network; outputs come in the order in which the network declares them."""

    def __init__(self, library: Library) -> None:
        """Of an open library."""
        self._library = library
        manifest = library.artifact.manifest
        self._input = manifest.inputs[0].name
        self._outputs = [port.name for port in manifest.outputs]
        self.artifact_bytes = library.artifact.path.stat().st_size

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        """One image [C, H, W] → every output."""
        found = self._library.run({self._input: x[None]})
        return [found[name] for name in self._outputs]


@contextmanager
def deployed(net: Writable, genotype: AnyGenotype, folder: Path, name: str) -> Iterator[Deployed]:
    """Export, compile for this machine, verify, load."""
    folder.mkdir(parents=True, exist_ok=True)
    export(net, genotype, folder / f"{name}.onnx", name=name)
    model = BinaryModel.load(folder / f"{name}.onnx")
    path = folder / f"{name}.binas"
    compiled = compile_model(model, registry.find("host"), path, verify=True)
    with Library(compiled.artifact) as library:
        yield Deployed(library)
