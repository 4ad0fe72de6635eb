"""Photos as inputs: decoded, cut to the network's size, normalised as its artifact says."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from binas.core import record
from binas.core.errors import UsageError
from binas.runtime.artifact import Normalisation, Port

MAX_PIXELS = 100_000_000
_WIDE = ("I", "F")  # Pillow's modes of 16 and 32 bits
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def is_image(path: str) -> bool:
    """Whether a file is named like an image."""
    return path.lower().endswith(SUFFIXES)


def read_images(
    paths: Sequence[Path], port: Port, normalisation: Normalisation | None
) -> np.ndarray:
    """A batch of photos as a port wants it.

    The largest part in the middle that has the shape of the port's image is scaled to its size.

    Args:
        paths: One file per image of the batch.
        port: Of shape [N, C, H, W], or [N, H, W, C] where its channels are last; C is 1 or 3.
        normalisation: From the artifact.

    Returns:
        The port's array; of a port of bytes the pixels, in the network's order of channels.

    Raises:
        UsageError: No image network, no normalisation, another number of files, or no image.
    """
    if len(port.shape) != 4:
        raise UsageError(
            f"input {port.name!r} has shape {list(port.shape)}, which is no image",
            hint="give a .npy file",
        )
    N, *image = port.shape
    H, W, C = image if port.channels_last else (image[1], image[2], image[0])
    if C not in (1, 3):
        raise UsageError(
            f"input {port.name!r} has {C} channels, expected 1 or 3 of a photo",
            hint="give a .npy file",
        )
    if normalisation is None:
        raise UsageError(
            "the artifact does not say how pixels become numbers",
            hint="compile it with --mean and --std (of pixels 0 to 255), or give a .npy file",
        )
    if len(normalisation.mean) not in (1, C) or len(normalisation.std) not in (1, C):
        sizes = max(len(normalisation.mean), len(normalisation.std))
        raise UsageError(
            f"the artifact normalises by {sizes} numbers for {C} channels",
            hint="compile it with --mean and --std of one number or one per channel",
        )
    if len(paths) != N:
        raise UsageError(
            f"a batch of {N} takes as many images, given: {len(paths)}",
            hint=f"give --input once for each of the {N}, or a .npy file",
        )
    pixels = np.stack([_pixels(path, H, W, C) for path in paths])
    if normalisation.order == "BGR":
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    if port.dtype == "uint8":
        return pixels
    x = normalised(pixels, normalisation)
    return np.ascontiguousarray(x if port.channels_last else np.moveaxis(x, -1, 1))


def normalised(
    pixels: np.ndarray[Any, np.dtype[np.uint8]], normalisation: Normalisation
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What a network computes with in place of pixels.

    Args:
        pixels: [..., C] of 0 to 255, channels in the network's order.
        normalisation: One mean and std, or one for each of the C channels.

    Returns:
        (pixel - mean) / std, each operation in float32.
    """
    mean, std = (np.array(values, np.float32) for values in (normalisation.mean, normalisation.std))
    return (pixels.astype(np.float32) - mean) / std


def _pixels(path: Path, H: int, W: int, C: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """[H, W, C] of 0 to 255."""
    try:
        from PIL import Image, ImageOps  # noqa: PLC0415 (only photos need it)
    except ImportError:
        raise UsageError("reading photos needs Pillow", hint="pip install pillow") from None
    data = record.read_bytes(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UsageError(
                        f"{path} has {image.width}x{image.height} pixels", hint="scale it down"
                    )
                if image.mode.startswith(_WIDE):  # which Pillow would clip to white
                    raise UsageError(
                        f"{path} has more than 8 bits a channel", hint="save it with 8"
                    )
                upright = ImageOps.exif_transpose(image).convert("L" if C == 1 else "RGB")
        fitted = ImageOps.fit(upright, (W, H), method=Image.Resampling.BILINEAR)
    except UsageError:
        raise
    except Exception as error:  # Pillow's decoders raise half a dozen unrelated types
        raise UsageError(
            f"{path} is no image: {error}", hint="give a photo or a .npy file"
        ) from None
    return np.asarray(fitted, dtype=np.uint8).reshape(H, W, C)
