"""Records: what is refused, how it is said, and what stays on disk when writing fails."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from binas.core import record
from binas.core.errors import UsageError
from binas.core.layer import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A small record."""

    SCHEMA: ClassVar[str] = "binas.test-note/1"

    text: str
    count: int
    layers: tuple[Layer, ...] = ()


NOTE = Note(text="π", count=3, layers=(Layer(op="conv", in_shape=(1, 2, 3, 4), out_channels=5),))


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden files included."""
    return sorted(path.name for path in folder.iterdir())


def refused(data: Any) -> UsageError:
    """The error that a JSON value causes when read as a Note."""
    with pytest.raises(UsageError) as caught:
        record.loads(Note, json.dumps(data), where="note.json")
    assert caught.value.hint
    return caught.value


def test_a_record_goes_to_disk_and_back(tmp_path: Path) -> None:
    record.save(NOTE, tmp_path / "deep" / "note.json")
    assert record.load(Note, tmp_path / "deep" / "note.json") == NOTE


def test_numbers_of_a_list_share_a_line_and_texts_are_left_alone(tmp_path: Path) -> None:
    note = Note(text="[\n1,\n2\n] and [ 3 ]", count=3, layers=NOTE.layers)
    record.save(note, tmp_path / "note.json")
    text = (tmp_path / "note.json").read_text()
    assert '"in_shape": [1, 2, 3, 4],\n' in text
    assert record.load(Note, tmp_path / "note.json") == note


def test_a_file_with_a_number_per_line_is_read_as_older_versions_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    path.write_text(json.dumps(record.to_dict(NOTE), sort_keys=True, indent=1))
    assert record.load(Note, path) == NOTE


def test_the_file_names_its_schema() -> None:
    assert json.loads(record.dumps(NOTE))["schema"] == "binas.test-note/1"


def test_equal_records_have_equal_digests_and_others_do_not() -> None:
    assert record.digest(NOTE) == record.digest(Note(text="π", count=3, layers=NOTE.layers))
    assert record.digest(NOTE) != record.digest(Note(text="π", count=4, layers=NOTE.layers))
    assert len(record.digest(NOTE)) == 12


def test_an_unknown_key_is_refused_with_its_path() -> None:
    data = record.to_dict(NOTE)
    data["layers"][0]["colour"] = "red"
    assert "layers.0.colour" in str(refused(data))


def test_all_faults_are_named_at_once() -> None:
    error = refused({"schema": Note.SCHEMA, "text": 1, "count": "3"})
    assert "text" in str(error)
    assert "count" in str(error)


def test_a_long_list_of_faults_is_cut_with_their_number() -> None:
    error = refused({"schema": Note.SCHEMA, **{f"k{i}": 0 for i in range(9)}})
    assert "and 6 more" in str(error)


@pytest.mark.parametrize("count", ["3", 3.5, True, None, [3]])
def test_a_value_of_another_type_is_not_converted(count: Any) -> None:
    assert "count" in str(refused({"schema": Note.SCHEMA, "text": "a", "count": count}))


@pytest.mark.parametrize("schema", ["binas.test-note/2", "binas.other/1", None, 7, ["x"]])
def test_another_schema_is_refused_by_name(schema: Any) -> None:
    error = refused({"schema": schema, "text": "a", "count": 1})
    assert "expected 'binas.test-note/1'" in str(error)


@pytest.mark.parametrize("data", [[], 1, "text", None])
def test_json_that_is_no_object_is_refused(data: Any) -> None:
    assert "expected 'binas.test-note/1'" in str(refused(data))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"\x00\xff\xfe", id="bytes"),
        pytest.param(b"[" * 100_000, id="open bomb"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="nested bomb"),
        pytest.param(
            b'{"schema":"binas.test-note/1","text":"a","count":' + b"9" * 9_999 + b"}",
            id="number bomb",
        ),
    ],
)
def test_what_is_not_json_is_refused_in_one_sentence(text: bytes) -> None:
    with pytest.raises(UsageError, match="not JSON") as caught:
        record.loads(Note, text, where="note.json")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("depth", [100, 300, 900, 1000, 1100, 3000])
def test_nesting_of_any_depth_is_an_error_of_ours(depth: int) -> None:
    nested = '{"schema":"binas.test-note/1","text":"a","count":' + "[" * depth + "]" * depth + "}"
    with pytest.raises(UsageError):
        record.loads(Note, nested, where="note.json")


def test_not_a_number_is_not_a_value() -> None:
    with pytest.raises(UsageError):
        record.loads(
            Note, '{"schema":"binas.test-note/1","text":"a","count":NaN}', where="note.json"
        )


def test_reading_what_is_not_there_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        record.load(Note, tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot read"):
        record.load(Note, tmp_path)


def test_a_file_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(record.MAX_RECORD_BYTES + 1)
    with pytest.raises(UsageError, match="larger than"):
        record.load(Note, path)


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    record.save(NOTE, path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="in the middle"), record.replacing(path) as beside:
        beside.write_text("half a")
        raise RuntimeError("in the middle")
    assert path.read_bytes() == before
    assert names(tmp_path) == ["note.json"]


def test_an_interrupt_leaves_nothing_half_written(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), record.replacing(tmp_path / "note.json") as beside:
        beside.write_text("half a")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_full_disk_is_an_error_of_ours_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # /dev/full answers every write as a full disk does; the file beside is made to lead there.
    path = tmp_path / "note.json"

    def full(self: Path, data: bytes) -> int:
        with Path("/dev/full").open("wb", buffering=0) as device:
            return device.write(data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match="No space left") as caught:
        record.save(NOTE, path)
    assert "-o" in caught.value.hint
    assert names(tmp_path) == []


def test_a_file_that_grows_past_its_limit_is_an_error_of_ours(tmp_path: Path) -> None:
    # No mock: the kernel itself refuses the write, as it would on a full disk.
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UsageError, match="cannot write"):
            record.write_atomic(tmp_path / "big", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert names(tmp_path) == []


def test_a_folder_that_is_a_file_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        record.save(NOTE, tmp_path / "file" / "note.json")


def test_writing_onto_a_folder_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        record.save(NOTE, tmp_path / "folder")
    assert names(tmp_path) == ["folder"]


def test_an_error_that_is_not_about_writing_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), record.replacing(tmp_path / "note.json"):
        (tmp_path / "none").read_bytes()
    assert names(tmp_path) == []


def test_a_written_file_has_the_rights_the_user_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        record.save(NOTE, tmp_path / "note.json")
    finally:
        os.umask(before)
    assert (tmp_path / "note.json").stat().st_mode & 0o777 == 0o640


def test_the_json_schema_describes_the_file() -> None:
    schema = record.json_schema(Note)
    assert schema["properties"]["schema"] == {"const": "binas.test-note/1"}
    assert set(schema["required"]) == {"schema", "text", "count"}
    assert schema["additionalProperties"] is False


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="no regular file"):
        record.write_atomic(pipe, b"x")
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_what_a_link_points_to_is_replaced_and_not_the_link(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    for data in (b"first", b"second"):
        record.write_atomic(link, data)
        assert link.is_symlink() and (tmp_path / "target").read_bytes() == data


def test_a_pipe_is_read_to_its_end_and_no_further_than_the_limit(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for limit_bytes, fits in ((200_000, True), (199_999, False)):
        writer = threading.Thread(target=_write_all, args=(pipe, bytes(200_000)))
        writer.start()
        if fits:
            assert record.read_bytes(pipe, limit_bytes) == bytes(200_000)
        else:
            with pytest.raises(UsageError, match="larger than"):
                record.read_bytes(pipe, limit_bytes)
        writer.join(timeout=10)


def _write_all(pipe: Path, data: bytes) -> None:
    with suppress(BrokenPipeError):
        pipe.write_bytes(data)
