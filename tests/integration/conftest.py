"""Boards to test against: a real sshd on loopback, with its own port and keys.

`scripted_board` stands behind a server of its own that runs `prelude` before every command, so that
a test can make the far end misbehave: other programs in front of the real ones, less room, a folder
that nothing may be executed from.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest

from binas.devices.registry import find, reach
from binas.devices.ssh import SshLink
from tests.integration.boards import Board


@dataclass(frozen=True)
class Server:
    """A running sshd."""

    port: int
    key: Path
    folder: Path
    pid: int

    def cut(self) -> None:
        """Cut every connection at the far end; what runs behind them is not told."""
        for child in children(self.pid):
            for process in (*children(child), child):
                if Path(f"/proc/{process}/comm").read_text().startswith("sshd"):
                    os.kill(process, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in task.read_text().split()]
    return found


@contextmanager
def sshd(folder: Path, *config: str) -> Iterator[Server]:
    """Start a server, and stop it at the end."""
    program = which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    if which("ssh") is None:
        pytest.skip("ssh is not installed: apt-get install openssh-client")
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    (folder / "authorized").chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    # A folder for temporary files of its own: a board's lock is seen by all who share one.
    (folder / "boards").mkdir()
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\nMaxStartups 100\n"
        f"SetEnv TMPDIR={folder}/boards\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        + "".join(f"{line}\n" for line in config)
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where a privileged sshd drops its privileges
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert daemon.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield Server(port, folder / "user", folder, daemon.pid)
    finally:
        daemon.terminate()
        daemon.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with nothing special about it."""
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def scripted_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that runs the shell script `prelude` of its folder before every command."""
    folder = tmp_path_factory.mktemp("scripted")
    (folder / "board").write_text(
        f"#!/bin/sh\n[ -r {folder}/prelude ] && . {folder}/prelude\n"
        'exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    (folder / "board").chmod(0o755)
    with sshd(folder, f"ForceCommand {folder}/board") as running:
        yield running


@pytest.fixture
def board(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """`board(**keys)` logs in to the loopback board, described in a devices.toml of its own."""
    return describer(server, tmp_path, monkeypatch)


@pytest.fixture
def scripted_board(
    scripted_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Board]:
    """As `board`; `prelude=` is the script that the far end runs before every command."""
    yield describer(scripted_server, tmp_path, monkeypatch)
    (scripted_server.folder / "prelude").unlink(missing_ok=True)


def describer(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """What `board` and `scripted_board` give."""
    words = ["-F", "none", "-i", str(server.key), "-o", "IdentitiesOnly=yes"]
    words += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path}/known"]
    user = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setenv("BINAS_DEVICES", str(tmp_path / "devices.toml"))

    def describe(*, prelude: str = "", exclusive: bool = True, **keys: object) -> SshLink:
        known = {"board": "host", "link": "ssh", "host": f"{user}@127.0.0.1", "port": server.port}
        lines = [f"{key} = {json.dumps(value)}" for key, value in {**known, **keys}.items()]
        lines.append(f"options = {json.dumps(words)}")
        (tmp_path / "devices.toml").write_text("\n".join(["[loop]", *lines]))
        if prelude:
            (server.folder / "prelude").write_text(prelude)
        link = reach(find("loop"), exclusive=exclusive)
        assert isinstance(link, SshLink)
        return link

    return describe
