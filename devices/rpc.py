"""A device behind TVM's RPC tracker.

TVM's protocol copies files and calls functions of libraries; it starts no programs. So a small
library goes there first (`native/spawn.c`), and then all is as over ssh: the same harness runs as
a process of its own. `load` gives a module that TVM itself exported, for those who want to call
kernels one by one.
"""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from binas.core.errors import BinasError, DeviceError, TimedOutError, TransportError
from binas.devices import probe, tracker, zig
from binas.devices.device import Arch, Device
from binas.devices.keeper import Holder
from binas.devices.link import Finished, Trust, checked_argv, checked_name
from binas.devices.probe import Machine

LATE = 256  # what spawn.c says where the time was up
SHORT_S = 60.0
_POLL_S = (0.002, 0.1)  # first and longest pause between two questions whether a program has ended
_SPAWN = "binas_spawn.so"


class RpcLink:
    """Runs programs on a board that a tracker hands out.

    Args:
        device: The board; its link settings say where the tracker is, and the board's key.
    """

    def __init__(self, device: Device) -> None:
        """Ask the tracker for a board of the key, and make it able to run programs.

        Raises:
            BusyError: All boards of the key are in use.
            DeviceError: None has registered, or TVM is not installed.
            TransportError: No tracker, or the board's server does not answer.
        """
        self._device, self._machine = device, Machine()
        self._session: Any = None
        self._spawn: Any = None
        self._status: Any = None
        self._open = ExitStack()
        try:
            self._connect()
        except BaseException:
            self.close()
            raise
        if self._machine.model:
            here = self._machine.boot_id == probe.this_machine().boot_id
            title = self._machine.model + (" (this machine, through TVM RPC)" if here else "")
            self._device = replace(device, title=title)

    @property
    def device(self) -> Device:
        """The board; its title is what the machine itself says it is."""
        return self._device

    @property
    def machine(self) -> Machine:
        """What the machine said about itself when it was reached."""
        return self._machine

    @property
    def trust(self) -> Trust:
        """Real, unless the machine is not what it says."""
        return "emulated" if self._machine.pretence else "real"

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Nobody: a tracker gives a board to one at a time."""
        return ()

    def put(self, local: Path, name: str, *, executable: bool = False) -> None:
        """Copy a file there: written beside, its size compared, then renamed into place."""
        target, data = checked_name(name), local.read_bytes()
        self._call(f"sending {name}", lambda: self._session.upload(bytearray(data), ".part"))
        mode = "700" if executable else "600"
        done = self._shell(
            f"test $(wc -c < .part) -eq {len(data)} && chmod {mode} .part && mv -f .part {target}"
            " || { rm -f .part; exit 1; }",
            SHORT_S,
            name,
        )
        if done.returncode != 0:
            raise DeviceError(
                f"{self._device.name} did not take {name} ({len(data)} bytes): {done.how}",
                hint=f"look at free space and memory: binas-devices check {self._device.name}",
            )

    def get(self, name: str, local: Path) -> None:
        """Copy a file from there."""
        checked_name(name)
        if self._shell(f"test -r {name}", SHORT_S, name).returncode != 0:
            raise DeviceError(f"cannot read {name} on {self._device.name}: no such file")
        local.write_bytes(self._download(name))

    def run(self, argv: Sequence[str], timeout_s: float) -> Finished:
        """Run a program there; at the time limit it is killed with all that it started."""
        program, *arguments = checked_argv(argv)
        return self._shell("exec " + shlex.join([f"./{program}", *arguments]), timeout_s, program)

    def load(self, name: str) -> Any:
        """Load a library that was put there and that TVM exported: its functions run there."""
        checked_name(name)
        return self._call(f"loading {name}", lambda: self._session.load_module(name))

    @property
    def session(self) -> Any:
        """TVM's own session, for tensors on the board."""
        return self._session

    def close(self) -> None:
        """Give the board back; its server removes the directory, and spawn.c ends what runs."""
        self._spawn = self._status = self._session = None
        self._open.close()

    def __enter__(self) -> Self:
        """Nothing to do: the connection stands."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the board back."""
        self.close()

    def _connect(self) -> None:
        port = self._open.enter_context(tracker.tunnel(self._device, self._device.link.tracker))
        offer = tracker.request(self._device, port)
        local = self._open.enter_context(tracker.tunnel(self._device, offer.port))
        rpc = tracker.tvm_rpc()
        self._session = self._call(
            "connecting", lambda: rpc.connect(tracker.LOOPBACK, local, offer.key)
        )
        with tempfile.TemporaryDirectory(prefix="binas.") as folder:
            library = Path(folder) / _SPAWN
            link_spawn(self._device.arch, library)
            data = bytearray(library.read_bytes())
            self._call("sending a library", lambda: self._session.upload(data, _SPAWN))
            try:
                module = self.load(_SPAWN)
            except TransportError as error:
                raise DeviceError(
                    f"{self._device.name} does not load a library for {self._device.arch}: {error}",
                    hint=f"is {self._device.name} described as the right board?",
                ) from None
            self._spawn, self._status = module["spawn"], module["status"]
            script = Path(folder) / "probe"
            script.write_text(probe.SCRIPT)
            self.put(script, "probe", executable=True)
        self._machine = probe.parse(self.run(["probe"], SHORT_S).stdout)

    def _shell(self, script: str, timeout_s: float, what: str) -> Finished:
        """Run a POSIX script in the directory there.

        Raises:
            TransportError: The connection broke.
            TimedOutError: It took longer; it has been killed.
        """
        command = f"exec >.out 2>.err </dev/null; {script}"
        begun = self._call(what, lambda: self._spawn(command, round(timeout_s * 1000)))
        if begun != 0:
            raise DeviceError(f"{self._device.name} starts no process for {what}")
        pause, longest = _POLL_S
        while (status := self._call(what, self._status)) == -1:
            time.sleep(pause)
            pause = min(2 * pause, longest)
        if status == LATE:
            raise TimedOutError(
                f"{what} did not end within {timeout_s:g} s on {self._device.name}",
                hint=f"is it idle? binas-devices check {self._device.name}",
            )
        stdout, stderr = (
            self._download(name).decode(errors="replace") for name in (".out", ".err")
        )
        return Finished(returncode=int(status), stdout=stdout, stderr=stderr)

    def _download(self, name: str) -> bytes:
        return bytes(self._call(f"fetching {name}", lambda: self._session.download(name)))

    def _call(self, what: str, function: Any) -> Any:
        """Call into TVM, whose every failure is a RuntimeError of some kind."""
        if self._session is None and what != "connecting":
            raise TransportError(f"the connection to {self._device.name} is closed")
        try:
            return function()
        except BinasError:
            raise
        except (RuntimeError, OSError, ValueError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise TransportError(
                f"TVM RPC to {self._device.name} failed ({what}): {said[-1]}",
                hint=f"binas-devices check {self._device.name}",
            ) from None


def route(device: Device) -> str:
    """Where the tracker is and how many boards it has; raises as `tracker.queue` does."""
    with tracker.tunnel(device, device.link.tracker) as port:
        found = tracker.queue(device, port)
    where = f"{device.link.host}, through ssh" if device.link.host else "this machine"
    if not found.total:
        raise DeviceError(
            f"the tracker on {where} knows no board of key {device.link.key}",
            hint=tracker.start_hint(device),
        )
    return (
        f"tracker on port {device.link.tracker} of {where}: "
        f"{found.free} of {found.total} boards of key {device.link.key} free"
    )


def link_spawn(arch: Arch, output: Path) -> None:
    """Compile `native/spawn.c` for an architecture.

    Raises:
        CompileError: The compiler is not installed, or refuses.
    """
    from tvm_ffi import libinfo  # noqa: PLC0415 (1 s, and not on a measuring host without TVM)

    source = resources.files("binas.devices.native") / "spawn.c"
    zig.cc(
        [
            *(*zig.library(arch), "-fvisibility=hidden"),
            *(f"-I{libinfo.find_include_path()}", f"-I{libinfo.find_dlpack_include_path()}"),
            *("-Wall", "-Wextra", "-Werror", str(source), "-o", str(output)),
        ]
    )
