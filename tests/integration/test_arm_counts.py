"""What the ARM kernels execute: vectors alone count, and taps on padding are not counted at all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from binas.compile.build import compile_layers
from binas.compile.kernels import cutting
from binas.core.layer import Layer
from binas.devices import elf, registry
from binas.runtime.artifact import Artifact
from binas.runtime.emulated import EmulatedSession
from tests.integration.kernel_nodes import conv

pytestmark = pytest.mark.slow

REGISTER_MACS = 128
CNT_16B, CNT_8B, OPCODE = 0x4E205800, 0x0E205800, 0xFFFFFC00  # the rest of a word says which


def _layers() -> dict[str, Layer]:
    bits: dict[str, Any] = {"image": (9, 9), "floats": False, "packed": True}
    both: dict[str, Any] = {"image": (9, 9), "packed": True}
    found = {
        f"{C} channels, {name}": conv(C, 32, **fields).layer
        for C in (32, 64, 96, 128, 256)
        for name, fields in (("bits", bits), ("floats and bits", both))
    }
    for value in (1, -1):
        found[f"padded with {value}"] = conv(64, 32, **bits, pad_value=value).layer
    found["stride 2"] = conv(64, 32, **both, stride=(2, 2)).layer
    found["dilation 2"] = conv(128, 32, **both, dilation=(2, 2), padding=(2, 2, 2, 2)).layer
    return found


LAYERS = _layers()


def inside(layer: Layer) -> int:
    """Binary MACs of a layer within the image."""
    rows, columns = cutting.classes(layer)
    taps = sum(len(row) for row in rows) * sum(len(column) for column in columns)
    return taps * layer.in_shape[3] * layer.out_channels


def executed(artifact: Artifact, session: EmulatedSession, step: int) -> dict[int, int]:
    """How often a step executes `cnt` on 16 bytes, and on 8."""
    bench = elf.read(artifact.read("bench"), where="bench")
    found = dict.fromkeys((CNT_16B, CNT_8B), 0)
    for address, size in session.trace(step):
        segment = next(s for s in bench.segments if s.address <= address < s.address + s.size_bytes)
        code = segment.data[address - segment.address :][:size]
        for place in range(0, size, 4):
            opcode = int.from_bytes(code[place : place + 4], "little") & OPCODE
            if opcode in found:
                found[opcode] += 1
    return found


@pytest.mark.parametrize("device", ["aarch64", "rpi4"])
def test_every_tap_inside_the_image_is_counted_with_vectors_and_no_other(
    device: str, tmp_path: Path
) -> None:
    pytest.importorskip("unicorn")
    layers = list(LAYERS.values())
    artifact = compile_layers(layers, registry.find(device), tmp_path / "layers.binas")
    session = EmulatedSession(artifact)
    for step, (name, layer) in enumerate(LAYERS.items()):
        counts = executed(artifact, session, step)
        assert counts == {CNT_16B: math.ceil(inside(layer) / REGISTER_MACS), CNT_8B: 0}, name
