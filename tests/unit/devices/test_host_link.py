"""The four verbs on this machine: one directory, no shell, nothing left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from binas.core.errors import DeviceError, TimedOutError, UsageError
from binas.devices.host import NOT_STARTED, HostLink
from binas.devices.link import Finished, checked_argv, checked_name
from binas.devices.probe import host_device
from tests.processes import ended


@pytest.fixture
def link(tmp_path: Path) -> Iterator[HostLink]:
    with HostLink(host_device(), directory=str(tmp_path)) as made:
        yield made


def put(link: HostLink, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "local").write_text(text)
    link.put(tmp_path / "local", name, executable=True)


def test_a_file_comes_back_as_it_went(link: HostLink, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    (tmp_path / "a").write_bytes(data)
    link.put(tmp_path / "a", "a.bin")
    link.get("a.bin", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data


def test_a_program_runs_in_the_links_own_directory(link: HostLink, tmp_path: Path) -> None:
    put(link, tmp_path, "where", "#!/bin/sh\npwd; echo complaint >&2; exit 3\n")
    done = link.run(["where"], 10)
    assert Path(done.stdout.strip()).parent == tmp_path.resolve()
    assert (done.returncode, done.stderr) == (3, "complaint\n")


def test_arguments_arrive_unchanged(link: HostLink, tmp_path: Path) -> None:
    put(link, tmp_path, "say", '#!/bin/sh\nprintf "%s|" "$@"\n')
    nasty = ["a b", "$HOME", "`id`", ";ls", "*", "'", '"', "\\", "-x", ""]
    assert link.run(["say", *nasty], 10).stdout == "".join(f"{word}|" for word in nasty)


def test_a_program_that_hangs_is_ended_with_its_children(link: HostLink, tmp_path: Path) -> None:
    put(link, tmp_path, "hang", "#!/bin/sh\nsleep 60 & echo $! > child; wait\n")
    start = time.monotonic()
    with pytest.raises(TimedOutError, match=r"hang did not end within 0\.5 s"):
        link.run(["hang"], 0.5)
    assert time.monotonic() - start < 10
    link.get("child", tmp_path / "child")
    child = int((tmp_path / "child").read_text())
    assert ended(child)


def test_a_program_ended_by_a_signal_says_which(link: HostLink, tmp_path: Path) -> None:
    put(link, tmp_path, "die", "#!/bin/sh\nkill -ILL $$\n")
    assert link.run(["die"], 10).how == "illegal instruction"


def test_what_cannot_be_executed_is_no_exception(link: HostLink, tmp_path: Path) -> None:
    put(link, tmp_path, "odd", "\x7fELF nonsense")
    assert link.run(["odd"], 10).returncode == NOT_STARTED
    assert "No such file" in link.run(["absent"], 10).how


def test_a_missing_file_is_a_device_error(link: HostLink, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot read absent"):
        link.get("absent", tmp_path / "x")


def test_a_directory_that_cannot_be_made_is_a_device_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot make a directory"):
        HostLink(host_device(), directory=str(tmp_path / "absent"))


def test_closing_twice_does_no_harm(tmp_path: Path) -> None:
    link = HostLink(host_device(), directory=str(tmp_path))
    link.close()
    link.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "/etc/passwd", "-rf", ".part", "a b", "a;b", "a\nb", "é", "a" * 101],
)
def test_a_name_that_is_not_a_plain_file_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a file name"):
        checked_name(name)


def test_an_argument_with_a_nul_is_refused() -> None:
    with pytest.raises(UsageError, match="NUL"):
        checked_argv(["a", "b\0c"])


def test_the_last_complaint_explains_an_end() -> None:
    assert Finished(returncode=3, stdout="", stderr="a\nb\n").how == "exit status 3: b"
    assert Finished(returncode=137, stdout="", stderr="").how == "killed"


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_is_in_use_stays(
    tmp_path: Path,
) -> None:
    left, young = tmp_path / "binas-host.left", tmp_path / "binas-host.young"
    for folder in (left, young):
        folder.mkdir()
        (folder / "bench").write_text("")
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "binas-host.link").symlink_to(precious)
    with HostLink(host_device(), directory=str(tmp_path)) as working:
        (used,) = set(tmp_path.iterdir()) - {left, young, precious, tmp_path / "binas-host.link"}
        for folder in (left, used, precious):
            os.utime(folder, (0, 0))
        with HostLink(host_device(), directory=str(tmp_path)):
            assert not left.exists()
            assert young.exists() and used.exists() and precious.exists()
        assert working.run(["absent"], 1).returncode == NOT_STARTED
