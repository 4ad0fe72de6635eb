"""Another tile is another way to the same bytes, whatever the layer, the CPU and the counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from binas.compile import isa as isas
from binas.compile.kernels import family
from binas.compile.tile import Tile
from binas.core.layer import Layer
from binas.devices import registry
from binas.devices.device import CPUS
from tests.integration.kernel_nodes import affine, conv, prelu
from tests.integration.running import emulated, on_x86

pytestmark = pytest.mark.slow

CASES = {
    "129 to 80 bits": conv(129, 80, image=(3, 7), batch=2, floats=False, packed=True),
    "160 to 48 bits": conv(160, 48, image=(3, 9), floats=False, packed=True),
    "96 to 40 floats": conv(96, 40, image=(5, 6)),
    "33 to 65 floats": conv(33, 65, image=(5, 6), stages=(affine(65), prelu(65))),
    "64 to 128 bits in groups": conv(64, 128, image=(4, 5), groups=2, floats=False, packed=True),
    "7 to 63 reals": conv(7, 63, binary=False, image=(4, 9), stages=()),
    "300 to 81, weights of one bit": conv(300, 81, binary=False, signs=True, image=(4, 9)),
}


def other_tile(layer: Layer, isa: isas.Isa) -> Tile:
    """One that is unlike the rule's in all that it can be unlike in."""
    rule, *others = family.tiles(layer, isa)
    return max(
        others,
        key=lambda tile: (
            tile.rows_first,
            tile.vectors != rule.vectors,
            tile.pixels != rule.pixels,
            tile.unroll != rule.unroll,
            tile.vectors,
        ),
    )


@pytest.mark.parametrize(
    ("arch", "cpu"),
    [
        pytest.param("x86_64", cpu, marks=pytest.mark.isa(*needed, emulator="bochs"))
        for cpu, needed in CPUS["x86_64"].items()
    ]
    + [("aarch64", "generic")],
)
def test_every_tile_gives_the_bytes_of_the_rules_tile(arch: str, cpu: str, tmp_path: Path) -> None:
    isa = isas.find(cpu, arch)
    found = []
    for choose in (family.default_tile, other_tile):
        tiles = {name: choose(node.layer, isa) for name, node in CASES.items()}
        for name, tile in tiles.items():
            assert str(tile) in family.generate(CASES[name].layer, isa, "kernel", tile).tile
        folder = tmp_path / choose.__name__
        folder.mkdir()
        if arch == "x86_64":
            ran = on_x86(CASES, isa, folder, tiles)
            ran.must_have_lived(CASES)
        else:
            ran = emulated(CASES, registry.find("aarch64"), isa, folder, tiles)
        found.append(ran.outputs)
    rule, other = found
    for name in CASES:
        (whole, *splits), others = rule[name], other[name]
        for written in (*splits, *others):
            assert [y.tobytes() for y in written] == [y.tobytes() for y in whole], name
        assert all(np.unique(y).size > 1 for y in whole)
