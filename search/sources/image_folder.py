"""Image folders: train/CLASS/*.png and test/CLASS/*.png (or val/), read with Pillow.

All images are held in memory as float32, 12 bytes a pixel: right for thousands of small images, not
for ImageNet at full size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from binas.core.errors import UsageError
from binas.search.data import Dataset, Images, Targets

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
_HINT = "expected train/CLASS/IMAGE and test/CLASS/IMAGE (or val/) with the same classes"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSettings:
    """How images are brought to one shape.

    Attributes:
        size: Rows and columns; the shorter side is resized, the middle cut out.
        grey: One channel instead of three.
    """

    size: int = 32
    grey: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that are none."""
        if not 1 <= self.size <= 1024:
            raise UsageError(f"image folder: size={self.size}", hint="give 1 to 1024")


def load(folder: Path, settings: FolderSettings, name: str) -> Dataset:
    """Read a folder; classes are numbered by name.

    Returns:
        Images [N, 3 or 1, size, size], pixel / 127.5 - 1.

    Raises:
        UsageError: No such folders, a class without images, or a file that is no image.
    """
    train = folder / "train"
    test = next((folder / part for part in ("test", "val") if (folder / part).is_dir()), None)
    if not train.is_dir() or test is None:
        raise UsageError(f"{folder} is no data set: no train/ and test/", hint=_HINT)
    labels = tuple(sorted(path.name for path in train.iterdir() if path.is_dir()))
    held_out = tuple(sorted(path.name for path in test.iterdir() if path.is_dir()))
    if not labels or labels != held_out:
        odd = sorted({*labels} ^ {*held_out})
        raise UsageError(
            f"{folder}: train/ has {len(labels)} classes, {test.name}/ {len(held_out)}"
            + (f"; only one has {odd[0]}" if odd else ""),
            hint=_HINT,
        )
    x_train, y_train = _read(train, labels, settings)
    x_test, y_test = _read(test, labels, settings)
    return Dataset(
        name=name,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        labels=labels,
        normalisation=f"shorter side to {settings.size}, middle cut out; pixel / 127.5 - 1",
    )


def _read(part: Path, labels: tuple[str, ...], settings: FolderSettings) -> tuple[Images, Targets]:
    images: list[Images] = []
    classes: list[int] = []
    for number, label in enumerate(labels):
        paths = sorted(p for p in (part / label).iterdir() if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise UsageError(f"{part / label} holds no images", hint=_HINT)
        images += [_image(path, settings) for path in paths]
        classes += [number] * len(paths)
    return np.stack(images), np.array(classes, np.int64)


def _image(path: Path, settings: FolderSettings) -> Images:
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415

    try:
        with Image.open(path) as file:
            image = file.convert("L" if settings.grey else "RGB")
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(
            f"{path} is no image: {error}", hint="remove it, or save it anew"
        ) from None
    fitted = ImageOps.fit(image, (settings.size, settings.size), Image.Resampling.BILINEAR)
    pixels = np.asarray(fitted, np.float32).reshape(settings.size, settings.size, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) / np.float32(127.5) - 1
