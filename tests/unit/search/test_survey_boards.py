"""A table from several boards: one dies, one lies, one is disturbed, the build is interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from binas.core.errors import DeviceError, UsageError
from binas.core.layer import Layer
from binas.devices import registry
from binas.devices.device import Device
from binas.devices.null import invented_ns
from binas.search import survey
from binas.search.chunks import SIZE
from binas.search.space import Space
from binas.search.survey import (
    PASSES,
    REPEATS,
    WAITS,
    build_table,
)
from tests.unit.search.scripted import Scripted, ScriptedBoard


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
