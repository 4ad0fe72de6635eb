"""A network of two steps, m = x * w, then y = m + 1 with its signs, as artifacts."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from binas.core.bits import pack
from binas.core.layer import Layer
from binas.devices.device import Arch
from binas.devices.probe import host_device
from binas.runtime.artifact import Artifact, Manifest, Port, Step, Tensor, write

WEIGHTS = np.array([2.0, -3.0, 0.5, 1.0], dtype=np.float32)
X = np.array([1.5, 1.0, -4.0, -1.0], dtype=np.float32)

MakeNet = Callable[..., Artifact]


def tensor(name: str, offset: int, *, bits: bool = False) -> Tensor:
    return Tensor(
        name=name,
        shape=(1, 1, 1, 4),
        dtype="bits" if bits else "float32",
        offset=offset,
        size_bytes=4 if bits else 16,
    )


def manifest(arch: Arch, cpu: str, **changes: Any) -> Manifest:
    x, m, y = tensor("x", 0), tensor("m", 16), tensor("y", 32)
    scale = Layer(op="elementwise", in_shape=(1, 1, 1, 4), out_channels=4, stages=("affine",))
    shift = Layer(
        op="elementwise", in_shape=(1, 1, 1, 4), out_channels=4, stages=("affine",), bits_out=True
    )
    b = tensor("b", 48, bits=True)
    known: dict[str, Any] = {
        "model_name": "tiny",
        "model_digest": "0" * 12,
        "device": "host",
        "arch": arch,
        "cpu": cpu,
        "features": (),
        "kernel_version": "k1",
        "versions": {},
        "inputs": (Port(name="x", shape=(1, 4)),),
        "outputs": (Port(name="y", shape=(1, 4)),),
        "steps": (
            Step(name="scale", nodes=(), layer=scale, kernel="k", inputs=(x,), outputs=(m,)),
            Step(name="shift", nodes=(), layer=shift, kernel="k", inputs=(m,), outputs=(y, b)),
        ),
        "layers": (),
        "arena_bytes": 64,
        "weights_bytes": 16,
    }
    return Manifest(**{**known, **changes})


def taps(x: np.ndarray = X) -> dict[str, np.ndarray]:
    at = x.reshape(1, 1, 1, 4)
    m = at * WEIGHTS
    y = m + np.float32(1)
    return {
        "input:x": x.reshape(1, 4),
        "x": at,
        "m": m,
        "y": y,
        "b": pack(y),
        "margin:b": np.abs(y),
    }


def call(command: Any, *arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def make_net(tmp_path: Path) -> MakeNet:
    """`make_net(arch, bench, **changes of the manifest)` writes an artifact."""

    def make(
        arch: Arch | None = None,
        bench: Path | None = None,
        tapped: dict[str, np.ndarray] | None = None,
        **changes: Any,
    ) -> Artifact:
        host = host_device()
        described = manifest(arch or host.arch, "generic" if arch else host.cpu, **changes)
        npz = io.BytesIO()
        arrays: dict[str, Any] = taps() if tapped is None else tapped
        np.savez(npz, **arrays)
        members = {
            "libmodel.so": b"",
            "bench": (bench or Path(__file__).with_name("tiny_bench.py")).read_bytes(),
            "weights.bin": WEIGHTS.tobytes(),
            "taps.npz": npz.getvalue(),
            "model.h": b"",
        }
        return write(tmp_path / "tiny.binas", described, members)

    return make


@pytest.fixture
def net(make_net: MakeNet) -> Artifact:
    """The network for this machine, with a harness in Python."""
    return make_net()


@pytest.fixture
def arm_net(make_net: MakeNet) -> Artifact:
    """The network for aarch64, compiled."""
    elf = Path(__file__).parents[2] / "data" / "tiny_aarch64.elf"
    return make_net("aarch64", elf, features=("fp", "asimd"))


@pytest.fixture
def x() -> np.ndarray:
    """An input of the network, as its port has it."""
    return X.reshape(1, 4)
