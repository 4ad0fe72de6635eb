"""Objects: kept whole or not at all, the longest unused go first, and no company changes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.compile import codegen, objects
from binas.compile import isa as isas
from binas.compile.objects import Object, Store, compiled
from binas.compile.tile import Choice
from binas.core.errors import CompileError
from binas.core.layer import Layer

ISA = isas.find("x86-64-v2", "x86_64")
LAYER = Layer(op="elementwise", in_shape=(1, 2, 2, 8), out_channels=8, stages=("relu",))
FIRST, SECOND = Choice(LAYER), Choice(replace(LAYER, stages=("affine",)))
KERNEL = Object(6, 2, "a tile", bytes(range(256)) + b"\n\n")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty one."""
    return Store(tmp_path / "kernels")


@pytest.fixture
def compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The symbols of every call of the code generator; objects are kept in an empty folder."""
    monkeypatch.setenv("BINAS_KERNEL_CACHE", str(tmp_path / "kernels"))
    calls: list[list[str]] = []
    real = codegen.compile_objects

    def counted(
        functions: Mapping[str, Any], isa: isas.Isa, folder: Path, jobs: int
    ) -> dict[str, Path]:
        calls.append(list(functions))
        return real(functions, isa, folder, jobs)

    monkeypatch.setattr(codegen, "compile_objects", counted)
    return calls


def test_what_is_put_is_got(store: Store) -> None:
    assert store.get("key") is None
    store.put({"key": KERNEL, "empty": Object(1, 1, "", b"")})
    assert store.get("key") == KERNEL
    assert store.get("empty") == Object(1, 1, "", b"")
    assert store.get("another") is None


@given(st.data())
def test_a_damaged_object_counts_as_missing(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.put({"key": KERNEL})
        path = Path(folder) / "key"
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole) - 1))
        bit = data.draw(st.integers(0, 8 * len(whole) - 1))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        for broken in (whole[:cut], bytes(flipped)):
            path.write_bytes(broken)
            assert store.get("key") is None
        path.write_bytes(whole)
        assert store.get("key") == KERNEL


def test_the_longest_unused_go_where_there_are_too_many(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=4800)
    kernel = Object(1, 1, "tile", bytes(1000))
    for age, key in enumerate("abcd"):
        store.put({key: kernel})
        os.utime(tmp_path / key, (age, age))
    assert store.get("a") == kernel  # used now
    store.put({"e": kernel, "f": kernel})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "d", "e", "f"]


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (None, tmp_path / "file" / "kernels", tmp_path / "file"):
        store = Store(folder)
        store.put({"key": KERNEL})
        assert store.get("key") is None


def test_several_at_once_see_whole_objects_or_none(tmp_path: Path) -> None:
    kernels = {f"{key}": Object(key, 1, "tile", bytes([key]) * 5000) for key in range(1, 9)}

    def use(turn: int) -> int:
        store = Store(tmp_path / "kernels", limit_bytes=20_000)  # of 40,000: some always go
        key = str(turn % 8 + 1)
        store.put({key: kernels[key]})
        found = [store.get(other) for other in kernels]
        assert all(one in (None, kernels[str(at)]) for at, one in enumerate(found, start=1))
        return sum(one is not None for one in found)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(100))) > 0
    assert all(not path.name.startswith(".") for path in (tmp_path / "kernels").iterdir())


def test_the_user_says_where_or_that_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for named, folder in (
        ("", tmp_path / "binas" / "kernels"),
        (str(tmp_path / "mine"), tmp_path / "mine"),
        ("off", None),
    ):
        monkeypatch.setenv("BINAS_KERNEL_CACHE", named)
        assert Store.of_user().folder == folder


def test_only_what_is_missing_is_compiled_and_its_company_does_not_matter(
    compiles: list[list[str]],
) -> None:
    pair = compiled([FIRST, SECOND, FIRST], ISA)
    assert list(pair) == [FIRST, SECOND]
    assert compiled([SECOND], ISA) == {SECOND: pair[SECOND]}
    assert [len(symbols) for symbols in compiles] == [2]  # both in one go
    (store,) = {Store.of_user()}
    assert store.folder is not None
    for path in store.folder.iterdir():
        path.unlink()
    alone = compiled([SECOND], ISA)
    assert [len(symbols) for symbols in compiles] == [2, 1]
    assert alone == {SECOND: pair[SECOND]}


def test_another_isa_or_other_sources_are_another_object(
    compiles: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compiled([FIRST], ISA)
    second = compiled([FIRST], isas.find("generic", "aarch64"))
    assert first[FIRST].code != second[FIRST].code
    monkeypatch.setattr(objects, "kernel_version", lambda: "0" * 12)
    assert compiled([FIRST], ISA) == first
    assert len(compiles) == 3


def test_what_failed_is_not_kept(
    compiles: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CompileError("no")

    with monkeypatch.context() as patch:
        patch.setattr(codegen, "build", refuse)
        with pytest.raises(CompileError, match="no"):
            compiled([FIRST], ISA)
    assert compiled([FIRST], ISA)[FIRST].code.startswith(b"\x7fELF")
    assert len(compiles) == 2
