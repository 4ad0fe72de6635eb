"""Complexity: what a distribution expects in operations on bits, to the last one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from binas.compile.build import plan_layers
from binas.compile.model import BinaryModel
from binas.search import space as spaces
from binas.search.complexity import expected_biops, keep_probability
from binas.search.export import export
from binas.search.genotype import Genotype
from binas.search.networks.bars import build
from binas.search.networks.bars_supernet import Choice, logits, one_hot
from binas.search.space import OpName, Space
from binas.search.survey import random_genotypes

F_CONV = 4_718_592  # 2 · 9 · 16² · 32²

# Layout [1, 2, 0, 3, 4, 0, 5, 6]: three stages of two normal cells, two reductions.
LAYOUT = Space(
    input_shape=(3, 32, 32),
    classes=10,
    channels=16,
    nodes=4,
    min_cells=0,
    max_cells=2,
    stem_stride=1,
    normal_ops=("skip", "b3"),
    reduction_ops=("skip", "b3"),
)


def uniform(space: Space) -> Choice:
    """What parameters of zero give."""
    choice = logits(space, torch.Generator())
    return choice.with_tensors([torch.zeros_like(v) for v in choice.tensors()]).probabilities()


def biops_of(space: Space, p: Choice, *, reductions: bool) -> float:
    skips = torch.tensor([1.0, 0.0]).expand(len(space.edges), 2)
    p = p if reductions else replace(p, reduction=(skips,) * len(p.reduction))
    return float(expected_biops(space, p))


@pytest.mark.paper_check(number=12)
def test_a_depth_keeps_the_cells_before_it_and_the_uniform_one_of_three_two_thirds_and_one() -> (
    None
):
    for depth in (0, 1, 2):
        certain = functional.one_hot(torch.tensor(depth), 3).double()
        assert keep_probability((0, 1, 2), certain).tolist() == [1.0] * depth + [0.0] * (2 - depth)
    uniform = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert keep_probability((0, 1, 2), uniform).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert keep_probability((1, 2, 3), uniform).tolist() == pytest.approx([1, 2 / 3, 1 / 3])


@pytest.mark.paper_check(number=11)
def test_a_convolution_between_nodes_costs_4_718_592_operations_in_every_stage() -> None:
    for stages in (1, 2, 3):
        one = replace(LAYOUT, nodes=1, stages=stages, widths=(1.0,), min_cells=1, max_cells=1)
        found = biops_of(one, uniform(one), reductions=False)
        assert found == stages * 0.5 * F_CONV  # "skip" has the other half


@pytest.mark.paper_check(number=11)
def test_parameters_of_zero_expect_33_177_600_operations_and_50_872_320_with_reductions() -> None:
    assert biops_of(LAYOUT, uniform(LAYOUT), reductions=False) == pytest.approx(33_177_600)
    assert biops_of(LAYOUT, uniform(LAYOUT), reductions=True) == pytest.approx(50_872_320)


@pytest.mark.paper_check(number=11)
def test_with_none_as_a_third_operation_they_are_22_118_400(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # More cells than a latency table could price; this term has no table.
    monkeypatch.setattr(spaces, "MAX_CELL_CHOICES", 3**10)
    ops: tuple[OpName, ...] = ("none", "skip", "b3")
    space = replace(LAYOUT, normal_ops=ops)
    assert biops_of(space, uniform(space), reductions=False) == pytest.approx(22_118_400)


def convolved(genotype: Genotype) -> int:
    """Operations of the convolutions on edges, in the plan that the compiler makes."""
    model = BinaryModel.of(export(build(genotype), genotype), "net")
    return sum(2 * layer.binary_macs for name, layer in plan_layers(model) if "/edge" in name)


def test_of_certain_choices_it_is_the_count_of_the_networks_plan(space: Space) -> None:
    for genotype in random_genotypes(space, 6, seed=8):
        assert float(expected_biops(space, one_hot(genotype))) == convolved(genotype)


def test_its_gradient_equals_finite_differences(space: Space) -> None:
    generator = torch.Generator().manual_seed(0)
    choice = logits(space, generator)
    drawn = [
        torch.randn(v.shape, generator=generator, dtype=torch.float64).requires_grad_()
        for v in choice.tensors()
    ]

    def thousands(*tensors: Tensor) -> Tensor:
        return expected_biops(space, choice.with_tensors(tensors).probabilities()) / 1e3

    assert torch.autograd.gradcheck(thousands, tuple(drawn), eps=1e-6, atol=1e-6, rtol=1e-6)
