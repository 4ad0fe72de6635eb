"""What the benchmark of searches does: every number that shapes a result, fixed before it is run.

The set is procedural and small (docs/search.md says how hard it is), so that differences between
networks are far above the noise of a seed in minutes on two cores. The space leaves out the exits
by which a search on such a set wins without searching: a stage keeps at least one normal cell, and
pools exist in reductions only. All strategies see the same number of training images, by the rule
of `strategy.settings.scaled`; all networks are trained with the same recipe and the same seeds, and
compared inside a band of cost only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from binas.core.layer import Layer
from binas.search.cells import CellGenotype, CellSpace
from binas.search.genotype import AnyGenotype, AnySpace, CellOps, Genotype
from binas.search.recipe import RetrainSettings
from binas.search.space import Space
from binas.search.strategy.catalogue import Strategy
from binas.search.strategy.settings import SearchSettings, scaled

DATA = "glyphs,level=easy,classes=c16,size=16,train=6000,test=2000,seed=0"
IMAGES = 5000  # of the training images: searched and trained on
VALIDATION = 1000  # the others: best-of-k is chosen on them, by networks that never saw them

SPACE = Space(
    input_shape=(3, 16, 16),
    classes=16,
    channels=16,
    nodes=2,
    stages=3,
    min_cells=1,
    max_cells=2,
    normal_ops=("none", "skip", "b3"),
    reduction_ops=("none", "skip", "b3", "pool"),
)

# Multiply-accumulates per image, binary and real ones alike: the middle fifth of the space's random
# networks. Searches are given the upper end as their budget.
BAND = (0.72e6, 0.88e6)

SEEDS = (0, 1, 2, 3, 4)  # of searches
TRAINING_SEEDS = (0, 1)  # of every network: the same ones, so differences are paired
RANDOM_NETS = 10
POOL = 12  # random networks that best-of-k has per seed, at most

BUDGET_IMAGES = 20_000  # through forward and backward passes, per search
TRAINING = RetrainSettings(epochs=4, batch=64, rate=1e-2)
RANKING_IMAGES = (
    2500  # of the short trainings of best-of-k: they rank as well as a second full seed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Long:
    """How large the searches of full spaces are (`--long`).

    Attributes:
        images: Of the training images: searched and trained on.
        budget_images: Through forward and backward passes, per search.
        channels: Of the first cells in a search; BARS' stages have twice as many at full width.
        cells: In a search.
        nodes: Of a cell; BARS' have one fewer, since a `Space` bounds the number of whole cells.
        evaluated_channels: Of the network of cells that is trained.
        evaluated_cells: Of that network.
        seeds: Of searches.
        training: Of every network.
        training_seeds: Of its trainings.
    """

    images: int
    budget_images: int
    channels: int
    cells: int
    nodes: int
    evaluated_channels: int
    evaluated_cells: int
    seeds: tuple[int, ...]
    training: RetrainSettings
    training_seeds: tuple[int, ...]


LONG = Long(
    images=IMAGES,
    budget_images=40_000,
    channels=8,
    cells=5,
    nodes=4,
    evaluated_channels=16,
    evaluated_cells=8,
    seeds=(0, 1, 2),
    training=replace(TRAINING, epochs=6),
    training_seeds=(0,),
)
# To see that everything works; the numbers say nothing.
SMOKE = Long(
    images=64,
    budget_images=320,
    channels=4,
    cells=3,
    nodes=2,
    evaluated_channels=4,
    evaluated_cells=4,
    seeds=(0, 1),
    training=replace(TRAINING, epochs=1, batch=32),
    training_seeds=(0,),
)


def settings(strategy: Strategy) -> SearchSettings:
    """A strategy's published schedule at the budget; rates and batch are alike for all of them."""
    alike = replace(
        strategy.settings(), batch=64, optimiser="adam", weight_rate=1e-2, architecture_rate=3e-2
    )
    operations = max(len(SPACE.normal_ops), len(SPACE.reduction_ops))
    return scaled(alike, BUDGET_IMAGES, IMAGES // 2, operations)


def long_space(strategy: str, sizes: Long) -> AnySpace:
    """The space that a strategy was made for, 1-bit in all three kinds."""
    if strategy == "bars":
        return Space(
            input_shape=SPACE.input_shape,
            classes=SPACE.classes,
            channels=2 * sizes.channels,
            nodes=sizes.nodes - 1,
            stages=3,
            min_cells=0,
            max_cells=3,
            normal_ops=("none", "skip", "b3"),
            reduction_ops=("skip", "b3", "pool"),
        )
    cells = CellSpace(
        input_shape=SPACE.input_shape,
        classes=SPACE.classes,
        channels=sizes.channels,
        cells=sizes.cells,
        nodes=sizes.nodes,
        form="child",
    )
    return replace(cells, layout="broad", cells=cells.blocks) if strategy == "bnas-v2" else cells


def long_settings(strategy: Strategy, sizes: Long) -> SearchSettings:
    """The published schedule at the budget of full spaces; rates and batch as on the small one."""
    space = long_space(strategy.name, sizes)
    operations = max(len(space.normal_ops), len(space.reduction_ops))
    alike = replace(
        strategy.settings(),
        batch=64,
        optimiser="adam",
        weight_rate=1e-2,
        architecture_rate=3e-2,
        validation_images=min(500, sizes.images // 2),
    )
    return scaled(alike, sizes.budget_images, sizes.images // 2, operations)


def evaluated(genotype: AnyGenotype, sizes: Long) -> AnyGenotype:
    """The network that is trained: wider and deeper where it consists of repeated cells."""
    if not isinstance(genotype, CellGenotype):
        return genotype
    cells = (
        sizes.evaluated_cells // 2 if genotype.space.layout == "broad" else sizes.evaluated_cells
    )
    return genotype.at(replace(genotype.space, channels=sizes.evaluated_channels, cells=cells))


def by_hand() -> Genotype:
    """The shallowest and widest network of the space: what a person writes down without searching.

    One normal cell a stage, full width, and no convolution on any edge: all that convolves is what
    every cell has, its process and a reduction's shortcut. It lies in the band.
    """
    skips: CellOps = ("skip", "none", "skip")
    last = len(SPACE.widths) - 1
    return Genotype(
        space=SPACE,
        widths=(last,) * SPACE.stages,
        normal=((skips,),) * SPACE.stages,
        reduction=(skips,) * (SPACE.stages - 1),
    )


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-accumulates where a latency table has nanoseconds: the same on every machine."""

    fixed_ns: float = 0.0

    def latency_ns(self, layer: Layer) -> float:
        """Multiply-accumulates of a step."""
        return float(layer.macs)


def in_band(macs: float) -> bool:
    """Whether a network may be compared."""
    return BAND[0] <= macs <= BAND[1]
