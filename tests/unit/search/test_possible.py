"""What cannot be searched is refused before anything is trained, and says what could be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from binas.core.errors import UsageError
from binas.search.cells import CellSpace
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.space import Space
from binas.search.strategy import catalogue, dcp_nas
from binas.search.strategy.bnas import BnasSettings
from binas.search.strategy.bnas_v2 import BnasV2Settings
from binas.search.strategy.cell_ground import CellGround
from binas.search.strategy.dcp_nas import DcpNasSettings
from binas.search.strategy.pc_darts import PcDartsSettings

CELLS = CellSpace(
    input_shape=(1, 8, 8), classes=3, channels=8, cells=3, nodes=2, normal_ops=("skip", "sep3")
)
STAGES = Space(input_shape=(1, 8, 8), classes=3, stages=2, widths=(1.0,))
BROAD = replace(CELLS, layout="broad", cells=2, blocks=2)
PARTIAL = (BnasSettings, BnasV2Settings, PcDartsSettings)
PC = {"variant": "pc", "edge_normalisation": True}


@pytest.mark.parametrize("settings", PARTIAL)
@pytest.mark.parametrize("parts", [0, -3])
def test_channels_have_at_least_one_part(settings: Any, parts: int) -> None:
    with pytest.raises(UsageError, match="partial"):
        settings(partial=parts)


@pytest.mark.parametrize("space", [STAGES, CELLS, BROAD])
@pytest.mark.parametrize(
    ("strategy", "channels", "given", "says", "way"),
    [
        ("pc-darts", 6, {}, "partial is 4: 6 channels", "partial 1, 2, 3 or 6, or a space whose"),
        ("bnas", 5, {}, "partial is 2: 5 channels", "partial 1 or 5, or a space whose"),
        ("pc-darts", 8, {"partial": 7}, "partial is 7: 8 channels", "1, 2, 4 or 8, or a space"),
        ("bnas-v2", 8, {**PC, "partial": 16}, "partial is 16", "multiple of 16"),
    ],
)
def test_channels_that_do_not_divide_into_parts_are_refused_with_what_does(
    space: AnySpace,
    images: Dataset,
    strategy: str,
    channels: int,
    given: dict[str, Any],
    says: str,
    way: str,
) -> None:
    chosen = catalogue.find(strategy)
    settings = chosen.settings(**given)
    narrow = replace(space, channels=channels)
    with pytest.raises(UsageError, match=says) as caught:
        chosen.must_be_possible(narrow, images, settings)
    assert way in caught.value.hint
    with pytest.raises(UsageError, match=says):
        chosen.search(narrow, images, settings)
    chosen.must_be_possible(replace(space, channels=16), images, chosen.settings())


def test_the_width_of_the_layout_counts_that_a_budget_leads_to(
    images: Dataset, lut_of: Any
) -> None:
    space = Space(
        input_shape=(1, 8, 8), classes=3, channels=8, stages=2, widths=(0.25, 1.0), max_cells=1
    )
    lut: Lut = lut_of(space)
    strategy = catalogue.find("pc-darts")
    settings = strategy.settings()
    strategy.must_be_possible(space, images, settings, lut, None)
    slim = next(
        ns for ns in (lut.fastest_ns() * (1 + step / 20) for step in range(40)) if _slim(lut, ns)
    )
    with pytest.raises(UsageError, match="partial is 4: 2 channels"):
        strategy.must_be_possible(space, images, settings, lut, slim)


def _slim(lut: Lut, budget_ns: float) -> bool:
    return CellGround(lut.menu.space, lut, budget_ns).node_channels()[0] == 2


def test_bars_is_refused_a_space_of_cells_at_once(images: Dataset) -> None:
    strategy = catalogue.find("bars")
    with pytest.raises(UsageError, match="found a space of cells"):
        strategy.must_be_possible(CELLS, images, strategy.settings())


# Spaces as far from the built-in ones as their records allow.
ODD: dict[str, AnySpace] = {
    "one stage": Space(
        input_shape=(1, 8, 8), classes=3, channels=4, stages=1, max_cells=1, widths=(1.0,)
    ),
    "one node": Space(input_shape=(1, 8, 8), classes=3, channels=4, nodes=1, stages=2, max_cells=1),
    "stages may be empty": Space(
        input_shape=(1, 8, 8), classes=3, channels=4, stages=2, min_cells=0, max_cells=1
    ),
    "one operation": Space(
        input_shape=(1, 8, 8),
        classes=3,
        channels=4,
        stages=2,
        max_cells=1,
        normal_ops=("b3",),
        reduction_ops=("b3",),
    ),
    "only none and skip": Space(
        input_shape=(1, 8, 8),
        classes=3,
        channels=4,
        stages=2,
        max_cells=1,
        normal_ops=("none", "skip"),
        reduction_ops=("none", "pool"),
    ),
    "one node of cells": replace(CELLS, nodes=1),
    "one cell, which reduces": replace(CELLS, cells=1),
    "five channels": replace(CELLS, channels=5),
    "one block": replace(BROAD, cells=1, blocks=1),
}
SHORT: dict[str, dict[str, Any]] = {
    "bars": {"epochs": 2, "warmup_epochs": 1, "samples": 1},
    "bnas": {"weight_epochs": 1, "joint_epochs": 1, "repeats": 1},
    "bnas-v2": {"epochs": 1},
    "cp-nas": {"repeats": 1},
    "darts": {"epochs": 1},
    "dcp-nas": {"epochs": 1},
    "pc-darts": {"epochs": 1, "warmup_epochs": 0},
    "uniform": {"nets": 1, "epochs": 1},
}


@pytest.mark.parametrize("strategy", [strategy.name for strategy in catalogue.STRATEGIES])
@pytest.mark.parametrize("name", ODD)
def test_an_odd_space_is_searched_or_refused_before_training(
    images: Dataset, name: str, strategy: str
) -> None:
    chosen, space = catalogue.find(strategy), ODD[name]
    settings = chosen.settings(batch=48, collapse=1.0, **SHORT[strategy])
    try:
        chosen.must_be_possible(space, images, settings)
    except UsageError as error:
        assert error.hint
        return
    assert chosen.search(space, images, settings).genotype.space == space


@pytest.mark.parametrize("curvature", ["gauss-newton", "exact"])
def test_a_type_of_cell_that_stands_nowhere_has_no_slope_and_no_curvature(
    images: Dataset, curvature: Literal["gauss-newton", "exact"]
) -> None:
    settings = DcpNasSettings(epochs=1, batch=48, collapse=1.0, curvature=curvature)
    ground = CellGround(replace(CELLS, cells=1), None)
    search = dcp_nas.Search(ground, images, settings, 0)
    before = [alpha.detach().clone() for alpha in search.logits]
    search.epoch(0)
    normal, reduction = (
        bool((alpha != old).any()) for alpha, old in zip(search.logits, before, strict=True)
    )
    assert (normal, reduction) == (False, True)
