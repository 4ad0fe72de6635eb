"""Data sets: the digits are always the same ones, and arrays of unknown origin are checked."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binas.core.errors import UsageError
from binas.search import data
from binas.search.data import Dataset
from binas.search.retrain import must_fit
from binas.search.sources.arrays import checked
from binas.search.sources.digits import twice_as_large
from binas.search.space import Space
from binas.search.strategy.layout_ground import whole

Arrays = dict[str, Any]


def arrays(**changes: Any) -> Arrays:
    """Two classes of 1x4x4 images."""
    return {
        "x_train": np.zeros((6, 1, 4, 4), np.float32),
        "y_train": np.array([0, 1, 0, 1, 0, 1]),
        "x_test": np.ones((2, 1, 4, 4), np.float32),
        "y_test": np.array([0, 1]),
        **changes,
    }


def test_the_digits_are_split_once_and_for_all_by_class() -> None:
    found = data.load("digits")
    assert found.shape == (1, 16, 16)
    assert found.digest == "39d8372d10b2"
    assert (len(found.x_train), len(found.x_test)) == (1297, 500)
    shares = [np.bincount(y) / len(y) for y in (found.y_train, found.y_test)]
    assert np.abs(shares[0] - shares[1]).max() < 0.002
    assert found.x_train.min() == -1
    assert found.x_train.max() == 1
    train = {image.tobytes() for image in found.x_train}
    assert sum(image.tobytes() in train for image in found.x_test) == 0


def test_images_are_doubled_bilinearly() -> None:
    ramp = np.tile(np.arange(8.0), (1, 8, 1))
    got = twice_as_large(ramp)
    assert got.shape == (1, 16, 16)
    assert got[0, 3].tolist() == [0, *np.arange(0.25, 7, 0.5).tolist(), 7]


def test_a_file_and_a_function_give_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "mine.npz", **arrays())
    (tmp_path / "my_images.py").write_text(
        "import numpy as np\n"
        "def load():\n    return dict(np.load(__file__.replace('my_images.py', 'mine.npz')))\n"
        "def pair():\n    return tuple(load().values())\n"
        "def wrong():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from_file = data.load(str(tmp_path / "mine.npz"))
    for name in ("my_images:load", "my_images:pair"):
        assert data.load(name).digest == from_file.digest
    assert from_file.labels == ("0", "1")
    assert from_file.x_train.dtype == np.float32
    assert from_file.y_train.dtype == np.int64
    with pytest.raises(UsageError, match="my_images:wrong returned int"):
        data.load("my_images:wrong")
    with pytest.raises(UsageError, match="no_such_function"):
        data.load("my_images:no_such_function")


def test_the_digest_sees_every_value() -> None:
    base = checked("mine", arrays())
    x = np.zeros((6, 1, 4, 4), np.float32)
    x[5, 0, 3, 3] = 1e-6
    for changes in ({"x_train": x}, {"y_test": np.array([1, 0])}):
        assert checked("mine", arrays(**changes)).digest != base.digest
    assert replace(base, name="other").digest == base.digest


def bad(value: float) -> Any:
    x = np.zeros((6, 1, 4, 4))
    x[2, 0, 1, 3] = value
    return x


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"x_train": bad(np.nan)}, "x_train[2, 0, 1, 3] is NaN or infinite"),
        ({"x_train": bad(-np.inf)}, "x_train[2, 0, 1, 3] is NaN or infinite"),
        ({"x_train": bad(1e300)}, "x_train[2, 0, 1, 3] is NaN or infinite"),
        ({"x_train": np.zeros((6, 4, 4))}, "expected numbers [N, C, H, W]"),
        ({"x_train": np.zeros((0, 1, 4, 4))}, "expected numbers [N, C, H, W]"),
        ({"x_test": np.zeros((2, 1, 4, 4), complex)}, "x_test is complex128"),
        ({"x_test": np.zeros((2, 1, 4, 5))}, "x_test has images of (1, 4, 5)"),
        ({"y_train": np.array([0, 1])}, "expected 6 class numbers from 0"),
        ({"y_train": np.array([0, 1, 0, 1, 0, 0.5])}, "y_train is float64"),
        ({"y_train": np.array([0, 1, 0, 1, 0, -1])}, "expected 6 class numbers from 0"),
        ({"y_train": np.array([0, 1, 0, 1, 0, 10**12])}, "expected 6 class numbers from 0"),
        ({"y_train": np.array([0, 1, 0, 1, 0, 2**64 - 1], np.uint64)}, "expected 6 class"),
        ({"y_train": np.array([0, 2, 0, 2, 0, 2])}, "y_train lacks class 1 of 3"),
        ({"y_test": np.array([0, 2])}, "y_train lacks class 2 of 3"),
        ({"labels": np.array(["a"])}, "1 labels for 2 classes"),
        ({"labels": np.array("a")}, "1 labels for 2 classes"),
    ],
)
def test_a_fault_names_its_array(changes: Arrays, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked("mine", arrays(**changes))
    assert says in str(caught.value)
    assert caught.value.hint


def test_a_missing_array_is_named() -> None:
    with pytest.raises(UsageError, match="mine lacks y_train, x_test"):
        checked("mine", {k: v for k, v in arrays().items() if k in ("x_train", "y_test")})


def one_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def objects() -> bytes:
    file = io.BytesIO()
    np.savez(file, x_train=np.array([{}], dtype=object))
    return file.getvalue()


def damaged() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays())
    content = bytearray(file.getvalue())
    content[60:90] = bytes(30)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [lambda: b"", lambda: b"hello", one_array, objects, damaged],
    ids=["nothing", "text", "one array", "objects", "damaged"],
)
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: Callable[[], bytes]) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(content())
    with pytest.raises(UsageError) as caught:
        data.load(str(path))
    assert str(path) in str(caught.value)
    assert "x_train, y_train, x_test, y_test" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("digit", "unknown data set 'digit'"),
        ("/nowhere/mine.npz", "no such file"),
        ("no_such_module:load", "no_such_module"),
        (":", "data set :"),
    ],
)
def test_an_unknown_name_is_refused_with_what_is_known(name: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        data.load(name)
    assert says in str(caught.value)
    assert "give digits" in caught.value.hint


def test_a_space_for_other_images_is_refused(images: Dataset, tiny: Space) -> None:
    must_fit(tiny, images)
    with pytest.raises(UsageError, match=r"4 classes of \[1, 8, 8\] images, bars has 3"):
        must_fit(replace(tiny, classes=4), images)


def test_one_image_cannot_be_searched_on_and_two_can(images: Dataset, tiny: Space) -> None:
    whole(tiny, None, None).must_be_possible(images.first(2), None)
    with pytest.raises(UsageError, match="bars has 1 training image, a search needs 2") as caught:
        whole(tiny, None, None).must_be_possible(images.first(1), None)
    assert caught.value.hint
