"""Two spaces as small as they can be, data that can be learnt, and prices invented per layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from binas.core.layer import Layer
from binas.devices import registry
from binas.devices.device import Device
from binas.devices.null import FIXED_NS, invented_ns
from binas.search import survey
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.menu import Menu, menu
from binas.search.space import Space
from binas.search.strategy.cell_ground import CellGround
from binas.search.survey import random_genotypes

TINY = Space(input_shape=(1, 8, 8), classes=3, channels=8, stages=2, widths=(0.5, 1.0))
# A stage may be empty, cells may pool, the image is not square.
HOLLOW = Space(
    input_shape=(2, 8, 12),
    classes=3,
    channels=8,
    stages=2,
    min_cells=0,
    widths=(0.25, 0.5, 1.0),
    stem_stride=1,
    normal_ops=("none", "skip", "b3", "pool"),
)


@dataclass(frozen=True, slots=True)
class Invented:
    """Prices that depend on the layer alone, and on `scale`."""

    scale: float = 1.0
    fixed_ns: float = FIXED_NS

    def latency_ns(self, layer: Layer) -> float:
        """As the null device says."""
        return self.scale * invented_ns(layer)


@pytest.fixture(autouse=True)
def repeatable(one_thread: None) -> None:
    """With one thread the same command gives the same bits."""


@pytest.fixture(scope="session", params=[TINY, HOLLOW], ids=["tiny", "hollow"])
def space(request: pytest.FixtureRequest) -> Space:
    """Each of the two spaces."""
    found: Space = request.param
    return found


@pytest.fixture(scope="session")
def tiny() -> Space:
    """The plain space."""
    return TINY


@pytest.fixture(scope="session")
def hollow() -> Space:
    """The space with empty stages."""
    return HOLLOW


@pytest.fixture(scope="session")
def menu_of_space() -> Callable[[Space], Menu]:
    """Menus, planned once: it takes seconds."""
    kept: dict[Space, Menu] = {}

    def find(space: Space) -> Menu:
        if space not in kept:
            kept[space] = menu(space)
        return kept[space]

    return find


@pytest.fixture(scope="session")
def lut_of(menu_of_space: Callable[[Space], Menu]) -> Callable[[Space], Lut]:
    """A menu with invented prices."""
    return lambda space: Lut.of(menu_of_space(space), Invented())


@pytest.fixture
def device() -> Device:
    """The device that is none."""
    return registry.find("null")


@pytest.fixture
def layers(
    tiny: Space, menu_of_space: Callable[[Space], Menu], monkeypatch: pytest.MonkeyPatch
) -> tuple[Layer, ...]:
    """The layers of the plain space, which is planned once only."""
    found = menu_of_space(tiny)

    def planned(_space: Space, *, progress: Callable[[int, int], None] | None = None) -> Menu:
        if progress is not None:
            progress(1, 1)
        return found

    monkeypatch.setattr(survey, "plan_menu", planned)
    return found.layers


@pytest.fixture
def genotype(tiny: Space) -> Genotype:
    """One network of the plain space."""
    return random_genotypes(tiny, 1, seed=3)[0]


@pytest.fixture
def ground(tiny: Space) -> CellGround:
    """Cells of two stages of two normal cells, one reduction; without a table."""
    return CellGround(tiny, None)


@pytest.fixture(scope="session")
def images() -> Dataset:
    """Three classes of 8x8 images: a bright bar in one of three places, and noise."""
    generator = np.random.default_rng(0)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(count, dtype=np.int64) % 3
        x = generator.normal(0, 0.3, (count, 1, 8, 8))
        for image, place in zip(x, y, strict=True):
            image[0, :, 2 * place : 2 * place + 2] += 1
        return x.astype(np.float32), y

    (x_train, y_train), (x_test, y_test) = draw(96), draw(30)
    return Dataset(
        name="bars",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        labels=("left", "middle", "right"),
        normalisation="none",
    )
