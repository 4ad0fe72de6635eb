"""Tuning databases: who is asked first, what applies, and that nothing of them can be wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from binas.compile import isa as isas
from binas.compile.build import tiles
from binas.compile.kernels import family, version
from binas.compile.tile import Tile
from binas.compile.tuning import (
    Database,
    Estimated,
    Measured,
    Tuned,
    Tuning,
    read,
    shipped,
    user_file,
)
from binas.core import record
from binas.core.errors import UsageError
from binas.core.layer import Layer
from binas.devices.device import CPUS

ISA = isas.find("x86-64-v3", "x86_64")
ISAS = tuple(isas.find(cpu, arch) for arch, cpus in CPUS.items() for cpu in cpus)
LAYER = Layer(
    op="binary_conv",
    in_shape=(1, 9, 33, 65),
    out_channels=129,
    kernel=(3, 3),
    padding=(1, 1, 1, 1),
    in_bits=1,
    weight_bits=1,
)
POOL = Layer(op="pool_max", in_shape=(1, 8, 8, 31), out_channels=31, kernel=(2, 2), stride=(2, 2))
CLOCK = Measured(tuned_ns=90.0, rule_ns=100.0, machine="a machine")
MODEL = Estimated(tuned_cycles=90.0, rule_cycles=100.0, pipeline="haswell")


def entry(place: int, gain: Measured | Estimated = CLOCK) -> Tuned:
    """The layer tuned, its tile the one at that place of the list."""
    return Tuned(
        layer=LAYER,
        arch=ISA.arch,
        cpu=ISA.cpu,
        made_by=version.made_by(LAYER, ISA),
        tile=family.tiles(LAYER, ISA)[place],
        gain=gain,
        tried=9,
    )


def database(*entries: Tuned) -> Database:
    """A database of these entries."""
    return Database(entries=entries)


def test_the_users_entry_comes_before_the_shipped_one_and_the_rule_last() -> None:
    tiles = family.tiles(LAYER, ISA)
    both = Tuning({"user": database(entry(1)), "shipped": database(entry(2))})
    assert both.tile(LAYER, ISA) == (tiles[1], "user")
    assert Tuning({"shipped": database(entry(2))}).tile(LAYER, ISA) == (tiles[2], "shipped")
    assert Tuning({}).tile(LAYER, ISA) == (tiles[0], "rule")
    assert tiles[0] == family.default_tile(LAYER, ISA)


def test_what_was_measured_comes_before_what_was_estimated() -> None:
    known = Tuning({"user": database(entry(1, MODEL)), "shipped": database(entry(2))})
    assert known.tile(LAYER, ISA)[1] == "shipped"


@pytest.mark.parametrize(
    "change",
    [
        {"made_by": "0" * 12},
        {"cpu": "x86-64-v2"},
        {"arch": "aarch64", "cpu": "generic"},
        {"layer": replace(LAYER, out_channels=127)},
        {"tile": Tile(31, 31, 31)},
        {"tile": Tile(2, 2, 32, unroll=3)},
    ],
    ids=["other code", "another cpu", "another arch", "another layer", "no tile", "no such unroll"],
)
def test_an_entry_that_does_not_apply_is_passed_over(change: dict[str, object]) -> None:
    known = Tuning({"user": database(replace(entry(1), **change))})  # type: ignore[arg-type]
    assert known.tile(LAYER, ISA)[1] == "rule"


def test_a_layer_without_a_choice_has_no_tile() -> None:
    assert family.tiles(POOL, ISA) == []
    assert Tuning({}).tile(POOL, ISA) == (None, "rule")


def test_another_database_gives_a_layer_another_tile_and_leaves_the_others_theirs() -> None:
    plain, tuned = (
        tiles([LAYER, POOL], ISA.cpu, ISA.arch, Tuning({"user": database(*entries)}))
        for entries in ((), (entry(3),))
    )
    assert plain == (str(family.default_tile(LAYER, ISA)), "")
    assert tuned == (str(entry(3).tile), "")
    assert plain != tuned


def test_a_new_entry_takes_the_place_of_one_of_other_code() -> None:
    old = replace(entry(1), made_by="0" * 12)
    elsewhere = replace(entry(1), cpu="x86-64-v2")
    found = database(old, elsewhere).with_entry(entry(2))
    assert set(found.entries) == {elsewhere, entry(2)}


def test_a_database_reads_back_and_its_digest_is_of_what_it_holds(tmp_path: Path) -> None:
    kept = database(entry(1), replace(entry(1, MODEL), cpu="x86-64-v2"))
    record.save(kept, tmp_path / "tuning.json")
    assert read(tmp_path / "tuning.json") == kept
    found = Tuning({"user": kept, "shipped": Database()}).digests
    assert found == {"user": record.digest(kept)}
    assert found != Tuning({"user": database(entry(1))}).digests


def test_no_file_is_an_empty_database_and_another_kind_of_file_an_error(tmp_path: Path) -> None:
    assert read(tmp_path / "none.json") == Database()
    (tmp_path / "other.json").write_text('{"schema": "binas.device/1"}')
    with pytest.raises(UsageError, match=r"binas\.tuning/1"):
        read(tmp_path / "other.json")


def test_the_environment_names_the_users_file_or_says_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for named, file in (
        ("", tmp_path / "binas" / "tuning.json"),
        (str(tmp_path / "mine.json"), tmp_path / "mine.json"),
        ("off", None),
    ):
        monkeypatch.setenv("BINAS_TUNING", named)
        assert user_file() == file
    monkeypatch.setenv("BINAS_TUNING", "off")
    assert Tuning.of_user().digests == {}


def test_the_tiles_of_a_list_are_distinct_and_have_the_isas_lanes() -> None:
    for isa in ISAS:
        tiles = family.tiles(LAYER, isa)
        assert len(set(tiles)) == len(tiles) > 9
        assert len({tile.lanes for tile in tiles}) == 1


def test_blocks_of_channels_end_where_words_of_bits_do() -> None:
    for isa in ISAS:
        for tile in family.tiles(replace(LAYER, bits_out=True), isa):
            assert tile.channels % 32 == 0 or 32 % tile.channels == 0, (isa.cpu, tile)


def test_every_shipped_entry_is_one_that_its_family_would_try() -> None:
    for one in shipped().entries:
        assert one.tile in family.tiles(one.layer, isas.find(one.cpu, one.arch)), one


def test_every_shipped_entry_is_of_the_kernels_as_they_are() -> None:
    for one in shipped().entries:
        assert one.made_by == version.made_by(one.layer, isas.find(one.cpu, one.arch)), one.layer


def test_without_the_shipped_entries_no_layer_takes_a_tenth_longer() -> None:
    measured = [one for one in shipped().entries if isinstance(one.gain, Measured)]
    assert {one.arch for one in measured} == {"x86_64"}
    for one in measured:
        assert isinstance(one.gain, Measured)
        ratio = one.gain.rule_ns / one.gain.tuned_ns
        rule = family.default_tile(one.layer, isas.find(one.cpu, one.arch))
        assert (ratio == 1) if one.tile == rule else (1 < ratio <= 1.1), one.layer


def test_what_is_shipped_by_estimate_gains_more_than_its_error() -> None:
    estimated = [one for one in shipped().entries if isinstance(one.gain, Estimated)]
    assert {one.cpu for one in estimated} == {"cortex-a53"}
    for one in estimated:
        assert isinstance(one.gain, Estimated)
        assert one.tile != family.default_tile(one.layer, isas.find(one.cpu, one.arch)), one.layer
        assert one.gain.tuned_cycles <= 0.97 * one.gain.rule_cycles, one.layer
        assert one.gain.pipeline == one.cpu


def test_the_version_of_a_kernel_is_of_its_own_files_alone() -> None:
    floats = replace(LAYER, op="conv", in_bits=32)
    v2 = isas.find("x86-64-v2", "x86_64")
    assert version.made_by(LAYER, ISA) == version.made_by(replace(LAYER, out_channels=65), ISA)
    assert version.made_by(LAYER, ISA) != version.made_by(LAYER, v2)
    assert version.made_by(LAYER, ISA) != version.made_by(floats, ISA)
    assert family.modules(LAYER, ISA) == ("binary_conv", "counting_nibbles")
    few = replace(LAYER, out_channels=31)
    assert family.modules(few, ISA) == ("binary_conv", "counting_octets")
    assert family.modules(LAYER, isas.find("generic", "aarch64")) == ("binary_conv", "counting_dot")
