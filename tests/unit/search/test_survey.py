"""Survey: what is measured is kept, failures are entries, another kernel's numbers never reused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from binas.core.errors import TransportError, UsageError
from binas.core.layer import Layer
from binas.devices import registry
from binas.devices.device import Device
from binas.devices.null import invented_ns
from binas.runtime.measure import Failure
from binas.search import survey
from binas.search.cells import CellSpace
from binas.search.chunks import SIZE
from binas.search.menu import Menu
from binas.search.space import Space
from binas.search.strategy.cell_prices import CellLut
from binas.search.survey import (
    PASSES,
    build_table,
    layers_of_space,
    menu_of,
    random_genotypes,
    random_networks,
)
from tests.unit.search.scripted import Scripted


def test_a_table_has_every_layer_and_its_sum_predicts_networks(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    built = build_table(
        tiny,
        device,
        tmp_path,
        workshop=Scripted(),
        fit_nets=3,
        facts={"model": "none"},
        progress=lambda *what: told.append(what),
    )
    table = built.table
    assert tuple(entry.layer for entry in table.entries) == layers
    assert all(table.latency_ns(layer) == pytest.approx(invented_ns(layer)) for layer in layers)
    assert (table.device, table.kernel_version, table.threads) == (device.name, "k1", 1)
    assert table.facts == {"model": "none"}
    assert built.reused == 0
    assert table.fit is not None
    assert table.fit.nets == 3
    assert table.fit.worst < 1e-9
    assert {done for stage, done, total in told if stage == "fit"} == {1, 2, PASSES}
    assert not list(tmp_path.glob("*.binas"))


def test_a_second_build_measures_nothing(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    first = build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=0)
    again = Scripted()
    second = build_table(tiny, device, tmp_path, workshop=again, fit_nets=0)
    assert again.measured == set()
    assert second.reused == len(layers)
    assert second.table == first.table


def test_a_build_whose_link_broke_asks_only_for_the_rest(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    broken = Scripted()
    broken.boards[0].dies_after = PASSES * len(layers) - 2 * SIZE
    with pytest.raises(TransportError):
        build_table(tiny, device, tmp_path, workshop=broken, fit_nets=0)
    again = Scripted()
    built = build_table(tiny, device, tmp_path, workshop=again, fit_nets=0)
    assert len(broken.boards[0].measured) + len(again.boards[0].measured) == PASSES * len(layers)
    assert len(again.measured) <= 3 * SIZE
    assert built.reused == len(layers) - len(again.measured)
    assert len(built.table.entries) == len(layers)


def test_numbers_of_another_kernel_or_plan_or_cpu_or_board_are_not_reused(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=0, facts={"model": "a"})
    longer = replace(survey.TABLE_PLAN, repeats=30)
    other = registry.find("rpi4")
    for workshop, board, plan, model in (
        (Scripted(version="k2"), device, survey.TABLE_PLAN, "a"),
        (Scripted(), device, longer, "a"),
        (Scripted(), other, survey.TABLE_PLAN, "a"),
        (Scripted(), device, survey.TABLE_PLAN, "b"),
    ):
        built = build_table(
            tiny, board, tmp_path, workshop=workshop, plan=plan, fit_nets=0, facts={"model": model}
        )
        assert built.reused == 0
        assert built.table.kernel_version == workshop.version
        assert workshop.measured == set(layers)


def test_layers_that_another_tuning_gives_other_tiles_are_measured_again_with_their_chunk(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    first = build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=0).table
    assert {entry.tile for entry in first.entries} == {"4x16 u1"}
    tuned = layers[SIZE + 3]
    again = Scripted(tuned={tuned: "2x32 u2"})
    built = build_table(tiny, device, tmp_path, workshop=again, fit_nets=0)
    assert again.measured == set(layers[SIZE : 2 * SIZE])
    assert {e.layer: e.tile for e in built.table.entries if e.tile != "4x16 u1"} == {
        tuned: "2x32 u2"
    }
    before = build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=0)
    assert before.reused == len(layers), "what was measured with the tiles of before is still there"


@pytest.mark.parametrize(
    ("how", "kind", "says"),
    [("broken", "compile", "no such kernel"), ("dying", "run", "it died")],
)
def test_a_chunk_that_fails_is_taken_apart_so_that_one_layer_fails_alone(
    tiny: Space,
    device: Device,
    layers: tuple[Layer, ...],
    tmp_path: Path,
    *,
    how: str,
    kind: str,
    says: str,
) -> None:
    bad = layers[SIZE + 3]
    workshop = Scripted(**{how: frozenset({bad})})  # type: ignore[arg-type]
    built = build_table(tiny, device, tmp_path, workshop=workshop, fit_nets=2)
    assert [entry.layer for entry in built.table.failures] == [bad]
    assert built.table.lookup(bad) == Failure(kind=kind, message=says)  # type: ignore[arg-type]
    again = Scripted()
    second = build_table(tiny, device, tmp_path, workshop=again, fit_nets=0)
    assert again.measured == {bad}
    assert second.reused == len(layers) - 1
    assert not second.table.failures


def test_a_layer_that_fails_alone_leaves_its_chunk_measured(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    workshop = Scripted(unstable=frozenset({layers[5]}))
    built = build_table(tiny, device, tmp_path, workshop=workshop, fit_nets=0)
    assert [entry.layer for entry in built.table.failures] == [layers[5]]
    assert workshop.measured == set(layers)


def test_networks_without_the_layer_that_failed_are_fitted(
    tiny: Space,
    device: Device,
    layers: tuple[Layer, ...],
    menu_of_space: Callable[[Space], Menu],
    tmp_path: Path,
) -> None:
    steps = [set(menu_of_space(tiny).steps(net)) for net in random_genotypes(tiny, 6, 0)]
    has = {layer: sum(layer in net for net in steps) for layer in layers}
    bad = next(layer for layer in layers if 0 < has[layer] < 5)
    workshop = Scripted(unstable=frozenset({bad}))
    table = build_table(tiny, device, tmp_path, workshop=workshop, fit_nets=6).table
    assert [entry.layer for entry in table.failures] == [bad]
    assert table.fit is not None
    assert table.fit.nets == 6 - has[bad]


def test_a_damaged_chunk_is_measured_again(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=0)
    damaged = sorted(tmp_path.glob("chunk-*.json"))[0]
    damaged.write_text("{")
    again = Scripted()
    built = build_table(tiny, device, tmp_path, workshop=again, fit_nets=0)
    assert 0 < len(again.measured) <= SIZE
    assert built.reused == len(layers) - len(again.measured)


def test_a_fit_over_one_network_is_refused(tiny: Space, device: Device, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a fit over one network says nothing"):
        build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=1)
    assert not list(tmp_path.iterdir())


def test_a_space_of_one_network_is_refused_a_fit_at_once_and_has_a_table_without(
    tiny: Space, device: Device, tmp_path: Path
) -> None:
    single = replace(
        tiny, min_cells=1, max_cells=1, widths=(1.0,), normal_ops=("b3",), reduction_ops=("b3",)
    )
    shop = Scripted()
    with pytest.raises(UsageError, match="the 3 networks drawn are one and the same") as caught:
        build_table(single, device, tmp_path, workshop=shop, fit_nets=3)
    assert "--fit-nets 0" in caught.value.hint
    assert not shop.measured and not list(tmp_path.iterdir())
    table = build_table(single, device, tmp_path, workshop=shop, fit_nets=0).table
    assert table.entries and table.fit is None


def test_a_menu_is_kept_for_its_space_and_planner(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(tiny, nodes=1)
    found = menu_of(small, tmp_path)
    monkeypatch.setattr(survey, "plan_menu", lambda *_args, **_named: pytest.fail("planned again"))
    assert menu_of(small, tmp_path) == found
    assert layers_of_space(small, tmp_path) == found.layers
    with pytest.raises(pytest.fail.Exception):
        menu_of(replace(small, classes=4), tmp_path)
    monkeypatch.setattr(survey, "_planner_digest", lambda: "another")
    with pytest.raises(pytest.fail.Exception):
        menu_of(small, tmp_path)


def test_random_networks_come_from_their_seed(tiny: Space) -> None:
    assert random_genotypes(tiny, 5, 1) == random_genotypes(tiny, 5, 1)
    assert random_genotypes(tiny, 5, 1) != random_genotypes(tiny, 5, 2)


def test_a_table_of_cells_prices_every_operation_and_predicts_networks(
    device: Device, tmp_path: Path
) -> None:
    cells = CellSpace(
        input_shape=(1, 8, 8),
        classes=3,
        channels=4,
        cells=1,
        nodes=2,
        normal_ops=("none", "skip"),
        reduction_ops=("none", "max", "sep3"),
    )
    table = build_table(cells, device, tmp_path, workshop=Scripted(), fit_nets=3).table
    assert table.fit is not None and table.fit.nets == 3
    assert table.fit.worst < 1e-9  # these networks' own steps are all in the table
    prices = CellLut.of(cells, table)
    assert prices.fastest_ns() > table.fixed_ns
    for net in random_networks(cells, 3, seed=0):
        assert prices.predict_ns(net) > prices.rest_ns


def test_a_damaged_menu_is_planned_again(
    tiny: Space, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    menu_of(tiny, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_text("{")
    assert menu_of(tiny, tmp_path).layers == layers
    assert menu_of(tiny, tmp_path).layers == layers and kept.read_text() != "{"
