"""How a network is retrained: every number of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from binas.core.errors import UsageError

_HELP = "see binas-search retrain --help"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainSettings:
    """How to train.

    Attributes:
        epochs: Passes over the training images, in each step.
        steps: 1: both binary from the start. 2: first binary activations with real weights, then
            both, from the weights of the first (ReActNet, arXiv:2003.03488, section 4.3).
        batch: Images per step, over all processes.
        optimiser: "adam", or "sgd" with momentum 0.9.
        rate: Peak of the learning rate; cosine to 0 after a warm-up of a tenth, in each step. 1-bit
            nets need this much in a few hundred steps of Adam; a rate usual for real nets costs 10
            points.
        weight_decay: Of all parameters; 0 in the second of two steps, as in ReActNet.
        clip: Largest norm of the gradient; 0: not clipped.
        smoothing: Of the labels.
        crop: Augmentation: each image moved by up to this many pixels.
        flip: Augmentation: each image mirrored or not.
        cutout: Augmentation: edge of a square set to 0; 0: none.
        drop_path: Probability of dropping an edge's operation at the end, rising linearly from 0.
        auxiliary: Weight of a second classifier two thirds of the way down; 0: none.
        distil: Share of the loss that is the distance to the teacher's distribution; 1: labels are
            not looked at, as in ReActNet and DCP-NAS.
        temperature: Of both distributions in that distance.
        kernel: λ of CP-NAS's kernel-level loss; 0: none.
        statistics: Of batch norm in the final network, gathered with frozen weights: the plain
            average over the training images, or an exponential moving average of the batches'.
    """

    epochs: int = 10
    steps: Literal[1, 2] = 1
    batch: int = 32
    optimiser: Literal["adam", "sgd"] = "adam"
    rate: float = 1e-2
    weight_decay: float = 0.0
    clip: float = 0.0
    smoothing: float = 0.0
    crop: int = 0
    flip: bool = False
    cutout: int = 0
    drop_path: float = 0.0
    auxiliary: float = 0.0
    distil: float = 0.0
    temperature: float = 1.0
    kernel: float = 0.0
    statistics: Literal["average", "ema"] = "average"

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        if min(self.epochs, self.batch) < 1 or not 0 < self.rate < math.inf:
            raise UsageError("epochs, batch and rate must be above 0", hint=_HELP)
        for name in ("smoothing", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"{name} is {getattr(self, name)}, expected 0 to less than 1", hint=_HELP
                )
        if not 0 <= self.distil <= 1 or not 0 < self.temperature < math.inf:
            raise UsageError(
                f"distil is {self.distil} at temperature {self.temperature}, "
                "expected 0 to 1 at one above 0",
                hint=_HELP,
            )
        for name in ("weight_decay", "clip", "crop", "cutout", "auxiliary", "kernel"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be 0 or more", hint=_HELP)
