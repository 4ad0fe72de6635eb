"""Cost: the expectation is exact at the corners, its gradient is right, and more is dearer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import get_args

import pytest
import torch
from torch import Tensor

from binas.core import record
from binas.core.errors import MeasureError
from binas.core.layer import Layer
from binas.runtime.measure import Failure
from binas.runtime.replay import invented_fixed, replay
from binas.runtime.table import Entry, LatencyTable
from binas.search.cost import Form, Lut, count, layers_of, penalised, predict_ns
from binas.search.genotype import CellOps, Genotype
from binas.search.menu import Menu, menu
from binas.search.networks.bars_supernet import Choice, logits, one_hot
from binas.search.space import OpName, Space
from binas.search.survey import random_genotypes

LutOf = Callable[[Space], Lut]


def table_of(menu: Menu) -> LatencyTable:
    """A table as a device would give it, with invented times."""
    results = replay(menu.layers)
    return LatencyTable(
        device="null",
        cpu="generic",
        arch="aarch64",
        kernel_version="k1",
        threads=1,
        entries=tuple(
            Entry(layer=la, result=r) for la, r in zip(menu.layers, results, strict=True)
        ),
        fixed=invented_fixed(),
    )


class Shuffled:
    """Prices without any order in them, so that wide and deep may be fast."""

    fixed_ns = 10.0

    def latency_ns(self, layer: Layer) -> float:
        """From the layer's text alone."""
        return 1000.0 + int(record.digest_bytes(repr(layer).encode()), 16) % 9000


def doubles(space: Space, seed: int = 0) -> Choice:
    """Logits in float64, far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    tensors = [
        torch.randn(v.shape, generator=generator, dtype=torch.float64).requires_grad_()
        for v in logits(space, generator).tensors()
    ]
    return logits(space, generator).with_tensors(tensors)


@pytest.mark.paper_check(number=15)
def test_the_expectation_at_one_hot_is_the_sum_of_the_table_for_that_network(
    space: Space, menu_of_space: Callable[[Space], Menu]
) -> None:
    table = table_of(menu_of_space(space))
    lut = Lut.of(menu_of_space(space), table)
    for genotype in random_genotypes(space, 12, seed=8):
        by_plan = table.sum_ns(layers_of(genotype))
        assert float(lut.expected_ns(one_hot(genotype))) == pytest.approx(by_plan, rel=1e-12)
        assert lut.predict_ns(genotype) == pytest.approx(by_plan, rel=1e-12)
        assert predict_ns(genotype, table) == pytest.approx(by_plan, rel=1e-12)


def test_the_expectation_is_the_mean_over_samples(tiny: Space, lut_of: LutOf) -> None:
    from binas.search.strategy.derive import draw

    lut, p = lut_of(tiny), doubles(tiny).probabilities()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        drawn = [lut.predict_ns(draw(tiny, p, generator)) for _ in range(600)]
        expected = float(lut.expected_ns(p))
    times = torch.tensor(drawn, dtype=torch.float64)
    assert abs(float(times.mean()) - expected) < 4 * float(times.std()) / 600**0.5


@pytest.mark.paper_check(number=15)
def test_the_gradient_equals_finite_differences(space: Space, lut_of: LutOf) -> None:
    lut, choice = lut_of(space), doubles(space)

    def microseconds(*tensors: Tensor) -> Tensor:
        return lut.expected_ns(choice.with_tensors(tensors).probabilities()) / 1e3

    assert torch.autograd.gradcheck(
        microseconds, tuple(choice.tensors()), eps=1e-6, atol=1e-6, rtol=1e-6
    )


@pytest.mark.paper_check(number=15)
def test_the_gradient_of_a_depth_is_p_times_what_it_costs_above_the_mean(
    space: Space, lut_of: LutOf
) -> None:
    lut, choice = lut_of(space), doubles(space)
    lut.expected_ns(choice.probabilities()).backward()
    with torch.no_grad():
        certain = choice.probabilities()
        for stage, alpha in enumerate(choice.depth):
            costs = []
            for depth in torch.eye(len(alpha), dtype=torch.float64):
                depths = (*certain.depth[:stage], depth, *certain.depth[stage + 1 :])
                costs.append(lut.expected_ns(replace(certain, depth=depths)))
            p, c = alpha.softmax(-1), torch.stack(costs)
            torch.testing.assert_close(alpha.grad, p * (c - p @ c), rtol=1e-6, atol=0.0)


@pytest.mark.paper_check(number=15)
def test_a_constant_added_to_logits_changes_nothing(space: Space, lut_of: LutOf) -> None:
    lut, choice = lut_of(space), doubles(space)
    shifted = choice.with_tensors([v + 3.7 for v in choice.tensors()])
    got, expected = (float(lut.expected_ns(c.probabilities()).detach()) for c in (shifted, choice))
    assert got == pytest.approx(expected, rel=1e-12)


def test_the_cheapest_width_lowers_and_more_cells_raise_the_time(
    space: Space, lut_of: LutOf
) -> None:
    lut, choice = lut_of(space), doubles(space, seed=1)
    lut.expected_ns(choice.probabilities()).backward()
    for width in choice.width:
        assert width.grad is not None
        assert width.grad[0] < 0 < width.grad[-1]
    for depth in choice.depth:
        assert depth.grad is not None
        assert depth.grad[0] < 0 < depth.grad[-1]


def test_the_fastest_network_is_the_fastest_of_all(tiny: Space, hollow: Space) -> None:
    ops: tuple[OpName, ...] = ("skip", "b3")
    for space in (tiny, hollow):
        small = replace(space, nodes=1, max_cells=1, normal_ops=ops, reduction_ops=ops)
        lut = Lut.of(menu(small), Shuffled())
        kept: list[tuple[CellOps, ...]] = [((op,),) for op in ops]
        kept += [()] if small.min_cells == 0 else []
        every = [
            Genotype(space=small, widths=widths, normal=normal, reduction=((op,),))
            for widths in product(range(len(small.widths)), repeat=2)
            for normal in product(kept, repeat=2)
            for op in ops
        ]
        assert lut.fastest_ns() == pytest.approx(min(map(lut.predict_ns, every)), rel=1e-12)


def test_a_table_without_a_step_is_refused_with_the_failure(
    tiny: Space, menu_of_space: Callable[[Space], Menu]
) -> None:
    menu = menu_of_space(tiny)
    table = table_of(menu)
    failed = Entry(layer=menu.layers[3], result=Failure(kind="run", message="it died"))
    entries = (*table.entries[:3], failed, *table.entries[4:])
    with pytest.raises(MeasureError, match="run, it died") as caught:
        Lut.of(menu, replace(table, entries=entries))
    assert "again" in caught.value.hint


def test_counts_are_those_of_the_layers() -> None:
    binary = Layer(
        op="binary_conv",
        in_shape=(1, 4, 4, 8),
        out_channels=6,
        kernel=(3, 3),
        padding=(1, 1, 1, 1),
        in_bits=1,
        weight_bits=1,
    )
    real = Layer(op="conv", in_shape=(1, 4, 4, 3), out_channels=8, weight_bits=32)
    found = count([binary, real, binary])
    assert found.biops == 2 * 2 * (16 * 6 * 9 * 8)
    assert found.flops == 2 * 16 * 8 * 3
    assert (found.binary_weights, found.real_weights) == (2 * 6 * 9 * 8, 24)
    assert found.binary_weight_bytes == 108


def test_the_twin_has_no_operations_on_bits(genotype: Genotype) -> None:
    ours, twin = count(layers_of(genotype)), count(layers_of(genotype, real=True))
    assert twin.biops == twin.binary_weights == 0
    assert twin.flops == ours.flops + ours.biops
    assert twin.real_weights == ours.real_weights + ours.binary_weights


CE = torch.tensor(0.7, dtype=torch.float64)


@pytest.mark.paper_check(number=14)
@pytest.mark.parametrize(
    ("form", "ratio", "strength", "expected"),
    [
        ("hinge", 0.9, 1.0, 0.7),
        ("hinge", 1.0, 1.0, 0.7),
        ("hinge", 2.0, 0.5, 0.7 + 0.5),
        ("two-sided", 0.8, 1.0, 0.7 + 0.2),
        ("two-sided", 1.2, 1.0, 0.7 + 0.2),
        ("product", 0.5, 1.0, 0.7),
        ("product", 2.0, 1.0, 1.4),
        ("product", 2.0, 2.0, 2.8),
        ("log-product", 1.0, 1.0, 0.7),
        ("log-product", 2.0, 1.0, 0.7 * (1 + 0.6931471805599453)),
        ("log-product", 0.01, 1.0, 0.7e-3),
    ],
)
def test_the_forms_of_the_loss(form: Form, ratio: float, strength: float, expected: float) -> None:
    got = penalised(CE, torch.tensor(ratio, dtype=torch.float64), form, strength)
    assert float(got) == pytest.approx(expected)


@pytest.mark.parametrize("form", get_args(Form))
def test_every_form_presses_above_the_budget_and_none_at_strength_zero(form: Form) -> None:
    ratio = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(penalised(CE, ratio, form, 1.0), ratio)
    assert slope > 0
    assert float(penalised(CE, ratio.detach(), form, 0.0)) == pytest.approx(0.7)
