"""Data from files: CIFAR's records and folders of images, and what is said of damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from binas.core.errors import UsageError
from binas.search import data
from binas.search.sources import cifar

PIXELS = 3 * 32 * 32


def record(label: bytes, red: int, green: int, blue: int) -> bytes:
    return label + bytes([red]) * 1024 + bytes([green]) * 1024 + bytes([blue]) * 1024


def cifar10(folder: Path) -> Path:
    """Five files of two images each and two held out: class k is as red as k."""
    folder.mkdir()
    for batch in range(5):
        content = b"".join(record(bytes([k]), k, 100, 200) for k in (2 * batch, 2 * batch + 1))
        (folder / f"data_batch_{batch + 1}.bin").write_bytes(content)
    (folder / "test_batch.bin").write_bytes(record(b"\x09", 9, 0, 255) + record(b"\x00", 0, 1, 2))
    return folder


def test_cifar_10_is_read_plane_by_plane_and_normalised_per_channel(tmp_path: Path) -> None:
    folder = cifar10(tmp_path / "cifar-10-batches-bin")
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n")
    found = data.load(str(folder))
    assert found.shape == (3, 32, 32)
    assert found.y_train.tolist() == list(range(10))
    assert found.y_test.tolist() == [9, 0]
    assert found.labels == tuple("abcdefghij")
    red = (found.x_train[:, 0] * 0.2470 + 0.4914) * 255
    assert np.abs(red - np.arange(10)[:, None, None]).max() < 1e-3
    blue = (found.x_train[:, 2] * 0.2616 + 0.4465) * 255
    assert np.abs(blue - 200).max() < 1e-3


def test_cifar_100_takes_the_fine_label(tmp_path: Path) -> None:
    for name, fine in (("train.bin", 99), ("test.bin", 42)):
        (tmp_path / name).write_bytes(record(bytes([3, fine]), 1, 2, 3))
    found = data.load(str(tmp_path))
    assert (found.y_train.tolist(), found.y_test.tolist()) == ([99], [42])
    assert len(found.labels) == 100


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("data_batch_3.bin", b"\0" * PIXELS, "data_batch_3.bin has 3072 bytes"),
        ("data_batch_5.bin", b"", "data_batch_5.bin has 0 bytes"),
        ("test_batch.bin", record(b"\x0a", 1, 2, 3), "class 10, expected 0 to 9"),
    ],
)
def test_a_damaged_cifar_file_is_named(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    folder = cifar10(tmp_path / "cifar")
    (folder / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        data.load(str(folder))
    assert says in str(caught.value)
    assert "binary version" in caught.value.hint


def test_a_missing_cifar_file_is_named(tmp_path: Path) -> None:
    folder = cifar10(tmp_path / "cifar")
    (folder / "data_batch_2.bin").unlink()
    with pytest.raises(UsageError, match=r"cannot read .*data_batch_2.bin: No such file"):
        cifar.load(folder)


def folders(root: Path, held_out: str = "test") -> Path:
    """Two classes of images of several shapes and kinds."""
    for part in ("train", held_out):
        for label, colour in (("bird", (255, 0, 0)), ("cat", (0, 0, 255))):
            (root / part / label).mkdir(parents=True)
            Image.new("RGB", (40, 20), colour).save(root / part / label / "wide.png")
            Image.new("RGB", (9, 30), colour).convert("P").save(root / part / label / "high.gif")
            (root / part / label / "notes.txt").write_text("not an image")
    return root


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_an_image_folder_gives_one_shape_and_classes_by_name(tmp_path: Path, held_out: str) -> None:
    root = folders(tmp_path, held_out)
    found = data.load(f"{root},size=16")
    assert found.labels == ("bird", "cat")
    assert found.x_train.shape == (4, 3, 16, 16)
    assert found.y_train.tolist() == [0, 0, 1, 1]
    assert found.x_train[0, :, 8, 8].tolist() == [1, -1, -1]
    assert data.load(f"{root},size=8,grey=true").shape == (1, 8, 8)
    assert data.load(str(root)).shape == (3, 32, 32)


def test_faults_of_an_image_folder_are_named(tmp_path: Path) -> None:
    root = folders(tmp_path)
    with pytest.raises(UsageError, match="size=0"):
        data.load(f"{root},size=0")
    (root / "train" / "dog").mkdir()
    with pytest.raises(UsageError, match="only one has dog"):
        data.load(str(root))
    (root / "test" / "dog").mkdir()
    with pytest.raises(UsageError, match=r"train/dog holds no images"):
        data.load(str(root))
    for part in ("train", "test"):
        (root / part / "dog" / "x.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(UsageError, match=r"x\.png is no image"):
        data.load(str(root))
    with pytest.raises(UsageError, match="no train/ and test/"):
        data.load(str(root / "train"))
