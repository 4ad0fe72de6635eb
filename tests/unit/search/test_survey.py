"""Survey: what is measured is kept, failures are entries, another kernel's numbers never reused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from binas.core.errors import DeviceError, TransportError, UsageError
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
    REPEATS,
    WAITS,
    build_table,
    layers_of_space,
    menu_of,
    random_genotypes,
    random_networks,
)
from tests.unit.search.scripted import Scripted, ScriptedBoard


@pytest.fixture
def device() -> Device:
    """The device that is none."""
    return registry.find("null")


@pytest.fixture
def layers(
    tiny: Space, menu_of_space: Callable[[Space], Menu], monkeypatch: pytest.MonkeyPatch
) -> tuple[Layer, ...]:
    """The layers of the plain space, which is planned once only."""
    found = menu_of_space(tiny)

    def planned(_space: Space, *, progress: Callable[[int, int], None] | None = None) -> Menu:
        if progress is not None:
            progress(1, 1)
        return found

    monkeypatch.setattr(survey, "plan_menu", planned)
    return found.layers


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


def test_a_board_that_dies_leaves_its_layers_to_the_others(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    shop = Scripted()
    shop.boards = [ScriptedBoard(shop, "a", dies_after=SIZE), ScriptedBoard(shop, "b")]
    said: list[str] = []
    built = build_table(
        tiny, device, tmp_path, workshop=shop, fit_nets=2, facts={}, say=said.append
    )
    assert said == ["a is set aside: the link to a broke"]
    assert not built.table.failures
    assert all(built.table.lookup(layer) for layer in layers)
    assert len(shop.boards[0].measured) >= SIZE


def test_of_three_boards_the_one_that_computes_wrongly_has_no_part_in_the_table(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    shop = Scripted()
    shop.boards = [
        ScriptedBoard(shop, "a"),
        ScriptedBoard(shop, "liar", lies=True, slow=0.9),
        ScriptedBoard(shop, "c"),
    ]
    said: list[str] = []
    built = build_table(tiny, device, tmp_path, workshop=shop, fit_nets=0, say=said.append)
    assert said == ["liar is set aside: liar computes wrongly"]
    assert shop.boards[1].measured
    assert all(built.table.latency_ns(la) == pytest.approx(invented_ns(la)) for la in layers)


def test_where_all_boards_are_lost_what_was_measured_is_kept(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    shop = Scripted()
    shop.boards = [ScriptedBoard(shop, name, dies_after=2 * SIZE) for name in "ab"]
    with pytest.raises(DeviceError, match=r"no board is left and \d+ jobs are open: "):
        build_table(tiny, device, tmp_path, workshop=shop, fit_nets=0)
    done = sum(len(board.measured) for board in shop.boards)
    again = Scripted()
    build_table(tiny, device, tmp_path, workshop=again, fit_nets=0)
    assert len(again.boards[0].measured) == PASSES * len(layers) - done


def test_what_was_measured_while_somebody_else_had_the_core_is_measured_until_it_was_not(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    shop = Scripted()
    soon, never = PASSES + REPEATS + 2, 10**6
    board = ScriptedBoard(
        shop, disturbed={**dict.fromkeys(layers, 0), layers[2]: soon, layers[4]: never}
    )
    shop.boards = [board]
    table = build_table(tiny, device, tmp_path, workshop=shop, fit_nets=0).table
    assert board.measured.count(layers[2]) == soon + 1
    assert board.measured.count(layers[4]) == PASSES + REPEATS + WAITS
    assert board.measured.count(layers[3]) == PASSES
    assert table.latency_ns(layers[2]) == pytest.approx(invented_ns(layers[2]))
    assert table.latency_ns(layers[4]) == pytest.approx(2 * invented_ns(layers[4]))


@pytest.mark.parametrize("stage", ["plan", "compile", "measure", "fit"])
def test_an_interrupted_build_goes_on(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path, stage: str
) -> None:
    def interrupt(doing: str, done: int, _total: int) -> None:
        if doing == stage and done == (2 if stage == "measure" else 1):
            raise KeyboardInterrupt

    first, again = Scripted(), Scripted()
    with pytest.raises(KeyboardInterrupt):
        build_table(tiny, device, tmp_path, workshop=first, fit_nets=2, progress=interrupt)
    assert not list(tmp_path.glob("*.binas"))
    built = build_table(tiny, device, tmp_path, workshop=again, fit_nets=2)
    done = [sum(len(board.measured) for board in shop.boards) for shop in (first, again)]
    assert sum(done) == PASSES * len(layers)  # nothing is lost, and nothing is asked for twice
    assert (done[0] > 0) == (stage in ("measure", "fit"))
    assert not built.table.failures and not list(tmp_path.glob("*.binas"))


def test_two_builds_in_one_folder_do_not_disturb_each_other(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    refused: list[str] = []

    def build_beside(stage: str, _done: int, _total: int) -> None:
        if stage == "measure" and not refused:
            with pytest.raises(UsageError, match="another command is building a table") as caught:
                build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=0)
            refused.append(caught.value.hint)

    shop = Scripted()
    build_table(tiny, device, tmp_path, workshop=shop, fit_nets=0, progress=build_beside)
    assert refused and "-o FILE" in refused[0]
    assert len(shop.boards[0].measured) == PASSES * len(layers)
    assert build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=0).reused


def test_boards_of_two_kinds_share_no_table() -> None:
    pi4, pi5 = registry.find("rpi4"), registry.find("rpi5")
    with pytest.raises(UsageError, match="rpi4 and rpi5 are no boards of one kind: cpu is"):
        survey.of_one_kind([pi4, pi5])
    with pytest.raises(UsageError, match="given twice"):
        survey.of_one_kind([pi4, pi4])


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
