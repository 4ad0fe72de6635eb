"""Artifacts that were made to harm, one by one: refused with a sentence, and nothing is written."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from binas.core import archive, record
from binas.core.errors import DamagedError, UsageError
from binas.runtime.artifact import Manifest, load
from binas.runtime.cli import run
from tests.fuzz import seeds
from tests.fuzz.targets import consistent, members, zipped


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    """The members of a valid artifact."""
    return members(seeds.artifact())


def archive_with(contents: dict[str, bytes], name: str, data: bytes, attributes: int = 0) -> bytes:
    """A valid archive with one member more, or in another's place."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for known, old in contents.items():
            if known != name:
                made.writestr(known, old)
        info = zipfile.ZipInfo(name)
        info.external_attr = attributes << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        made.writestr(info, data)
    return buffer.getvalue()


def with_bytes(data: bytes, signature: bytes, offset: int, new: bytes) -> bytes:
    """Other bytes at an offset behind the first record of a zip with that signature."""
    at = data.index(signature) + offset
    return data[:at] + new + data[at + len(new) :]


Make = Callable[[dict[str, bytes]], bytes]
LINK = stat.S_IFLNK | 0o777
ARCHIVES: dict[str, tuple[Make, str]] = {
    "path traversal": (lambda c: archive_with(c, "../../evil", b"x"), "it has the members"),
    "absolute path": (lambda c: archive_with(c, "/tmp/evil", b"x"), "it has the members"),
    "symlink": (lambda c: archive_with(c, "model.h", b"/etc/passwd", LINK), "model.h is a link"),
    "one member twice": (lambda c: zipped(c) and twice(c), "two members have one name"),
    "bomb": (lambda c: archive_with(c, "bench", bytes(20 << 20)), "bench claims 20971520 bytes"),
    "manifest bomb": (
        lambda c: archive_with(c, "manifest.json", b"[" * (2 << 20)),
        "manifest.json claims",
    ),
    "wrong CRC": (
        lambda c: with_bytes(zipped(c), b"PK\1\2", 16, b"\1\2\3\4"),
        "Bad CRC-32 for file",
    ),
    "encrypted": (lambda c: with_bytes(zipped(c), b"PK\1\2", 8, b"\1\0"), "encrypted"),
    "unknown compression": (
        lambda c: with_bytes(zipped(c), b"PK\1\2", 10, b"\x63\0"),
        "compression",
    ),
    "size that lies": (
        lambda c: with_bytes(zipped(c), b"PK\1\2", 24, struct.pack("<I", 2**32 - 2)),
        "claims 4294967294 bytes",
    ),
    "directory elsewhere": (
        lambda c: with_bytes(zipped(c), b"PK\5\6", 16, b"\xff\xff\xff\x7f"),
        "is not a binas artifact or is damaged",
    ),
    "no zip": (lambda _: b"\x7fELF" + bytes(5000), "File is not a zip file"),
    "empty": (lambda _: b"", "File is not a zip file"),
}


def twice(contents: dict[str, bytes]) -> bytes:
    """An archive with two manifests."""
    buffer = io.BytesIO()
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(buffer, "w") as made:
        for name, data in [*contents.items(), ("manifest.json", b"{}")]:
            made.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_is_refused_and_nothing_is_written(
    contents: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    make, said = ARCHIVES[name]
    path = tmp_path / "in" / "hostile.binas"
    path.parent.mkdir()
    path.write_bytes(make(contents))
    done = CliRunner().invoke(run, [str(path), "--device", "host", "--verify"])
    assert done.exit_code == 2, done.exception
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert "Hint: make it again with binas-compile" in done.stderr
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


def test_an_archive_is_refused_wherever_it_is_cut(
    contents: dict[str, bytes], tmp_path: Path
) -> None:
    whole, path = zipped(contents), tmp_path / "cut.binas"
    for length in range(0, len(whole), max(1, len(whole) // 200)):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError, match="damaged"):
            load(path)


def npy(header: str, data: bytes = b"") -> bytes:
    """A .npy file with any header."""
    text = header.ljust(118 - 1) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}"), "holds 0"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}", bytes(16)), "holds 16"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"c"), "expected numbers"),
        (npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}"), "numbers"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4,)}", bytes(12)), "holds 12"),
        (npy("__import__('os').system('true')"), "no .npy header"),
        (npy("(" * 100), "no .npy header"),
        (b"\x93NUMPY\3\0" + bytes(100), "version (3, 0) of the format"),
        (b"\x93NUMPY\2\0\xff\xff\xff\x7f", "no .npy header"),
        (b"PK\3\4", "no .npy header"),
    ],
)
def test_an_array_that_is_not_what_it_says_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(DamagedError) as caught:
        archive.array(data)
    assert said in str(caught.value)


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_comes_back_as_numpy_wrote_it(order: Any) -> None:
    for value in (np.arange(12.0).reshape(3, 4), np.float32(3), np.zeros((0, 3), np.uint8)):
        buffer = io.BytesIO()
        np.save(buffer, np.array(value, order=order))
        found = archive.array(buffer.getvalue())
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)


def test_a_bomb_among_the_taps_is_refused(contents: dict[str, bytes], tmp_path: Path) -> None:
    bomb = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (10000000,)}", bytes(10**7))
    path = tmp_path / "bomb.binas"
    changed = {**contents, "taps.npz": zipped({"x.npy": bomb})}
    path.write_bytes(consistent(changed, contents["manifest.json"]))
    with pytest.raises(UsageError, match=r"taps\.npz: x\.npy claims 100001\d\d bytes"):
        load(path).taps()


def test_reference_values_of_another_shape_are_refused(
    contents: dict[str, bytes], tmp_path: Path
) -> None:
    taps = members(contents["taps.npz"])
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((1, 1, 1, 7), np.float32))
    path = tmp_path / "taps.binas"
    changed = {**contents, "taps.npz": zipped({**taps, "margin:b.npy": buffer.getvalue()})}
    path.write_bytes(consistent(changed, contents["manifest.json"]))
    with pytest.raises(UsageError, match=r"margin:b is float32 \[1, 1, 1, 7\], expected"):
        load(path).taps()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["steps"][0]["outputs"][0].update(offset=60), "bytes up to 76 in an arena"),
        (lambda m: m["steps"][0]["outputs"][0].update(offset=-2), "16 bytes at -2"),
        (lambda m: m["steps"][1]["layer"].update(stride=[0, 1]), "a layer has a size of"),
        (lambda m: m["steps"][1]["layer"].update(groups=3), "a layer has groups of 3"),
        (lambda m: m["inputs"][0].update(shape=[2**20, 2**20]), "x has shape"),
        (lambda m: m["inputs"].append(m["inputs"][0]), "inputs has two of one name"),
        (lambda m: m.update(arena_bytes=-1), "arena and weights has -1"),
        (lambda m: m["steps"][0].update(name="\x1b[2J"), r"text '\x1b[2J' cannot be printed"),
        (lambda m: m.update(labels=["cat\ndog"]), r"text 'cat\ndog' cannot be printed"),
    ],
)
def test_a_plan_that_no_compiler_made_is_refused(
    contents: dict[str, bytes], change: Callable[[Any], Any], said: str
) -> None:
    document = json.loads(contents["manifest.json"])
    change(document)
    with pytest.raises(UsageError) as caught:
        record.loads(Manifest, json.dumps(document), where="manifest.json")
    assert said in str(caught.value)
