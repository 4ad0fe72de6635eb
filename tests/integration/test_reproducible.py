"""The same model for the same device gives the same bytes, wherever and whenever it is compiled."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from binas.compile.build import compile_model
from binas.compile.model import BinaryModel, ModelWriter
from binas.core.record import digest_bytes
from binas.devices.registry import find
from binas.runtime import artifact


def model(path: Path) -> None:
    """Two binary convolutions with an input that is packed."""
    generator = np.random.default_rng(0)
    w = ModelWriter("net")
    x = w.input("x", (1, 33, 6, 6))
    for i in range(2):
        x = w.binary_conv2d(
            w.binary_quantize(x),
            np.where(generator.random((33, 3, 3, 33)) < 0.5, 1.0, -1.0),
            scale=generator.standard_normal(33),
            bias=generator.standard_normal(33),
            pads=(1, 1, 1, 1),
            name=f"conv{i}",
        )
    metadata = {"labels": "\n".join(map(str, range(33))), "table_digest": "0123456789ab"}
    onnx.save(w.finish([x], metadata=metadata), str(path))


def compiled(folder: Path, seed: int, kernels: str) -> Path:
    """Compile in a folder of its own, in a process of its own, with kernels kept there."""
    folder.mkdir()
    (folder / "tmp").mkdir()
    model(folder / "net.onnx")
    subprocess.run(
        [Path(sys.executable).with_name("binas-compile"), "net.onnx", "--device", "rpi4"],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONHASHSEED": str(seed),
            "TMPDIR": str(folder / "tmp"),
            "BINAS_KERNEL_CACHE": kernels,
        },
        check=True,
        capture_output=True,
        timeout=200,
    )
    return folder / "net.binas"


def test_kept_kernels_or_none_the_bytes_are_the_same_and_say_what_they_are_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = tmp_path / "kernels"
    monkeypatch.setenv("BINAS_KERNEL_CACHE", str(kernels))
    model(tmp_path / "net.onnx")
    first = tmp_path / "first.binas"
    compile_model(BinaryModel.load(tmp_path / "net.onnx"), find("rpi4"), first)
    kept = sorted(kernels.iterdir())
    warm = compiled(tmp_path / "a", 0, str(kernels))
    assert kept == sorted(kernels.iterdir())
    cold = compiled(tmp_path / "bb", 1, "off")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, warm, cold)]
    assert len(kept) > 0
    assert len(set(digests)) == 1
    made = artifact.load(first)
    data = (tmp_path / "a" / "net.onnx").read_bytes()
    assert made.manifest.model_digest == digest_bytes(data)
    assert made.manifest.sources == {"table": "0123456789ab"}
    assert set(made.manifest.versions) == {"binas", "apache-tvm", "onnx", "ziglang"}
    members = {name: digest_bytes(made.read(name)) for name in artifact.MEMBERS[1:]}
    assert made.manifest.digests == members
