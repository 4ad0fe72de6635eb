"""Survey: chunks are kept, failures are entries, and another kernel's numbers are never reused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from binas.core.errors import CompileError, TransportError, UsageError
from binas.core.layer import Layer
from binas.devices import registry
from binas.devices.device import Device
from binas.devices.null import FIXED_NS, invented_ns
from binas.runtime.measure import Failure, Measurement, Plan, Result
from binas.runtime.replay import invented, invented_fixed
from binas.search import survey
from binas.search.cost import layers_of
from binas.search.genotype import Genotype
from binas.search.menu import Menu
from binas.search.space import Space
from binas.search.survey import CHUNK, build_table, layers_of_space, menu_of, random_genotypes
from binas.search.workshop import Job


@dataclass
class Scripted:
    """A workshop that invents times and fails where it is told to."""

    version: str = "k1"
    broken: frozenset[Layer] = frozenset()  # cannot be compiled, nor can what shares its artifact
    dying: frozenset[Layer] = frozenset()  # kills the program that measures it
    unstable: frozenset[Layer] = frozenset()  # fails alone
    lost_after: int = 10**9
    at: dict[Path, tuple[Layer, ...]] = field(default_factory=dict)
    measured: list[Layer] = field(default_factory=list)
    networks: dict[Path, Genotype] = field(default_factory=dict)

    def compile_layers(self, layers: Sequence[Layer], path: Path) -> None:
        """An empty file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def compile_chunks(
        self, jobs: Sequence[Job], progress: Callable[[int, int], None]
    ) -> list[CompileError | None]:
        """Empty files; remembers what is in them."""
        errors: list[CompileError | None] = []
        for layers, path in jobs:
            bad = self.broken & set(layers)
            errors.append(CompileError("no such kernel") if bad else None)
            if not bad:
                path.touch()
                self.at[path] = layers
            progress(len(errors), len(jobs))
        return errors

    def compile_network(self, genotype: Genotype, path: Path) -> None:
        """An empty file that stands for a network."""
        self.networks[path] = genotype
        path.touch()

    def kernel_version(self, path: Path) -> str:
        """As told."""
        return self.version

    def layers(self, path: Path, plan: Plan) -> list[Result]:
        """Invented times of what is in the file."""
        chunk = self.at[path]
        if len(self.measured) >= self.lost_after:
            raise TransportError("the link broke")
        self.measured += chunk
        if self.dying & set(chunk):
            return [Failure(kind="run", message="it died")] * len(chunk)
        return [
            Failure(kind="unstable", message="it wobbles")
            if layer in self.unstable
            else invented(invented_ns(layer), plan)
            for layer in chunk
        ]

    def time(self, path: Path, plan: Plan) -> Measurement:
        """The sum of a network's invented times, or the fixed cost."""
        if path not in self.networks:
            return invented_fixed()
        return invented(sum(map(invented_ns, layers_of(self.networks[path]))) + FIXED_NS, plan)


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
    monkeypatch.setattr(survey, "menu", lambda _space, progress=None: found)
    return found.layers


def test_a_table_has_every_layer_and_its_sum_predicts_networks(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    built = build_table(
        tiny,
        device,
        tmp_path,
        workshop=Scripted(),
        fit_nets=3,
        facts={"model": "none"},
        progress=lambda *what: told.append(what),
    )
    table = built.table
    assert tuple(entry.layer for entry in table.entries) == layers
    assert all(table.latency_ns(layer) == invented_ns(layer) for layer in layers)
    assert (table.device, table.kernel_version, table.threads) == (device.name, "k1", 1)
    assert table.facts == {"model": "none"}
    assert built.reused == 0
    assert table.fit is not None
    assert table.fit.nets == 3
    assert table.fit.worst < 1e-9
    assert [total for stage, done, total in told if stage == "fit" and done == total] == [3]
    assert [path.name for path in tmp_path.glob("*.binas")] == ["nothing.binas"]


def test_a_second_build_measures_nothing(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    first = build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=0)
    again = Scripted()
    second = build_table(tiny, device, tmp_path, workshop=again, fit_nets=0)
    assert again.measured == []
    assert second.reused == len(layers)
    assert second.table == first.table


def test_a_build_whose_link_broke_goes_on_with_the_next_chunk(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    with pytest.raises(TransportError):
        build_table(tiny, device, tmp_path, workshop=Scripted(lost_after=2 * CHUNK), fit_nets=0)
    again = Scripted()
    built = build_table(tiny, device, tmp_path, workshop=again, fit_nets=0)
    assert built.reused == 2 * CHUNK
    assert again.measured == list(layers[2 * CHUNK :])
    assert len(built.table.entries) == len(layers)


def test_numbers_of_another_kernel_or_plan_or_cpu_or_board_are_not_reused(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=0, facts={"model": "a"})
    longer = replace(survey.TABLE_PLAN, repeats=30)
    other = registry.find("rpi4")
    for workshop, board, plan, model in (
        (Scripted(version="k2"), device, survey.TABLE_PLAN, "a"),
        (Scripted(), device, longer, "a"),
        (Scripted(), other, survey.TABLE_PLAN, "a"),
        (Scripted(), device, survey.TABLE_PLAN, "b"),
    ):
        built = build_table(
            tiny, board, tmp_path, workshop=workshop, plan=plan, fit_nets=0, facts={"model": model}
        )
        assert built.reused == 0
        assert built.table.kernel_version == workshop.version
        assert workshop.measured == list(layers)


@pytest.mark.parametrize(
    ("how", "kind", "says"),
    [("broken", "compile", "no such kernel"), ("dying", "run", "it died")],
)
def test_a_chunk_that_fails_is_taken_apart_so_that_one_layer_fails_alone(
    tiny: Space,
    device: Device,
    layers: tuple[Layer, ...],
    tmp_path: Path,
    *,
    how: str,
    kind: str,
    says: str,
) -> None:
    bad = layers[CHUNK + 3]
    workshop = Scripted(**{how: frozenset({bad})})  # type: ignore[arg-type]
    built = build_table(tiny, device, tmp_path, workshop=workshop, fit_nets=2)
    assert [entry.layer for entry in built.table.failures] == [bad]
    assert built.table.lookup(bad) == Failure(kind=kind, message=says)  # type: ignore[arg-type]
    assert built.table.fit is None
    again = Scripted()
    second = build_table(tiny, device, tmp_path, workshop=again, fit_nets=0)
    assert again.measured == list(layers[CHUNK : 2 * CHUNK])
    assert second.reused == len(layers) - CHUNK
    assert not second.table.failures


def test_a_layer_that_fails_alone_leaves_its_chunk_measured(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    workshop = Scripted(unstable=frozenset({layers[5]}))
    built = build_table(tiny, device, tmp_path, workshop=workshop, fit_nets=0)
    assert [entry.layer for entry in built.table.failures] == [layers[5]]
    assert workshop.measured == list(layers)


def test_a_damaged_chunk_is_measured_again(
    tiny: Space, device: Device, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=0)
    damaged = sorted(tmp_path.glob("chunk-*.json"))[0]
    damaged.write_text("{")
    again = Scripted()
    built = build_table(tiny, device, tmp_path, workshop=again, fit_nets=0)
    assert 0 < len(again.measured) <= CHUNK
    assert built.reused == len(layers) - len(again.measured)


def test_a_fit_over_one_network_is_refused(tiny: Space, device: Device, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a fit over one network says nothing"):
        build_table(tiny, device, tmp_path, workshop=Scripted(), fit_nets=1)
    assert not list(tmp_path.iterdir())


def test_a_menu_is_kept_for_its_space_and_planner(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(tiny, nodes=1)
    found = menu_of(small, tmp_path)
    monkeypatch.setattr(survey, "menu", lambda *_args, **_named: pytest.fail("planned again"))
    assert menu_of(small, tmp_path) == found
    assert layers_of_space(small, tmp_path) == found.layers
    with pytest.raises(pytest.fail.Exception):
        menu_of(replace(small, classes=4), tmp_path)
    monkeypatch.setattr(survey, "_planner_digest", lambda: "another")
    with pytest.raises(pytest.fail.Exception):
        menu_of(small, tmp_path)


def test_random_networks_come_from_their_seed(tiny: Space) -> None:
    assert random_genotypes(tiny, 5, 1) == random_genotypes(tiny, 5, 1)
    assert random_genotypes(tiny, 5, 1) != random_genotypes(tiny, 5, 2)
