"""CIFAR-10 and CIFAR-100 in their binary form: a folder of records of label bytes and pixels.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; the format is that
of https://www.cs.toronto.edu/~kriz/cifar.html, "binary version".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from binas.core.errors import UsageError
from binas.search.data import Dataset, Images, Targets

PIXELS = 3 * 32 * 32
# Of the training images of CIFAR-10, pixels 0 to 1; the values that the field quotes results with.
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True, slots=True)
class _Layout:
    train: tuple[str, ...]
    test: str
    names: str
    label_bytes: int  # before the pixels; the last of them is the class
    classes: int


_LAYOUTS = (
    _Layout(
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
        1,
        10,
    ),
    _Layout(("train.bin",), "test.bin", "fine_label_names.txt", 2, 100),
)


def is_cifar(folder: Path) -> bool:
    """Whether a folder holds files of either set."""
    return _layout(folder) is not None


def load(folder: Path) -> Dataset:
    """Read a folder.

    Returns:
        Images [N, 3, 32, 32], (pixel / 255 - mean) / deviation per channel; the labels are the
        fine ones of CIFAR-100.

    Raises:
        UsageError: A file is missing, cut off, or holds a class that there is not.
    """
    layout = _layout(folder)
    if layout is None:
        raise UsageError(f"{folder} holds no CIFAR files", hint="unpack cifar-10-binary.tar.gz")
    x_train, y_train = _read([folder / name for name in layout.train], layout)
    x_test, y_test = _read([folder / layout.test], layout)
    return Dataset(
        name=str(folder),
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        labels=_names(folder / layout.names, layout.classes),
        normalisation=f"(pixel / 255 - {MEAN}) / {DEVIATION} per channel",
    )


def _layout(folder: Path) -> _Layout | None:
    for layout in _LAYOUTS:
        if (folder / layout.test).is_file():
            return layout
    return None


def _read(paths: list[Path], layout: _Layout) -> tuple[Images, Targets]:
    size = layout.label_bytes + PIXELS
    parts: list[NDArray[np.uint8]] = []
    for path in paths:
        try:
            found = np.fromfile(path, np.uint8)
        except OSError as error:
            raise UsageError(
                f"cannot read {path}: {error.strerror}", hint="unpack the archive again"
            ) from None
        if len(found) == 0 or len(found) % size:
            raise UsageError(
                f"{path} has {len(found)} bytes, expected a multiple of {size}",
                hint="the file is cut off or not of the binary version; unpack it again",
            )
        parts.append(found.reshape(-1, size))
    records = np.concatenate(parts)
    y = records[:, layout.label_bytes - 1].astype(np.int64)
    if y.max() >= layout.classes:
        raise UsageError(
            f"{paths[0].parent}: class {y.max()}, expected 0 to {layout.classes - 1}",
            hint="the files are not of the binary version of CIFAR",
        )
    x = records[:, layout.label_bytes :].reshape(-1, 3, 32, 32).astype(np.float32)
    mean, deviation = (np.array(v, np.float32).reshape(3, 1, 1) * 255 for v in (MEAN, DEVIATION))
    x -= mean
    x /= deviation
    return x, y


def _names(path: Path, classes: int) -> tuple[str, ...]:
    """Of the file beside the images; numbers where there is none that fits."""
    if path.is_file():
        names = tuple(path.read_text(errors="replace").split())
        if len(names) == classes:
            return names
    return tuple(str(k) for k in range(classes))
