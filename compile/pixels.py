"""Pixels as the input: bytes as a camera gives them, [N, H, W, C], normalised where they enter.

An input is copied into the arena anyway. A byte has 256 values, so its normalisation is a table per
channel in the plan: one look-up per value, and bit for bit the number that the host would compute.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Graph
from binas.core.errors import UsageError
from binas.runtime.artifact import Normalisation, Port
from binas.runtime.images import normalised

VALUES = 256  # of a byte
MAX_CHANNELS = 64  # a table takes a KiB per channel


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """An input that the caller gives as bytes.

    Attributes:
        port: What the caller gives: uint8 [N, H, W, C].
        declared: What the ONNX file declares: float32, N, C, H, W or as it says.
        levels: What the network reads in place of each byte: float32 [C, 256].
    """

    port: Port
    declared: Port
    levels: NDArray[np.float32]

    def entered(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The array that the ONNX file declares, of bytes [N, H, W, C]."""
        x = self.levels[np.arange(len(self.levels)), pixels]
        return np.ascontiguousarray(x if self.declared.channels_last else np.moveaxis(x, -1, 1))


def check_normalisation(
    graph: Graph, inputs: tuple[Port, ...], normalisation: Normalisation | None
) -> None:
    """Refuse a normalisation that the only image cannot have.

    Raises:
        UsageError: For another number of channels, or pixels become infinite.
    """
    if normalisation is None or len(inputs) != 1 or len(inputs[0].shape) != 4:
        return
    C = graph.values[inputs[0].name].shape[3]
    sizes = {len(normalisation.mean), len(normalisation.std)}
    if sizes - {1, C}:
        raise UsageError(
            f"a normalisation by {max(sizes)} numbers for an image of {C} channels",
            hint="give --mean and --std one number, or one for each channel",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        ends = normalised(np.array([[0], [VALUES - 1]], np.uint8), normalisation)
    if not np.isfinite(ends).all():
        raise UsageError(
            "normalised pixels are no finite float32 numbers",
            hint="look at --mean and --std: they are of pixels 0 to 255",
        )


def pixels_of(
    graph: Graph, inputs: tuple[Port, ...], normalisation: Normalisation | None
) -> Pixels:
    """The only input of a network as bytes.

    Raises:
        UsageError: Several inputs, no image, or no normalisation of its channels.
    """
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shown = ", ".join(f"{port.name} {list(port.shape)}" for port in inputs)
        raise UsageError(
            f"the network reads {shown}, expected one image to be given as bytes",
            hint="compile it without --uint8",
        )
    declared = inputs[0]
    value = graph.values[declared.name]
    if normalisation is None:
        raise UsageError(
            "the model does not say how pixels become numbers",
            hint="give --mean and --std (of pixels 0 to 255) with --uint8",
        )
    check_normalisation(graph, inputs, normalisation)
    C = value.shape[3]
    if C > MAX_CHANNELS:
        raise UsageError(
            f"pixels of {C} channels, expected at most {MAX_CHANNELS}",
            hint="compile without --uint8",
        )
    every = np.broadcast_to(np.arange(VALUES, dtype=np.uint8)[:, None], (VALUES, C))
    return Pixels(
        port=Port(name=declared.name, shape=value.shape, channels_last=True, dtype="uint8"),
        declared=replace(declared, channels_last=value.channels_last),
        levels=np.ascontiguousarray(normalised(every, normalisation).T),
    )


def entries(
    graph: Graph, inputs: tuple[Port, ...], pixels: Pixels | None = None
) -> tuple[Port, ...]:
    """A network's inputs as the caller gives them."""
    if pixels is not None:
        return (pixels.port,)
    return tuple(
        replace(port, channels_last=graph.values[port.name].channels_last) for port in inputs
    )
