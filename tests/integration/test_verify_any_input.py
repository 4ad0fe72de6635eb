"""`binas-run --verify --model`: every step compared with onnxruntime on an input of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import click.testing
import numpy as np
import onnx
import pytest

from binas.compile.build import compile_model
from binas.compile.model import BinaryModel, ModelWriter
from binas.devices.registry import find
from binas.runtime.cli import run


def network(seed: int) -> onnx.ModelProto:
    """One binary convolution of 33 channels with signs before and float out."""
    generator = np.random.default_rng(seed)
    w = ModelWriter("net")
    x = w.binary_quantize(w.input("x", (1, 33, 5, 5)), name="sign")
    ones = np.where(generator.random((8, 3, 3, 33)) < 0.5, 1.0, -1.0)
    return w.finish([w.binary_conv2d(x, ones, scale=np.ones(8), bias=np.zeros(8), name="body")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx, net.binas made of it, other.onnx, and an input x.npy."""
    place = tmp_path_factory.mktemp("verify")
    for name, seed in (("net", 0), ("other", 1)):
        (place / f"{name}.onnx").write_bytes(network(seed).SerializeToString())
    compile_model(BinaryModel.load(place / "net.onnx"), find("host"), place / "net.binas")
    x = np.random.default_rng(2).standard_normal((1, 33, 5, 5)).astype(np.float32)
    np.save(place / "x.npy", x)
    return place


def call(folder: Path, *arguments: str) -> click.testing.Result:
    file = str(folder / "net.binas")
    return click.testing.CliRunner().invoke(run, [file, "--device", "host", *arguments])


def test_an_input_of_ones_own_is_compared_with_onnxruntime(folder: Path) -> None:
    x, model = str(folder / "x.npy"), str(folder / "net.onnx")
    done = call(folder, "--verify", "--model", model, "--input", x, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["verify"]["binary_layers_exact"] is True
    assert {check["step"] for check in found["verify"]["checks"]} >= {"body", "output"}


def test_a_reference_of_that_input_and_not_the_stored_one_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reference that is wrong for this input alone is noticed."""
    from binas.compile import truth

    honest = truth.taps

    def off(*arguments: object) -> truth.Arrays:
        found = honest(*arguments)  # type: ignore[arg-type]
        return {name: v + 1 if name.startswith("body") else v for name, v in found.items()}

    monkeypatch.setattr(truth, "taps", off)
    x, model = str(folder / "x.npy"), str(folder / "net.onnx")
    assert call(folder, "--verify").exit_code == 0
    done = call(folder, "--verify", "--model", model, "--input", x)
    assert done.exit_code != 0
    assert "body" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--verify", "--model", "other.onnx", "--input", "x.npy"], "was made of a model"),
        (["--verify", "--model", "none.onnx", "--input", "x.npy"], "no such file"),
        (["--verify", "--model", "net.onnx"], "--model says what an input is compared with"),
        (["--model", "net.onnx", "--input", "x.npy"], "--model says what an input"),
    ],
    ids=["another model", "no model", "no input", "nothing to verify"],
)
def test_what_cannot_be_compared_is_said(folder: Path, arguments: list[str], said: str) -> None:
    places = [str(folder / a) if a.endswith((".onnx", ".npy")) else a for a in arguments]
    done = call(folder, *places)
    assert done.exit_code == 2
    assert said in done.stderr
