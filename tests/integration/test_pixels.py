"""Networks that take pixels as bytes: the same answers as from floats, and what is refused."""

from __future__ import annotations

import ctypes
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from binas.compile.build import compile_model
from binas.compile.cli import main as binas_compile
from binas.compile.model import BinaryModel, ModelWriter
from binas.compile.pixels import Pixels, pixels_of
from binas.compile.plan import import_model
from binas.core.errors import UsageError
from binas.devices.registry import find
from binas.runtime.artifact import Artifact, Normalisation, Port, load
from binas.runtime.cli import run
from binas.runtime.images import normalised
from binas.runtime.library import Library
from binas.runtime.verify import verify

NORMAL = Normalisation(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
H, W = 5, 7


def network(*, channels_last: bool = False, batch: int = 1) -> BinaryModel:
    """The image itself, and one binary convolution of it."""
    w = ModelWriter("camera")
    x = w.input("x", (batch, H, W, 3) if channels_last else (batch, 3, H, W))
    x = w.node("Transpose", [x], perm=[0, 3, 1, 2]) if channels_last else x
    ones = np.where(np.random.default_rng(1).random((4, 3, 3, 3)) < 0.5, 1.0, -1.0)
    seen = w.node("Add", [x, w.constant(np.zeros((1, 3, 1, 1)))])
    y = w.binary_conv2d(
        w.binary_quantize(seen), ones, scale=np.ones(4), bias=np.zeros(4), name="body"
    )
    return BinaryModel.of(w.finish([seen, y]), "camera").described(normalisation=NORMAL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """camera.onnx; floats.binas and bytes.binas made of it."""
    place, model = tmp_path_factory.mktemp("pixels"), network()
    (place / "camera.onnx").write_bytes(model.proto.SerializeToString())
    model = BinaryModel.load(place / "camera.onnx")
    compile_model(model, find("host"), place / "floats.binas")
    compile_model(model, find("host"), place / "bytes.binas", uint8=True, verify=True)
    return place


def every_value() -> np.ndarray:
    """[1, H, W, 3] with the smallest and the largest byte."""
    return np.random.default_rng(0).permutation(np.linspace(0, 255, H * W * 3)).astype(
        np.uint8
    ).reshape(1, H, W, 3)  # fmt: skip


def outputs(artifact: Artifact, x: np.ndarray) -> list[np.ndarray]:
    """What the library in this process makes of an input."""
    with Library(artifact) as library:
        return list(library.run({"x": x}).values())


def test_bytes_give_the_answers_of_the_floats_they_mean_to_the_last_bit(folder: Path) -> None:
    pixels = every_value()
    floats = np.ascontiguousarray(normalised(pixels, NORMAL).transpose(0, 3, 1, 2))
    expected = outputs(load(folder / "floats.binas"), floats)
    for got, wanted in zip(outputs(load(folder / "bytes.binas"), pixels), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(expected[0], floats)


def test_a_batch_whose_model_has_channels_last_enters_as_it_lies(tmp_path: Path) -> None:
    model = network(channels_last=True, batch=2)
    compile_model(model, find("host"), tmp_path / "b.binas", uint8=True, verify=True)
    artifact = load(tmp_path / "b.binas")
    pixels = np.concatenate([every_value(), 255 - every_value()])
    found = outputs(artifact, pixels)[0]
    seen = found if found.shape == pixels.shape else found.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(seen, normalised(pixels, NORMAL))


@pytest.mark.parametrize("channels", [1, 2])
def test_images_of_few_channels_are_normalised_each_by_its_own(
    channels: int, tmp_path: Path
) -> None:
    w = ModelWriter("grey")
    x = w.input("x", (1, channels, H, W))
    normal = Normalisation(mean=NORMAL.mean[:channels], std=NORMAL.std[:channels])
    proto = w.finish([w.node("Add", [x, w.constant(np.zeros((1, channels, 1, 1)))])])
    model = BinaryModel.of(proto, "grey").described(normalisation=normal)
    made = compile_model(model, find("host"), tmp_path / "g.binas", uint8=True)
    pixels = np.ascontiguousarray(every_value()[..., :channels])
    (seen,) = outputs(made.artifact, pixels)
    np.testing.assert_array_equal(seen.transpose(0, 2, 3, 1), normalised(pixels, normal))


def test_the_aarch64_library_normalises_as_the_reference_does(tmp_path: Path) -> None:
    made = compile_model(network(), find("rpi4"), tmp_path / "a.binas", uint8=True, verify=True)
    assert "unicorn" in made.verified
    assert all(report.first_wrong is None for report in made.verified.values())


def test_the_c_interface_tells_bytes_from_floats_and_takes_them_at_any_address(
    folder: Path,
) -> None:
    artifact = load(folder / "bytes.binas")
    (port,) = artifact.manifest.inputs
    assert (port.dtype, port.shape, port.size_bytes) == ("uint8", (1, H, W, 3), H * W * 3)
    room = np.zeros(port.size_bytes + 1, np.uint8)
    odd = room[1:].reshape(port.shape)
    odd[:] = every_value()
    assert odd.ctypes.data % 2 == 1
    with Library(artifact) as library:
        np.testing.assert_array_equal(
            library.run({"x": odd})[artifact.manifest.outputs[0].name],
            outputs(artifact, every_value())[0],
        )
        c = library._c
        c.binas_input_bytes.restype = ctypes.c_size_t
        assert c.binas_input_bytes(ctypes.c_size_t(0)) == H * W * 3
        assert [c.binas_input_type(ctypes.c_size_t(i)) for i in (0, 1)] == [1, 0]
    with Library(load(folder / "floats.binas")) as library:
        assert library._c.binas_input_type(ctypes.c_size_t(0)) == 0


@pytest.mark.parametrize("name", ["floats", "bytes"])
def test_a_photo_is_seen_alike_by_both(folder: Path, name: str) -> None:
    Image.fromarray(every_value()[0]).save(folder / "photo.png")
    arguments = ["--device", "host", "--input", str(folder / "photo.png"), "--verify"]
    arguments += ["--model", str(folder / "camera.onnx"), "--json"]
    done = CliRunner().invoke(run, [str(folder / f"{name}.binas"), *arguments])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["verify"]["binary_layers_exact"]
    image = normalised(every_value(), NORMAL)
    assert found["outputs"][0]["min"] == image.min()
    assert found["outputs"][0]["max"] == image.max()


def test_floats_for_an_input_of_bytes_are_refused_with_what_to_give(folder: Path) -> None:
    with pytest.raises(UsageError, match="is float32, expected uint8") as caught:
        outputs(load(folder / "bytes.binas"), every_value().astype(np.float32))
    assert "0 to 255" in caught.value.hint


def test_the_stored_input_is_verified_through_the_command(folder: Path) -> None:
    with Library(load(folder / "bytes.binas")) as library:
        assert verify(library).binary_layers_exact


def test_the_command_compiles_for_bytes_and_says_so(folder: Path) -> None:
    model, output = str(folder / "camera.onnx"), str(folder / "c.binas")
    arguments = ["--uint8", "--mean", "127.5", "--std", "127.5", "-o", output]
    done = CliRunner().invoke(binas_compile, [model, *arguments])
    assert done.exit_code == 0, done.stderr
    assert "x: bytes [1, 5, 7, 3] (N H W C)" in done.stdout
    assert load(Path(output)).manifest.normalisation == Normalisation(mean=(127.5,), std=(127.5,))


def pixels(**changes: object) -> Pixels:
    """Of the small network, with its inputs or its normalisation changed."""
    model = network()
    known = {"inputs": model.inputs, "normalisation": model.normalisation, **changes}
    return pixels_of(import_model(model), **known)  # type: ignore[arg-type]


def test_the_table_has_what_numpy_computes() -> None:
    levels = pixels(normalisation=replace(NORMAL, mean=(0.1,), std=(3.0, 5.0, 7.0))).levels
    values = np.arange(256, dtype=np.float32)
    for channel, std in enumerate((3, 5, 7)):
        expected = (values - np.float32(0.1)) / np.float32(std)
        np.testing.assert_array_equal(levels[channel], expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalisation": None}, "does not say how pixels become numbers"),
        ({"normalisation": Normalisation(mean=(1.0, 2.0), std=(1.0, 1.0))}, "by 2 numbers"),
        ({"inputs": (Port(name="x", shape=(1, 105)),)}, "expected one image"),
        ({"inputs": (Port(name="x", shape=(1, 3, 5, 7)),) * 2}, "expected one image"),
    ],
)
def test_what_cannot_be_bytes_is_said(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        pixels(**changes)
    assert caught.value.hint


def test_a_port_of_bytes_that_is_no_image_is_refused() -> None:
    with pytest.raises(UsageError, match="pixels of shape"):
        Port(name="x", shape=(1, 9), channels_last=True, dtype="uint8")
