"""`binas-devices`: which devices there are, what they are, and whether they can be reached."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from binas.core.cli import Group, emit, json_option, say, version_option

if TYPE_CHECKING:
    from binas.devices.device import Device


@click.group(cls=Group, context_settings={"auto_envvar_prefix": "BINAS"})
@version_option
def main() -> None:
    """List, show and check the devices that binas can compile for and reach.

    Boards of your own are described in ~/.config/binas/devices.toml (or the file that
    BINAS_DEVICES names):

    \b
        [rpi4-desk]
        board = "rpi4"
        link = "ssh"
        host = "pi@raspberrypi.local"

    Keys: board, link (ssh, host, null), host, port, user, directory, options, pin, title, note.
    """


@main.command(name="list")
@json_option
def list_devices(as_json: bool) -> None:
    """List all devices, with architecture, CPU and route."""
    from binas.devices.registry import all_devices  # noqa: PLC0415

    devices = all_devices()
    if as_json:
        emit({"schema": "binas.devices/1", "devices": [_plain(device) for device in devices]})
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

    The steps: name, route, login, architecture and word size, CPU features, free memory and disk,
    an uploaded program runs, frequency governor. Exit status 5 if a step is broken, 2 if it is
    the name.
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
        plain = [asdict(step) for step in steps]
        emit({"schema": "binas.check/1", "device": name, "ok": ok, "steps": plain})
    if not ok:
        ctx.exit((UsageError if steps[-1].name == "name" else DeviceError).exit_code)


def _route(device: Device) -> str:
    link = device.link
    if link.kind != "ssh":
        return link.kind
    return f"ssh {link.user}@{link.host}" if link.user else f"ssh {link.host}"


def _plain(device: Device) -> dict[str, Any]:
    return asdict(device)
