"""What a compilation says about a network: which layers are binary, which stayed float, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from binas.compile.build import Compiled
from binas.core.errors import CompileError, unknown_name
from binas.runtime.verify import VerifyReport

SCHEMA = "binas.compile/1"


def compile_record(compiled: Compiled) -> dict[str, Any]:
    """The `--json` object of binas-compile."""
    manifest = compiled.artifact.manifest
    return {
        "schema": SCHEMA,
        "artifact": str(compiled.artifact.path),
        "artifact_bytes": compiled.artifact.path.stat().st_size,
        "device": manifest.device,
        "cpu": manifest.cpu,
        "binary_layers": sum(layer.kind == "binary" for layer in manifest.layers),
        "layers": [
            {"name": layer.name, "kind": layer.kind, "reason": layer.reason}
            for layer in manifest.layers
        ],
        "steps": len(manifest.steps),
        "binary_macs": sum(step.layer.binary_macs for step in manifest.steps),
        "float_macs": sum(step.layer.macs - step.layer.binary_macs for step in manifest.steps),
        "weights_bytes": manifest.weights_bytes,
        "arena_bytes": manifest.arena_bytes,
        "arena_lower_bound_bytes": compiled.lower_bound_bytes,
        "verified": {name: _verified(report) for name, report in compiled.verified.items()},
    }


def compile_text(compiled: Compiled) -> str:
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
        f"  steps           {len(manifest.steps)} after fusion",
        f"  weights         {manifest.weights_bytes / 1024:.1f} KiB",
        f"  arena           {manifest.arena_bytes / 1024:.1f} KiB"
        f" (no plan can need less than {compiled.lower_bound_bytes / 1024:.1f})",
    ]
    for name, report in compiled.verified.items():
        exact = "binary layers exact" if report.binary_layers_exact else "binary layers differ"
        flips = f", {report.flips} bits at their threshold" if report.flips else ""
        error = f"largest float error {report.max_abs_error:.2g}"
        lines.append(f"  verified        {name}: {exact}{flips}, {error}")
    return "\n".join(lines)


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
        allow = " ".join(f"--allow-float {name}" for name, _ in left[:5])
        raise CompileError(f"{len(left)} layers stayed float: {shown}{more}", hint=f"add {allow}")


def _verified(report: VerifyReport) -> dict[str, Any]:
    return {
        "binary_layers_exact": report.binary_layers_exact,
        "max_abs_error": report.max_abs_error,
        "flips": report.flips,
    }
