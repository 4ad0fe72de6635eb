"""How many cycles a network may take on a CPU that is not here: an estimate, never a latency.

    cycles = Σ over blocks: times executed · llvm-mca's cycles per iteration of the block

An emulator says how often each block of the machine code is executed: Unicorn for aarch64 (from
PyPI), a plugin of qemu-user for x86-64. llvm-mca's model of the CPU says what a block costs if all
its data are in the first cache and all its branches are foreseen. So caches, memory and branches
are left out, and the pipeline is as good as LLVM's model of it. What that is good for, and how well
it ranks networks where the truth is known: docs/measuring.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import ClassVar, NamedTuple

from binas.core.errors import DeviceError, MeasureError, UsageError
from binas.devices import elf, registry, zig
from binas.devices.device import CPUS, Arch
from binas.runtime.artifact import Artifact
from binas.runtime.emulated import EmulatedSession
from binas.runtime.layout import checked_inputs

ITERATIONS = 50  # of a block in llvm-mca: enough to reach its steady state
COLD_SHARE = (
    0.002  # blocks with less than this share of all instructions are counted at one a cycle
)
_TIMEOUT_S = 300
_ENDS = re.compile(r"^(bl|blr|br|ret|call)\w*\b")  # llvm-mca does not follow calls
_TARGET = re.compile(r"(0x)?[0-9a-f]+ <[^>]*>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Estimated cycles; no clock was involved, so there are no nanoseconds.

    Attributes:
        device: What the artifact was compiled for.
        model: LLVM's name of the CPU whose pipeline was assumed.
        steps: Cycles of each step, in plan order.
        instructions: Executed in all steps together.
    """

    SCHEMA: ClassVar[str] = "binas.estimate/1"

    device: str
    model: str
    steps: tuple[float, ...]
    instructions: int

    @property
    def total(self) -> float:
        """Cycles of all steps."""
        return sum(self.steps)


class Block(NamedTuple):
    """A run of instructions with one entry, and how often it was executed in one inference."""

    address: int
    instructions: int
    executed: int


def estimate(artifact: Artifact, *, model: str | None = None) -> Estimate:
    """Count what an artifact executes and price it with a CPU's pipeline model.

    Args:
        artifact: For aarch64 or x86-64; a network, with the reference input of its taps.
        model: LLVM's name of a CPU; None: the one that the artifact was compiled for.

    Raises:
        UsageError: Another architecture or instruction set, or no such CPU.
        DeviceError: An emulator, llvm-mca or llvm-objdump is not installed.
        MeasureError: One of them failed.
    """
    manifest = artifact.manifest
    must_be_possible(manifest.arch, manifest.cpu, model)
    model = model or manifest.cpu
    blocks = executed_blocks(artifact)
    with tempfile.TemporaryDirectory() as folder:
        bench = Path(folder) / "bench"
        bench.write_bytes(artifact.read("bench"))
        code = disassembled(bench, manifest.arch)
    total = sum(block.instructions * block.executed for block in blocks)
    hot = [b for b in blocks if b.instructions * b.executed > COLD_SHARE * total]
    prices = dict(zip(hot, priced([code.text(b) for b in hot], manifest.arch, model), strict=True))
    cycles = dict.fromkeys(code.kernels, 0.0)
    for block in blocks:
        kernel = code.kernel_of(block.address)
        cycles[kernel] += block.executed * prices.get(block, block.instructions)
    uses = [step.symbol for step in manifest.steps]
    return Estimate(
        device=manifest.device,
        model=model,
        steps=tuple(cycles[name] / uses.count(name) for name in uses),
        instructions=total,
    )


def must_be_possible(arch: Arch, cpu: str, model: str | None = None) -> None:
    """Check that code for a CPU can be estimated here; raises as `estimate` does."""
    if arch not in ("aarch64", "x86_64"):
        raise UsageError(f"there is no estimate for {arch}", hint="estimate for aarch64 or x86-64")
    if any(feature.startswith("avx512") for feature in CPUS[arch][cpu]):
        raise UsageError(
            f"no emulator executes the AVX-512 code of {cpu}",
            hint="estimate for --device x86-64-v3",
        )
    if arch == "x86_64":
        _qemu()
    priced(["nop"], arch, model or cpu)


def executed_blocks(artifact: Artifact) -> list[Block]:
    """The blocks of an artifact's kernels, and how often one inference executes each.

    Raises:
        DeviceError: The emulator is not installed.
    """
    if artifact.manifest.arch == "aarch64":
        return _blocks_in_process(artifact)
    return _blocks_under_qemu(artifact)


@dataclass(frozen=True, slots=True)
class Code:
    """Disassembled kernels: instructions in order, and where each kernel begins."""

    addresses: dict[int, int]  # address → place in `lines`
    lines: list[str]
    kernels: dict[str, int]

    def kernel_of(self, address: int) -> str:
        """The kernel that an address lies in: the last one that begins before it."""
        return max((at, name) for name, at in self.kernels.items() if at <= address)[1]

    def instructions(self, address: int, count: int) -> list[str]:
        """Their text, from an address on; branches lead to one label, calls are left out."""
        first = self.addresses[address]
        lines = self.lines[first : first + count]
        return [_TARGET.sub(".Lx", line) for line in lines if not _ENDS.match(line)]

    def text(self, block: Block) -> str:
        """A block for llvm-mca."""
        return "\n".join(self.instructions(block.address, block.instructions) or ["nop"])


def _blocks_in_process(artifact: Artifact) -> list[Block]:
    session = EmulatedSession(artifact)
    session.run(artifact.inputs())
    kernels = _kernels(artifact.read("bench"), artifact)
    spans = _spans(kernels, artifact)
    return [
        Block(address, size // 4, executed)
        for (address, size), executed in session.blocks.items()
        if any(low <= address < high for low, high in spans)
    ]


def _qemu() -> str:
    found = shutil.which("qemu-x86_64")
    if found is None:
        raise DeviceError("qemu-x86_64 is not installed", hint="apt install qemu-user")
    return found


def _blocks_under_qemu(artifact: Artifact) -> list[Block]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = folder / "blocks.so"
        with resources.as_file(resources.files("binas.compile") / "blocks.c") as source:
            zig.cc([*zig.library(registry.find("host").arch), str(source), "-o", str(plugin)])
        bench = folder / "bench"
        bench.write_bytes(artifact.read("bench"))
        bench.chmod(0o700)
        (folder / "weights.bin").write_bytes(artifact.read("weights.bin"))
        inputs = [x.tobytes() for x in checked_inputs(artifact.manifest, artifact.inputs())]
        (folder / "input.bin").write_bytes(b"".join(inputs))
        files = ["--weights", "weights.bin", "--input", "input.bin", "--output", "output.bin"]
        counting = ["-plugin", f"{plugin},out={folder / 'blocks.txt'}"]
        _run([_qemu(), "-cpu", "max", *counting, str(bench), "run", *files], cwd=folder)
        rows = [line.split() for line in (folder / "blocks.txt").read_text().splitlines()]
    return [Block(int(at, 16), int(count), int(executed)) for at, count, executed in rows]


def _kernels(bench: bytes, artifact: Artifact) -> dict[str, int]:
    program = elf.read(bench, where=f"{artifact.path.name}: bench")
    return {n: at for n, at in program.symbols.items() if n.startswith("binas_kernel_")}


def _spans(kernels: dict[str, int], artifact: Artifact) -> list[tuple[int, int]]:
    """Where each kernel lies: up to the next symbol of any kind."""
    program = elf.read(artifact.read("bench"), where=f"{artifact.path.name}: bench")
    starts = sorted(set(program.symbols.values()))
    after = dict(zip(starts, [*starts[1:], 1 << 63], strict=True))
    return [(at, after[at]) for at in kernels.values()]


def disassembled(bench: Path, arch: str, *, around: bool = False) -> Code:
    """The kernels of an executable; with `around`, all of its code."""
    text = _run([tool("llvm-objdump"), "-d", "--no-show-raw-insn", str(bench)])
    addresses: dict[int, int] = {}
    kernels: dict[str, int] = {}
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if found := re.match(r"^([0-9a-f]+) <(.+)>:$", line):
            kernel = found[2].startswith("binas_kernel_")
            inside = kernel or around
            if kernel:
                kernels[found[2]] = int(found[1], 16)
        elif inside and (found := re.match(r"^\s*([0-9a-f]+):\s+(.+)$", line)):
            addresses[int(found[1], 16)] = len(lines)
            lines.append(found[2].split("#" if arch == "x86_64" else "//")[0].strip())
    return Code(addresses, lines, kernels)


def priced(
    blocks: Sequence[str], arch: str, model: str, *, iterations: int = ITERATIONS
) -> list[float]:
    """llvm-mca's cycles per iteration of each stretch of instructions, all in one go.

    Raises:
        UsageError: It knows no CPU of this name.
        DeviceError: It is not installed.
        MeasureError: It failed.
    """
    if not blocks:
        return []
    # A hash at the start of a line is a comment for every architecture; "//" is not seen as a mark.
    marked = [
        f"# LLVM-MCA-BEGIN b{place}\n{text}\n# LLVM-MCA-END" for place, text in enumerate(blocks)
    ]
    line = [tool("llvm-mca"), f"-mtriple={arch}", f"-mcpu={model}", f"-iterations={iterations}"]
    views = ["--resource-pressure=false", "--instruction-info=false"]
    said = _run([*line, *views], stdin="\n".join(marked) + "\n")
    found = [int(cycles) / iterations for cycles in re.findall(r"Total Cycles:\s+(\d+)", said)]
    if len(found) != len(blocks):
        raise MeasureError(
            f"llvm-mca answered for {len(found)} of {len(blocks)} blocks", hint="a newer LLVM?"
        )
    return found


@cache
def tool(name: str) -> str:
    """The newest of a tool of LLVM: pipelines are mended and added from version to version."""
    named = [name, *(f"{name}-{version}" for version in range(14, 40))]
    found = [path for path in map(shutil.which, named) if path is not None]
    if not found:
        raise DeviceError(f"{name} is not installed", hint="apt install llvm")
    return max(found, key=tool_version)


def tool_version(path: str) -> tuple[int, ...]:
    """Of a tool of LLVM: (19, 1, 7)."""
    said = re.search(r"version (\d+)\.(\d+)\.(\d+)", _run([path, "--version"]))
    return tuple(map(int, said.groups())) if said else (0,)


def _run(command: Sequence[str], *, stdin: str = "", cwd: Path | None = None) -> str:
    done = subprocess.run(
        command,
        input=stdin,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_S,
        check=False,
    )
    if "is not a recognized processor" in done.stderr:
        raise UsageError(
            f"{Path(command[0]).name} knows no pipeline: {done.stderr.strip().splitlines()[0]}",
            hint="llvm-mca -mtriple=aarch64 -mcpu=help lists them; or leave --pipeline out",
        )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        raise MeasureError(f"{Path(command[0]).name} failed: {said}", hint="another version of it?")
    return done.stdout
