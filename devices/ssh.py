"""A device reached through the system's OpenSSH; nothing needs to be installed on it.

The user's ssh configuration, agent and jump hosts apply: we only add options. One master
connection serves all calls, and one of these calls is the keeper (`keeper.py`), which holds our
directory and the board's lock. On the device a POSIX shell with mktemp, cat, mv, wc, chmod, kill
and rm is enough.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from binas.core.errors import DeviceError, TimedOutError, TransportError
from binas.devices import keeper, openssh
from binas.devices.device import Device
from binas.devices.link import Finished, Trust, checked_argv, checked_name
from binas.devices.openssh import CONNECT_S, LOST, SHORT_S
from binas.devices.probe import Machine, this_machine

GONE = 74  # how our scripts report that their directory is not there any more
SLOWEST_BYTES_PER_S = 50_000  # an upload below this rate counts as broken


class SshLink:
    """Runs programs on another machine.

    Args:
        device: The machine; its link settings say where it is.
        exclusive: Have it to ourselves, as measuring needs it; others are told who has it.
    """

    def __init__(self, device: Device, *, exclusive: bool = True) -> None:
        """Log in and make the directory.

        Raises:
            TransportError: No connection.
            BusyError: Somebody else has the board to himself.
            DeviceError: No login, or no directory can be made.
        """
        self._device = device
        self._keeper: subprocess.Popen[bytes] | None = None
        self._directory = ""
        self._control = openssh.control_folder()
        try:
            greeting = self._keep("exclusive" if exclusive else "shared")
        except BaseException:
            self.close()
            raise
        self._directory, self._machine = greeting.directory, greeting.machine
        self._holders = greeting.holders
        if self._machine.model:
            here = self._machine.boot_id == this_machine().boot_id
            title = self._machine.model + (" (this machine, through ssh)" if here else "")
            self._device = replace(device, title=title)

    @property
    def device(self) -> Device:
        """The machine at the other end; its title is what the machine itself says it is."""
        return self._device

    @property
    def machine(self) -> Machine:
        """What the machine said about itself at the login."""
        return self._machine

    @property
    def holders(self) -> tuple[keeper.Holder, ...]:
        """Who else had the board to himself at the login; nobody, if the link is exclusive."""
        return self._holders

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as this end knows."""
        return self._keeper is not None and self._keeper.poll() is None

    @property
    def trust(self) -> Trust:
        """Real, unless the programs run in an emulator, or the machine is not what it says."""
        emulated = self._device.link.wrapper or self._machine.pretence
        return "emulated" if emulated else "real"

    def put(self, local: Path, name: str, *, executable: bool = False) -> None:
        """Copy a file there: written beside, its size compared, then renamed into place."""
        target = checked_name(name)
        size = local.stat().st_size
        mode = "700" if executable else "600"
        script = (
            f"cd {self._quoted} || exit {GONE}; cat > .part && test $(wc -c < .part) -eq {size}"
            f" && chmod {mode} .part && mv -f .part {target} || {{ rm -f .part; exit 1; }}"
        )
        with local.open("rb") as source:
            done = self._ssh(script, SHORT_S + size / SLOWEST_BYTES_PER_S, name, stdin=source)
        if done.returncode != 0:
            raise DeviceError(
                f"{self._device.name} did not take {name} ({size} bytes): {_said(done)}",
                hint=f"look at free space and memory: binas-devices check {self._device.name}",
            )

    def get(self, name: str, local: Path) -> None:
        """Copy a file from there."""
        script = f"cd {self._quoted} || exit {GONE}; cat {checked_name(name)}"
        with local.open("wb") as target:
            done = self._ssh(script, 10 * SHORT_S, name, stdout=target)
        if done.returncode != 0:
            raise DeviceError(f"cannot read {name} on {self._device.name}: {_said(done)}")

    def run(self, argv: Sequence[str], timeout_s: float) -> Finished:
        """Run a program there; at the time limit it is killed there, not only its connection."""
        program, *arguments = checked_argv(argv)
        line = shlex.join([*self._device.link.wrapper, f"./{program}", *arguments])
        # The program's id is kept on the device: ending our ssh alone would leave it running.
        script = (
            f"cd {self._quoted} || exit {GONE}; {line} </dev/null & echo $! > .pid; wait $!;"
            " s=$?; rm -f .pid; exit $s"
        )
        try:
            done = self._ssh(script, timeout_s, program)
        except (TimedOutError, KeyboardInterrupt):
            self._kill()
            raise
        return Finished(
            returncode=done.returncode,
            stdout=(done.stdout or b"").decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
        )

    def close(self) -> None:
        """Let the keeper remove the directory, and end the master connection."""
        if self._keeper is not None and self._keeper.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._keeper.stdin.close()  # its input ends, and it tidies up
            try:
                self._keeper.wait(CONNECT_S)
            except subprocess.TimeoutExpired:  # a lost device is left as it is
                self._keeper.kill()
                self._keeper.wait()
            for pipe in (self._keeper.stdout, self._keeper.stderr):
                if pipe is not None:
                    pipe.close()
        self._keeper, self._directory = None, ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._control.exists():
                subprocess.run(
                    [
                        *openssh.command(self._device, self._control),
                        "-O",
                        "exit",
                        openssh.target(self._device),
                    ],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=CONNECT_S,
                    check=False,
                )
        shutil.rmtree(self._control, ignore_errors=True)

    def __enter__(self) -> Self:
        """Nothing to do: the connection stands."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the directory and disconnect."""
        self.close()

    @property
    def _quoted(self) -> str:
        return shlex.quote(self._directory)

    def _keep(self, mode: keeper.Mode) -> keeper.Greeting:
        """Start the keeper and wait until it has greeted."""
        device = self._device
        self._keeper = subprocess.Popen(
            [
                *openssh.command(device, self._control),
                *("--", openssh.target(device), keeper.command(device.link.directory, mode)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours to answer: it would end the keeper first
        )
        said = _greet(self._keeper, device)
        greeting = keeper.parse(said)
        if greeting.holders and mode == "exclusive":
            raise openssh.busy(device, greeting.holders)
        if keeper.END in said and greeting.directory:
            return greeting
        complaint = _end(self._keeper)
        if self._keeper.returncode == LOST:
            raise openssh.lost(device, complaint)
        raise DeviceError(
            f"cannot make a directory under {device.link.directory or 'TMPDIR'} on {device.name}: "
            f"{complaint}",
            hint=f'give {device.name} a writable `directory = "..."`',
        )

    def _kill(self) -> None:
        script = f"cd {self._quoted} && test -r .pid && kill -9 $(cat .pid)"
        with contextlib.suppress(DeviceError):
            self._ssh(script, SHORT_S, "kill")

    def _ssh(
        self,
        script: str,
        timeout_s: float,
        what: str,
        *,
        stdin: object = None,
        stdout: object = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a POSIX script there, whatever the login shell is.

        Raises:
            TransportError: ssh itself failed, or our directory there is gone.
            TimedOutError: It took longer; ssh has been killed.
        """
        device = self._device
        line = [*openssh.command(device, self._control), "--", openssh.target(device)]
        try:
            done: subprocess.CompletedProcess[bytes] = subprocess.run(  # type: ignore[call-overload]
                [*line, f"sh -c {shlex.quote(script)}"],
                stdin=stdin or subprocess.DEVNULL,
                stdout=stdout or subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TimedOutError(
                f"{what} did not end within {timeout_s:g} s on {device.name}",
                hint=f"is it reachable and idle? binas-devices check {device.name}",
            ) from None
        if done.returncode == LOST:
            raise openssh.lost(device, _said(done))
        if done.returncode == GONE:
            raise TransportError(
                f"our directory on {device.name} is gone: the connection was cut, or it restarted",
                hint="the same command goes on where it stopped",
            )
        return done


def _greet(process: subprocess.Popen[bytes], device: Device) -> str:
    """Hand the keeper its script, and read up to the end of its greeting or of itself."""
    if process.stdin is None or process.stdout is None:
        raise ValueError("a keeper without pipes")
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(keeper.SCRIPT.encode())
        process.stdin.flush()
    said, limit = b"", time.monotonic() + SHORT_S
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while keeper.END.encode() not in said:
            if not ready.select(max(0.0, limit - time.monotonic())):
                raise openssh.silent(device)
            part = os.read(process.stdout.fileno(), 1 << 16)
            if not part:
                break
            said += part
    return said.decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> str:
    """Wait for a process that has closed its output, and give its last complaint."""
    _, stderr = process.communicate()
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {process.returncode}"


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"
