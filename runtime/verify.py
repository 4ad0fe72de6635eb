"""Compare what a device computed with what the reference computed, step by step.

Every step runs on the *reference's* inputs, so that an error shows in the step that makes it and
nowhere else. Then the whole network runs once, which catches what single steps cannot: tensors that
overlap in the arena. numpy is all this needs; the reference's values come with the artifact.

- A bit may differ only where the value before the sign lies within 1e-5 of its threshold,
  |y - t| <= 1e-5 * max(1, |t|): float sums in another order can fall on either side there. Such
  bits are counted as flips. The artifact's taps say how near each value is (`margin:NAME`).
- A float differs where |a - b| > 1e-5 * max(1, largest |reference| of its tensor).
- Outputs of the whole network: the same with 1e-4, as rounding adds up. Where they differ and the
  reference has bits at their thresholds, the run may have taken the other side without being wrong;
  then the outputs are shown and not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Literal

import numpy as np

from binas.core.bits import unpack
from binas.core.errors import UsageError, WrongAnswerError
from binas.runtime import brief
from binas.runtime.artifact import Manifest, Port, Step, Tensor
from binas.runtime.session import Runner
from binas.runtime.verified import Check, VerifyReport

__all__ = [
    "Check",
    "VerifyReport",
    "compare",
    "must_agree",
    "near_a_threshold",
    "output_tap",
    "verify",
]

STEP_TOLERANCE = 1e-5
OUTPUT_TOLERANCE = 1e-4
_HUGE = float(np.finfo(np.float32).max)  # stands for NaN, which JSON does not have


def verify(runner: Runner, taps: Mapping[str, np.ndarray] | None = None) -> VerifyReport:
    """Compare a device with a reference.

    Args:
        runner: A session on a device, or an emulated one.
        taps: The reference's values; None for the artifact's own.

    Raises:
        WrongAnswerError: A step, or the whole network, gives another result; the first is named.
        UsageError: The artifact has no reference values, as one of layers alone has none.
    """
    taps = runner.artifact.taps() if taps is None else taps
    manifest = runner.artifact.manifest
    given = dict(taps) | (brief.step_inputs(manifest) if brief.is_brief(taps) else {})
    wanted = [f"input:{port.name}" for port in manifest.inputs]
    wanted += [t.name for step in manifest.steps for t in step.inputs]
    if not brief.is_brief(taps):
        wanted += [t.name for step in manifest.steps for t in step.outputs]
    missing = [name for name in wanted if name not in given]
    if missing:
        raise UsageError(
            f"{runner.artifact.path.name} has no reference value of {missing[0]}",
            hint="verify an artifact that binas-compile made from a model",
        )
    outputs = runner.run({port.name: taps[f"input:{port.name}"] for port in manifest.inputs})
    report = compare(manifest, taps, runner.steps(given), outputs)
    must_agree(report, runner.artifact.path.name)
    return report


def compare(
    manifest: Manifest,
    taps: Mapping[str, np.ndarray],
    got: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray] | None = None,
) -> VerifyReport:
    """Compare every tensor that a step writes, and the outputs of a whole run where given.

    Args:
        manifest: The plan.
        taps: The reference: tensor → value, `margin:NAME` → how far each bit's value is from its
            threshold, relative to max(1, |threshold|). Or what `runtime/brief.py` makes of one.
        got: Tensor → value that the device computed from the reference's inputs.
        outputs: Output port → value of a whole run on the reference's input.
    """
    checks = [
        _check(step, tensor, taps, got[tensor.name])
        for step in manifest.steps
        for tensor in step.outputs
    ]
    for port in manifest.outputs:
        reference = output_tap(taps, port)
        if outputs is not None and reference is not None:
            checks.append(
                _float_check("output", port.name, reference, outputs[port.name], OUTPUT_TOLERANCE)
            )
        elif outputs is not None and brief.is_brief(taps):
            rows = outputs[port.name].reshape(1, -1, 1, port.shape[-1])
            verdict = brief.judge_floats(taps, f"output:{port.name}", rows)
            checks.append(_by_digest("output", port.name, "float32", rows.size, verdict))
    outputs_agree = not any(check.wrong for check in checks if check.step == "output")
    judged = outputs_agree or not near_a_threshold(manifest, taps)
    return VerifyReport(checks=tuple(checks), judged_outputs=judged)


def must_agree(report: VerifyReport, name: str) -> None:
    """Raise for the first wrong tensor.

    Raises:
        WrongAnswerError: There is one.
    """
    wrong = report.first_wrong
    if wrong is None:
        return
    by_value = wrong.dtype == "float32" and not wrong.rows
    size = f", by up to {wrong.max_abs_error:.3g}" if by_value else ""
    counted = f"{wrong.rows} image rows" if wrong.rows else f"{wrong.elements} values"
    where = "output" if wrong.step == "output" else f"step {wrong.step}, tensor"
    raise WrongAnswerError(
        f"{name}: {where} {wrong.tensor} differs from the reference in {wrong.wrong} of "
        f"{counted}{size}; all before it agree",
        hint="this is a bug of binas or of the machine: please report it with the artifact",
    )


def output_tap(taps: Mapping[str, np.ndarray], port: Port) -> np.ndarray | None:
    """The reference's value of an output port, in the port's shape; None where there is none.

    It is the tap `output:NAME`, or the tensor of the port's name: NHWC there, as ONNX has it here.
    """
    value = taps.get(f"output:{port.name}")
    if value is not None:
        return value.reshape(port.shape)
    value = taps.get(port.name)
    if value is None or value.dtype != np.float32 or value.size != int(np.prod(port.shape)):
        return None
    return value.transpose(0, 3, 1, 2).reshape(port.shape)


def _check(step: Step, tensor: Tensor, taps: Mapping[str, np.ndarray], got: np.ndarray) -> Check:
    binary = step.layer.op == "binary_conv"
    if brief.is_brief(taps):
        is_bits = tensor.dtype == "bits"
        judged = brief.judge_bits(taps, tensor, got) if is_bits else None
        verdict = judged or brief.judge_floats(taps, tensor.name, got)
        found = _by_digest(step.name, tensor.name, tensor.dtype, prod(tensor.shape), verdict)
        return replace(found, binary=binary)
    reference = taps[tensor.name]
    if tensor.dtype == "float32":
        return _float_check(step.name, tensor.name, reference, got, STEP_TOLERANCE, binary=binary)
    channels = tensor.shape[3]
    differs = unpack(reference, channels) != unpack(got, channels)
    near = np.zeros(differs.shape, dtype=bool)
    margin = taps.get(f"margin:{tensor.name}")
    if margin is not None:
        near = margin.reshape(differs.shape) <= STEP_TOLERANCE
    # Bits beyond the last channel count as mismatches in the next step, so they must be 0, too.
    stray = int((_beyond(got, channels) != 0).sum())
    return Check(
        step=step.name,
        tensor=tensor.name,
        dtype="bits",
        binary=binary,
        elements=differs.size,
        flips=int((differs & near).sum()),
        wrong=int((differs & ~near).sum()) + stray,
    )


def near_a_threshold(manifest: Manifest, taps: Mapping[str, np.ndarray]) -> bool:
    """Whether rounding could turn a bit of the reference.

    In brief this is known from when the reference was made.

    A margin of exactly 0 is a value that was 0 before (an input, a sum of ±1) and is no rounding's
    doing, unless a scale and a bias just cancel there.
    """
    if brief.is_brief(taps):
        return not taps["brief:judged"].all()
    for step in manifest.steps:
        layer = step.layer
        exact = "affine" not in layer.stages and not layer.bits_affine and not layer.in_affine
        for tensor in step.outputs:
            margin = taps.get(f"margin:{tensor.name}")
            if margin is None:
                continue
            near = margin <= STEP_TOLERANCE
            if bool((near & (margin > 0) if exact else near).any()):
                return True
    return False


def _by_digest(
    step: str,
    tensor: str,
    dtype: Literal["float32", "bits"],
    elements: int,
    verdict: brief.Verdict,
) -> Check:
    return Check(
        step=step,
        tensor=tensor,
        dtype=dtype,
        binary=False,
        elements=elements,
        flips=verdict.flips,
        wrong=verdict.wrong,
        max_abs_error=verdict.bound,
        rows=verdict.rows,
    )


def _float_check(
    step: str,
    tensor: str,
    reference: np.ndarray,
    got: np.ndarray,
    tolerance: float,
    *,
    binary: bool = False,
) -> Check:
    difference = np.abs(reference.astype(np.float64) - got.astype(np.float64))
    limit = tolerance * max(1.0, float(np.abs(reference).max(initial=0.0)))
    # Not "difference > limit": that is false for NaN.
    wrong = int((~(difference <= limit)).sum())
    return Check(
        step=step,
        tensor=tensor,
        dtype="float32",
        binary=binary,
        elements=reference.size,
        wrong=wrong,
        max_abs_error=float(np.where(np.isnan(difference), _HUGE, difference).max(initial=0.0)),
    )


def _beyond(packed: np.ndarray, channels: int) -> np.ndarray:
    """The bits of the last word that belong to no channel."""
    used = channels % 32
    mask = np.uint32(0) if used == 0 else np.uint32((0xFFFFFFFF << used) & 0xFFFFFFFF)
    return packed[..., -1] & mask
