"""A device reached through the system's OpenSSH; nothing needs to be installed on it.

The user's ssh configuration, agent and jump hosts apply: we only add options. One master
connection serves all calls. On the device a POSIX shell with mktemp, cat, mv, wc, chmod, kill and
rm is enough.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from binas.core.errors import DeviceError, TimedOutError, TransportError
from binas.devices.device import Device
from binas.devices.link import Finished, Trust, checked_argv, checked_name

LOST = 255  # how ssh itself reports that the connection failed
CONNECT_S = 15  # a board on the local network answers in one
SHORT_S = 60  # for commands of ours that do next to nothing
SLOWEST_BYTES_PER_S = 50_000  # an upload below this rate counts as broken


class SshLink:
    """Runs programs on another machine.

    Args:
        device: The machine; its link settings say where it is.
    """

    def __init__(self, device: Device) -> None:
        """Log in and make the directory.

        Raises:
            TransportError: No connection.
            DeviceError: No login, or no directory can be made.
        """
        self._device = device
        if shutil.which("ssh") is None:
            raise DeviceError("no ssh command on this machine", hint="apt install openssh-client")
        # Short, because a socket's path may have no more than about a hundred characters.
        self._control = Path(tempfile.mkdtemp(prefix="binas-ssh."))
        self._directory = ""
        try:
            self._directory = self._make_directory()
        except BaseException:
            self.close()
            raise

    @property
    def device(self) -> Device:
        """The machine at the other end."""
        return self._device

    @property
    def trust(self) -> Trust:
        """A real machine."""
        return "real"

    def put(self, local: Path, name: str, *, executable: bool = False) -> None:
        """Copy a file there: written beside, its size compared, then renamed into place."""
        target = checked_name(name)
        size = local.stat().st_size
        mode = "700" if executable else "600"
        script = (
            f"cd {self._quoted} && cat > .part && test $(wc -c < .part) -eq {size}"
            f" && chmod {mode} .part && mv -f .part {target}"
        )
        with local.open("rb") as source:
            done = self._ssh(script, SHORT_S + size / SLOWEST_BYTES_PER_S, stdin=source)
        if done.returncode != 0:
            raise DeviceError(
                f"{self._device.name} did not take {name} ({size} bytes): {_said(done)}",
                hint=f"look at free space and memory: binas-devices check {self._device.name}",
            )

    def get(self, name: str, local: Path) -> None:
        """Copy a file from there."""
        with local.open("wb") as target:
            done = self._ssh(
                f"cat {self._quoted}/{checked_name(name)}", 10 * SHORT_S, stdout=target
            )
        if done.returncode != 0:
            raise DeviceError(f"cannot read {name} on {self._device.name}: {_said(done)}")

    def run(self, argv: Sequence[str], timeout_s: float) -> Finished:
        """Run a program there; at the time limit it is killed there, not only its connection."""
        program, *arguments = checked_argv(argv)
        line = shlex.join([f"./{program}", *arguments])
        # The program's id is kept on the device: ending our ssh alone would leave it running.
        script = (
            f"cd {self._quoted} || exit 126; {line} </dev/null & echo $! > .pid; wait $!;"
            " s=$?; rm -f .pid; exit $s"
        )
        try:
            done = self._ssh(script, timeout_s)
        except subprocess.TimeoutExpired:
            self._kill()
            raise TimedOutError(
                f"{program} did not end within {timeout_s:g} s on {self._device.name}"
            ) from None
        except KeyboardInterrupt:
            self._kill()
            raise
        return Finished(
            returncode=done.returncode,
            stdout=(done.stdout or b"").decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
        )

    def close(self) -> None:
        """Remove the directory and end the master connection; a lost device is left as it is."""
        with contextlib.suppress(TransportError, subprocess.TimeoutExpired):
            if self._directory:
                self._ssh(f"rm -rf -- {self._quoted}", SHORT_S)
        self._directory = ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._control.exists():
                subprocess.run(
                    [*self._command(), "-O", "exit", self._destination],
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

    @property
    def _destination(self) -> str:
        link = self._device.link
        return f"{link.user}@{link.host}" if link.user else link.host

    def _command(self) -> list[str]:
        link = self._device.link
        port = ["-p", str(link.port)] if link.port else []
        # The first value of an option holds for ssh, so the user's own come before ours.
        return [
            *("ssh", "-T", *link.options, *port),
            *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}"),
            *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
            *("-o", "ControlMaster=auto", "-o", "ControlPersist=60"),
            *("-o", f"ControlPath={self._control}/%C"),
        ]

    def _make_directory(self) -> str:
        folder = self._device.link.directory
        if folder.startswith("~/"):
            parent = f'"$HOME"/{shlex.quote(folder[2:])}'
        elif folder:
            parent = shlex.quote(folder)
        else:
            parent = '"${TMPDIR:-/tmp}"'
        script = f'd={parent}; umask 077; mkdir -p "$d" && mktemp -d "$d/binas.XXXXXX"'
        try:
            done = self._ssh(script, SHORT_S)
        except subprocess.TimeoutExpired:
            raise TransportError(
                f"{self._destination} did not answer within {SHORT_S} s",
                hint=f"binas-devices check {self._device.name}",
            ) from None
        made = (done.stdout or b"").decode(errors="replace").strip().splitlines()
        # It is removed with rm -rf later: accept only what mktemp prints.
        if done.returncode != 0 or not made or "/binas." not in made[-1]:
            raise DeviceError(
                f"cannot make a directory under {folder or 'TMPDIR'} on {self._device.name}: "
                f"{_said(done)}",
                hint=f'give {self._device.name} a writable `directory = "..."`',
            )
        return made[-1]

    def _kill(self) -> None:
        script = f"cd {self._quoted} && test -r .pid && kill -9 $(cat .pid)"
        with contextlib.suppress(TransportError, subprocess.TimeoutExpired):
            self._ssh(script, SHORT_S)

    def _ssh(
        self, script: str, timeout_s: float, *, stdin: object = None, stdout: object = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a POSIX script there, whatever the login shell is.

        Raises:
            TransportError: ssh itself failed; its last line is in the message.
            subprocess.TimeoutExpired: It took longer; ssh has been killed.
        """
        line = [*self._command(), "--", self._destination, f"sh -c {shlex.quote(script)}"]
        done: subprocess.CompletedProcess[bytes] = subprocess.run(  # type: ignore[call-overload]
            line,
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode == LOST:
            said = _said(done)
            raise TransportError(
                f"ssh to {self._destination} failed: {said}", hint=_way_out(said, self._destination)
            )
        return done


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def _way_out(said: str, destination: str) -> str:
    """The command that mends what ssh complains about."""
    mends = {
        "Permission denied": f"give the device your key: ssh-copy-id {destination}",
        "Host key verification failed": f"log in once by hand to see its key: ssh {destination}",
        "Could not resolve": "check the name, or use the device's address: ping it",
        "Connection refused": "start the ssh server there: sudo systemctl enable --now ssh",
        "No route": "is the device on, and in this network?",
        "timed out": "is the device on, and in this network?",
    }
    return next((mend for part, mend in mends.items() if part in said), f"try: ssh {destination}")
