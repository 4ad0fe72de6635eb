"""Bytes of sums hold what they are said to hold, where every bit of an activation differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from binas.compile import isa as isas
from binas.compile.graph import Node
from binas.core import bits
from binas.devices.device import CPUS
from tests.integration import running
from tests.integration.kernel_meaning import must_mean
from tests.integration.kernel_nodes import conv

pytestmark = pytest.mark.slow

# 1x1 and rows of 3x3 around what a byte counts: 7 and 15 words, 31 and 63 bytes; and their double.
ONE = (217, 224, 240, 248, 256, 449, 480, 496, 504, 512, 960)
THREE = (8, 72, 80, 84, 88, 96, 128, 130, 160, 168, 176, 200)


def opposite(C: int, K: int, size: int, **outputs: Any) -> Node:
    """Weights of -1, as stored or as a threshold turns them."""
    node = conv(C, K, kernel=(size, size), image=(3, 7), **outputs)
    assert node.weights is not None
    node.weights[...] = -1
    return node


def ones(node: Node) -> list[NDArray[Any]]:
    """An image of +1."""
    return [bits.pack(np.ones(node.in_shape, np.float32))]


@pytest.mark.parametrize(
    "cpu",
    [
        pytest.param(cpu, marks=pytest.mark.isa(*CPUS["x86_64"][cpu], emulator="bochs"))
        for cpu in ("x86-64-v2", "x86-64-v3", "x86-64-v4")
    ],
)
def test_no_sum_overflows_where_every_bit_differs(
    cpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "operands", ones)
    cases = {
        f"{size}x{size} of {C} to {K}": opposite(C, K, size, packed=C % 16 == 0)
        for size, channels in ((1, ONE), (3, THREE))
        for C in channels
        for K in (40, 65)
    }
    ran = running.on_x86(cases, isas.find(cpu, "x86_64"), tmp_path)
    ran.must_have_lived(cases)
    for name, node in cases.items():
        must_mean(node, ran.reads[name], ran.outputs[name][0])
