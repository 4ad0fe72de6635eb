"""Scheduled kernels as a library for TVM's own runtime, to be called over RPC or timed by TVM.

An artifact needs no runtime; this is for comparing with TVM's tools, on the very functions that go
into an artifact. A kernel takes its buffers, each flat, in the order of its artifact's call, then
the half-open range of units (rows of the output, mostly) that it is to compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binas.compile import isa as isas
from binas.compile.plan_source import symbols
from binas.compile.tile import Choice
from binas.compile.tuning import Tuning
from binas.core.layer import Layer
from binas.devices import zig
from binas.devices.device import Device


@dataclass(frozen=True, slots=True)
class Exported:
    """One kernel of a library.

    Attributes:
        symbol: Its name there.
        units: How many units the whole layer is.
    """

    symbol: str
    units: int


def export_module(layers: Sequence[Layer], device: Device, output: Path) -> dict[Layer, Exported]:
    """Compile the kernels of layers for TVM's runtime.

    Args:
        layers: Equal ones become one kernel.
        device: What it is compiled for; its CPU decides the kernels.
        output: The shared library.

    Returns:
        Layer → its kernel in the library.

    Raises:
        CompileError: A layer has no kernel, or code generation or linking failed.
    """
    import tvm  # noqa: PLC0415 (1 s)

    from binas.compile import codegen  # noqa: PLC0415
    from binas.compile.kernels import family  # noqa: PLC0415

    isa = isas.find(device.cpu, device.arch)
    target = codegen.target(isa)
    tuning = Tuning.of_user()
    choices = {layer: Choice(layer, tuning.tile(layer, isa)[0]) for layer in layers}
    names = {choice.layer: name for choice, name in symbols(choices.values()).items()}
    kernels = {
        layer: family.generate(layer, isa, symbol, choices[layer].tile)
        for layer, symbol in names.items()
    }
    functions = {
        tvm.ir.GlobalVar(names[layer]): kernel.function.with_attrs(
            {"target": target, "global_symbol": names[layer]}
        )
        for layer, kernel in kernels.items()
    }

    def link(library: str, objects: Sequence[str], options: Any = None) -> None:
        zig.cc([*zig.library(device.arch), *objects, *(options or []), "-o", library])

    compiled = tvm.compile(tvm.IRModule(functions), target=target)
    compiled.export_library(str(output), fcompile=link)
    return {layer: Exported(names[layer], kernel.units) for layer, kernel in kernels.items()}
