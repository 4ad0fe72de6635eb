"""The system's ssh as we call it: command line, route, complaints, and who has a board."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from binas.core.errors import BusyError, DeviceError, TransportError
from binas.devices import keeper
from binas.devices.device import Device

LOST = 255  # how ssh itself reports that the connection failed
CONNECT_S = 15  # a board on the local network answers in one
SHORT_S = 60  # for commands of ours that do next to nothing
_LONGEST_TMPDIR = 30


def command(device: Device, control: Path, *, master: bool = True) -> list[str]:
    """Ssh with the user's options and ours, up to the destination.

    Args:
        device: Whose link settings hold.
        control: Folder of the master connection's socket.
        master: Start a master where there is none.
    """
    link = device.link
    port = ["-p", str(link.port)] if link.port else []
    shared = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60"] if master else []
    # The first value of an option holds for ssh, so the user's own come before ours.
    return [
        *("ssh", "-T", *link.options, *port),
        *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}"),
        *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
        *(*shared, "-o", f"ControlPath={control}/%C"),
    ]


def target(device: Device) -> str:
    """The destination as ssh takes it."""
    link = device.link
    return f"{link.user}@{link.host}" if link.user else link.host


def control_folder() -> Path:
    """A folder for the master's socket; the caller removes it.

    Short, because a socket's path may have no more than about a hundred characters, and ssh needs
    sixty of them.

    Raises:
        DeviceError: No ssh on this machine.
    """
    if shutil.which("ssh") is None:
        raise DeviceError("no ssh command on this machine", hint="apt install openssh-client")
    long = len(tempfile.gettempdir()) > _LONGEST_TMPDIR
    return Path(tempfile.mkdtemp(prefix="binas-ssh.", dir="/tmp" if long else None))  # noqa: S108


def route(device: Device) -> str:
    """Where the user's ssh configuration leads, if something listens there.

    Behind a jump host only ssh itself can tell, so nothing is tried then.

    Raises:
        TransportError: No such name, nobody listens, or no answer.
        DeviceError: No ssh on this machine, or it does not understand the options.
    """
    control = control_folder()
    try:
        done = subprocess.run(
            [*command(device, control, master=False), "-G", "--", target(device)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SHORT_S,
            check=False,
        )
    finally:
        shutil.rmtree(control, ignore_errors=True)
    if done.returncode != 0:
        complaint = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DeviceError(
            f"ssh does not understand its configuration: {complaint}",
            hint=f"correct `options` of {device.name}, or ~/.ssh/config",
        )
    known = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    host, port = known.get("hostname", device.link.host), known.get("port", "22")
    for proxy in ("proxyjump", "proxycommand"):
        if known.get(proxy, "none") != "none":
            return f"ssh to {host}:{port} through {known[proxy]}"
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except socket.gaierror:
        raise TransportError(
            f"Could not resolve the name {host}", hint=_way_out("Could not resolve", host)
        ) from None
    except OSError as error:
        said = error.strerror or "timed out"
        raise TransportError(f"{host}:{port}: {said}", hint=_way_out(said, host)) from None
    return f"ssh to {host}:{port}"


def holders(device: Device) -> tuple[keeper.Holder, ...]:
    """Who has a board to himself; nobody, if empty.

    Raises:
        TransportError: No connection.
    """
    return _ask_keeper(device, "look")


def end_holders(device: Device) -> tuple[keeper.Holder, ...]:
    """End the keepers of those who have a board to themselves; their programs end with them.

    Returns:
        Those who have it still: processes of another user of the board cannot be ended.

    Raises:
        TransportError: No connection.
    """
    _ask_keeper(device, "break")
    return _ask_keeper(device, "look")


def busy(device: Device, found: Sequence[keeper.Holder]) -> BusyError:
    """The error for a board that somebody else has."""
    return BusyError(
        f"{device.name} is in use by {', '.join(holder.who for holder in found)}",
        hint=f"wait, or end that use: binas-devices lock {device.name} --break",
    )


def silent(device: Device) -> TransportError:
    """The error for a login that takes too long."""
    return TransportError(
        f"{target(device)} did not answer within {SHORT_S} s",
        hint=f"binas-devices check {device.name}",
    )


def lost(device: Device, said: str) -> TransportError:
    """The error for what ssh complains about, with the command that mends it."""
    return TransportError(
        f"ssh to {target(device)} failed: {said}", hint=_way_out(said, target(device))
    )


def _ask_keeper(device: Device, mode: keeper.Mode) -> tuple[keeper.Holder, ...]:
    control = control_folder()
    try:
        done = subprocess.run(
            [
                *command(device, control, master=False),
                *("--", target(device), keeper.command(device.link.directory, mode)),
            ],
            input=keeper.SCRIPT.encode(),
            capture_output=True,
            timeout=SHORT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise silent(device) from None
    finally:
        shutil.rmtree(control, ignore_errors=True)
    if done.returncode == LOST:
        raise lost(device, (done.stderr.decode(errors="replace").strip().splitlines() or [""])[-1])
    return keeper.parse(done.stdout.decode(errors="replace")).holders


def _way_out(said: str, destination: str) -> str:
    mends = {
        "Permission denied": f"give the device your key: ssh-copy-id {destination}",
        "Host key verification failed": f"log in once by hand to see its key: ssh {destination}",
        "Could not resolve": f"check the name, or use the device's address: ping {destination}",
        "Connection refused": "start the ssh server there: sudo systemctl enable --now ssh",
        "No route": "is the device on, and in this network?",
        "timed out": "is the device on, and in this network?",
    }
    return next((mend for part, mend in mends.items() if part in said), f"try: ssh {destination}")
