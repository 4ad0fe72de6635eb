"""Photos as inputs: what the network sees of them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from binas.core.errors import UsageError
from binas.runtime.artifact import Normalisation, Port
from binas.runtime.images import is_image, read_images

NORMAL = Normalisation(mean=(100.0, 50.0, 0.0), std=(10.0, 5.0, 1.0))
RGB = Port(name="x", shape=(1, 3, 4, 6))


def photo(path: Path, size: tuple[int, int] = (6, 4), colour: object = (200, 100, 7)) -> Path:
    """A picture of one colour, without losses."""
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(path)  # type: ignore[arg-type]
    return path


def test_pixels_are_normalised_per_channel(tmp_path: Path) -> None:
    x = read_images([photo(tmp_path / "p.png")], RGB, NORMAL)
    assert x.dtype == np.float32
    assert x.shape == (1, 3, 4, 6)
    assert x.flags.c_contiguous
    np.testing.assert_array_equal(x[0, :, 0, 0], [10, 10, 7])


def test_blue_first_and_channels_last_are_as_the_artifact_says(tmp_path: Path) -> None:
    path = photo(tmp_path / "p.png")
    port = Port(name="x", shape=(1, 4, 6, 3), channels_last=True)
    bgr = Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3, order="BGR")
    x = read_images([path], port, bgr)
    assert x.shape == (1, 4, 6, 3)
    np.testing.assert_array_equal(x[0, 0, 0], [7, 100, 200])


def test_the_middle_is_cut_and_scaled(tmp_path: Path) -> None:
    """Three times as wide as needed: the outer thirds are cut away."""
    pixels = np.zeros((8, 36, 3), np.uint8)
    pixels[:, 12:24] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    x = read_images([tmp_path / "wide.png"], RGB, Normalisation(mean=(0.0,) * 3, std=(255.0,) * 3))
    np.testing.assert_allclose(x[..., 1:-1], 1, atol=0.01)


def test_a_photo_lies_as_its_camera_was_held(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :3] = 255  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(tmp_path / "p.png", exif=exif)
    x = read_images([tmp_path / "p.png"], RGB, Normalisation(mean=(0.0,) * 3, std=(255.0,) * 3))
    np.testing.assert_array_equal(x[0, 0, 0], [0, 0, 0, 1, 1, 1])


def test_a_gray_network_reads_gray(tmp_path: Path) -> None:
    port = Port(name="x", shape=(1, 1, 4, 6))
    x = read_images(
        [photo(tmp_path / "p.png", colour=51)], port, Normalisation(mean=(1.0,), std=(2.0,))
    )
    np.testing.assert_array_equal(x, np.full((1, 1, 4, 6), 25, np.float32))


def test_a_batch_takes_its_images_in_order(tmp_path: Path) -> None:
    paths = [photo(tmp_path / f"{red}.png", colour=(red, 0, 0)) for red in (10, 20)]
    port = Port(name="x", shape=(2, 3, 4, 6))
    x = read_images(paths, port, Normalisation(mean=(0.0,), std=(1.0,)))
    assert x[:, 0, 0, 0].tolist() == [10, 20]


def test_what_cannot_be_an_image_input_is_refused(tmp_path: Path) -> None:
    path = photo(tmp_path / "p.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(path.read_bytes()[:45])
    cases = [
        ([path], Port(name="x", shape=(1, 8)), NORMAL, "which is no image"),
        ([path], Port(name="x", shape=(1, 8, 4, 4)), NORMAL, "has 8 channels"),
        ([path], RGB, None, "does not say how pixels become numbers"),
        ([path, path], RGB, NORMAL, "a batch of 1 takes as many images, given: 2"),
        ([path], RGB, Normalisation(mean=(1.0, 2.0), std=(1.0, 1.0)), "2 numbers for 3 channels"),
        ([tmp_path / "text.png"], RGB, NORMAL, "is no image"),
        ([tmp_path / "cut.png"], RGB, NORMAL, "is no image"),
        ([tmp_path / "none.png"], RGB, NORMAL, "no such file"),
    ]
    for paths, port, normalisation, said in cases:
        with pytest.raises(UsageError, match=said):
            read_images(paths, port, normalisation)


def test_an_image_of_16_bits_is_refused_and_not_clipped_to_white(tmp_path: Path) -> None:
    path = tmp_path / "depth.png"
    Image.fromarray(np.full((4, 4), 30_000, np.uint16)).save(path)
    with pytest.raises(UsageError, match="more than 8 bits a channel"):
        read_images([path], RGB, NORMAL)


def test_a_file_is_an_image_by_its_name() -> None:
    assert is_image("a/PHOTO.JPG")
    assert not is_image("x.npy")
