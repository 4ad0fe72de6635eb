"""What a search is asked for, and what it gives."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, TypeVar

from binas.core.errors import UsageError
from binas.search.cost import Form
from binas.search.genotype import AnyGenotype, Genotype

SEE_HELP = "see binas-search run --help"
S = TypeVar("S", bound="SearchSettings")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How to search: what all strategies have in common.

    An *epoch* is a pass over `share` of a half of the training images. Published schedules keep
    their numbers of epochs whatever the data; a smaller budget makes epochs shorter (`scaled`).

    Attributes:
        share: Of a half that an epoch sees; each epoch sees others.
        batch: Images per step.
        optimiser: Of the weights.
        weight_rate: Peak of the weights' learning rate (cosine).
        weight_decay: Of the weights.
        clip: Largest norm of the weights' gradient; 0: any.
        architecture_rate: The architecture's learning rate (Adam).
        architecture_decay: Its weight decay.
        form: Of the latency term.
        strength: λ of the latency term at the end, rising with the root of the progress.
        samples: Networks evaluated at the end.
        validation_images: Images of the architecture half that sampled networks are tested on;
            0: all of them.
        collapse: Mean probability of operations without weights at which a search is stopped.
    """

    share: float = 1.0
    batch: int = 64
    optimiser: Literal["adam", "sgd"] = "adam"
    weight_rate: float = 5e-3
    weight_decay: float = 0.0
    clip: float = 0.0
    architecture_rate: float = 3e-2
    architecture_decay: float = 0.0
    form: Form = "hinge"
    strength: float = 1.0
    samples: int = 1
    validation_images: int = 0
    collapse: float = 0.99

    def __post_init__(self) -> None:
        """Refuse settings that cannot search."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{field.name} is {value}, expected a number", hint=SEE_HELP)
        rates = (self.weight_rate, self.architecture_rate)
        if min(self.batch, self.samples) < 1 or min(rates) <= 0:
            raise UsageError("batch, samples and rates must be above 0", hint=SEE_HELP)
        weights = (self.strength, self.weight_decay, self.architecture_decay, self.clip)
        if min(*weights, self.validation_images) < 0:
            raise UsageError(
                "strength, decays, clip and validation_images must be 0 or more", hint=SEE_HELP
            )
        if not (0 < self.share <= 1 and 0 < self.collapse <= 1):
            raise UsageError("share and collapse must be above 0, at most 1", hint=SEE_HELP)

    @property
    def parts(self) -> int:
        """Into how many parts the channels of a node must divide."""
        return 1

    def passes(self, operations: int) -> int:
        """Epochs of forward and backward passes that the whole search makes.

        Args:
            operations: That an edge chooses from, at most; sampling searches test each.
        """
        raise NotImplementedError


def scaled(settings: S, budget_images: int, half: int, operations: int) -> S:
    """The same schedule at a budget of training images: share = budget / (passes · half).

    The one rule by which strategies are brought to equal budgets: every published schedule keeps
    its numbers of epochs, warm-ups and sampled networks; only what an epoch sees shrinks.

    Args:
        settings: Of any strategy.
        budget_images: Images through forward and backward passes, all networks together.
        half: Images of a half.
        operations: That an edge of the space chooses from, at most.

    Raises:
        UsageError: The budget is larger than the published schedule on these images, or an epoch
            would have no image.
    """
    passes = settings.passes(operations)
    share = budget_images / (passes * half)
    if share > 1 or share * half < 1:
        raise UsageError(
            f"a budget of {budget_images} images is {share:.3g} of every one of the "
            f"{passes} epochs over {half} images, expected at most 1 and at least 1 image",
            hint="give another budget",
        )
    return replace(settings, share=share)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientSettings(SearchSettings):
    """What the differentiable strategies have in common.

    Attributes:
        epochs: Passes over the weight half of the training images.
        warmup_epochs: First of them, in which the architecture rests.
    """

    epochs: int = 50
    warmup_epochs: int = 0

    def __post_init__(self) -> None:
        """Refuse schedules without an architecture step."""
        super(GradientSettings, self).__post_init__()
        if not 0 <= self.warmup_epochs < self.epochs:
            raise UsageError(
                f"warmup_epochs is {self.warmup_epochs}, expected 0 to {self.epochs - 1}",
                hint="search for more epochs or warm up for fewer",
            )

    def passes(self, operations: int) -> int:
        """A weight pass per epoch, an architecture pass per epoch after the warm-up."""
        del operations
        return 2 * self.epochs - self.warmup_epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A network to choose from, with the shared weights.

    Attributes:
        genotype: What was derived.
        accuracy: On the architecture half of the training images, batch norm recalibrated.
        predicted_ns: By the table; None without one.
        measured_ns: On a device, while the search went on; None where it was not asked for, or
            failed.
    """

    genotype: AnyGenotype
    accuracy: float
    predicted_ns: float | None
    measured_ns: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search gave.

    Attributes:
        genotype: The most accurate candidate.
        seed: Of everything that was drawn.
        budget_ns: What was asked for; None without a latency term.
        predicted_ns: Of the genotype, by the table; None without one.
        expected_ns: Of the final distribution; None without a table.
        candidates: All that were evaluated, best first.
        seconds: Of training the supernet.
    """

    SCHEMA: ClassVar[str] = "binas.found/1"

    genotype: AnyGenotype
    seed: int
    budget_ns: float | None
    predicted_ns: float | None
    expected_ns: float | None
    candidates: tuple[Candidate, ...]
    seconds: float

    def in_stages(self) -> Genotype:
        """The genotype, of a BARS space.

        Raises:
            UsageError: It is one of cells.
        """
        if isinstance(self.genotype, Genotype):
            return self.genotype
        raise UsageError(
            f"found a network of cells ({self.genotype}), expected one of a BARS space",
            hint="search a BARS space, such as --space digits",
        )
