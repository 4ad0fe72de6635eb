"""Glyphs: a procedural colour set of warped characters, as hard as asked for, alike everywhere.

An atlas of 62 characters in the 20 fonts that matplotlib ships with all of them; one affine warp
per image; a coloured background with a smooth texture; pixel noise; a foreign character over the
rim where the level says so. Images are drawn in blocks of 1,000, each from (seed, split, block),
classes included: a smaller set is a prefix of a larger one. All arithmetic after the warp is on
whole numbers in float64, so it does not depend on a BLAS; how FreeType draws a character may depend
on Pillow's version, which is why a run keeps the digest of its images.

Light on dark and dark on light mixed is what makes 1-bit networks need far longer; real ones hardly
notice (docs/search.md has what was measured).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from binas.core.errors import UsageError
from binas.search.data import Dataset, Images, Targets

if TYPE_CHECKING:
    from PIL import Image

Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]

BLOCK = 1000  # images per generator
SIZE = 32  # at which everything is drawn; 16 is its 2x2 mean
ATLAS = 64  # pixels of a character in the atlas
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# bal47 leaves out small letters that look like their capitals, c16 nearly everything that looks
# like something else; with all62, 0/O/o and 1/l/I cannot be told apart at random sizes.
CLASSES = {
    "c16": "ABEFGHKMRSadeght",
    "bal47": "ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt0123456789",
    "all62": CHARACTERS,
}
_SERIES = {
    "DejaVuSans": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSansMono": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSerif": ("", "-Bold", "-Italic", "-BoldItalic"),
    "STIXGeneral": ("", "Bol", "Italic", "BolIta"),
    "cm": ("r10", "b10", "ss10", "tt10"),
}
FONTS = tuple(name + style for name, styles in _SERIES.items() for style in styles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How hard the images are.

    Attributes:
        hard: Factor on rotation, shear, scale, aspect and shift.
        noise: Largest pixel noise, of 255.
        contrast: Between a character and its surroundings, of 255.
        distract: Foreign characters over the rim.
        both: Dark on light as often as light on dark.
        saturation: Of the colours, 0 grey to 1.
    """

    hard: float
    noise: int
    contrast: int
    distract: int
    both: bool
    saturation: float


LEVELS = {
    "easy": Level(hard=0.5, noise=10, contrast=110, distract=0, both=False, saturation=0.5),
    "medium": Level(hard=0.7, noise=16, contrast=90, distract=1, both=False, saturation=1.0),
    "mixed": Level(hard=0.5, noise=16, contrast=110, distract=1, both=True, saturation=0.5),
    "full": Level(hard=1.0, noise=24, contrast=60, distract=1, both=True, saturation=1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to draw.

    Attributes:
        level: How hard.
        classes: Which characters.
        size: Rows and columns, 16 or 32.
        train: Training images.
        test: Held-out images, from other generators.
        seed: Of all of it.
    """

    level: Literal["easy", "medium", "mixed", "full"] = "easy"
    classes: Literal["c16", "bal47", "all62"] = "c16"
    size: int = 16
    train: int = 5000
    test: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if self.size not in (16, 32):
            raise UsageError(f"glyphs: size={self.size}", hint="give 16 or 32")
        if min(self.train, self.test) < 1 or self.seed < 0:
            raise UsageError(
                f"glyphs: train={self.train}, test={self.test}, seed={self.seed}",
                hint="train and test are at least 1, the seed at least 0",
            )


def glyphs(recipe: Recipe, name: str = "glyphs") -> Dataset:
    """Draw a data set: 0.2 to 0.4 ms per image on one core.

    Returns:
        Images [N, 3, size, size], pixel / 127.5 - 1, in [-1, 1]; equal for equal recipes.
    """
    x_train, y_train = draw(recipe, "train", recipe.train)
    x_test, y_test = draw(recipe, "test", recipe.test)
    return Dataset(
        name=name,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        labels=tuple(CLASSES[recipe.classes]),
        normalisation="pixel / 127.5 - 1 for pixels 0 to 255",
    )


def draw(recipe: Recipe, split: Literal["train", "test"], count: int) -> tuple[Images, Targets]:
    """The first `count` images of a split, block by block."""
    blocks = [block(recipe, split, index) for index in range(-(-count // BLOCK))]
    pixels = np.concatenate([x for x, _ in blocks])[:count]
    x = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(127.5) - 1
    return x, np.concatenate([y for _, y in blocks])[:count]


def block(recipe: Recipe, split: Literal["train", "test"], index: int) -> tuple[Bytes, Targets]:
    """One block: pixels [1000, size, size, 3] and classes, equal numbers of each up to one."""
    level, names = LEVELS[recipe.level], CLASSES[recipe.classes]
    random = np.random.default_rng([recipe.seed, ("train", "test").index(split), index])
    y = random.permutation((np.arange(BLOCK) + index * BLOCK) % len(names))
    ink = characters([names[k] for k in y], random, level.hard, centred=True)
    for _ in range(level.distract):
        others = random.integers(1, len(names), BLOCK)
        foreign = [names[(k + other) % len(names)] for k, other in zip(y, others, strict=True)]
        # Of the same colour: a foreign character cannot be told by it.
        ink = np.maximum(ink, characters(foreign, random, level.hard, centred=False))
    pixels = _coloured(ink, random, level)
    if recipe.size != SIZE:
        N, H, W, C = pixels.shape
        pixels = pixels.reshape(N, H // 2, 2, W // 2, 2, C).mean(axis=(2, 4)).round()
    return pixels.astype(np.uint8), y.astype(np.int64)


def characters(
    names: list[str], random: np.random.Generator, hard: float, *, centred: bool
) -> Doubles:
    """Ink of one warped character per image, [N, 32, 32], 0 to 255.

    The warp takes a pixel of the image to a place in the atlas: p ↦ A (p - centre - shift) + middle
    with A = scale · R(angle) · shear · aspect.
    """
    from PIL import Image  # noqa: PLC0415 (only where images are drawn)

    N = len(names)
    fonts = random.integers(len(FONTS), size=N)
    angle = np.radians(25) * hard * random.uniform(-1, 1, N)
    shear = 0.3 * hard * random.uniform(-1, 1, N)
    aspect = np.exp(0.25 * hard * random.uniform(-1, 1, N))
    scale = ATLAS / SIZE * np.exp(0.35 * hard * random.uniform(-1, 1, N))
    shift = 5 * hard * random.uniform(-1, 1, (N, 2))
    if not centred:
        towards = random.uniform(0, 2 * np.pi, N)
        shift = 17 * np.stack([np.cos(towards), np.sin(towards)], axis=1)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    A = np.stack(
        [cos * aspect, (cos * shear - sin) / aspect, sin * aspect, (sin * shear + cos) / aspect], 1
    )
    centre = SIZE / 2 + shift
    ink = np.empty((N, SIZE, SIZE))
    for image in range(N):
        (a, b, d, e), (u, v) = A[image], centre[image]
        matrix = (a, b, ATLAS / 2 - a * u - b * v, d, e, ATLAS / 2 - d * u - e * v)
        drawn = _atlas()[names[image], int(fonts[image])]
        ink[image] = np.asarray(
            drawn.transform((SIZE, SIZE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        )
    return ink


def _coloured(ink: Doubles, random: np.random.Generator, level: Level) -> Doubles:
    """Ink over a textured background, with noise: [N, 32, 32, 3], whole numbers 0 to 255."""
    N = len(ink)
    grey = random.integers(30, 120, (N, 1))
    tint = random.integers(-60, 61, (2, N, 3))
    back = grey + np.rint(level.saturation * tint[0])
    front = grey + level.contrast + np.rint(level.saturation * tint[1])
    texture = random.integers(-24, 25, (N, 5, 5)).astype(np.float64)
    # Whole numbers throughout: weights are multiples of 1/31, so 31 · 31 · texture is exact.
    smooth = np.rint(_WEIGHTS @ texture @ _WEIGHTS.T / (SIZE - 1) ** 2)
    ground = back[:, None, None, :] + smooth[..., None]
    difference = front[:, None, None, :] - back[:, None, None, :]
    pixels: Doubles = ground + np.rint(ink[..., None] * difference / 255)
    pixels += random.integers(-level.noise, level.noise + 1, pixels.shape)
    if level.both:
        dark = random.integers(0, 2, N).astype(bool)
        pixels[dark] = 255 - pixels[dark]
    return np.clip(pixels, 0, 255)


def _weights() -> Doubles:
    """31 times the linear interpolation from 5 to 32 points, [32, 5], whole numbers."""
    at = np.arange(SIZE) * 4  # in units of 1/31 of a texture cell
    low = np.minimum(at // (SIZE - 1), 3)
    weights = np.zeros((SIZE, 5))
    rows = np.arange(SIZE)
    weights[rows, low] = SIZE - 1 - (at - low * (SIZE - 1))
    weights[rows, low + 1] = at - low * (SIZE - 1)
    return weights


_WEIGHTS = _weights()


@lru_cache(maxsize=1)
def _atlas() -> dict[tuple[str, int], Image.Image]:
    """Every character in every font, 64x64, its ink centred."""
    from matplotlib import get_data_path  # noqa: PLC0415 (0.1 s)
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415

    found: dict[tuple[str, int], Image.Image] = {}
    for place, font in enumerate(FONTS):
        face = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{font}.ttf", 46)
        for character in CHARACTERS:
            left, top, right, bottom = face.getbbox(character)
            corner = ((ATLAS - left - right) / 2, (ATLAS - top - bottom) / 2)
            image = Image.new("L", (ATLAS, ATLAS))
            ImageDraw.Draw(image).text(corner, character, fill=255, font=face)
            found[character, place] = image
    return found
