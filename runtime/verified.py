"""What a verification found, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One tensor, compared.

    Attributes:
        step: Name of the step that writes it, or "output" for a port of the network.
        tensor: Its name.
        dtype: "bits" or "float32".
        binary: Whether the step's operands are bits.
        elements: How many values it has.
        flips: Bits that differ where the reference is at its threshold.
        wrong: Values that differ and may not; image rows with one where these are counted.
        max_abs_error: Largest difference of a float tensor; 0 for bits. Of one that is compared by
            digests: what no difference exceeds.
        rows: Image rows of a tensor that is compared by digests; 0 of one compared by values.
    """

    step: str
    tensor: str
    dtype: Literal["float32", "bits"]
    binary: bool
    elements: int
    flips: int = 0
    wrong: int = 0
    max_abs_error: float = 0.0
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        checks: Every tensor that a step writes, in plan order, then the network's outputs.
        judged_outputs: Whether the outputs of the whole network count.
    """

    SCHEMA: ClassVar[str] = "binas.verify/1"

    checks: tuple[Check, ...]
    judged_outputs: bool

    @property
    def first_wrong(self) -> Check | None:
        """The first check that failed."""
        return next((check for check in self._judged if check.wrong), None)

    @property
    def binary_layers_exact(self) -> bool:
        """Whether no tensor of a binary step, and no bit, is wrong; flips at thresholds count."""
        return not any(c.wrong for c in self.checks if c.binary or c.dtype == "bits")

    @property
    def flips(self) -> int:
        """Bits that differ where the reference is at its threshold."""
        return sum(check.flips for check in self.checks)

    @property
    def max_abs_error(self) -> float:
        """Largest difference of a float tensor, over all steps and outputs that are judged."""
        return max((check.max_abs_error for check in self._judged), default=0.0)

    @property
    def by_digest(self) -> bool:
        """Whether tensors were compared by digests, so that float errors are only bounded."""
        return any(check.rows for check in self.checks)

    @property
    def _judged(self) -> Iterator[Check]:
        return (c for c in self.checks if c.step != "output" or self.judged_outputs)
