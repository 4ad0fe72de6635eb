"""The smallest executables: each starts where it should, and only there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from binas.devices import hello
from binas.devices.device import Arch
from binas.devices.host import HostLink
from binas.devices.probe import host_device

EMULATORS: dict[Arch, str] = {"aarch64": "qemu-aarch64", "armv7": "qemu-arm"}


@pytest.mark.parametrize("arch", ["x86_64", "aarch64", "armv7"])
def test_it_says_its_word_on_its_own_architecture(
    arch: Arch, tmp_path: Path, needs: Callable[[str], str]
) -> None:
    host = host_device()
    wrapper = []
    if arch != host.arch:
        if arch not in EMULATORS:
            return  # nothing here runs it
        wrapper = [needs(EMULATORS[arch])]
    (tmp_path / "hello").write_bytes(hello.executable(arch))
    with HostLink(host, wrapper=wrapper) as link:
        link.put(tmp_path / "hello", "hello", executable=True)
        done = link.run(["hello"], 20)
    assert (done.returncode, done.stdout) == (0, hello.SAYS)


def test_a_foreign_one_does_not_start(tmp_path: Path) -> None:
    host = host_device()
    arch: Arch = "armv7" if host.arch == "x86_64" else "x86_64"
    (tmp_path / "hello").write_bytes(hello.executable(arch))
    with HostLink(host) as link:
        link.put(tmp_path / "hello", "hello", executable=True)
        done = link.run(["hello"], 20)
    # A machine whose kernel knows an emulator may start it all the same.
    assert done.returncode != 0 or done.stdout == hello.SAYS
