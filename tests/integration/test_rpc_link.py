"""The RPC link against a real TVM tracker with two servers, all on loopback."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binas.core.errors import BusyError, DeviceError, TimedOutError, TransportError, UsageError
from binas.devices import tracker
from binas.devices.check import check
from binas.devices.device import LinkSettings
from binas.devices.probe import this_machine
from binas.devices.registry import connect, connect_fleet, find
from binas.devices.rpc import RpcLink
from binas.devices.ssh import SshLink
from tests.processes import ended

pytestmark = pytest.mark.timeout(240)


class Lab:
    """A tracker and two servers of the key `loop`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.servers = [self.start("rpc_server", free_port(), server=True) for _ in range(2)]
        self.tracker = self.start("rpc_tracker", self.port)

    def start(self, module: str, port: int, *, server: bool = False) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", f"tvm.exec.{module}", "--host", "127.0.0.1"]
        line += ["--port", str(port), "--port-end", str(port + 1)]
        if server:
            line += ["--tracker", f"127.0.0.1:{self.port}", "--key", "loop"]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)

    def wait(self, total: int = 2) -> None:
        """Until so many servers have registered and are free."""
        for _ in range(600):
            try:
                found = tracker.queue(find("lab"), self.port)
            except TransportError:
                found = tracker.Queue(total=0, free=0)
            if found == tracker.Queue(total=total, free=total):
                return
            time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text())

    def restart_tracker(self) -> None:
        end(self.tracker)
        self.tracker = self.start("rpc_tracker", self.port)

    def end(self) -> None:
        for process in (*self.servers, self.tracker):
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    # The worker of a server outlives it otherwise.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"))
    yield made
    made.end()


@pytest.fixture
def lab(running: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The lab, all of it free, described as the device `lab`."""
    monkeypatch.setenv("BINAS_DEVICES", str(tmp_path / "devices.toml"))
    (tmp_path / "devices.toml").write_text(
        f'[lab]\nboard = "host"\nlink = "rpc"\nkey = "loop"\ntracker = {running.port}\n'
    )
    running.wait()
    return running


def put(link: RpcLink, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "local").write_text(text)
    link.put(tmp_path / "local", name, executable=True)


def open_lab() -> RpcLink:
    link = connect(find("lab"))
    assert isinstance(link, RpcLink)
    return link


def test_the_four_verbs(lab: Lab, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    (tmp_path / "a").write_bytes(data)
    with open_lab() as link:
        assert link.trust == "real"
        assert link.device.title == f"{this_machine().model} (this machine, through TVM RPC)"
        link.put(tmp_path / "a", "a.bin")
        link.get("a.bin", tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == data
        put(link, tmp_path, "say", '#!/bin/sh\nprintf "%s|" "$@"; pwd; echo no >&2; exit 7\n')
        nasty = ["a b", "$HOME", "`id`", ";ls", "*", "'", '"', "\\", "-x", ""]
        done = link.run(["say", *nasty], 20)
        printed, _, folder = done.stdout.rpartition("|")
        assert printed == "|".join(nasty) and (done.returncode, done.stderr) == (7, "no\n")
        assert Path(folder.strip()).is_dir()
        put(link, tmp_path, "die", "#!/bin/sh\nkill -ILL $$\n")
        assert link.run(["die"], 20).how == "illegal instruction"
        with pytest.raises(DeviceError, match="cannot read absent on lab"):
            link.get("absent", tmp_path / "x")
        with pytest.raises(UsageError, match="cannot be a file name"):
            link.put(tmp_path / "a", "../x")
    for _ in range(100):
        if not Path(folder.strip()).exists():
            break
        time.sleep(0.05)
    assert not Path(folder.strip()).exists()


def test_a_program_that_hangs_is_ended_there_with_its_children(lab: Lab, tmp_path: Path) -> None:
    with open_lab() as link:
        put(link, tmp_path, "hang", f"#!/bin/sh\nsleep 60 & echo $! > {tmp_path}/pid; wait\n")
        with pytest.raises(TimedOutError, match="hang did not end within 1 s on lab"):
            link.run(["hang"], 1)
        assert ended(int((tmp_path / "pid").read_text()))
        put(link, tmp_path, "live", "#!/bin/sh\necho on\n")
        assert link.run(["live"], 20).stdout == "on\n"


def test_a_tracker_gives_each_board_to_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_lab(), open_lab():
        monkeypatch.setattr(tracker, "WAIT_S", 1.0)
        with pytest.raises(BusyError, match="all boards of key loop are in use"):
            open_lab()
        steps = {step.name: step for step in check("lab")}
    assert "0 of 2 boards of key loop free" in steps["route"].found
    assert not steps["login"].ok


def test_names_that_share_a_key_are_a_fleet_each_with_a_board_of_its_own(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "devices.toml").write_text(
        "".join(
            f'[{name}]\nboard = "host"\nlink = "rpc"\nkey = "loop"\ntracker = {lab.port}\n'
            for name in ("a", "b", "c")
        )
    )
    monkeypatch.setattr(tracker, "WAIT_S", 1.0)
    said: list[str] = []
    with connect_fleet([find(name) for name in "abc"], say=said.append) as links:
        assert [link.device.name for link in links] == ["a", "b"]
        folders = set()
        for link in links:
            assert isinstance(link, RpcLink)
            put(link, tmp_path, "where", "#!/bin/sh\npwd\n")
            folders.add(link.run(["where"], 20).stdout)
    assert len(folders) == 2
    assert len(said) == 1 and said[0].startswith("c is left out: all boards of key loop are in use")


def test_check_walks_the_whole_way(lab: Lab) -> None:
    steps = list(check("lab"))
    assert [step for step in steps if not step.ok] == []
    assert steps[-1].name == "throttling"


def test_a_tracker_that_is_restarted_is_found_again(lab: Lab, tmp_path: Path) -> None:
    with open_lab() as link:
        lab.restart_tracker()
        put(link, tmp_path, "live", "#!/bin/sh\necho on\n")
        assert link.run(["live"], 20).stdout == "on\n"  # needs no tracker
    lab.wait()
    open_lab().close()


def test_ctrl_c_ends_the_program_on_the_board(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "long").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid; exec sleep 100\n")
    code = (
        "import sys; from pathlib import Path; from binas.devices.registry import connect, find\n"
        "with connect(find('lab')) as link:\n"
        "    link.put(Path(sys.argv[1]), 'long', executable=True); link.run(['long'], 100)\n"
    )
    line = [sys.executable, "-c", code, str(tmp_path / "long")]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert ended(int((tmp_path / "pid").read_text()))


def test_tvms_own_module_of_a_kernel_runs_there(lab: Lab, tmp_path: Path) -> None:
    """The same scheduled kernel, exported for TVM's runtime, called and timed by TVM itself."""
    import tvm

    from binas.compile.module import export_module
    from binas.core.layer import Layer

    layer = Layer(op="elementwise", in_shape=(1, 3, 5, 33), out_channels=33, stages=("relu",))
    exported = export_module([layer], find("lab"), tmp_path / "kernels.so")[layer]
    x = np.random.default_rng(0).standard_normal(3 * 5 * 33).astype(np.float32)
    with open_lab() as link:
        link.put(tmp_path / "kernels.so", "kernels.so")
        library, cpu = link.load("kernels.so"), link.session.cpu()
        there, y = tvm.runtime.tensor(x, cpu), tvm.runtime.empty(x.shape, "float32", cpu)
        library[exported.symbol](there, y, 0, exported.units)
        assert np.array_equal(y.numpy(), np.maximum(x, 0))
        timed = library.time_evaluator(exported.symbol, cpu, number=10)
        assert timed(there, y, 0, exported.units).mean > 0


def test_the_way_to_a_tracker_behind_ssh_is_a_tunnel(
    lab: Lab, board: Callable[..., SshLink], server: Any, tmp_path: Path
) -> None:
    with board() as link:  # describes how the gate is reached
        options = link.device.link.options
    user = pwd.getpwuid(os.geteuid()).pw_name
    (tmp_path / "devices.toml").write_text(
        f'[lab]\nboard = "host"\nlink = "rpc"\nkey = "loop"\ntracker = {lab.port}\n'
        f'host = "{user}@127.0.0.1"\nport = {server.port}\n'
        f"options = {list(options)}".replace("'", '"')
    )
    with open_lab() as remote:
        put(remote, tmp_path, "live", "#!/bin/sh\necho on\n")
        assert remote.run(["live"], 20).stdout == "on\n"
    steps = {step.name: step for step in check("lab")}
    assert "of 127.0.0.1, through ssh: " in steps["route"].found


def test_without_a_tracker_the_command_that_starts_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINAS_DEVICES", str(tmp_path / "devices.toml"))
    (tmp_path / "devices.toml").write_text(
        f'[lab]\nboard = "host"\nlink = "rpc"\nkey = "loop"\ntracker = {free_port()}\n'
    )
    last = list(check("lab"))[-1]
    assert (last.name, last.ok) == ("route", False)
    assert "python -m tvm.exec.rpc_tracker --host 127.0.0.1" in last.hint


def test_a_key_that_a_tracker_could_misread_is_refused() -> None:
    with pytest.raises(UsageError, match="has the key 'a b'"):
        LinkSettings(kind="rpc", key="a b")


# The last of these: TVM's server does not survive the death of its session's process.


def test_a_server_that_dies_is_a_broken_link_and_the_other_goes_on(
    lab: Lab, tmp_path: Path
) -> None:
    with open_lab() as link:
        put(link, tmp_path, "self", "#!/bin/sh\nps -o ppid= -p $PPID\n")
        # The program's grandparent is the server's process of this session.
        session = int(link.run(["self"], 20).stdout)
        os.kill(session, signal.SIGKILL)
        with pytest.raises(TransportError, match="TVM RPC to lab failed"):
            link.run(["self"], 20)
    with open_lab() as other:
        put(other, tmp_path, "live", "#!/bin/sh\necho on\n")
        assert other.run(["live"], 20).stdout == "on\n"
