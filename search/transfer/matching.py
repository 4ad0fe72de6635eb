"""How good embeddings are: verification of pairs, re-identification in a gallery."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]


def cosines(first: NDArray[np.floating], second: NDArray[np.floating]) -> Doubles:
    """Cosine of each row of `first` [N, D] with each of `second` [M, D]: [N, M]."""
    a, b = (_normalised(x.astype(np.float64)) for x in (first, second))
    found: Doubles = a @ b.T
    return found


def _normalised(x: Doubles) -> Doubles:
    lengths: Doubles = np.linalg.norm(x, axis=1, keepdims=True)
    return x / lengths


def pairs(y: Ids, count: int, seed: int = 0) -> tuple[Ids, Ids]:
    """Indices of `count` pairs, alternately of one identity and of two; no image with itself."""
    random, first, second = np.random.default_rng(seed), [], []
    members = {k: np.flatnonzero(y == k) for k in np.unique(y)}
    several = [k for k, m in members.items() if len(m) > 1]
    for index in range(count):
        if index % 2 == 0:
            a, b = random.choice(members[random.choice(several)], 2, replace=False)
        else:
            one, two = random.choice(list(members), 2, replace=False)
            a, b = random.choice(members[one]), random.choice(members[two])
        first.append(a)
        second.append(b)
    return np.array(first, np.int64), np.array(second, np.int64)


def verification_accuracy(scores: Doubles, same: NDArray[np.bool_], folds: int = 10) -> float:
    """Share of pairs told right, the threshold of each fold chosen on all others.

    Source: Labeled Faces in the Wild (Huang et al., 2007, UMass TR 07-49), ten folds.

    Args:
        scores: How alike each pair is [N].
        same: Whether it is one identity [N].
        folds: In how many parts the pairs are cut, in their order.
    """
    parts = np.array_split(np.arange(len(scores)), folds)
    right = 0
    for part in parts:
        rest = np.setdiff1d(np.arange(len(scores)), part)
        right += int(
            ((scores[part] >= _best_threshold(scores[rest], same[rest])) == same[part]).sum()
        )
    return right / len(scores)


def _best_threshold(scores: Doubles, same: NDArray[np.bool_]) -> float:
    """Midway between two scores, with fewest pairs on the wrong side."""
    order = np.argsort(scores)
    sorted_scores, sorted_same = scores[order], same[order]
    # Threshold before position i: those below are told apart, the rest together.
    wrong = np.concatenate([[0], np.cumsum(sorted_same)]) + np.concatenate(
        [np.cumsum(~sorted_same[::-1])[::-1], [0]]
    )
    best = int(wrong.argmin())
    low = sorted_scores[best - 1] if best else sorted_scores[0] - 1
    high = sorted_scores[best] if best < len(scores) else sorted_scores[-1] + 1
    return float((low + high) / 2)


def rank1_and_map(scores: Doubles, queries: Ids, gallery: Ids) -> tuple[float, float]:
    """Share of queries whose most alike image is of their identity, and mean average precision.

    Source: Market-1501 (Zheng et al., 2015, ICCV), without cameras: every image of the gallery
    counts. Average precision is the mean of the precision at each right image.

    Args:
        scores: How alike query i and image j of the gallery are [Q, G].
        queries: Identities [Q]; those that the gallery lacks are left out.
        gallery: Identities [G].
    """
    first, precisions = [], []
    for row, identity in zip(scores, queries, strict=True):
        hits = (gallery == identity)[np.argsort(-row, kind="stable")]
        if not hits.any():
            continue
        places = np.flatnonzero(hits)
        first.append(places[0] == 0)
        precisions.append(np.mean(np.arange(1, len(places) + 1) / (places + 1)))
    return float(np.mean(first)), float(np.mean(precisions))
