"""The ssh link against a real sshd on loopback, with its own port and keys."""

from __future__ import annotations

import os
import pwd
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binas.core.errors import DeviceError, TimedOutError, TransportError
from binas.devices.check import check
from binas.devices.probe import host_device
from binas.devices.registry import connect, find
from binas.devices.ssh import SshLink

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[int, Path]]:
    """A running sshd: its port, and the user's key."""
    from shutil import which

    sshd = which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if sshd is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    if which("ssh") is None:
        pytest.skip("ssh is not installed: apt-get install openssh-client")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    (folder / "authorized").chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where a privileged sshd drops its privileges
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert daemon.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield port, folder / "user"
    finally:
        daemon.terminate()
        daemon.wait()


@pytest.fixture
def board(
    server: tuple[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SshLink]:
    """`board(**keys)` logs in to the loopback board, described in a devices.toml of its own."""
    port, key = server
    options = ["-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes"]
    options += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path}/known"]
    user = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setenv("BINAS_DEVICES", str(tmp_path / "devices.toml"))

    def describe(**keys: str) -> SshLink:
        known = {"board": "host", "link": "ssh", "host": f"{user}@127.0.0.1", **keys}
        lines = [f'{key} = "{value}"' for key, value in known.items()]
        lines += [f"port = {port}", f"options = {options}".replace("'", '"')]
        (tmp_path / "devices.toml").write_text("\n".join(["[loop]", *lines]))
        link = connect(find("loop"))
        assert isinstance(link, SshLink)
        return link

    return describe


def put(link: SshLink, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "local").write_text(text)
    link.put(tmp_path / "local", name, executable=True)


def test_files_go_and_come_back_whole(board: Callable[..., SshLink], tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    (tmp_path / "a").write_bytes(data)
    with board() as link:
        link.put(tmp_path / "a", "a.bin")
        link.get("a.bin", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data


def test_arguments_and_results_pass_unchanged(
    board: Callable[..., SshLink], tmp_path: Path
) -> None:
    nasty = ["a b", "$HOME", "`id`", ";ls", "*", "'", '"', "\\", "-x", "", "ä\n"]
    with board() as link:
        put(link, tmp_path, "say", '#!/bin/sh\nprintf "%s|" "$@"; echo no >&2; exit 7\n')
        done = link.run(["say", *nasty], 20)
    assert done.stdout == "".join(f"{word}|" for word in nasty)
    assert (done.returncode, done.stderr) == (7, "no\n")


def test_a_directory_with_a_hostile_name_is_only_a_directory(
    board: Callable[..., SshLink], tmp_path: Path
) -> None:
    folder = tmp_path / "a 'b' $(touch pwned); c"
    folder.mkdir()
    with board(directory=str(folder)) as link:
        put(link, tmp_path, "where", "#!/bin/sh\npwd\n")
        assert Path(link.run(["where"], 20).stdout.strip()).parent == folder
    assert list(folder.iterdir()) == []
    assert not list(tmp_path.rglob("pwned"))


def test_a_program_that_hangs_is_ended_there(board: Callable[..., SshLink], tmp_path: Path) -> None:
    with board() as link:
        pid_file = shlex.quote(str(tmp_path / "pid"))
        put(link, tmp_path, "hang", f"#!/bin/sh\necho $$ > {pid_file}\nsleep 60\n")
        with pytest.raises(TimedOutError, match="hang did not end within 2 s on loop"):
            link.run(["hang"], 2)
        remote = int((tmp_path / "pid").read_text())
        for _ in range(100):
            if not Path(f"/proc/{remote}").exists():
                break
            time.sleep(0.05)
        assert not Path(f"/proc/{remote}").exists()
        put(link, tmp_path, "live", "#!/bin/sh\necho on\n")
        assert link.run(["live"], 20).stdout == "on\n"


def test_nothing_is_left_there_or_here(board: Callable[..., SshLink], tmp_path: Path) -> None:
    with board() as link:
        put(link, tmp_path, "x", "")
        there, here = Path(link._directory), link._control
        assert (there / "x").exists() and here.exists()
        assert there.stat().st_mode & 0o077 == 0
    assert not there.exists() and not here.exists()
    link.close()


def test_a_missing_file_is_a_device_error_and_a_failed_upload_leaves_none(
    board: Callable[..., SshLink], tmp_path: Path
) -> None:
    with board() as link:
        with pytest.raises(DeviceError, match="cannot read absent on loop"):
            link.get("absent", tmp_path / "x")
        Path(link._directory).rename(tmp_path / "moved")
        (tmp_path / "a").write_bytes(b"1")
        with pytest.raises(DeviceError, match="loop did not take a "):
            link.put(tmp_path / "a", "a")
    assert list((tmp_path / "moved").iterdir()) == []


def test_a_refused_login_names_the_command_that_mends_it(
    board: Callable[..., SshLink], server: tuple[int, Path]
) -> None:
    with pytest.raises(TransportError, match="Permission denied") as caught:
        board(host="nobody-here@127.0.0.1")
    assert "ssh-copy-id nobody-here@127.0.0.1" in caught.value.hint


def test_a_directory_that_cannot_be_made_is_a_device_error(
    board: Callable[..., SshLink],
) -> None:
    with pytest.raises(DeviceError, match="cannot make a directory under /proc/none") as caught:
        board(directory="/proc/none")
    assert "directory" in caught.value.hint


def test_check_walks_the_whole_way(board: Callable[..., SshLink]) -> None:
    board().close()
    steps = list(check("loop"))
    assert [step.name for step in steps if not step.ok] == []
    assert steps[-1].name == "governor"


def test_check_finds_a_board_of_another_kind(board: Callable[..., SshLink]) -> None:
    other = "rpi4" if host_device().arch == "x86_64" else "x86-64-v3"
    board(board=other).close()
    last = list(check("loop"))[-1]
    assert (last.name, last.ok) == ("architecture", False)
