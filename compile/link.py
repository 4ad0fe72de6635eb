"""Linking with `zig cc`: one pip package that links for every target, musl and old glibc included.

A program for an ARM board holds its C library, musl: emulators run it on any machine, and any board
does, whatever it has installed. zig compiles musl's thousand files first (once, about 50 s of CPU).
A program for x86-64 uses the machine's glibc, as libmodel.so does everywhere; zig needs a second
for that, so the first compile on a PC waits for nothing.

`python -m binas.compile.link` links an empty program for the usual targets, so that this is paid at
installation, not in somebody's first compile.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

from binas.devices import elf
from binas.devices.device import Arch
from binas.devices.zig import cache_folder, cc, dynamic

__all__ = [
    "cache_folder",
    "link_library",
    "link_program",
    "members",
    "native_sources",
    "prepare",
    "zig",
]

_STATIC: dict[Arch, str] = {"aarch64": "aarch64-linux-musl", "armv7": "arm-linux-musleabihf"}
_FLAGS = ("-std=gnu11", "-O2", "-DNDEBUG", "-fno-sanitize=undefined", "-Wall", "-Wextra", "-Werror")
_EXPORTS = """{
  global: binas_abi; binas_status_text; binas_*_bytes; binas_*_count; binas_input_type;
    binas_step_name; binas_create; binas_run; binas_run_sized; binas_profile; binas_step;
    binas_destroy;
  local: *;
};
"""


def members(
    arch: Arch,
    folder: Path,
    kernels: Mapping[str, bytes],
    weights: bytes,
    taps: bytes,
) -> dict[str, bytes]:
    """The members of an artifact but its manifest.

    Args:
        arch: Linked for.
        folder: Has plan.c, and room for what is made on the way.
        kernels: Symbol → object file.
        weights: The parameter arrays.
        taps: The reference, as `compile/stored.py` makes it.
    """
    common = [*native_sources("model.c", "layout.c", "threads.c"), folder / "plan.c"]
    for symbol, code in kernels.items():
        common.append(folder / f"{symbol}.o")
        common[-1].write_bytes(code)
    link_library(arch, common, folder / "libmodel.so")
    link_program(arch, [*native_sources("bench.c", "sampling.c"), *common], folder / "bench")
    (header,) = native_sources("model.h")
    return {
        "libmodel.so": (folder / "libmodel.so").read_bytes(),
        "bench": (folder / "bench").read_bytes(),
        "weights.bin": weights,
        "taps.npz": taps,
        "model.h": header.read_bytes(),
    }


def link_program(arch: Arch, sources: Sequence[Path], output: Path) -> None:
    """Link an executable at fixed addresses from C sources and objects: static but for x86-64.

    The symbols stay, for the emulator calls functions by name; zig's --strip-debug drops them, so
    debug information is cut out afterwards.
    """
    static = arch in _STATIC
    target = ["-target", _STATIC[arch], "-static"] if static else [*dynamic(arch), "-no-pie"]
    target += ["-s"] if arch == "armv7" else []
    zig([*target, "-Wl,--gc-sections", *_FLAGS, *map(str, sources), "-o", str(output)])
    output.write_bytes(elf.without_debug(output.read_bytes()))


def link_library(arch: Arch, sources: Sequence[Path], output: Path) -> None:
    """Link a shared library that exports the C interface and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "exports"
        script.write_text(_EXPORTS)
        shared = [
            *dynamic(arch),
            "-shared",
            "-fPIC",
            "-Wl,-Bsymbolic",
            "-Wl,--gc-sections",
            "-Wl,-z,defs",  # or a function that nobody has would be missed on the board
        ]
        # An empty library (`prepare`) defines none of the exports.
        shared += [f"-Wl,--version-script={script}", "-Wl,--undefined-version", "-s"]
        zig([*shared, *_FLAGS, *map(str, sources), "-o", str(output)])


def native_sources(*names: str) -> list[Path]:
    """Paths of files of `runtime/native/`."""
    folder = Path(str(resources.files("binas.runtime.native")))
    return [folder / name for name in names]


def zig(arguments: Sequence[str]) -> None:
    """Run `zig cc` with our headers; for those who link what is no artifact.

    Raises:
        CompileError: It failed.
    """
    native = native_sources("model.h")[0].parent
    cc([f"-I{native}", *arguments])


def prepare(archs: Sequence[Arch]) -> None:
    """Build zig's C libraries for these architectures, two at a time.

    Raises:
        CompileError: Linking an empty program failed.
    """
    # zig builds the files of one library beside each other, but links and resolves alone: a second
    # process fills the gaps.
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        source = Path(folder) / "empty.c"
        source.write_text("int main(void) { return 0; }\n")
        for done in [pool.submit(_prepare, arch, source) for arch in archs]:
            done.result()


def _prepare(arch: Arch, source: Path) -> None:
    began_s = time.monotonic()
    sys.stderr.write(f"preparing the linker for {arch} (once)\n")
    link_program(arch, [source], source.with_name(f"{arch}.program"))
    link_library(arch, [source], source.with_name(f"{arch}.so"))
    sys.stderr.write(f"the linker is ready for {arch} after {time.monotonic() - began_s:.0f} s\n")


if __name__ == "__main__":
    prepare(["armv7", "aarch64", "x86_64"])
