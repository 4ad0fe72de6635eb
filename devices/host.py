"""The local machine as a device: subprocesses in a temporary directory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from binas.core.errors import DeviceError, TimedOutError
from binas.devices import probe
from binas.devices.device import Device
from binas.devices.keeper import Holder
from binas.devices.link import Finished, Trust, checked_argv, checked_name
from binas.devices.probe import Machine
from binas.devices.scratch import Scratch

NOT_STARTED = 126  # as a shell reports a file that it cannot execute


class HostLink:
    """Runs programs on this machine.

    Args:
        device: What this machine is taken for.
        directory: Folder under which the link makes its own; empty: the system's temporary one.
        wrapper: Put before every command line; an emulator goes here.
    """

    def __init__(self, device: Device, *, directory: str = "", wrapper: Sequence[str] = ()) -> None:
        """Make the directory.

        Raises:
            DeviceError: It cannot be made.
        """
        self._device, self._wrapper = device, list(wrapper)
        self._machine: Machine | None = None
        try:
            self._scratch = Scratch(Path(directory or tempfile.gettempdir()))
            self._directory = self._scratch.path
        except OSError as error:
            raise DeviceError(
                f"cannot make a directory under {directory or tempfile.gettempdir()}: "
                f"{error.strerror}",
                hint="give the device another `directory`, or set TMPDIR",
            ) from None

    @property
    def device(self) -> Device:
        """What this machine is taken for."""
        return self._device

    @property
    def trust(self) -> Trust:
        """Real, unless a wrapper emulates, or this machine is itself emulated."""
        return "emulated" if self._wrapper or self.machine.pretence else "real"

    @property
    def machine(self) -> Machine:
        """This machine, as any other would be asked."""
        if self._machine is None:
            done = subprocess.run(
                ["sh", "-c", probe.SCRIPT],
                cwd=self._directory,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            self._machine = probe.parse(done.stdout)
        return self._machine

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Nobody: there is no lock."""
        return ()

    def put(self, local: Path, name: str, *, executable: bool = False) -> None:
        """Copy a file into the directory."""
        target = self._directory / checked_name(name)
        try:
            shutil.copyfile(local, target)
            target.chmod(0o700 if executable else 0o600)
        except OSError as error:
            raise DeviceError(
                f"cannot write {name} ({local}) on {self._device.name}: {error.strerror}",
                hint="free space, or set TMPDIR to a folder with room",
            ) from None

    def get(self, name: str, local: Path) -> None:
        """Copy a file out of the directory."""
        try:
            shutil.copyfile(self._directory / checked_name(name), local)
        except OSError as error:
            raise DeviceError(
                f"cannot read {name} on {self._device.name}: {error.strerror}"
            ) from None

    def run(self, argv: Sequence[str], timeout_s: float) -> Finished:
        """Run a program of the directory; at the time limit its whole process group is killed."""
        program, *arguments = checked_argv(argv)
        line = [*self._wrapper, str(self._directory / program), *arguments]
        try:
            process = subprocess.Popen(
                line,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # so that its children can be ended with it
            )
        except OSError as error:
            return Finished(
                returncode=NOT_STARTED, stdout="", stderr=f"{program}: {error.strerror}"
            )
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise TimedOutError(
                f"{program} did not end within {timeout_s:g} s on {self._device.name}"
            ) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        status = process.returncode
        return Finished(
            returncode=status if status >= 0 else 128 - status, stdout=stdout, stderr=stderr
        )

    def close(self) -> None:
        """Remove the directory."""
        self._scratch.close()

    def __enter__(self) -> Self:
        """Nothing to do: the directory is there."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the directory."""
        self.close()
