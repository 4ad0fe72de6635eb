"""The linker's failures: a full disk is said to be one, and not a missing program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from binas.core.errors import CompileError, UsageError
from binas.devices import zig


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        ("warning: unable to write: NoSpaceLeft", UsageError, "the linker found no room in"),
        ("failed to open libmodel.so: File too large", UsageError, "the linker found no room in"),
        ("error: undefined symbol: f", CompileError, "linking failed: error: undefined symbol"),
    ],
)
def test_a_linker_that_fails_is_understood(
    said: str,
    error: type[Exception],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", said)
    )
    with pytest.raises(error, match=told):
        zig.cc(["x.c"])
