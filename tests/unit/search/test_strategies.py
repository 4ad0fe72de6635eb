"""What holds for every strategy: repeatable, resumable, blind to held-out images, within budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binas.core import record
from binas.core.errors import SearchError, UsageError
from binas.search.cells import CellGenotype, CellSpace
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.run import Config, RunFolder
from binas.search.space import Space
from binas.search.strategy import bars, bnas, bnas_v2, catalogue, cp_nas, darts, dcp_nas, pc_darts
from binas.search.strategy.catalogue import Strategy
from binas.search.strategy.settings import Found, SearchSettings, scaled
from binas.search.strategy.uniform import UniformSettings
from binas.search.survey import random_genotypes

QUICK: dict[str, SearchSettings] = {
    "bars": bars.BarsSettings(epochs=3, warmup_epochs=1, batch=24, samples=2),
    "bnas": bnas.BnasSettings(
        batch=24, weight_epochs=1, joint_epochs=1, repeats=1, validation_images=24
    ),
    "bnas-v2": bnas_v2.BnasV2Settings(epochs=3, batch=24),
    "cp-nas": cp_nas.CpNasSettings(batch=24, repeats=1, share=0.5, validation_images=24),
    "darts": darts.DartsSettings(epochs=3, batch=24, order=2),
    "dcp-nas": dcp_nas.DcpNasSettings(epochs=3, warmup_epochs=1, batch=24),
    "pc-darts": pc_darts.PcDartsSettings(epochs=3, warmup_epochs=1, batch=24, optimiser="sgd"),
    "uniform": UniformSettings(nets=3, epochs=1, batch=24),
}


@pytest.fixture(params=catalogue.STRATEGIES, ids=lambda strategy: str(strategy.name))
def strategy(request: pytest.FixtureRequest) -> Strategy:
    """Each of them."""
    found: Strategy = request.param
    return found


def untimed(found: Found) -> Found:
    return replace(found, seconds=0.0)


def folder_of(path: Path, settings: SearchSettings, images: Dataset) -> RunFolder:
    asked = Config(
        kind="search",
        data=images.name,
        data_digest=images.digest,
        seed=1,
        settings=asdict(settings),
        inputs={},
        versions={},
    )
    return RunFolder(path, asked)


class KilledError(Exception):
    pass


def test_a_search_killed_after_any_epoch_goes_on_to_the_same_bits_and_never_sees_the_held_out(
    strategy: Strategy, tiny: Space, images: Dataset, tmp_path: Path
) -> None:
    settings = QUICK[strategy.name]
    whole = untimed(strategy.search(tiny, images, settings, seed=1))
    blind = replace(
        images, x_test=np.full_like(images.x_test, np.nan), y_test=np.full_like(images.y_test, -9)
    )

    def kill(done: int, _in_all: int, _entry: dict[str, Any]) -> None:
        if done in kills:
            kills.remove(done)
            raise KilledError

    kills = [1, 2]
    for _ in range(2):
        with pytest.raises(KilledError):
            folder = folder_of(tmp_path, settings, images)
            strategy.search(tiny, blind, settings, seed=1, folder=folder, progress=kill)
    folder = folder_of(tmp_path, settings, images)
    assert untimed(strategy.search(tiny, blind, settings, seed=1, folder=folder)) == whole
    assert not kills


def test_what_is_found_survives_the_disk_and_lies_in_the_space(
    strategy: Strategy, tiny: Space, images: Dataset, lut_of: Callable[[Space], Lut]
) -> None:
    lut = lut_of(tiny)
    times = sorted(lut.predict_ns(g) for g in random_genotypes(tiny, 60, seed=1))
    found = strategy.search(
        tiny, images, QUICK[strategy.name], seed=2, lut=lut, budget_ns=times[30]
    )
    assert record.loads(Found, record.dumps(found), where="here") == found
    assert found.in_stages().space == tiny
    assert found.predicted_ns is not None
    assert 0.5 * times[30] <= found.predicted_ns <= times[30]
    assert found.predicted_ns == lut.predict_ns(found.in_stages())


def test_a_budget_below_every_network_is_refused_before_anything_is_trained(
    strategy: Strategy,
    tiny: Space,
    images: Dataset,
    lut_of: Callable[[Space], Lut],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("binas.search.train.cross_entropy", None)
    with pytest.raises(SearchError, match=r"within 1 us: the fastest takes"):
        strategy.search(tiny, images, lut=lut_of(tiny), budget_ns=1e3)
    with pytest.raises(UsageError, match="a budget needs a latency table"):
        strategy.search(tiny, images, budget_ns=1e6)


CELLS = CellSpace(input_shape=(1, 8, 8), classes=3, channels=4, cells=3, nodes=2)


@pytest.mark.parametrize("name", ["darts", "bnas", "cp-nas", "dcp-nas", "uniform"])
def test_strategies_of_cells_search_darts_networks(name: str, images: Dataset) -> None:
    settings: Any = replace(QUICK[name], share=0.5)
    if name == "bnas":
        settings = replace(settings, weight_epochs=0)
    small = replace(CELLS, normal_ops=("none", "skip", "sep3"), reduction_ops=("max", "dil3"))
    found = catalogue.find(name).search(small, images, settings)
    assert isinstance(found.genotype, CellGenotype)
    with pytest.raises(UsageError, match="expected one of a BARS space"):
        found.in_stages()


@pytest.mark.parametrize(
    "settings", [QUICK["bnas-v2"], replace(bnas_v2.PC, epochs=3, warmup_epochs=1)]
)
def test_both_variants_of_bnas_v2_search_broad_networks(
    settings: bnas_v2.BnasV2Settings, images: Dataset
) -> None:
    space = CellSpace(
        layout="broad", input_shape=(1, 8, 8), classes=3, channels=4, cells=2, nodes=2
    )
    found = bnas_v2.search(space, images, replace(settings, batch=24))
    assert isinstance(found.genotype, CellGenotype)


def test_the_one_rule_of_budgets_shortens_epochs_and_nothing_else() -> None:
    for settings, passes in (
        (darts.PUBLISHED, 100),
        (pc_darts.PUBLISHED, 85),
        (bnas.PUBLISHED, 3 + 2 * 2 + 57 + 2 * 7),
        (cp_nas.PUBLISHED, 2 * 105),
        (dcp_nas.DcpNasSettings(), 2 * 50 + 4 * 50),
        (UniformSettings(), 40),
    ):
        assert settings.passes(8) == passes
        small = scaled(settings, 20_000, 2500, 8)
        assert small.share * passes * 2500 == pytest.approx(20_000)
        assert replace(small, share=1.0) == settings
    with pytest.raises(UsageError, match=r"budget of 9 images is .* of every one of the 100"):
        scaled(darts.PUBLISHED, 9, 2500, 8)


def test_an_epoch_sees_its_share_in_whole_batches(tiny: Space, images: Dataset) -> None:
    seen: list[int] = []

    def note(_done: int, _all: int, entry: dict[str, Any]) -> None:
        seen.append(entry["images"])

    settings = darts.DartsSettings(epochs=2, batch=8, share=0.5)  # of 48 images: 24, 3 batches
    darts.search(tiny, images, settings, progress=note)
    assert seen == [48, 48]  # on either half
    seen.clear()
    darts.search(tiny, images, replace(settings, batch=64), progress=note)
    assert seen == [48, 48]  # a batch is never larger than an epoch


def test_a_stage_genotype_is_what_every_strategy_gives_on_a_bars_space(
    tiny: Space, images: Dataset
) -> None:
    found = catalogue.find("uniform").search(tiny, images, QUICK["uniform"])
    assert all(isinstance(c.genotype, Genotype) for c in found.candidates)
    assert len({c.genotype for c in found.candidates}) == 3
