"""Menu: the steps of the pieces are the steps of the whole network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from binas.core import record
from binas.search import pieces
from binas.search.cost import layers_of
from binas.search.menu import Menu, cell_choices, menu
from binas.search.space import Space
from binas.search.survey import random_genotypes

MenuOf = Callable[[Space], Menu]


def must_price_whole_networks(found: Menu, count: int) -> None:
    """Compare with plans of random networks."""
    for genotype in set(random_genotypes(found.space, count, seed=6)):
        steps, planned = found.steps(genotype), layers_of(genotype)
        assert Counter(steps) == Counter(planned), str(genotype)
        assert set(planned) <= set(found.layers)


def test_a_hundred_random_networks_are_made_of_the_menu(
    space: Space, menu_of_space: MenuOf
) -> None:
    must_price_whole_networks(menu_of_space(space), 100)


def test_one_stage_one_node_three_stages(tiny: Space) -> None:
    must_price_whole_networks(
        menu(replace(tiny, nodes=1, stages=3, min_cells=0, normal_ops=("skip", "b3", "pool"))), 60
    )
    must_price_whole_networks(menu(replace(tiny, nodes=1, stages=1, widths=(1.0,))), 10)


def test_channels_across_a_word(tiny: Space) -> None:
    wide = replace(tiny, nodes=1, channels=36, widths=(0.25, 1.0))
    must_price_whole_networks(menu(wide), 30)


def test_images_down_to_one_pixel(tiny: Space) -> None:
    small = replace(tiny, nodes=2, input_shape=(3, 8, 16), stages=3, widths=(0.5, 1.0), min_cells=0)
    must_price_whole_networks(menu(small), 8)


def test_if_sizes_decide_what_is_fused_all_is_planned(
    tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = replace(tiny, nodes=1, stages=3)
    found = menu(space)
    plans = []
    real = pieces.Planner.pieces

    def counted(self: pieces.Planner, *arguments: Any) -> list[pieces.Planned]:
        plans.append(arguments)
        return real(self, *arguments)

    monkeypatch.setattr(pieces.Planner, "pieces", counted)
    assert menu(space) == found
    before = len(plans)
    monkeypatch.setattr(pieces, "resized", lambda planned, *_: planned[:1])
    assert menu(space) == found
    widths = len(space.widths)
    assert before < len(plans) - before == widths * (1 + space.stages + space.stages - 1 + 1)


def test_every_layer_is_there_once_and_is_needed(tiny: Space, menu_of_space: MenuOf) -> None:
    found = menu_of_space(tiny)
    assert list(found.layers) == sorted(set(found.layers))
    used = {
        step
        for ends in (
            *found.stem,
            *(e for stage in found.normal for cells in stage for e in cells),
            *(e for stage in found.reduction for row in stage for cells in row for e in cells),
            found.head,
        )
        for steps in ends
        for step in steps
    }
    assert used == set(range(len(found.layers)))


def test_choices_leave_no_node_without_input(space: Space) -> None:
    for ops in (space.normal_ops, space.reduction_ops):
        choices = cell_choices(space, ops)
        assert len(set(choices)) == len(choices)
        assert all(space.is_whole(choice) for choice in choices)
        # Of n operations one is none: a node of one edge has n - 1 choices, of two n^2 - 1.
        assert len(choices) == (len(ops) - 1) * (len(ops) ** 2 - 1)


def test_a_menu_is_a_record_and_tells_its_progress(tiny: Space) -> None:
    told: list[tuple[int, int]] = []
    small = replace(tiny, nodes=1)
    found = menu(small, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    assert record.loads(Menu, record.dumps(found), where="text") == found
