"""What a compilation says about a network: which layers are binary, which stayed float, and why."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from binas.compile import estimate
from binas.compile import isa as isas
from binas.compile.build import Compiled
from binas.compile.cycles import Estimate
from binas.compile.forms import CompileAnswer, CyclesEstimated, LinkVerified, StepKernel, TuneAnswer
from binas.compile.tune import tuned_text
from binas.core.errors import CompileError, unknown_name
from binas.runtime.artifact import Manifest, Step
from binas.runtime.verify import VerifyReport

SHOWN = 5  # steps that people are told about


def compile_record(
    compiled: Compiled, guess: Estimate | None = None, tuned: TuneAnswer | None = None
) -> CompileAnswer:
    """The `--json` object of binas-compile."""
    manifest = compiled.artifact.manifest
    return {
        "schema": "binas.compile/1",
        "artifact": str(compiled.artifact.path),
        "artifact_bytes": compiled.artifact.path.stat().st_size,
        "device": manifest.device,
        "cpu": manifest.cpu,
        "binary_layers": sum(layer.kind == "binary" for layer in manifest.layers),
        "layers": [
            {"name": layer.name, "kind": layer.kind, "reason": layer.reason}
            for layer in manifest.layers
        ],
        "notes": dict(compiled.notes),
        "steps": len(manifest.steps),
        "kernels": [_kernel(step, share, compiled) for step, share in _shares(manifest)],
        "emitted": [str(file) for file in compiled.emitted],
        "binary_macs": sum(step.layer.binary_macs for step in manifest.steps),
        "float_macs": sum(step.layer.macs - step.layer.binary_macs for step in manifest.steps),
        "weights_bytes": manifest.weights_bytes,
        "arena_bytes": manifest.arena_bytes,
        "arena_lower_bound_bytes": compiled.lower_bound_bytes,
        "verified": {name: _verified(report) for name, report in compiled.verified.items()},
        "estimated_cycles": None if guess is None else _cycles(guess, manifest),
        "tuned": tuned,
    }


def compile_text(
    compiled: Compiled, guess: Estimate | None = None, tuned: TuneAnswer | None = None
) -> str:
    """The same for people."""
    manifest = compiled.artifact.manifest
    binary = [layer for layer in manifest.layers if layer.kind == "binary"]
    binary_macs = sum(step.layer.binary_macs for step in manifest.steps)
    macs = sum(step.layer.macs for step in manifest.steps)
    size = compiled.artifact.path.stat().st_size
    lines = [
        f"{compiled.artifact.path}  {size / 1024:.0f} KiB for {manifest.device} ({manifest.cpu})",
        f"  binary layers   {len(binary)} of {len(manifest.layers)}"
        f" ({binary_macs / max(macs, 1):.1%} of the multiply-accumulates)",
        *(
            f"  {layer.kind:<15} {layer.name}: {layer.reason}"
            for layer in manifest.layers
            if layer.kind != "binary"
        ),
        *(f"  note            {name}: {note}" for name, note in compiled.notes.items()),
        *(
            f"  pixels          {port.name}: bytes {list(port.shape)} (N H W C), normalised inside"
            for port in manifest.inputs
            if port.dtype == "uint8"
        ),
        f"  steps           {len(manifest.steps)} after fusion",
        f"  weights         {manifest.weights_bytes / 1024:.1f} KiB",
        f"  arena           {manifest.arena_bytes / 1024:.1f} KiB"
        f" (no plan can need less than {compiled.lower_bound_bytes / 1024:.1f})",
    ]
    lines += _largest(manifest) if guess is None else _slowest(guess, manifest)
    lines += [] if tuned is None else tuned_text(tuned)
    lines += [f"  written         {file}" for file in compiled.emitted]
    for name, report in compiled.verified.items():
        exact = "binary layers exact" if report.binary_layers_exact else "binary layers differ"
        flips = f", {report.flips} bits at their threshold" if report.flips else ""
        error = f"largest float error {report.max_abs_error:.2g}"
        lines.append(f"  verified        {name}: {exact}{flips}, {error}")
    return "\n".join(lines)


def _shares(manifest: Manifest) -> list[tuple[Step, float]]:
    """Every step with its share of the estimated time, in order."""
    layers = [step.layer for step in manifest.steps]
    isa = isas.find(manifest.cpu, manifest.arch)
    return list(zip(manifest.steps, estimate.shares(layers, isa), strict=True))


def _largest(manifest: Manifest) -> list[str]:
    """The steps that take most, as estimated."""
    found = sorted(_shares(manifest), key=lambda pair: -pair[1])
    lines = ["  estimate        share   MACs  moved  kernel (counted from shapes: no measurement)"]
    for step, share in found[:SHOWN]:
        moved = sum(tensor.size_bytes for tensor in (*step.inputs, *step.outputs)) / 1024
        macs = f"{step.layer.macs / 1e6:.1f}M"
        lines.append(
            f"    {step.name[:40]:<40} {share:6.1%} {macs:>8} {moved:6.0f}K  {step.kernel}"
        )
    return lines + _others([share for _, share in found[SHOWN:]])


def _others(shares: Sequence[float]) -> list[str]:
    """What the steps that are not shown take together."""
    return [f"    {f'{len(shares)} more, in --json':<40} {sum(shares):6.1%}"] if shares else []


def _cycles(guess: Estimate, manifest: Manifest) -> CyclesEstimated:
    steps = zip(manifest.steps, guess.steps, strict=True)
    return {
        "pipeline": guess.model,
        "total": guess.total,
        "instructions": guess.instructions,
        "steps": [{"name": step.name, "cycles": cycles} for step, cycles in steps],
    }


def _slowest(guess: Estimate, manifest: Manifest) -> list[str]:
    """The steps that take most of the estimated cycles."""
    found = sorted(zip(manifest.steps, guess.steps, strict=True), key=lambda pair: -pair[1])
    return [
        f"  estimate        {guess.total:,.0f} cycles, {guess.instructions:,} instructions, if all"
        f" is as {guess.model}'s pipeline",
        "                  foresees: no caches, no branches; never a latency",
        *(
            f"    {step.name[:40]:<40} {cycles / guess.total:6.1%} {cycles:>12,.0f}  {step.kernel}"
            for step, cycles in found[:SHOWN]
        ),
        *_others([cycles / guess.total for _, cycles in found[SHOWN:]]),
    ]


def _kernel(step: Step, share: float, compiled: Compiled) -> StepKernel:
    return {
        "name": step.name,
        "layer": str(step.layer),
        "kernel": step.kernel,
        "macs": step.layer.macs,
        "binary_macs": step.layer.binary_macs,
        "read_bytes": sum(tensor.size_bytes for tensor in step.inputs),
        "written_bytes": sum(tensor.size_bytes for tensor in step.outputs),
        "estimated_share": share,
        "tile_from": compiled.origins[step.layer],
    }


def check_binary(kinds: Mapping[str, tuple[str, str]], allowed: Sequence[str]) -> None:
    """Raise if a layer stayed float that the user did not allow.

    Args:
        kinds: Per layer, its kind and why.
        allowed: Names of layers that may stay float.

    Raises:
        UsageError: An allowed layer is none of the model's.
        CompileError: Names the layers and their reasons.
    """
    for name in allowed:
        if name not in kinds:
            raise unknown_name("layer", name, kinds)
    left = [(n, why) for n, (kind, why) in kinds.items() if kind == "float" and n not in allowed]
    if left:
        shown = "; ".join(f"{name} ({why})" for name, why in left[:5])
        more = f"; and {len(left) - 5} more" if len(left) > 5 else ""
        allow = " ".join(f"--allow-float {shlex.quote(name)}" for name, _ in left[:5])
        layers = "1 layer" if len(left) == 1 else f"{len(left)} layers"
        raise CompileError(
            f"{layers} stayed float: {shown}{more}", hint=f"train them as that says, or add {allow}"
        )


def _verified(report: VerifyReport) -> LinkVerified:
    return {
        "binary_layers_exact": report.binary_layers_exact,
        "max_abs_error": report.max_abs_error,
        "flips": report.flips,
    }
