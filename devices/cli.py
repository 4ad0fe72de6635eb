"""`binas-devices`: which devices there are, what they are, and whether they can be reached."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from binas.core.cli import Group, emit, json_option, say, version_option

if TYPE_CHECKING:
    from binas.devices.device import Device
    from binas.devices.forms import CheckAnswer, DevicesAnswer, LockAnswer, LockHolder, WalkedStep


@click.group(cls=Group, context_settings={"auto_envvar_prefix": "BINAS"})
@version_option
def main() -> None:
    """Add, list, show, check and lock the devices that binas can compile for and reach.

    Boards of your own are described in ~/.config/binas/devices.toml (or the file that
    BINAS_DEVICES names); `add` writes there:

    \b
        [rpi4-desk]
        board = "rpi4"
        link = "ssh"
        host = "pi@raspberrypi.local"

    Keys: board, link (ssh, rpc, host, null), host, port, user, directory, options, wrapper,
    tracker, key, table, pin, title, note.
    """


@main.command()
@click.argument("name")
@click.option("--board", required=True, help="What it is: a name of `binas-devices list`.")
@click.option("--link", type=click.Choice(["ssh", "rpc", "host", "null"]), help="How to reach it.")
@click.option("--host", help="USER@HOST, an address, or an alias of ~/.ssh/config.")
@click.option("--port", type=int, help="Of its ssh server.")
@click.option("--directory", help="Folder there that ours is made in; '~/' is the home there.")
@click.option(
    "--ssh-option", "options", multiple=True, help="One word more for ssh; may be repeated."
)
@click.option("--tracker", type=int, help="Port of the TVM tracker on --host (link rpc).")
@click.option("--key", help="What the tracker calls such boards (link rpc).")
@click.option("--table", help="Table that a null device replays.")
@click.option("--pin", type=int, help="Core that measurements are pinned to.")
@click.option("--note", help="One sentence for people.")
@click.option("--replace", is_flag=True, help="Replace what is described under that name.")
@json_option
def add(name: str, *, replace: bool, as_json: bool, options: tuple[str, ...], **keys: Any) -> None:
    """Describe a board of your own.

    \b
    Examples:
      binas-devices add rpi4-desk --board rpi4 --host pi@raspberrypi.local
      binas-devices add lab --board rpi4 --link rpc --host gate.example.org --key rpi4
      binas-devices check rpi4-desk

    Everything else in the file stays as it is.
    """
    from binas.devices import userfile  # noqa: PLC0415
    from binas.devices.described import user_file  # noqa: PLC0415

    table = {key: value for key, value in keys.items() if value is not None}
    if options:
        table["options"] = list(options)
    if "host" in table:
        table.setdefault("link", "ssh")
    device = userfile.add(name, table, replace=replace)
    if as_json:
        emit({"schema": device.SCHEMA, **_plain(device)})
        return
    click.echo(f"{name} is described in {user_file()}")
    say(f"Hint: binas-devices check {name}")


@main.command(name="list")
@json_option
def list_devices(as_json: bool) -> None:
    """List all devices, with architecture, CPU and route."""
    from binas.devices.registry import all_devices  # noqa: PLC0415

    devices, faults = all_devices()
    for fault in faults:
        say(f"Left out: {fault}" + (f"\nHint: {fault.hint}" if fault.hint else ""))
    if as_json:
        listed: DevicesAnswer = {
            "schema": "binas.devices/1",
            "devices": [_plain(device) for device in devices],
            "faults": [str(fault) for fault in faults],
        }
        emit(listed)
        return
    rows = [("NAME", "ARCH", "CPU", "LINK", "TITLE")]
    rows += [(d.name, d.arch, d.cpu, _route(d), d.title) for d in devices]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)]
        click.echo("  ".join((*cells, row[4])))


@main.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one device: what code for it may use, and how it is reached."""
    from binas.devices.registry import find, no_route  # noqa: PLC0415

    device = find(name)
    if as_json:
        emit({"schema": device.SCHEMA, **_plain(device)})
        return
    memory = f"{device.memory_bytes >> 20} MiB" if device.memory_bytes else "not stated"
    lines = {
        "name": device.name,
        "title": device.title,
        "arch": device.arch,
        "cpu": device.cpu,
        "features": " ".join(device.features),
        "cores": device.cores or "not stated",
        "memory": memory,
        "link": _route(device),
        "pin": "no core" if device.pin < 0 else f"core {device.pin}",
        "note": device.note,
    }
    for key, value in lines.items():
        click.echo(f"{key:>9}  {value}")
    if device.link.kind == "none":
        say(f"Hint: {no_route(device).hint}")


@main.command()
@click.argument("name")
@json_option
@click.pass_context
def check(ctx: click.Context, name: str, as_json: bool) -> None:
    """Walk to a device step by step; stop at the first that is broken, and say what mends it.

    The steps: name, route, login, architecture and word size, CPU features, glibc, free memory and
    disk, an uploaded program runs, clock, frequency governor, throttling. Exit status 5 if a step
    is broken, 2 if it is the name.
    """
    from binas.core.errors import DeviceError, UsageError  # noqa: PLC0415
    from binas.devices.check import check as walk  # noqa: PLC0415

    steps = []
    for step in walk(name):
        steps.append(step)
        if not as_json:
            click.echo(f"{'ok' if step.ok else 'BROKEN':>6}  {step.name:<12}  {step.found}")
            if step.hint:
                say(f"Hint: {step.hint}")
    ok = all(step.ok for step in steps)
    if as_json:
        told: list[WalkedStep] = [
            {"name": step.name, "ok": step.ok, "found": step.found, "hint": step.hint}
            for step in steps
        ]
        answer: CheckAnswer = {"schema": "binas.check/1", "device": name, "ok": ok, "steps": told}
        emit(answer)
    if not ok:
        ctx.exit((UsageError if steps[-1].name == "name" else DeviceError).exit_code)


@main.command()
@click.argument("name")
@click.option("--hold", is_flag=True, help="Have the board to yourself until Ctrl-C.")
@click.option("--break", "end", is_flag=True, help="End the use of whoever has it.")
@json_option
def lock(name: str, *, hold: bool, end: bool, as_json: bool) -> None:
    """Say who has a board to himself; take it, or end that use.

    Whatever runs or measures on a board has it to itself meanwhile. The lock lies in a directory on
    the board itself, so users of other machines see it, and it ends with the connection that made
    it. A tracker's boards are handed out by the tracker.
    """
    from binas.core.errors import TransportError, UsageError  # noqa: PLC0415
    from binas.devices import openssh, registry  # noqa: PLC0415
    from binas.devices.ssh import SshLink  # noqa: PLC0415

    device = registry.find(name)
    if device.link.kind != "ssh":
        raise UsageError(
            f"{name} is reached by {device.link.kind}, only boards reached by ssh have a lock",
            hint="binas-devices check says whether it can be used",
        )
    if hold and end:
        raise UsageError("--hold and --break are two things", hint="break first, then hold")
    found = openssh.end_holders(device) if end else openssh.holders(device)
    if as_json:
        holding: list[LockHolder] = [{"who": h.who, "pid": h.pid} for h in found]
        answer: LockAnswer = {"schema": "binas.lock/1", "device": name, "holders": holding}
        emit(answer)
    elif not hold:
        click.echo(f"in use by {', '.join(h.who for h in found)}" if found else "free")
    if found and (end or hold):
        raise openssh.busy(device, found)
    if hold:
        with SshLink(device) as link:
            say(f"{name} is yours; Ctrl-C gives it back")
            with suppress(KeyboardInterrupt):
                while link.alive:
                    time.sleep(1)
                raise TransportError(f"the connection to {name} was lost, and the lock with it")


def _route(device: Device) -> str:
    link = device.link
    if not link.host:
        return link.kind
    return f"{link.kind} {link.user}@{link.host}" if link.user else f"{link.kind} {link.host}"


def _plain(device: Device) -> dict[str, Any]:
    return asdict(device)
