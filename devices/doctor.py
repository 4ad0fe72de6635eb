"""`binas doctor`: what a bug report needs, and what on this machine would make binas fail.

Versions come from the installed packages' metadata; whether the heavy ones really import is asked
of a program of its own, for a broken library can end the one that imports it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from binas.core.cli import Command, emit, json_option, version_option
from binas.core.errors import BinasError
from binas.devices.forms import DoctorAnswer
from binas.devices.zig import cache_folder

# Package → the module to import; empty: its presence says enough.
PACKAGES = {
    "numpy": "numpy",
    "pydantic": "pydantic",
    "apache-tvm": "tvm",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "unicorn": "unicorn",
    "ziglang": "ziglang",
    "torch": "torch",
    "matplotlib": "",
    "Jinja2": "",
}
PROGRAMS = ("ssh", "qemu-aarch64", "qemu-arm")
IMPORT_S = 120  # torch from a cold disk


@click.command(cls=Command, context_settings={"auto_envvar_prefix": "BINAS"})
@version_option
@click.option("--imports/--no-imports", default=True, help="Import the heavy packages, too.")
@json_option
def main(imports: bool, as_json: bool) -> None:
    """Show what a bug report needs: versions, machine, programs, files, and what is wrong.

    \b
    Example:
      binas doctor --json > doctor.json

    Names no host, no user and no board of yours. Exit status 0, whatever it finds.
    """
    found = examine(imports=imports)
    if as_json:
        emit(found)
        return
    parts = {key: part for key, part in found.items() if isinstance(part, dict)}
    for title, part in parts.items():
        click.echo(title)
        for key, value in part.items():
            click.echo(f"  {key:<14} {'-' if value is None else value}")
    click.echo("problems" if found["problems"] else "no problems found")
    for problem in found["problems"]:
        click.echo(f"  {problem}")


def examine(*, imports: bool) -> DoctorAnswer:
    """All of it as JSON values."""
    problems: list[str] = []
    versions: dict[str, str | None] = {"binas": _version("binas"), "python": _python()}
    versions |= {name: _version(name) for name in PACKAGES}
    if imports:
        present = [name for name in PACKAGES if versions[name] and PACKAGES[name]]
        problems += [why for name in present if (why := _import_fault(name))]
    return {
        "schema": "binas.doctor/1",
        "versions": versions,
        "machine": _machine(problems),
        "programs": {name: shutil.which(name) is not None for name in PROGRAMS},
        "files": _files(problems),
        "problems": problems,
    }


def _python() -> str:
    kind = "virtual environment" if sys.prefix != sys.base_prefix else "system"
    return f"{sys.version.split()[0]} ({kind})"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _import_fault(name: str) -> str:
    """Why a package does not import; empty where it does."""
    probe = [sys.executable, "-c", f"import {PACKAGES[name]}"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, timeout=IMPORT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"{name} did not import within {IMPORT_S} s"
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines()
    return f"{name} does not import: {said[-1] if said else f'status {done.returncode}'}"


def _machine(problems: list[str]) -> dict[str, Any]:
    from binas.devices.probe import host_device, this_machine  # noqa: PLC0415

    machine = this_machine()
    try:
        cpu: str | None = host_device().cpu
    except BinasError as error:
        cpu = None
        problems.append(str(error))
    return {
        "system": f"{sys.platform} {os.uname().release}",
        "architecture": machine.machine,
        "model": machine.model,
        "code for": cpu,
        "cores": machine.cores,
        "usable cores": len(os.sched_getaffinity(0)),
        "memory MiB": None if machine.memory_bytes is None else machine.memory_bytes >> 20,
        "libc": machine.libc,
        "governor": ", ".join(machine.governors) or None,
    }


def _files(problems: list[str]) -> dict[str, Any]:
    from binas.devices.described import user_file  # noqa: PLC0415
    from binas.devices.registry import all_devices  # noqa: PLC0415

    devices, faults = all_devices()
    problems += [str(fault) for fault in faults]
    folder = cache_folder()
    room = shutil.disk_usage(_existing(folder)).free >> 20
    if room < 1024:
        problems.append(f"{folder} has {room} MiB left: the linker's libraries take up to 1 GiB")
    writable = os.access(_existing(folder), os.W_OK)
    if not writable:
        problems.append(f"{folder} cannot be written: set ZIG_GLOBAL_CACHE_DIR to another folder")
    return {
        "devices file": "there" if user_file().is_file() else "none",
        "devices": len(devices),
        "linker cache": "there" if folder.is_dir() else "not made yet",
        "free MiB": room,
        "environment": " ".join(sorted(k for k in os.environ if k.startswith("BINAS_"))) or None,
    }


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_dir())
