"""Scenes: several glyphs of different sizes on one image, with their boxes; stand-in for detection.

Drawn like `sources/glyphs.py` and as reproducible: image i of a split depends on (seed, split, i).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from binas.search.data import Images
from binas.search.sources.glyphs import LEVELS, SIZE, characters
from binas.search.transfer.boxes import Boxes

SIDE = 64  # rows and columns of a scene
NAMES = "ABEF"  # what is to be found


def scenes(
    split: Literal["train", "test"], count: int, seed: int = 0
) -> tuple[Images, list[Boxes]]:
    """The first `count` scenes of a split.

    Returns:
        Images [N, 3, 64, 64] in [-1, 1]; and the boxes of each, one to three, tight around the ink.
    """
    images = np.empty((count, 3, SIDE, SIDE), np.float32)
    found: list[Boxes] = []
    for index in range(count):
        random = np.random.default_rng([seed, ("train", "test").index(split), index])
        pixels, boxes = _scene(random)
        images[index] = pixels.transpose(2, 0, 1) / np.float32(127.5) - 1
        found.append(boxes)
    return images, found


def _scene(random: np.random.Generator) -> tuple[np.ndarray, Boxes]:
    back = random.integers(20, 90, 3)
    pixels = np.tile(back.astype(np.float64), (SIDE, SIDE, 1))
    corners, labels = [], []
    occupied = np.zeros((SIDE, SIDE), bool)
    for _ in range(random.integers(1, 4)):
        label = int(random.integers(len(NAMES)))
        (ink,) = characters([NAMES[label]], random, LEVELS["easy"].hard, centred=True)
        size = int(random.integers(16, SIZE + 9))
        ink = _resized(ink, size)
        rows, columns = (np.flatnonzero((ink > 64).any(axis=axis)) for axis in (1, 0))
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        h, w = ink.shape
        top, left = int(random.integers(0, SIDE - h + 1)), int(random.integers(0, SIDE - w + 1))
        place = np.s_[top : top + h, left : left + w]
        if occupied[place].any():
            continue
        occupied[place] = True
        front = back + random.integers(90, 150, 3)
        pixels[place] += ink[..., None] / 255 * (front - pixels[place])
        corners.append((left, top, left + w, top + h))
        labels.append(label)
    pixels += random.integers(-10, 11, pixels.shape)
    boxes = Boxes(np.array(corners, np.float64).reshape(-1, 4), np.array(labels, np.int64))
    return np.clip(np.rint(pixels), 0, 255), boxes


def _resized(ink: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image  # noqa: PLC0415 (only where images are drawn)

    image = Image.fromarray(ink.astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.float64)
