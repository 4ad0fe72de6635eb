"""Searching by elimination: sample networks, score operations, drop the worst, until one is left.

What BNAS and CP-NAS share. A network is one alternative per *row*; a row is an edge with its
operations, or any other open choice (a stage's depth or width), so that the published algorithms,
written for edges of eight operations, run on every space. Rows may differ in length; tables over
all rows [rows, alternatives] are padded, and what is padding or was dropped is not alive.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def all_alive(alternatives: Sequence[int]) -> Tensor:
    """[rows, alternatives] bool: True for every alternative of every row, False for padding."""
    most = max(alternatives)
    return torch.arange(most)[None] < torch.tensor(list(alternatives))[:, None]


def sweep(tested: Tensor, generator: torch.Generator) -> Tensor:
    """Networks in which every tested alternative of every row occurs: sampling without replacement.

    Source: BNAS (Chen et al., 2020, arXiv:1911.10862) and CP-NAS (Zhuo et al., 2020,
    arXiv:2005.00057, algorithm 1), where all rows are alike and each alternative occurs once.

    Args:
        tested: [rows, alternatives] bool, at least one True per row.
        generator: Of the order.

    Returns:
        [networks, rows] int64, as many networks as the longest row has tested alternatives; a
        shorter row starts over, so that its alternatives occur as equally often as possible.
    """
    networks = int(tested.sum(dim=1).max())
    columns: list[Tensor] = []
    for row in tested:
        names = row.nonzero().flatten()
        rounds = [
            names[torch.randperm(len(names), generator=generator)]
            for _ in range(-(-networks // len(names)))
        ]
        columns.append(torch.cat(rounds)[:networks])
    return torch.stack(columns, dim=1)


def drop_worst(alive: Tensor, score: Tensor) -> Tensor:
    """`alive` without the alternative of lowest score in each row that has more than one.

    Args:
        alive: [rows, alternatives] bool.
        score: The same shape; inf protects an alternative that may not be dropped.
    """
    worst = score.masked_fill(~alive, torch.inf).argmin(dim=1)
    kept = alive.clone()
    kept[torch.arange(len(alive)), worst] = False
    single = alive.sum(dim=1) == 1
    return torch.where(single[:, None], alive, kept)


def observed(paths: Tensor, values: Tensor, alternatives: int) -> tuple[Tensor, Tensor]:
    """Give every alternative of a network the value of that network.

    Args:
        paths: [networks, rows] int64.
        values: [networks].
        alternatives: Columns of the tables.

    Returns:
        Sum of values and number of observations, [rows, alternatives] of the values' dtype.
    """
    hits = torch.nn.functional.one_hot(paths, alternatives).to(values.dtype)
    return (hits * values[:, None, None]).sum(dim=0), hits.sum(dim=0)
