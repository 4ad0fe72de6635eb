"""Models that other tools have made, through the command to an answer that those tools agree with.

`tests/models/` holds the files and the scripts that made them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click.testing
import numpy as np
import onnx
import pytest
from PIL import Image

from binas.compile.build import compile_model
from binas.compile.cli import main as compile_command
from binas.compile.model import BinaryModel, ModelWriter
from binas.compile.plan import plan
from binas.devices.registry import find
from binas.runtime.cli import run as run_command

MODELS = Path(__file__).resolve().parents[1] / "models"

LAYERS = {
    "brevitas": ["float", "binary", "binary", "binary", "binary"],
    "larq_quicknet": ["float"] * 3 + ["binary"] * 2 + ["float"] * 2 + ["binary"] * 2 + ["float"],
    "larq_xnor": ["float", "binary", "binary", "binary", "float"],
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_binary_layer_of_another_tools_model_is_recognised(name: str) -> None:
    graph = plan(BinaryModel.load(MODELS / f"{name}.onnx"))
    assert [kind for kind, _ in graph.kinds.values()] == LAYERS[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "device"),
    [("brevitas", "host"), ("brevitas", "rpi4"), ("larq_quicknet", "host"), ("larq_xnor", "rpi4")],
)
def test_it_compiles_and_answers_as_the_tool_that_made_it(
    name: str, device: str, tmp_path: Path
) -> None:
    """On this machine, and as aarch64 on an emulated CPU."""
    artifact, x, y = tmp_path / "m.binas", tmp_path / "x.npy", tmp_path / "y.npy"
    made = click.testing.CliRunner().invoke(
        compile_command,
        [str(MODELS / f"{name}.onnx"), "--device", device, "-o", str(artifact), "--json"],
    )
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["binary_layers"] == LAYERS[name].count("binary")
    with np.load(MODELS / f"{name}.npz") as expected:
        np.save(x, expected["x"])
        arguments = [str(artifact), "--device", device, "--input", str(x), "-o", str(y)]
        emulate = ["--emulate"] if device != "host" else []
        ran = click.testing.CliRunner().invoke(run_command, arguments + emulate)
        assert ran.exit_code == 0, ran.output
        np.testing.assert_allclose(np.load(y), expected["y"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["brevitas", "larq_xnor"])
def test_an_artifact_is_verified_against_the_file_of_the_tool_itself(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outputs of the file as it was written: not of what we recognised in it."""
    model, artifact, x = MODELS / f"{name}.onnx", tmp_path / "m.binas", tmp_path / "x.npy"
    compile_model(BinaryModel.load(model), find("host"), artifact)
    with np.load(MODELS / f"{name}.npz") as expected:
        shape = expected["x"].shape  # no value of it lies at a threshold: the outputs are judged
    np.save(x, np.random.default_rng(3).standard_normal(shape).astype(np.float32))
    words = [str(artifact), "--device", "host", "--verify", "--model", str(model)]
    words += ["--input", str(x)]
    done = click.testing.CliRunner().invoke(run_command, words)
    assert done.exit_code == 0, done.output
    assert "not judged" not in done.stderr
    known = BinaryModel.load(model)
    turned = onnx.ModelProto()
    turned.CopyFrom(known.original)
    (last,) = [node for node in turned.graph.node if turned.graph.output[0].name in node.output]
    last.output[0] = "before"
    turned.graph.node.append(
        onnx.helper.make_node("Neg", ["before"], [turned.graph.output[0].name])
    )
    said_by_the_tool = replace(known, original=turned)
    monkeypatch.setattr(BinaryModel, "load", lambda _: said_by_the_tool)
    wrong = click.testing.CliRunner().invoke(run_command, words)
    assert wrong.exit_code != 0
    assert "output" in wrong.stderr


@pytest.mark.slow
def test_a_photo_goes_in_and_names_come_out(tmp_path: Path) -> None:
    """Normalisation and labels travel in the artifact; a batch takes a photo for each image."""
    w = ModelWriter("colours")
    x = w.input("image", (2, 3, 8, 8))
    mean = w.node("Flatten", [w.node("GlobalAveragePool", [x])])
    y = w.node("Softmax", [w.node("Gemm", [mean, w.constant(np.eye(3) * 3)])], axis=-1)
    model, names = tmp_path / "m.onnx", tmp_path / "names.txt"
    model.write_bytes(w.finish([y]).SerializeToString())
    names.write_text("red\ngreen\nblue\n")
    photos = [tmp_path / f"{name}.png" for name in ("blue", "red")]
    for path in photos:
        Image.new("RGB", (20, 16), path.stem).save(path)
    artifact = tmp_path / "m.binas"
    arguments = ["--labels", str(names), "--mean", "127.5", "--std", "64"]
    made = click.testing.CliRunner().invoke(
        compile_command, [str(model), "-o", str(artifact), *arguments]
    )
    assert made.exit_code == 0, made.output
    inputs = [argument for path in photos for argument in ("--input", str(path))]
    ran = click.testing.CliRunner().invoke(
        run_command, [str(artifact), "--device", "host", *inputs, "--top", "1", "--json"]
    )
    assert ran.exit_code == 0, ran.output
    (output,) = json.loads(ran.stdout)["outputs"]
    assert [(entry["image"], entry["label"]) for entry in output["top"]] == [
        (0, "blue"),
        (1, "red"),
    ]
    shown = click.testing.CliRunner().invoke(
        run_command, [str(artifact), "--device", "host", *inputs, "--top", "2"]
    )
    assert "image 0          blue" in shown.stdout
