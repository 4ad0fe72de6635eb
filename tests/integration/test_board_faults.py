"""What can go wrong with a board, over a real ssh connection.

Real here: a cut connection, a full disk, a noexec folder and a board that is read-only but for our
directory (where mounting is allowed), a time limit, programs of another architecture, illegal
instructions and kills, Ctrl-C. What no test may do to the machine is scripted, in
`test_board_walk.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from binas.core.errors import DeviceError, TimedOutError, TransportError
from binas.devices import hello
from binas.devices.check import check
from binas.devices.device import Arch
from binas.devices.link import Finished
from binas.devices.probe import host_device
from binas.devices.ssh import SshLink
from tests.integration.boards import Board, broken, mounted, put, shims, wait_for
from tests.processes import ended

pytestmark = pytest.mark.timeout(120)


# Real: the far end of the connection is killed.


def test_a_board_that_goes_while_a_file_is_sent(
    board: Board, server: object, tmp_path: Path
) -> None:
    folder = tmp_path / "there"
    with board(directory=str(folder)) as link:
        pipe = tmp_path / "endless"  # a file that never ends keeps the upload going
        os.mkfifo(pipe)
        feeder = threading.Thread(target=_feed, args=(pipe, server.cut))  # type: ignore[attr-defined]
        feeder.start()
        with pytest.raises(TransportError, match=r"failed|gone"):
            link.put(pipe, "big")
        feeder.join()
        wait_for(lambda: not folder.exists())
        with pytest.raises(TransportError, match="our directory on loop is gone"):
            link.run(["big"], 10)


def _feed(pipe: Path, cut: Callable[[], None]) -> None:
    with pipe.open("wb") as file:
        file.write(bytes(100_000))
        file.flush()
        time.sleep(0.3)
        cut()
        time.sleep(0.3)


def test_a_board_that_goes_while_a_program_runs(
    board: Board, server: object, tmp_path: Path
) -> None:
    folder = tmp_path / "there"
    with board(directory=str(folder)) as link:
        put(link, tmp_path, "long", "#!/bin/sh\nexec sleep 100\n")
        running = threading.Timer(1.0, server.cut)  # type: ignore[attr-defined]
        running.start()
        with pytest.raises(TransportError) as caught:
            link.run(["long"], 60)
        assert not isinstance(caught.value, TimedOutError)
    # What ran there has been ended, and the directory removed, by the keeper alone.
    wait_for(lambda: not folder.exists())


def test_a_program_that_takes_too_long_is_ended(board: Board, tmp_path: Path) -> None:
    with board() as link:
        put(link, tmp_path, "long", f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 100\n")
        with pytest.raises(TimedOutError, match="long did not end within 1 s on loop"):
            link.run(["long"], 1)
        assert ended(int((tmp_path / "pid").read_text()))


# Real where mounting is allowed, else programs that complain as the kernel would.


def test_a_full_disk_is_said_and_leaves_no_half_file(scripted_board: Board, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(300_000))
    (tmp_path / "small").write_bytes(b"1")
    folder = tmp_path / "disk"
    folder.mkdir()
    full = "head -c 1000; echo 'cat: write error: No space left on device' >&2; exit 1"
    with mounted(folder, "size=128k") as real:
        link = scripted_board(prelude=real or "", directory=str(folder))
        if real is None:
            scripted_board(prelude=shims(tmp_path, cat=full), directory=str(folder)).close()
        with link:
            with pytest.raises(DeviceError, match="No space left on device") as caught:
                link.put(tmp_path / "big", "big")
            assert "binas-devices check loop" in caught.value.hint
            if real is not None:
                link.put(tmp_path / "small", "small")  # the half file has gone
        step = broken("loop") if real is not None else None
    assert step is None or (step.name, "MiB free" in step.found) == ("disk", True)


def test_a_folder_that_nothing_may_run_from(scripted_board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "noexec"
    folder.mkdir()
    with mounted(folder, "size=64m,noexec") as real:
        prelude = real or shims(tmp_path, chmod="exit 0")
        with scripted_board(prelude=prelude, directory=str(folder)) as link:
            put(link, tmp_path, "x", "#!/bin/sh\necho never\n")
            done = link.run(["x"], 20)
            assert done.returncode == 126 and "Permission denied" in done.how
        if real is not None:
            step = broken("loop")
            assert step.name == "execute" and 'directory = "~/binas"' in step.hint


READ_ONLY = (
    "for m in / /tmp /var/tmp /dev/shm; do ! mountpoint -q $m || mount -o remount,bind,ro $m; done"
)


def test_a_board_on_which_nothing_else_may_be_written_is_used_all_the_same(
    scripted_board: Board, tmp_path: Path
) -> None:
    folder, outside = tmp_path / "ours", tmp_path / "theirs"
    folder.mkdir()
    with mounted(folder, "size=64m", READ_ONLY) as real:
        with scripted_board(prelude=real or "", directory=str(folder)) as link:
            put(link, tmp_path, "x", f"#!/bin/sh\ntouch {outside} || echo refused\n")
            done = link.run(["x"], 20)
            assert real is None or done.stdout == "refused\n", done  # so the next lines say much
            link.get("x", tmp_path / "back")
        steps = list(check("loop"))
    assert all(step.ok for step in steps), steps
    assert steps[-1].name == "throttling"


# Real: programs that this machine's kernel does not start, or ends.


def run(link: SshLink, tmp_path: Path, program: bytes) -> Finished:
    (tmp_path / "program").write_bytes(program)
    link.put(tmp_path / "program", "program", executable=True)
    return link.run(["program"], 20)


def test_a_program_of_another_architecture(board: Board, tmp_path: Path) -> None:
    other: Arch = "armv7" if host_device().arch == "x86_64" else "x86_64"
    with board() as link:
        done = run(link, tmp_path, hello.executable(other))
    # A kernel that knows an emulator starts it all the same.
    assert done.returncode != 0 or done.stdout == hello.SAYS


def test_a_program_that_the_kernel_ends_says_how(board: Board, tmp_path: Path) -> None:
    program = bytearray(hello.executable(host_device().arch))
    start = 64 + 56  # of the code, after the headers
    illegal = b"\x0f\x0b" if host_device().arch == "x86_64" else bytes(4)
    program[start : start + len(illegal)] = illegal
    with board() as link:
        assert run(link, tmp_path, bytes(program)).how.startswith("illegal instruction")
        assert run(link, tmp_path, b"#!/bin/sh\nkill -9 $$\n").how.startswith("killed")
        assert run(link, tmp_path, b"#!/bin/sh\nkill -SEGV $$\n").how.startswith("segmentation")


# Real: Ctrl-C, at each stage, in a program of its own.

OPEN = "with connect(find('loop')) as link:\n"
STAGES = {
    "login": "say()\n" + OPEN + "    pass\n",
    "upload": OPEN + "    say()\n    link.put(Path(sys.argv[1]), 'x')\n",
    "run": OPEN + "    link.put(Path(sys.argv[1]), 'x', executable=True)\n"
    "    say()\n    link.run(['x'], 100)\n",
    "check": "import time\nfrom binas.devices.check import check\n"
    "for step in check('loop'):\n    say()\n    time.sleep(0.2)\n",
}


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_leaves_nothing_behind(scripted_board: Board, tmp_path: Path, stage: str) -> None:
    folder, local = tmp_path / "there", tmp_path / "local"
    # A board that takes its time to answer, where it is the login that is interrupted.
    slow = "sleep 2\n" if stage == "login" else "\n"
    scripted_board(prelude=slow, directory=str(folder)).close()
    if stage == "upload":
        os.mkfifo(local)  # an upload that goes on until it is interrupted
    else:
        local.write_text("#!/bin/sh\nexec sleep 100\n")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from binas.devices.registry import connect, find\n"
        "def say():\n    print('here', flush=True)\n" + STAGES[stage]
    )
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as temporary:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(local)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": temporary},
            start_new_session=True,
        )
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        feeder = os.open(local, os.O_RDWR) if stage == "upload" else -1
        time.sleep(0.7)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        stderr = process.communicate(timeout=60)[1]
        if feeder >= 0:
            os.close(feeder)
        assert "KeyboardInterrupt" in stderr.splitlines()[-1]
        wait_for(lambda: not folder.exists())
        assert list(Path(temporary).glob("binas*")) == []


def test_a_long_folder_for_temporary_files_is_no_obstacle(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with board() as link:
        put(link, tmp_path, "live", "#!/bin/sh\necho on\n")
        assert link.run(["live"], 20).stdout == "on\n"
