"""What the ARM benchmarks price: layers, builds of them, and the CPUs whose models price them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Out = Literal["bits", "floats", "residual"]

OUTS: tuple[Out, ...] = ("bits", "floats", "residual")
SIZES = {32: 56, 64: 56, 128: 28, 256: 14, 512: 7}  # channels → rows, as in ResNet-18
BUILDS = {"cortex-a53": "rpi3", "cortex-a72": "rpi4", "cortex-a76": "rpi5", "neoverse-n1": "rpi5"}
ANY = "aarch64"  # the build for all of them
IN_ORDER = ("cortex-a53",)  # does one thing after the other
REORDERING = tuple(model for model in BUILDS if model not in IN_ORDER)
NETWORK_DEVICES = ("rpi3", "rpi4")  # one of either kind


def layer_name(C: int) -> str:
    """Channels and rows: "64x56"."""
    return f"{C}x{SIZES[C]}"


def work_name(layer: str, out: str, model: str) -> str:
    """A layer in the model of a CPU, as targets name it."""
    return f"arm/{layer}/{out}/{model}"


def works(channels: Iterable[int], outs: Iterable[str], models: Iterable[str]) -> tuple[str, ...]:
    """The names of all combinations."""
    return tuple(work_name(layer_name(C), o, m) for C in channels for o in outs for m in models)
