"""Whatever the space: its networks survive the disk, build, and cost what lies between extremes."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from binas.core import bits, record
from binas.search.binarize import clipped_sign, triangle_sign, widened_sign
from binas.search.genotype import Genotype
from binas.search.menu import cell_choices
from binas.search.networks.bars import build
from binas.search.networks.bars_supernet import one_hot
from binas.search.space import OpName, Space
from binas.search.strategy.derive import most_probable
from binas.search.survey import random_genotypes

OPS: tuple[OpName, ...] = ("none", "skip", "b3", "pool")


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Any small space; the stem may halve, stages may be empty."""
    stages, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    unit = stride << (stages - 1)
    ops = st.permutations(OPS).flatmap(lambda names: st.integers(2, 4).map(lambda n: names[:n]))
    least = draw(st.integers(0, 1))
    return Space(
        input_shape=(
            draw(st.integers(1, 3)),
            unit * draw(st.integers(2, 3)),
            unit * draw(st.integers(2, 3)),
        ),
        classes=draw(st.integers(1, 4)),
        channels=4 * draw(st.integers(1, 3)),
        nodes=draw(st.integers(1, 2)),
        stages=stages,
        min_cells=least,
        max_cells=draw(st.integers(max(1, least), 2)),
        widths=draw(st.sampled_from([(1.0,), (0.5, 1.0), (0.25, 0.75, 1.0)])),
        stem_stride=stride,
        normal_ops=tuple(draw(ops)),
        reduction_ops=tuple(draw(ops)),
    )


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    """Any network of any small space."""
    return random_genotypes(draw(spaces()), 1, draw(st.integers(0, 2**31)))[0]


@given(genotypes())
def test_a_genotype_read_back_is_the_genotype_written(genotype: Genotype) -> None:
    text = record.dumps(genotype)
    again = record.loads(Genotype, text, where="the test")
    assert again == genotype
    assert record.digest(again) == record.digest(genotype)
    assert record.loads(Genotype, record.dumps(genotype, indent=1), where="the test") == genotype


@given(genotypes())
def test_the_most_probable_network_at_certainty_is_that_network(genotype: Genotype) -> None:
    assert most_probable(genotype.space, one_hot(genotype)) == genotype


@given(spaces())
def test_every_choice_of_a_cell_is_whole_and_no_whole_cell_is_left_out(space: Space) -> None:
    choices = cell_choices(space, space.normal_ops)
    assert len(set(choices)) == len(choices)
    assert all(space.is_whole(ops) for ops in choices)
    none = sum(op == "none" for op in space.normal_ops)
    # Into node t lead t edges; only "none" on all of them leaves it empty.
    expected = 1
    for t in range(1, space.nodes + 1):
        expected *= len(space.normal_ops) ** t - none
    assert len(choices) == expected


@settings(max_examples=25)
@given(genotypes(), st.booleans())
def test_every_network_of_every_space_computes_logits(genotype: Genotype, real: bool) -> None:
    net = build(genotype, real=real).eval()
    x = torch.zeros(2, *genotype.space.input_shape)
    with torch.no_grad():
        logits = net(x)
    assert logits.shape == (2, genotype.space.classes)
    assert bool(logits.isfinite().all())


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=70))
def test_every_sign_is_the_sign_of_the_kernels(values: list[float]) -> None:
    x = np.array(values, dtype=np.float32)
    for sign in (clipped_sign, widened_sign, triangle_sign):
        assert np.array_equal(sign(torch.from_numpy(x)).numpy(), bits.sign(x))
