"""The ssh link against a real sshd on loopback, with its own port and keys."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from binas.core.errors import BusyError, DeviceError, TimedOutError, TransportError
from binas.devices import openssh
from binas.devices.check import check
from binas.devices.probe import host_device, this_machine
from binas.devices.registry import connect, find
from binas.devices.ssh import SshLink
from tests.integration.boards import Board, wait_for
from tests.integration.conftest import Server, sshd
from tests.processes import ended

pytestmark = pytest.mark.timeout(120)


def put(link: SshLink, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "local").write_text(text)
    link.put(tmp_path / "local", name, executable=True)


def test_files_go_and_come_back_whole(board: Board, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    (tmp_path / "a").write_bytes(data)
    with board() as link:
        link.put(tmp_path / "a", "a.bin")
        link.get("a.bin", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data


def test_arguments_and_results_pass_unchanged(board: Board, tmp_path: Path) -> None:
    nasty = ["a b", "$HOME", "`id`", ";ls", "*", "'", '"', "\\", "-x", "", "ä\n"]
    with board() as link:
        put(link, tmp_path, "say", '#!/bin/sh\nprintf "%s|" "$@"; echo no >&2; exit 7\n')
        done = link.run(["say", *nasty], 20)
    assert done.stdout == "".join(f"{word}|" for word in nasty)
    assert (done.returncode, done.stderr) == (7, "no\n")


def test_a_directory_with_a_hostile_name_is_only_a_directory(board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "a 'b' $(touch pwned); c"
    folder.mkdir()
    with board(directory=str(folder)) as link:
        put(link, tmp_path, "where", "#!/bin/sh\npwd\n")
        assert Path(link.run(["where"], 20).stdout.strip()).parent == folder
    assert list(folder.iterdir()) == []


def test_a_directory_that_was_not_there_is_not_there_afterwards(
    board: Board, tmp_path: Path
) -> None:
    with board(directory=str(tmp_path / "new")) as link:
        put(link, tmp_path, "x", "")
        assert len(list((tmp_path / "new").iterdir())) == 1
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.rglob("pwned"))


def test_a_program_that_hangs_is_ended_there(board: Board, tmp_path: Path) -> None:
    with board() as link:
        pid_file = shlex.quote(str(tmp_path / "pid"))
        put(link, tmp_path, "hang", f"#!/bin/sh\necho $$ > {pid_file}\nsleep 60\n")
        with pytest.raises(TimedOutError, match="hang did not end within 2 s on loop"):
            link.run(["hang"], 2)
        assert ended(int((tmp_path / "pid").read_text()))
        put(link, tmp_path, "live", "#!/bin/sh\necho on\n")
        assert link.run(["live"], 20).stdout == "on\n"


def test_nothing_is_left_there_or_here(board: Board, tmp_path: Path) -> None:
    with board() as link:
        put(link, tmp_path, "x", "")
        there, here = Path(link._directory), link._control
        assert (there / "x").exists() and here.exists()
        # Others may go through to `owner`, which says who has the board, and see nothing else.
        assert there.stat().st_mode & 0o077 == 0o011
        assert {f.name: f.stat().st_mode & 0o077 for f in there.iterdir()} == {
            "x": 0,
            "owner": 0o044,
        }
    assert not there.exists() and not here.exists()
    link.close()


def test_a_missing_file_is_a_device_error_and_a_failed_upload_leaves_none(
    board: Board, tmp_path: Path
) -> None:
    with board() as link:
        with pytest.raises(DeviceError, match="cannot read absent on loop"):
            link.get("absent", tmp_path / "x")
        Path(link._directory).rename(tmp_path / "moved")
        (tmp_path / "a").write_bytes(b"1")
        with pytest.raises(TransportError, match="our directory on loop is gone"):
            link.put(tmp_path / "a", "a")
    assert [file.name for file in (tmp_path / "moved").iterdir()] == ["owner"]


def test_a_refused_login_names_the_command_that_mends_it(
    board: Board,
) -> None:
    with pytest.raises(TransportError, match="Permission denied") as caught:
        board(host="nobody-here@127.0.0.1")
    assert "ssh-copy-id nobody-here@127.0.0.1" in caught.value.hint


def test_a_directory_that_cannot_be_made_is_a_device_error(
    board: Board,
) -> None:
    with pytest.raises(DeviceError, match="cannot make a directory under /proc/none") as caught:
        board(directory="/proc/none")
    assert "directory" in caught.value.hint


def test_check_walks_the_whole_way(board: Board) -> None:
    board().close()
    steps = list(check("loop"))
    assert [step.name for step in steps if not step.ok] == []
    assert [step.name for step in steps] == [
        *("name", "route", "login", "architecture", "features", "glibc"),
        *("memory", "disk", "execute", "clock", "governor", "throttling"),
    ]
    login = next(step for step in steps if step.name == "login")
    assert "that machine is this one" in login.found


def test_a_loopback_board_is_labelled_as_the_host_that_it_is(board: Board) -> None:
    with board() as link:
        assert link.device.title == f"{this_machine().model} (this machine, through ssh)"


def test_what_is_found_behind_a_route_must_be_what_was_described(board: Board) -> None:
    other = "rpi4" if host_device().arch == "x86_64" else "x86-64-v3"
    board(board=other).close()
    with pytest.raises(DeviceError, match=r"loop needs .* it is ") as caught:
        connect(find("loop"))
    assert "correct its `board`" in caught.value.hint


def test_a_second_user_is_told_who_has_the_board(board: Board) -> None:
    with board():
        with pytest.raises(BusyError, match=r"loop is in use by \S+@\S+ since .* UTC") as caught:
            board()
        assert "binas-devices lock loop --break" in caught.value.hint
        login = next(step for step in check("loop") if step.name == "login")
        assert "in use by" in login.found
        board(exclusive=False).close()
    board().close()


def test_two_who_come_at_once_never_both_get_the_board(board: Board, tmp_path: Path) -> None:
    board(directory=str(tmp_path / "one")).close()
    tries = [
        subprocess.Popen([sys.executable, "-c", TRY], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate()[0].strip() for process in tries]
    assert said.count("mine") <= 1 and set(said) <= {"mine", "busy"}
    assert not (tmp_path / "one").exists()


TRY = """
import time
from binas.core.errors import BusyError
from binas.devices.registry import connect, find
try:
    with connect(find("loop")):
        time.sleep(2)
        print("mine")
except BusyError:
    print("busy")
"""


def test_the_lock_of_a_dead_keeper_holds_nothing(board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    for name, lines in {
        "boot": ["another-boot", str(1), "1", "exclusive", "anna@x"],
        "process": [this_machine().boot_id, "1", "never", "exclusive", "ben@x"],
    }.items():
        (folder / f"binas.{name}").mkdir(parents=True)
        (folder / f"binas.{name}" / "owner").write_text("\n".join([*lines, ""]))
    with board(directory=str(folder)) as link:
        assert [Path(link._directory)] == list(folder.iterdir())


def test_a_lock_can_be_seen_and_broken(board: Board) -> None:
    link = board()
    found = openssh.holders(link.device)
    assert len(found) == 1 and "@" in found[0].who
    assert openssh.end_holders(link.device) == ()
    for _ in range(100):
        if not link.alive:
            break
        time.sleep(0.05)
    with pytest.raises(TransportError, match="our directory on loop is gone"):
        link.run(["x"], 10)
    link.close()


def test_a_killed_user_leaves_nothing_on_the_board(board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    board(directory=str(folder)).close()
    (tmp_path / "long").write_text("#!/bin/sh\nexec sleep 100\n")
    process = subprocess.Popen([sys.executable, "-c", LONG, str(tmp_path / "long")])
    try:
        wait_for(lambda: any(file.read_text() for file in folder.glob("binas.*/.pid")))
        pid = int(next(folder.glob("binas.*/.pid")).read_text())
    finally:
        process.kill()
        process.wait()
    for _ in range(200):
        if not folder.exists():
            break
        time.sleep(0.05)
    assert not folder.exists()
    assert ended(pid)  # killed before the folder went; it may take a moment to be gone


LONG = """
import sys
from pathlib import Path
from binas.devices.registry import connect, find
with connect(find("loop")) as link:
    link.put(Path(sys.argv[1]), "long", executable=True)
    link.run(["long"], 100)
"""


def test_check_finds_a_board_of_another_kind(board: Board) -> None:
    other = "rpi4" if host_device().arch == "x86_64" else "x86-64-v3"
    board(board=other).close()
    last = list(check("loop"))[-1]
    assert (last.name, last.ok) == ("architecture", False)


def test_a_board_behind_a_jump_host_of_the_users_own_config(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    (tmp_path / "bastion").mkdir()
    with sshd(tmp_path / "bastion") as bastion:
        hosts = [("bastion", bastion, ""), ("desk", server, "  ProxyJump bastion\n")]
        (tmp_path / "config").write_text(
            "".join(
                f"Host {name}\n  HostName 127.0.0.1\n  Port {one.port}\n  User {user}\n"
                f"  IdentityFile {one.key}\n  IdentitiesOnly yes\n  StrictHostKeyChecking no\n"
                f"  UserKnownHostsFile {tmp_path}/known\n{more}"
                for name, one, more in hosts
            )
        )
        monkeypatch.setenv("BINAS_DEVICES", str(tmp_path / "devices.toml"))
        (tmp_path / "devices.toml").write_text(
            '[loop]\nboard = "host"\nlink = "ssh"\nhost = "desk"\n'
            f'options = ["-F", "{tmp_path}/config"]\n'
        )
        with SshLink(find("loop")) as link:
            put(link, tmp_path, "where", "#!/bin/sh\necho $SSH_CONNECTION\n")
            assert link.run(["where"], 20).stdout.split()[3] == str(server.port)
        assert "Accepted publickey" in (tmp_path / "bastion" / "log").read_text()
