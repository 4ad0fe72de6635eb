"""scikit-learn's handwritten digits: bundled, so a first run needs no download."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from binas.search.data import Dataset

TRAIN = 1297  # the rest of the 1,797, 500 images, is held out


def digits() -> Dataset:
    """scikit-learn's handwritten digits, resized bilinearly from 8x8 to 16x16.

    1,297 images to train with and 500 held out, stratified, always the same ones. Pixels 0 to 16
    become x/8 - 1, in [-1, 1].
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 (1 s)
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 (1 s)

    bunch = load_digits()
    x = twice_as_large(bunch.images.astype(np.float64))[:, None] / 8 - 1
    parts = train_test_split(
        x.astype(np.float32),
        bunch.target.astype(np.int64),
        train_size=TRAIN,
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


def twice_as_large(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear, pixel centres aligned as in image libraries: [N, 8, 8] → [N, 16, 16]."""
    for axis in (1, 2):
        size = images.shape[axis]
        at = ((np.arange(2 * size) + 0.5) / 2 - 0.5).clip(0, size - 1)
        low = at.astype(int)
        part = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        high = (low + 1).clip(max=size - 1)
        images = images.take(low, axis) * (1 - part) + images.take(high, axis) * part
    return images
