"""What single stages leave in their folders, as records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from binas.core.layer import Layer
from binas.runtime.measure import Failure, Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Verification of the artifacts of one network.

    Attributes:
        binary_layers_exact: Over all links.
        max_abs_error: Over all links.
        flips: Bits at their threshold that fell to the other side, over all links.
        links: What was compared with what.
        instructions: Board → executed in one inference, counted by an emulator.
    """

    SCHEMA: ClassVar[str] = "binas.demo-checked/1"

    binary_layers_exact: bool
    max_abs_error: float
    flips: int
    links: tuple[str, ...]
    instructions: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One network on the device, as a whole and step by step."""

    SCHEMA: ClassVar[str] = "binas.demo-timed/1"

    whole: Measurement
    steps: tuple[Measurement | Failure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTimes:
    """Layers that no table holds, measured by themselves."""

    SCHEMA: ClassVar[str] = "binas.demo-layers/1"

    layers: tuple[Layer, ...]
    results: tuple[Measurement | Failure, ...]
