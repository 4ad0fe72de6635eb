"""Glyphs: the same recipe gives the same images anywhere, and a smaller set is a prefix."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from binas.core.errors import UsageError
from binas.search import data
from binas.search.sources import glyphs
from binas.search.sources.glyphs import BLOCK, CLASSES, Recipe, block, draw

FEW = Recipe(train=40, test=20)


def test_a_smaller_set_is_a_prefix_of_a_larger_one_across_blocks() -> None:
    x, y = draw(FEW, "train", BLOCK + 7)
    for count in (1, 999, BLOCK, BLOCK + 1):
        fewer_x, fewer_y = draw(FEW, "train", count)
        assert np.array_equal(fewer_x, x[:count])
        assert np.array_equal(fewer_y, y[:count])


def test_another_process_draws_the_same_bytes() -> None:
    name = "glyphs,level=medium,train=40,test=20,seed=3"
    program = f"from binas.search import data; print(data.load({name!r}).digest)"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert out.stdout.strip() == data.load(name).digest


def test_blocks_splits_seeds_and_levels_differ() -> None:
    drawn = [
        block(FEW, "train", 0),
        block(FEW, "train", 1),
        block(FEW, "test", 0),
        block(replace(FEW, seed=1), "train", 0),
        block(replace(FEW, level="medium"), "train", 0),
    ]
    images = {x.tobytes() for x, _ in drawn}
    assert len(images) == len(drawn)
    single = {image.tobytes() for image in drawn[0][0]}
    assert len(single) == BLOCK
    assert not single & {image.tobytes() for image in drawn[2][0]}


@pytest.mark.parametrize("classes", sorted(CLASSES))
def test_classes_are_as_many_as_named_and_equally_frequent(classes: str) -> None:
    recipe = replace(FEW, classes=classes)  # type: ignore[arg-type]
    _, y = draw(recipe, "train", 3 * BLOCK) if classes == "c16" else block(recipe, "train", 0)
    counts = np.bincount(y, minlength=len(CLASSES[classes]))
    assert len(counts) == len(set(CLASSES[classes]))
    assert counts.max() - counts.min() <= 1


def test_the_small_size_is_the_mean_of_the_large_one() -> None:
    large, y = block(replace(FEW, size=32), "train", 0)
    small, same = block(FEW, "train", 0)
    assert np.array_equal(y, same)
    mean = large.reshape(BLOCK, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - mean).max() <= 0.5
    x, _ = draw(FEW, "train", 3)
    assert np.abs((x.transpose(0, 2, 3, 1) + 1) * 127.5 - small[:3]).max() < 1e-4


def test_ink_is_lighter_than_its_background_unless_polarity_is_mixed() -> None:
    def lighter(level: str) -> float:
        x, _ = block(replace(FEW, level=level, size=32), "train", 0)  # type: ignore[arg-type]
        grey = x.mean(axis=3)
        middle, rim = grey[:, 8:24, 8:24].max(axis=(1, 2)), np.median(grey, axis=(1, 2))
        dark = np.median(grey, axis=(1, 2)) - grey[:, 8:24, 8:24].min(axis=(1, 2))
        return float((middle - rim > dark).mean())

    assert lighter("easy") > 0.97
    assert 0.3 < lighter("mixed") < 0.7


def test_every_font_has_every_character() -> None:
    atlas = glyphs._atlas()
    assert len(atlas) == len(glyphs.CHARACTERS) * len(glyphs.FONTS) == 62 * 20
    for font in range(len(glyphs.FONTS)):
        drawn = {atlas[c, font].tobytes() for c in glyphs.CHARACTERS}
        assert len(drawn) == 62, f"{glyphs.FONTS[font]} draws two characters alike: a missing one?"
        assert min(np.asarray(atlas[c, font]).max() for c in glyphs.CHARACTERS) == 255


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("glyphs,level=hard", "level: Input should be 'easy', 'medium', 'mixed' or 'full'"),
        ("glyphs,size=28", "size=28"),
        ("glyphs,train=0", "train=0"),
        ("glyphs,train=many", "train: Input should be a valid integer"),
        ("glyphs,levels=easy", "unknown key 'levels'"),
        ("glyphs,medium", "'medium' is no key=value"),
        ("digits,size=8", "digits takes no options"),
    ],
)
def test_options_that_mean_nothing_are_refused(name: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        data.load(name)
    assert says in str(caught.value)
    assert caught.value.hint
