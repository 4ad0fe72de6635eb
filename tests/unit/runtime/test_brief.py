"""A reference in brief: what digests of cells accept, what they find, and what is drawn."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from binas.core import bits
from binas.core.errors import UsageError
from binas.runtime import brief
from binas.runtime.artifact import Port, Tensor

LIMIT = 1e-5
SHAPE = (2, 5, 7, 33)
LARGEST = 8.0


@pytest.fixture
def y() -> np.ndarray:
    """Floats up to 8, a third of them 0 as after a ReLU."""
    x = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)
    x[x < -0.4] = 0
    return x * np.float32(LARGEST / np.abs(x).max())


def bit_tensor(channels: int = SHAPE[3]) -> Tensor:
    shape = (*SHAPE[:3], channels)
    size = 4 * int(np.prod(shape[:3])) * bits.words(channels)
    return Tensor(name="b", shape=shape, dtype="bits", offset=0, size_bytes=size)


@pytest.mark.parametrize("share", [-0.999, -0.5, 0.0, 0.5, 0.999])
def test_floats_within_their_limit_are_in_their_cells(y: np.ndarray, share: float) -> None:
    found = (y + share * LIMIT * LARGEST).astype(np.float32)
    found = y + np.clip(found - y, -LIMIT * LARGEST, LIMIT * LARGEST)
    verdict = brief.judge_floats(brief.of_floats("y", y, LIMIT), "y", found.astype(np.float32))
    assert verdict.wrong == 0 and verdict.rows == 10
    assert verdict.bound == pytest.approx(1e-3 * LARGEST)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_float_that_is_off_by_a_cell_is_found_wherever_it_is(y: np.ndarray, sign: int) -> None:
    stored = brief.of_floats("y", y, LIMIT)
    cell = brief.judge_floats(stored, "y", y).bound
    for place in range(0, y.size, 97):
        found = y.copy()
        found.reshape(-1)[place] += np.float32(sign * 1.01 * cell)
        assert brief.judge_floats(stored, "y", found).wrong == 1, place


def test_a_tenth_of_a_cell_is_found_in_a_tenth_of_the_places_and_in_a_whole_tensor_always(
    y: np.ndarray,
) -> None:
    stored = brief.of_floats("y", y, LIMIT)
    off = np.float32(0.1 * brief.judge_floats(stored, "y", y).bound)
    hits = 0
    for place in range(y.size):
        found = y.copy()
        found.reshape(-1)[place] += off
        hits += brief.judge_floats(stored, "y", found).wrong
    assert 0.06 < hits / y.size < 0.14
    assert brief.judge_floats(stored, "y", y + off).wrong == 10


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_no_number_is_in_no_cell(y: np.ndarray, value: float) -> None:
    found = y.copy()
    found[1, 4, 6, 32] = value
    assert brief.judge_floats(brief.of_floats("y", y, LIMIT), "y", found).wrong == 1


@pytest.mark.parametrize("channels", [1, 31, 33, 63, 65, 127, 129])
def test_every_bit_counts_but_those_at_their_thresholds(channels: int) -> None:
    tensor, rng = bit_tensor(channels), np.random.default_rng(channels)
    values = rng.choice([-1, 1], tensor.shape).astype(np.float32)
    near = rng.random(tensor.shape) < 0.1
    stored = brief.of_bits("b", bits.pack(values), near)
    for place in range(0, values.size, 1 + values.size // 60):
        found = values.copy()
        found.reshape(-1)[place] *= -1
        verdict = brief.judge_bits(stored, tensor, bits.pack(found))
        flips = bool(near.reshape(-1)[place])
        assert (verdict.wrong, verdict.flips) == (int(not flips), int(flips)), place


def test_a_bit_beyond_the_last_channel_is_wrong() -> None:
    tensor = bit_tensor()
    words = bits.pack(np.ones(tensor.shape, np.float32))
    stored = brief.of_bits("b", words, np.zeros(tensor.shape, bool))
    words[0, 0, 0, 1] |= np.uint32(2)
    assert brief.judge_bits(stored, tensor, words).wrong == 1


def test_what_is_drawn_depends_on_names_alone() -> None:
    """Artifacts of today are verified by versions to come: these numbers may not change."""
    x = brief.port_input("0123456789ab", Port(name="x", shape=(1, 3, 5, 7)))
    assert hashlib.sha256(x.tobytes()).hexdigest()[:16] == "f893c6aa0d4b0089"
    pixels = Port(name="x", shape=(1, 5, 7, 3), channels_last=True, dtype="uint8")
    seen = brief.port_input("0123456789ab", pixels)
    assert hashlib.sha256(seen.tobytes()).hexdigest()[:16] == "f09c12333b75f5c9"
    assert abs(float(x.mean())) < 0.5 and 0.8 < float(x.std()) < 1.5
    assert (x == 0).sum() >= 7 and np.signbit(x[x == 0]).any()


Change = dict[str, Any]


@pytest.mark.parametrize(
    "change",
    [
        {"brief:digest:y": np.zeros(3, np.uint64)},
        {"brief:digest:y": np.zeros((10, 1), np.uint64)},
        {"brief:near:y": np.full(60, 254, np.uint8)},
        {"brief:near:y": np.zeros(4, np.float32)},
        {"brief:cell:y": np.array([0.0])},
        {"brief:cell:y": np.array([np.nan])},
        {"brief:cell:y": np.array([])},
    ],
)
def test_a_reference_that_does_not_fit_is_refused(y: np.ndarray, change: Change) -> None:
    stored = brief.of_floats("y", y, LIMIT) | change
    with pytest.raises(UsageError, match="does not hold brief:"):
        brief.judge_floats(stored, "y", y)


@pytest.mark.parametrize(
    "change",
    [
        {"brief:near:b": np.array([1 << 31], np.uint32), "brief:value:b": np.zeros(1, np.uint8)},
        {"brief:value:b": np.zeros(7, np.uint8)},
    ],
)
def test_bits_that_do_not_fit_are_refused(change: Change) -> None:
    tensor = bit_tensor()
    words = bits.pack(np.ones(tensor.shape, np.float32))
    stored = brief.of_bits("b", words, np.zeros(tensor.shape, bool)) | change
    with pytest.raises(UsageError, match="does not hold brief:"):
        brief.judge_bits(stored, tensor, words)
