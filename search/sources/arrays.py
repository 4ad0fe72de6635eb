"""Arrays of the user's: an .npz file, or a function that returns them; every fault is named."""

from __future__ import annotations

import importlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from binas.core.errors import UsageError
from binas.search.data import HINT, KEYS, Dataset, Images, Targets

MAX_CLASSES = 1 << 20  # a label beyond is an identifier, not a class


def from_npz(name: str) -> Dataset:
    """The arrays of a file; nothing in it is executed."""
    return checked(name, _read_npz(Path(name)))


def from_function(name: str) -> Dataset:
    """What `module:function` returns; what is imported is what the user named."""
    return checked(name, _call(name))


def checked(name: str, arrays: dict[str, Any]) -> Dataset:
    """Arrays of unknown origin as a data set; every fault names its array."""
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise UsageError(f"{name} lacks {', '.join(missing)}", hint=HINT)
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
        raise UsageError(f"{name}: {len(labels)} labels for {classes} classes", hint=HINT)
    return Dataset(
        name=name,
        x_train=images["x_train"],
        y_train=targets["y_train"],
        x_test=images["x_test"],
        y_test=targets["y_test"],
        labels=labels,
        normalisation="as given",
    )


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        arrays = np.load(path, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise UsageError(f"{path} holds one array", hint=HINT)
        with arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}", hint=HINT) from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{path} is not a .npz file: {error}", hint=HINT) from None


def _call(name: str) -> dict[str, Any]:
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"data set {name}: {error}", hint=HINT) from None
    found = function()
    if isinstance(found, dict):
        return found
    if isinstance(found, tuple) and len(found) == len(KEYS):
        return dict(zip(KEYS, found, strict=True))
    raise UsageError(f"{name} returned {type(found).__name__}", hint=HINT)


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
