"""TVM's tracker: which boards are free, and the way to one of them.

The protocol of tracker and servers has no password: whoever reaches a port can run what he likes on
the board. So both are to listen on loopback, each on its own machine or at the end of an ssh
tunnel; a server that the tracker knows by another address is refused.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from binas.core.errors import BusyError, DeviceError, TransportError
from binas.devices import openssh
from binas.devices.device import Device

WAIT_S = 20.0  # for a free board, or for a tracker that is being restarted
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A board that the tracker has given us.

    Attributes:
        port: Of its server, on the loopback interface of the tracker's machine.
        key: What the server wants to hear.
    """

    port: int
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How many boards of a key there are.

    Attributes:
        total: Servers that have registered.
        free: Those that nobody uses.
    """

    total: int
    free: int


@contextmanager
def tunnel(device: Device, port: int) -> Iterator[int]:
    """A port of this machine's loopback that leads to one of the tracker's machine.

    Raises:
        TransportError: ssh does not get there.
    """
    if not device.link.host:
        yield port
        return
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        local = int(free.getsockname()[1])
    control = openssh.control_folder()
    line = [*openssh.command(device, control, master=False), "-o", "ExitOnForwardFailure=yes"]
    forward = f"{LOOPBACK}:{local}:{LOOPBACK}:{port}"
    process = subprocess.Popen(
        [*line, "-N", "-L", forward, "--", openssh.target(device)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is ours to answer
    )
    try:
        _wait_for(process, local, device)
        yield local
    finally:
        process.terminate()
        process.communicate()
        control.rmdir()


def request(device: Device, port: int) -> Offer:
    """Ask for a board, for itself alone; it goes back when the connection to it ends.

    A tracker that is restarted meanwhile is asked again: its servers come back to it by themselves.

    Args:
        device: Its link settings say the key.
        port: Of the tracker, on this machine's loopback.

    Raises:
        BusyError: All boards of the key are in use.
        DeviceError: No board of that key has registered, or its server is open to the network.
        TransportError: No tracker.
    """
    key, end = device.link.key, time.monotonic() + WAIT_S
    while True:
        try:
            with closing(_connect(port, max(0.1, end - time.monotonic()))) as tracker:
                queue = _queue(tracker, key)
                if queue.total:
                    host, number, match = _ask(tracker, "REQUEST", key, "", 1)
                    break
        except TimeoutError:
            raise BusyError(
                f"all boards of key {key} are in use: no answer within {WAIT_S:g} s",
                hint="wait, or start another server; python -m tvm.exec.query_rpc_tracker "
                f"--host {LOOPBACK} --port {device.link.tracker} shows them",
            ) from None
        except (OSError, struct.error, ValueError) as error:
            if time.monotonic() > end:
                raise no_tracker(device, str(error)) from None
        else:
            if time.monotonic() > end:
                raise DeviceError(
                    f"the tracker knows no board of key {key}", hint=start_hint(device)
                )
        time.sleep(0.3)
    if not ipaddress.ip_address(str(host)).is_loopback:
        raise DeviceError(
            f"the server of {key} listens on {host}:{number}, and anyone who reaches that port can "
            "run programs on the board",
            hint=start_hint(device),
        )
    return Offer(port=int(number), key=str(match))


def queue(device: Device, port: int) -> Queue:
    """How many boards of the device's key there are.

    Raises:
        TransportError: No tracker.
    """
    try:
        with closing(_connect(port, WAIT_S)) as tracker:
            return _queue(tracker, device.link.key)
    except (OSError, struct.error, ValueError) as error:
        raise no_tracker(device, str(error)) from None


def no_tracker(device: Device, said: str) -> TransportError:
    """The error for a tracker that does not answer."""
    where = device.link.host or "this machine"
    return TransportError(
        f"no TVM tracker on port {device.link.tracker} of {where}: {said}",
        hint=f"start it there: python -m tvm.exec.rpc_tracker --host {LOOPBACK} "
        f"--port {device.link.tracker} --port-end {device.link.tracker + 1}",
    )


def start_hint(device: Device) -> str:
    """How a server is started that nobody but us reaches."""
    port = device.link.tracker
    return (
        f"on the board: ssh -N -L {port}:{LOOPBACK}:{port} -R 9091:{LOOPBACK}:9091 TRACKER_HOST & "
        f"python -m tvm.exec.rpc_server --host {LOOPBACK} --port 9091 --port-end 9092 "
        f"--tracker {LOOPBACK}:{port} --key {device.link.key}"
    )


def tvm_rpc() -> ModuleType:
    """The module `tvm.rpc`.

    Raises:
        DeviceError: It is not installed.
    """
    try:
        from tvm import rpc  # noqa: PLC0415 (1 s)
    except ImportError as error:
        raise DeviceError(
            f"boards behind a tracker need TVM's RPC: {error}", hint="pip install 'binas[rpc]'"
        ) from None
    module: ModuleType = rpc
    return module


def _wait_for(process: subprocess.Popen[bytes], port: int, device: Device) -> None:
    end = time.monotonic() + openssh.CONNECT_S
    while process.poll() is None and time.monotonic() < end:
        if _listened_to(port):
            return
        time.sleep(0.05)
    if process.poll() is None:
        raise openssh.silent(device)
    said = process.communicate()[1].decode(errors="replace").strip().splitlines()
    raise openssh.lost(device, said[-1] if said else f"exit status {process.returncode}")


def _listened_to(port: int) -> bool:
    """Whether something listens on a port of our loopback.

    Looked up and not tried: a server takes the first connection for its client, and a lost one for
    a reason to register anew.
    """
    listening = f" 0100007F:{port:04X} 00000000:0000 0A "
    return listening in Path("/proc/net/tcp").read_text()


def _connect(port: int, timeout_s: float) -> socket.socket:
    base = tvm_rpc().base
    tracker = socket.create_connection((LOOPBACK, port), timeout_s)
    try:
        tracker.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
        (magic,) = struct.unpack("<i", _exactly(tracker, 4))
        if magic != base.RPC_TRACKER_MAGIC:
            raise ValueError("something else listens there")
    except BaseException:
        tracker.close()
        raise
    return tracker


def _ask(tracker: socket.socket, code: str, *arguments: Any) -> Any:
    base = tvm_rpc().base
    base.sendjson(tracker, [getattr(base.TrackerCode, code), *arguments])
    answer = base.recvjson(tracker)
    if answer[0] != base.TrackerCode.SUCCESS:
        raise ValueError(f"the tracker answered {answer!r}")
    return answer[1]


def _queue(tracker: socket.socket, key: str) -> Queue:
    summary = _ask(tracker, "SUMMARY")
    total = sum(1 for server in summary["server_info"] if server["key"] == f"server:{key}")
    return Queue(total=total, free=summary["queue_info"].get(key, {}).get("free", 0))


def _exactly(tracker: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = tracker.recv(size - len(data))
        if not part:
            raise ConnectionError("the connection was closed")
        data += part
    return data
