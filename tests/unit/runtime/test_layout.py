"""What an input must be, and how one of another shape becomes it."""

from __future__ import annotations

import numpy as np
import pytest

from binas.core.errors import UsageError
from binas.runtime.artifact import Port
from binas.runtime.layout import checked_inputs
from tests.unit.runtime.conftest import manifest


@pytest.mark.parametrize(
    ("expected", "found", "made"),
    [
        ((1, 3, 8, 8), (1, 8, 8, 3), "x.transpose(0, 3, 1, 2)"),
        ((1, 8, 8, 3), (1, 3, 8, 8), "x.transpose(0, 2, 3, 1)"),
        ((1, 3, 8, 8), (3, 8, 8), "x.reshape(1, 3, 8, 8)"),
        ((1, 16), (1, 1, 4, 4), "x.reshape(1, 16)"),
        ((2, 3, 8, 8), (5, 3, 8, 8), "x[:2]"),
        ((2, 3, 8, 8), (1, 3, 8, 8), "x, whose shape is (2, 3, 8, 8)"),
        ((1, 3, 8, 8), (), "x, whose shape is (1, 3, 8, 8)"),
        ((4,), (7,), "x[:4]"),
    ],
)
def test_an_input_of_another_shape_is_refused_with_the_line_that_mends_it(
    expected: tuple[int, ...], found: tuple[int, ...], made: str
) -> None:
    takes = manifest("x86_64", "generic", inputs=(Port(name="x", shape=expected),))
    with pytest.raises(UsageError) as caught:
        checked_inputs(takes, {"x": np.zeros(found, np.float32)})
    assert str(caught.value) == f"input 'x' has shape {list(found)}, expected {list(expected)}"
    assert caught.value.hint.startswith(f"numpy.save('x.npy', {made}), then")
    assert "--input x.npy" in caught.value.hint


def test_what_a_hint_says_makes_the_input_that_is_taken() -> None:
    takes = manifest("x86_64", "generic", inputs=(Port(name="x", shape=(1, 3, 8, 6)),))
    pixels = np.arange(144, dtype=np.float32).reshape(1, 8, 6, 3)
    (taken,) = checked_inputs(takes, {"x": pixels.transpose(0, 3, 1, 2)})
    assert taken.flags.c_contiguous
    assert taken[0, 2, 7, 5] == pixels[0, 7, 5, 2]
