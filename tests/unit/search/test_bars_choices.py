"""Distributions over a BARS space: their entropy, and the networks that are derived or drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from binas.search.genotype import CellOps
from binas.search.networks.bars_supernet import logits, one_hot
from binas.search.space import Space
from binas.search.strategy import derive
from binas.search.strategy.ground import entropy
from binas.search.strategy.layout_ground import LayoutGround
from binas.search.survey import random_genotypes


def test_entropy_is_one_per_uniform_choice_and_nothing_for_a_certain_one(tiny: Space) -> None:
    generator = torch.Generator().manual_seed(0)
    choice = logits(tiny, generator)
    uniform = choice.with_tensors([torch.zeros_like(v) for v in choice.tensors()]).probabilities()
    # 2 depths, 2 widths, 4 normal cells, 1 reduction.
    assert float(entropy(uniform.tensors())) == pytest.approx(9)
    certain = one_hot(random_genotypes(tiny, 1, seed=0)[0])
    assert float(entropy(certain.tensors())) == pytest.approx(0, abs=1e-6)


def test_a_certain_distribution_derives_its_network(space: Space) -> None:
    generator = torch.Generator().manual_seed(0)
    for genotype in random_genotypes(space, 5, seed=12):
        p = one_hot(genotype)
        assert derive.most_probable(space, p) == genotype
        assert derive.draw(space, p, generator) == genotype


def test_draws_follow_the_probabilities_and_never_leave_a_node_empty(tiny: Space) -> None:
    p = logits(tiny, torch.Generator().manual_seed(0)).probabilities()
    p = replace(p, width=(torch.tensor([0.8, 0.2]), p.width[1]))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        drawn = [derive.draw(tiny, p, generator) for _ in range(400)]  # a Genotype refuses the rest
    assert abs(sum(g.widths[0] == 0 for g in drawn) / 400 - 0.8) < 0.06


def test_without_a_budget_the_most_probable_network_is_among_the_candidates(tiny: Space) -> None:
    p = logits(tiny, torch.Generator().manual_seed(0)).probabilities()
    plain = LayoutGround(tiny, None)
    with torch.no_grad():
        found = plain.candidates(p.tensors(), 4, torch.Generator().manual_seed(0), None)
    assert found[0] == derive.most_probable(tiny, p)
    assert len(set(found)) == len(found) == 4


def test_weight_free_operations_are_counted_on_the_edges_of_normal_cells(tiny: Space) -> None:
    genotype = random_genotypes(tiny, 1, seed=2)[0]
    skip: CellOps = ("skip",) * 3
    convolution: CellOps = ("b3",) * 3
    convolving = replace(genotype, normal=((skip,), (convolution,)))
    # The stages' unused second cell repeats the first: one half skips, one half convolves.
    share = LayoutGround(tiny, None).weight_free(one_hot(convolving).tensors())
    assert share == pytest.approx(0.5)
