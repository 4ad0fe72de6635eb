"""`zig cc`, the one tool that compiles and links C for every device, from one pip package."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from binas.core.errors import CompileError, UsageError
from binas.devices.device import Arch

SHARED: dict[Arch, str] = {  # 2.28 is Debian 10: every Raspberry Pi OS since 2019
    "x86_64": "x86_64-linux-gnu.2.28",
    "aarch64": "aarch64-linux-gnu.2.28",
    "armv7": "arm-linux-gnueabihf.2.28",
}

_TIMEOUT_S = 600


# How zig says that a disk is full, or a file may not grow.
_NO_ROOM = ("NoSpaceLeft", "No space left", "FileTooBig", "File too large")


def user_caches() -> Path:
    """Where what can be made again is kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "binas"


def cache_folder() -> Path:
    """Where zig keeps its C libraries and compiled sources."""
    return Path(os.environ.get("ZIG_GLOBAL_CACHE_DIR") or user_caches() / "zig")


def library(arch: Arch) -> list[str]:
    """Options for a shared library; always the same, for zig builds its C library per option."""
    target = [*dynamic(arch), "-shared", "-fPIC"]
    return [*target, "-O2", "-fno-sanitize=undefined", "-s"]


def dynamic(arch: Arch) -> list[str]:
    """Options for what uses the board's own C library.

    Without the compiler's helper functions where the CPU has an instruction for each of them: zig
    would compile all 600 first (4 s). On armv7 they do the divisions.
    """
    return ["-target", SHARED[arch], *([] if arch == "armv7" else ["-rtlib=none"])]


def cc(arguments: Sequence[str]) -> None:
    """Run `zig cc`.

    Raises:
        CompileError: It failed.
        UsageError: There is no room for what it writes.
    """
    command = [sys.executable, "-m", "ziglang", "cc", *arguments]
    cache_folder().mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "ZIG_GLOBAL_CACHE_DIR": str(cache_folder()),
        # A local cache in the current folder would be a file nobody asked for.
        "ZIG_LOCAL_CACHE_DIR": str(cache_folder()),
    }
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CompileError(
            f"the linker did not finish in {_TIMEOUT_S} s", hint="try again; is the disk full?"
        ) from None
    if done.returncode != 0 and any(full in done.stderr for full in _NO_ROOM):
        raise UsageError(
            f"the linker found no room in {cache_folder()} or {tempfile.gettempdir()}",
            hint="free some space, or name other folders: XDG_CACHE_HOME, TMPDIR; see `ulimit -f`",
        )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line] or [
            done.stderr.strip()
        ]
        raise CompileError(
            f"linking failed: {said[0]}", hint="is ziglang installed? pip install 'binas[compile]'"
        )
