"""Data sets by name: the bundled digits, an .npz file, or a function of the user's.

Images are float32 [N, C, H, W]. What a network is fed on a device is exactly what is here, so the
normalisation is part of the data set and is said in `normalisation`.
"""

from __future__ import annotations

import hashlib
import importlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.core.errors import UsageError, unknown_name

Images = NDArray[np.float32]
Targets = NDArray[np.int64]

KEYS = ("x_train", "y_train", "x_test", "y_test")
DIGITS_TRAIN = 1297  # the rest of the 1,797, 500 images, is held out
MAX_CLASSES = 1 << 20  # a label beyond is an identifier, not a class
_HINT = f"give digits, a .npz file with {', '.join(KEYS)}, or module:function that returns them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Images and classes, train and held-out.

    Attributes:
        name: As given.
        x_train: [N, C, H, W] float32.
        y_train: [N] int64, 0 to classes - 1.
        x_test: Held out: never used to choose anything.
        y_test: Its classes.
        labels: A name per class.
        normalisation: What was done to the raw pixels, in words.
    """

    name: str
    x_train: Images
    y_train: Targets
    x_test: Images
    y_test: Targets
    labels: tuple[str, ...]
    normalisation: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W of an image."""
        C, H, W = self.x_train.shape[1:]
        return C, H, W

    @property
    def digest(self) -> str:
        """First 12 hex digits of the SHA-256 of all arrays with their shapes."""
        total = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            total.update(repr((array.shape, array.dtype.str)).encode())
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()[:12]


def load(name: str) -> Dataset:
    """A data set by name.

    Raises:
        UsageError: Unknown name, or arrays that are no data set.
    """
    if name == "digits":
        return digits()
    if name.endswith(".npz"):
        return _checked(name, _read_npz(Path(name)))
    if ":" in name:
        return _checked(name, _call(name))
    error = unknown_name("data set", name, ["digits"])
    raise UsageError(str(error), hint=_HINT)


def digits() -> Dataset:
    """scikit-learn's handwritten digits, resized bilinearly from 8x8 to 16x16.

    1,297 images to train with and 500 held out, stratified, always the same ones. Pixels 0 to 16
    become x/8 - 1, in [-1, 1].
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 (1 s)
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 (1 s)

    bunch = load_digits()
    x = _twice_as_large(bunch.images.astype(np.float64))[:, None] / 8 - 1
    parts = train_test_split(
        x.astype(np.float32),
        bunch.target.astype(np.int64),
        train_size=DIGITS_TRAIN,
        stratify=bunch.target,
        random_state=0,
    )
    return Dataset(
        name="digits",
        x_train=parts[0],
        y_train=parts[2],
        x_test=parts[1],
        y_test=parts[3],
        labels=tuple("0123456789"),
        normalisation="pixel / 8 - 1 for pixels 0 to 16; resized bilinearly from 8x8",
    )


def _twice_as_large(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear, pixel centres aligned as in image libraries: [N, 8, 8] → [N, 16, 16]."""
    for axis in (1, 2):
        size = images.shape[axis]
        at = ((np.arange(2 * size) + 0.5) / 2 - 0.5).clip(0, size - 1)
        low = at.astype(int)
        part = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        high = (low + 1).clip(max=size - 1)
        images = images.take(low, axis) * (1 - part) + images.take(high, axis) * part
    return images


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        arrays = np.load(path, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise UsageError(f"{path} holds one array", hint=_HINT)
        with arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}", hint=_HINT) from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{path} is not a .npz file: {error}", hint=_HINT) from None


def _call(name: str) -> dict[str, Any]:
    """Call the user's own function; what is imported is what the user named."""
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"data set {name}: {error}", hint=_HINT) from None
    found = function()
    if isinstance(found, dict):
        return found
    if isinstance(found, tuple) and len(found) == len(KEYS):
        return dict(zip(KEYS, found, strict=True))
    raise UsageError(f"{name} returned {type(found).__name__}", hint=_HINT)


def _checked(name: str, arrays: dict[str, Any]) -> Dataset:
    """Arrays of unknown origin as a data set; every fault names its array."""
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise UsageError(f"{name} lacks {', '.join(missing)}", hint=_HINT)
    images = {key: _images(name, key, arrays[key]) for key in ("x_train", "x_test")}
    targets = {}
    for x, y in (("x_train", "y_train"), ("x_test", "y_test")):
        targets[y] = _targets(name, y, arrays[y], len(images[x]))
    if images["x_train"].shape[1:] != images["x_test"].shape[1:]:
        raise UsageError(
            f"{name}: x_test has images of {images['x_test'].shape[1:]}, "
            f"x_train of {images['x_train'].shape[1:]}",
            hint="give both the same shape",
        )
    classes = int(max(y.max() for y in targets.values())) + 1
    present = np.unique(targets["y_train"])
    if len(present) < classes:
        absent = int((np.append(present, -1) == np.arange(len(present) + 1)).argmin())
        raise UsageError(
            f"{name}: y_train lacks class {absent} of {classes}",
            hint="number the classes 0, 1, 2 and so on",
        )
    labels = tuple(str(label) for label in np.ravel(arrays.get("labels", np.arange(classes))))
    if len(labels) != classes:
        raise UsageError(f"{name}: {len(labels)} labels for {classes} classes", hint=_HINT)
    return Dataset(
        name=name,
        x_train=images["x_train"],
        y_train=targets["y_train"],
        x_test=images["x_test"],
        y_test=targets["y_test"],
        labels=labels,
        normalisation="as given",
    )


def _images(name: str, key: str, value: Any) -> Images:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.ndim != 4 or 0 in array.shape:
        raise UsageError(
            f"{name}: {key} is {array.dtype} {list(array.shape)}, expected numbers [N, C, H, W]",
            hint="add a channel axis with x[:, None] if there is none",
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, refused below
        images = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(images).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(images))[0])
        raise UsageError(f"{name}: {key}{list(where)} is NaN or infinite", hint="clean it first")
    return images


def _targets(name: str, key: str, value: Any, count: int) -> Targets:
    array = np.asarray(value)
    fits = array.dtype.kind in "iu" and array.shape == (count,)
    if not fits or array.min() < 0 or array.max() >= MAX_CLASSES:
        raise UsageError(
            f"{name}: {key} is {array.dtype} {list(array.shape)}, "
            f"expected {count} class numbers from 0",
            hint="number the classes 0, 1, 2 and so on",
        )
    return array.astype(np.int64)
