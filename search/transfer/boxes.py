"""Boxes: how they overlap, which to keep, how good a detector is.

A box is left, top, right, bottom, in pixels; its area is that of the rectangle between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of one image, found or true.

    Attributes:
        corners: [N, 4] in pixels.
        labels: Class of each [N].
        scores: How sure, any increasing measure [N]; true boxes have none.
    """

    corners: Doubles
    labels: Ids
    scores: Doubles | None = None


def overlaps(first: Doubles, second: Doubles) -> Doubles:
    """Intersection over union of each box [N, 4] with each [M, 4]: [N, M]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(np.maximum(b[:, 2:] - b[:, :2], 0), axis=1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - both
    share: Doubles = both / np.maximum(union, 1e-12)
    return share


def suppressed(found: Boxes, limit: float = 0.5) -> Boxes:
    """Of boxes of one class that overlap by more than `limit`, only the one of highest score."""
    assert found.scores is not None  # noqa: S101 (what is found has scores)
    order = np.argsort(-found.scores, kind="stable")
    kept: list[int] = []
    for index in order:
        rivals = [k for k in kept if found.labels[k] == found.labels[index]]
        if not rivals or overlaps(found.corners[[index]], found.corners[rivals]).max() <= limit:
            kept.append(int(index))
    return Boxes(found.corners[kept], found.labels[kept], found.scores[kept])


def mean_average_precision(
    found: list[Boxes], true: list[Boxes], classes: int, overlap: float = 0.5
) -> float:
    """Mean over the classes of the area under precision over recall.

    A found box is right where it overlaps a true box of its class by at least `overlap` that no
    surer box has taken. Precision is made to fall with recall before the area is taken.
    Source: PASCAL VOC (Everingham et al., 2010, IJCV 88), in its form since 2010.

    Args:
        found: Per image, with scores.
        true: Per image.
        classes: Classes without a true box are left out of the mean.
        overlap: Least intersection over union.
    """
    areas = []
    for label in range(classes):
        total = sum(int((one.labels == label).sum()) for one in true)
        if total:
            areas.append(_average_precision(found, true, label, overlap, total))
    return float(np.mean(areas)) if areas else 0.0


def _average_precision(
    found: list[Boxes], true: list[Boxes], label: int, overlap: float, total: int
) -> float:
    ranked: list[tuple[float, bool]] = []
    for mine, theirs in zip(found, true, strict=True):
        assert mine.scores is not None  # noqa: S101 (what is found has scores)
        chosen, goal = mine.labels == label, theirs.corners[theirs.labels == label]
        taken = np.zeros(len(goal), bool)
        scores, corners = mine.scores[chosen], mine.corners[chosen]
        for index in np.argsort(-scores, kind="stable"):
            free = np.where(taken, 0.0, overlaps(corners[[index]], goal)[0])
            right = bool(free.max(initial=0.0) >= overlap)
            if right:
                taken[free.argmax()] = True
            ranked.append((float(scores[index]), right))
    ranked.sort(key=lambda entry: -entry[0])
    hits = np.cumsum([hit for _, hit in ranked])
    precision = np.maximum.accumulate((hits / np.arange(1, len(ranked) + 1))[::-1])[::-1]
    recall = np.concatenate([[0.0], hits / total])
    return float((np.diff(recall) * precision).sum())
