"""Every strategy with its settings: the one list that commands, comparisons and benchmarks read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Unpack

from binas.core.errors import UsageError, unknown_name
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.strategy import (
    bars,
    bnas,
    bnas_v2,
    cp_nas,
    darts,
    dcp_nas,
    pc_darts,
    uniform,
)
from binas.search.strategy.around import Around
from binas.search.strategy.cell_ground import CellGround, CellPrices
from binas.search.strategy.layout_ground import AnyGround, stages, whole
from binas.search.strategy.settings import Found, SearchSettings
from binas.search.strategy.task import SearchTask


class Search(Protocol):
    """What every strategy's module calls `search`."""

    def __call__(
        self,
        space: AnySpace,
        data: Dataset,
        settings: Any = None,
        *,
        seed: int = 0,
        lut: Lut | CellPrices | None = None,
        budget_ns: float | None = None,
        **around: Unpack[Around],
    ) -> Found:
        """Search a space; see `strategy/bars.py`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One way to search.

    Attributes:
        name: As typed.
        summary: In a line.
        search: Does it.
        task: The search as epochs to be done one by one.
        settings: Its settings' class; the defaults are its published schedule.
        ground: A space as it sees it.
        presets: Name → settings with the published batch and rates, too.
    """

    name: str
    summary: str
    search: Search
    task: type[SearchTask[Any, Any]]
    settings: type[SearchSettings]
    ground: Callable[[AnySpace, Lut | CellPrices | None, float | None], AnyGround] = CellGround
    presets: Mapping[str, SearchSettings] = field(default_factory=dict)

    def must_be_possible(
        self,
        space: AnySpace,
        data: Dataset,
        settings: SearchSettings,
        lut: Lut | CellPrices | None = None,
        budget_ns: float | None = None,
    ) -> None:
        """Check, before anything is written, that a search can end with a network.

        Raises:
            UsageError: It cannot, whatever is trained; see `Ground.must_be_possible`.
            SearchError: The budget is below the fastest network.
        """
        self.ground(space, lut, budget_ns).must_be_possible(data, budget_ns, settings.parts)

    def preset(self, name: str) -> SearchSettings:
        """Settings by name.

        Raises:
            UsageError: There are none of that name.
        """
        if name not in self.presets:
            fault = unknown_name("preset", name, list(self.presets))
            hint = fault.hint if self.presets else "it has none; leave --preset out"
            raise UsageError(f"{fault} of {self.name}", hint=hint)
        return self.presets[name]


PUBLISHED = "published"  # the preset that most strategies have

STRATEGIES = (
    Strategy(
        name="bars",
        summary="BARS: depth, width and cells at once, by gradient",
        search=bars.search,
        task=bars.Search,
        settings=bars.BarsSettings,
        ground=stages,
        presets={PUBLISHED: bars.PUBLISHED},
    ),
    Strategy(
        name="bnas",
        summary="BNAS: 1-bit networks sampled from a supernet, operations dropped by performance",
        search=bnas.search,
        task=bnas.Search,
        settings=bnas.BnasSettings,
        presets={PUBLISHED: bnas.PUBLISHED},
    ),
    Strategy(
        name="bnas-v2",
        summary="BNAS-v2: by gradient with a confident learning rate; made for broad networks",
        search=bnas_v2.search,
        task=bnas_v2.Search,
        settings=bnas_v2.BnasV2Settings,
        presets={PUBLISHED: bnas_v2.PUBLISHED, f"{PUBLISHED}-pc": bnas_v2.PUBLISHED_PC},
    ),
    Strategy(
        name="cp-nas",
        summary="CP-NAS: 1-bit Children sampled with their real-valued Parents",
        search=cp_nas.search,
        task=cp_nas.Search,
        settings=cp_nas.CpNasSettings,
        presets={PUBLISHED: cp_nas.PUBLISHED},
    ),
    Strategy(
        name="darts",
        summary="DARTS: a softmax mixture of operations on every edge",
        search=darts.search,
        task=darts.Search,
        settings=darts.DartsSettings,
        presets={PUBLISHED: darts.PUBLISHED},
    ),
    Strategy(
        name="dcp-nas",
        summary="DCP-NAS: a real-valued Parent gives the 1-bit Child its direction",
        search=dcp_nas.search,
        task=dcp_nas.Search,
        settings=dcp_nas.DcpNasSettings,
        presets={PUBLISHED: dcp_nas.PUBLISHED},
    ),
    Strategy(
        name="pc-darts",
        summary="PC-DARTS: partial channels and a weight per edge",
        search=pc_darts.search,
        task=pc_darts.PartialSearch,
        settings=pc_darts.PcDartsSettings,
        presets={PUBLISHED: pc_darts.PUBLISHED},
    ),
    Strategy(
        name="uniform",
        summary="random networks, each trained for a while; the best is kept",
        search=uniform.search,
        task=uniform.Search,
        settings=uniform.UniformSettings,
        ground=whole,
    ),
)


def find(name: str) -> Strategy:
    """A strategy by name."""
    for strategy in STRATEGIES:
        if strategy.name == name:
            return strategy
    raise unknown_name("strategy", name, [strategy.name for strategy in STRATEGIES])
