"""Linking with `zig cc`: one pip package that links for every target, musl and old glibc included.

`python -m binas.compile.link` links an empty program for the usual targets, so that zig builds its
C libraries once (about half a minute each) at installation, not in somebody's first compile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from binas.core.errors import CompileError
from binas.devices import elf
from binas.devices.device import Arch

_STATIC = {
    "x86_64": "x86_64-linux-musl",
    "aarch64": "aarch64-linux-musl",
    "armv7": "arm-linux-musleabihf",
}
_SHARED = {  # 2.28 is Debian 10: every Raspberry Pi OS since 2019
    "x86_64": "x86_64-linux-gnu.2.28",
    "aarch64": "aarch64-linux-gnu.2.28",
    "armv7": "arm-linux-gnueabihf.2.28",
}
_FLAGS = ("-std=gnu11", "-O2", "-DNDEBUG", "-fno-sanitize=undefined", "-Wall", "-Wextra", "-Werror")
_EXPORTS = (
    "{ global: binas_abi; binas_status_text; binas_*_bytes; binas_*_count; binas_step_name;\n"
)
_EXPORTS += (
    "  binas_create; binas_run; binas_run_sized; binas_profile; binas_step; binas_destroy;\n"
)
_EXPORTS += "  local: *; };\n"
_TIMEOUT_S = 600


def link_program(arch: Arch, sources: Sequence[Path], output: Path) -> None:
    """Link a static executable from C sources and objects.

    The symbols stay, for the emulator calls functions by name; zig's --strip-debug drops them, so
    debug information is cut out afterwards.
    """
    static = ["-target", _STATIC[arch], "-static", "-Wl,--gc-sections"]
    static += ["-s"] if arch == "armv7" else []
    zig([*static, *_FLAGS, *map(str, sources), "-o", str(output)])
    output.write_bytes(elf.without_debug(output.read_bytes()))


def link_library(arch: Arch, sources: Sequence[Path], output: Path) -> None:
    """Link a shared library that exports the C interface and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "exports"
        script.write_text(_EXPORTS)
        shared = ["-target", _SHARED[arch], "-shared", "-fPIC", "-Wl,-Bsymbolic"]
        # An empty library (`prepare`) defines none of the exports.
        shared += [f"-Wl,--version-script={script}", "-Wl,--undefined-version", "-s"]
        zig([*shared, *_FLAGS, *map(str, sources), "-o", str(output)])


def native_sources(*names: str) -> list[Path]:
    """Paths of files of `runtime/native/`."""
    folder = Path(str(resources.files("binas.runtime.native")))
    return [folder / name for name in names]


def cache_folder() -> Path:
    """Where zig keeps its C libraries and compiled sources."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("ZIG_GLOBAL_CACHE_DIR") or Path(base) / "binas" / "zig")


def prepare(archs: Sequence[Arch]) -> None:
    """Build zig's C libraries for these architectures."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.c"
        source.write_text("int main(void) { return 0; }\n")
        for arch in archs:
            sys.stderr.write(f"preparing the linker for {arch} (once)\n")
            link_program(arch, [source], Path(folder) / "program")
            link_library(arch, [source], Path(folder) / "library.so")


def zig(arguments: Sequence[str]) -> None:
    """Run `zig cc`; for those who link what is no artifact, such as a benchmark's loop.

    Raises:
        CompileError: It failed.
    """
    native = str(native_sources("model.h")[0].parent)
    command = [sys.executable, "-m", "ziglang", "cc", f"-I{native}", *arguments]
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
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line] or [
            done.stderr.strip()
        ]
        raise CompileError(
            f"linking failed: {said[0]}", hint="is ziglang installed? pip install 'binas[compile]'"
        )


if __name__ == "__main__":
    prepare(["x86_64", "aarch64"])
