"""The linker's preparation: every architecture, two at a time, and a failure is not swallowed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from binas.compile import link
from binas.core.errors import CompileError
from binas.devices.device import Arch


def test_two_architectures_are_prepared_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both = threading.Barrier(2, timeout=30)
    linked: list[tuple[str, Arch]] = []

    def program(arch: Arch, sources: Sequence[Path], output: Path) -> None:
        assert [source.read_text().split()[0] for source in sources] == ["int"]
        if arch != "x86_64":
            both.wait()  # returns only if the other one waits, too
        linked.append(("program", arch))

    def library(arch: Arch, sources: Sequence[Path], output: Path) -> None:
        linked.append(("library", arch))

    monkeypatch.setattr(link, "link_program", program)
    monkeypatch.setattr(link, "link_library", library)
    link.prepare(["armv7", "aarch64", "x86_64"])
    archs: tuple[Arch, ...] = ("armv7", "aarch64", "x86_64")
    assert set(linked) == {(what, arch) for what in ("program", "library") for arch in archs}
    said = capsys.readouterr().err
    for arch in archs:
        assert f"preparing the linker for {arch} (once)" in said
        assert f"the linker is ready for {arch} after" in said


def test_a_linker_that_cannot_be_prepared_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(arch: Arch, sources: Sequence[Path], output: Path) -> None:
        if arch == "aarch64":
            raise CompileError("linking failed", hint="is ziglang installed?")

    monkeypatch.setattr(link, "link_program", program)
    monkeypatch.setattr(link, "link_library", lambda *_: None)
    with pytest.raises(CompileError, match="linking failed"):
        link.prepare(["x86_64", "aarch64"])
