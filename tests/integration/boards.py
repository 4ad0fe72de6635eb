"""Far ends of an ssh connection that misbehave, and what to wait for."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from binas.devices.check import CheckStep, check
from binas.devices.ssh import SshLink

Board = Callable[..., SshLink]


def put(link: SshLink, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "local").write_text(text)
    link.put(tmp_path / "local", name, executable=True)


def broken(name: str) -> CheckStep:
    last = list(check(name))[-1]
    assert not last.ok, last
    return last


def shims(tmp_path: Path, **programs: str) -> str:
    """A prelude that puts shell scripts in front of a board's own programs."""
    folder = tmp_path / "shims"
    folder.mkdir(exist_ok=True)
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return f"PATH={folder}:$PATH\nexport PATH\n"


@contextmanager
def mounted(folder: Path, options: str, then: str = "true") -> Iterator[str | None]:
    """A small disk at `folder` in a namespace of its own: the prelude that enters it.

    None where this machine does not allow to mount.
    """
    disk = f"mount -t tmpfs -o {options} tmpfs {folder}"
    mount = f"{disk} && {then} && echo ready && exec sleep 300"
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    with subprocess.Popen(
        ["unshare", *user, "--mount", "sh", "-c", mount], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        try:
            ready = holder.stdout.readline() == "ready\n"
            enter = "" if os.geteuid() == 0 else "-U --preserve-credentials "
            command = f'exec nsenter {enter}-m -t {holder.pid} sh -c "$SSH_ORIGINAL_COMMAND"\n'
            yield command if ready else None
        finally:
            holder.kill()


def wait_for(found: Callable[[], bool]) -> None:
    for _ in range(400):
        if found():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")
