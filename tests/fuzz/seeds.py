"""Valid files of every kind, as small as they can be."""

from __future__ import annotations

import io
import json
from dataclasses import MISSING, fields
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from binas.core import record
from binas.core.layer import Layer
from binas.devices.probe import host_device
from binas.runtime.artifact import write
from binas.runtime.fit import Pair, fit_of
from binas.runtime.measure import Failure, Measurement
from binas.runtime.table import Entry, LatencyTable
from tests.unit.runtime.conftest import WEIGHTS, manifest, taps

SPACES = files("binas.search.spaces")

DEVICES = b"""
[rpi4-desk]
board = "rpi4"
link = "ssh"
host = "pi@raspberrypi.local"
port = 22
options = ["-o", "ProxyJump=gate"]
pin = 3

[here]
board = "x86-64-v2"
link = "host"
directory = "/tmp"
title = "this machine"

[nothing]
board = "null"
link = "null"
note = "invents times"
"""


def genotype() -> bytes:
    """A network of the shipped space."""
    from binas.search import space
    from binas.search.survey import random_genotypes

    return record.dumps(random_genotypes(space.load("digits"), 1, seed=0)[0]).encode()


def table() -> bytes:
    """Two layers, one of which failed."""
    taken = Measurement(samples_ns=(10.0, 11.5), runs_per_batch=4, preemptions=(0, 1))
    layer = Layer(
        op="binary_conv",
        in_shape=(1, 8, 8, 33),
        out_channels=64,
        kernel=(3, 3),
        padding=(1, 1, 1, 1),
        in_bits=1,
        weight_bits=1,
        stages=("affine", "relu"),
    )
    other = Layer(op="concat", in_shape=(1, 8, 8, 40), out_channels=40, parts=(20, 20))
    pairs = [Pair(name=n, predicted_ns=9.0 + i, measured_ns=10.0) for i, n in enumerate("ab")]
    made = LatencyTable(
        device="host",
        cpu="x86-64-v3",
        arch="x86_64",
        kernel_version="0" * 12,
        threads=1,
        entries=(
            Entry(layer=layer, result=taken),
            Entry(layer=other, result=Failure(kind="timeout", message="too slow")),
        ),
        fixed=taken,
        facts={"model": "somebody's"},
        fit=fit_of(pairs),
    )
    return record.dumps(made).encode()


def artifact() -> bytes:
    """A network of two steps for this machine; its harness is no program."""
    npz = io.BytesIO()
    arrays: dict[str, Any] = {**taps(), "output:y": taps()["y"].reshape(1, 4)}
    np.savez(npz, **arrays)
    host = host_device()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "seed.binas"
        others = {"libmodel.so": b"", "bench": b"#!", "model.h": b""}
        contents = {**others, "weights.bin": WEIGHTS.tobytes(), "taps.npz": npz.getvalue()}
        write(path, manifest(host.arch, host.cpu), contents)
        return path.read_bytes()


def array() -> bytes:
    """An input of that network."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((1, 4), np.float32))
    return buffer.getvalue()


def plain_settings(cls: Any) -> dict[str, str]:
    """The defaults of a settings class as TOML values."""
    return {f.name: json.dumps(f.default) for f in fields(cls) if f.default is not MISSING}
