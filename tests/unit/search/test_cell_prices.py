"""The latency term on cells of DARTS type: a sum of entries for certain choices, smooth between."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from binas.core.layer import Layer
from binas.search.cells import CellGenotype, CellSpace
from binas.search.cost import predict_ns
from binas.search.data import Dataset
from binas.search.networks.family import supernet
from binas.search.strategy import darts
from binas.search.strategy.cell_ground import CellGround
from binas.search.strategy.cell_prices import CellLut
from binas.search.strategy.ground import softmax
from binas.search.train import fit

SPACE = CellSpace(
    input_shape=(1, 8, 8),
    classes=3,
    channels=4,
    cells=1,  # which halves: its edges of two kinds are all there is
    nodes=2,
    normal_ops=("none", "skip", "sep3"),
    reduction_ops=("none", "max", "sep3"),
)


class Macs:
    """Prices that are multiply-accumulates and a little for every step."""

    fixed_ns = 100.0

    def latency_ns(self, layer: Layer) -> float:
        return layer.macs + 10.0


@pytest.fixture(scope="module")
def lut() -> CellLut:
    return CellLut.of(SPACE, Macs())


def drawn(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [group.shape for group in supernet(SPACE).groups]
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


@pytest.mark.paper_check(number=15)
def test_certain_choices_cost_the_sum_of_the_entries_of_the_network(lut: CellLut) -> None:
    net = supernet(SPACE)
    for seed in range(5):
        genotype = net.derive(softmax(drawn(seed)))
        assert isinstance(genotype, CellGenotype)
        certain = []
        for group, cell in zip(net.groups, (genotype.normal, genotype.reduction), strict=True):
            ops = torch.zeros(len(group.edges), dtype=torch.int64)  # "none" where nothing is kept
            for node, edges in enumerate(cell, start=2):
                for op, source in edges:
                    ops[group.edges.index((source, node))] = group.ops.index(op)
            certain.append(functional.one_hot(ops, len(group.ops)).double())
        assert float(lut.expected_ns(certain)) == pytest.approx(lut.predict_ns(genotype), rel=1e-12)
        assert lut.fastest_ns() <= lut.predict_ns(genotype) + 1e-6


def test_the_sum_is_near_what_planning_the_whole_network_gives(lut: CellLut) -> None:
    net = supernet(SPACE)
    for seed in range(3):
        genotype = net.derive(softmax(drawn(seed)))
        assert lut.predict_ns(genotype) == pytest.approx(predict_ns(genotype, Macs()), rel=0.05)


@pytest.mark.paper_check(number=15)
def test_the_gradient_of_the_expectation_is_that_of_differences(lut: CellLut) -> None:
    alphas = [a.requires_grad_() for a in drawn(9)]
    found = torch.autograd.grad(lut.expected_ns(softmax(alphas)), alphas)
    step = 1e-5
    for table, gradient in zip(alphas, found, strict=True):
        for place in ((0, 1), (3, 2), (4, 0)):
            sides = []
            for sign in (1, -1):
                with torch.no_grad():
                    table[place] += sign * step
                    sides.append(float(lut.expected_ns(softmax(alphas))))
                    table[place] -= sign * step
            assert float(gradient[place]) == pytest.approx(
                (sides[0] - sides[1]) / (2 * step), rel=1e-5, abs=1e-4
            )
    shifted = [a.detach() + 3.0 for a in alphas]
    assert float(lut.expected_ns(softmax(shifted))) == pytest.approx(
        float(lut.expected_ns(softmax(alphas)).detach()), rel=1e-9
    )


def test_latency_turns_a_search_of_cells_to_cheaper_operations(
    lut: CellLut, images: Dataset
) -> None:
    budget = 1.02 * lut.fastest_ns()
    expected = {}
    for strength in (0.0, 20.0):
        settings = darts.DartsSettings(epochs=3, batch=24, architecture_rate=0.2, strength=strength)
        task = darts.Search(CellGround(SPACE, lut), images, settings, 0, budget)
        expected[strength] = fit(task)[-1]["expected_ns"]
    assert expected[20.0] < 0.9 * expected[0.0]
