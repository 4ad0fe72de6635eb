"""The reference of any input: asked of the room that has onnxruntime, where that is installed.

A measuring host needs neither onnx nor onnxruntime, so this room imports nothing of them: the
function is an entry point, `binas.reference`, as the commands of `binas-table` are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np

from binas.core.errors import UsageError
from binas.runtime.artifact import Artifact
from binas.runtime.layout import checked_inputs

Reference = Callable[[Path, Artifact, Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def reference_taps(
    model: Path, artifact: Artifact, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What every step should make of an input, by onnxruntime on the model's file.

    Args:
        model: The ONNX file that the artifact was compiled from.
        artifact: The artifact.
        inputs: Port name → float32 array in the port's shape.

    Raises:
        UsageError: The compile extra is not installed, the artifact was made of another model, or
            an input is missing, of another shape, or not finite.
    """
    checked_inputs(artifact.manifest, inputs)
    try:
        found: Reference = entry_points(group="binas.reference")["onnx"].load()
    except (KeyError, ImportError):
        raise UsageError(
            "a reference of a model needs onnxruntime", hint="pip install 'binas[compile]'"
        ) from None
    return found(model, artifact, inputs)
