"""Checkpoints that do not fit the run: each is refused by name, with the way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from binas.core.errors import UsageError
from binas.search.data import Dataset
from binas.search.genotype import AnyGenotype
from binas.search.run import RunFolder
from binas.search.space import Space
from binas.search.strategy import catalogue
from binas.search.strategy.cell_ground import CellGround
from binas.search.strategy.ground import Ground
from binas.search.strategy.layout_ground import LayoutGround
from binas.search.train import Task, fit
from tests.unit.search.runs import Stop, config, stop_after

Tensors = dict[str, Tensor]


def task(name: str, tiny: Space, images: Dataset) -> Task:
    """A search of two epochs, not begun."""
    strategy = catalogue.find(name)
    ground: Ground[Space, AnyGenotype] = (
        LayoutGround(tiny, None) if name == "bars" else CellGround(tiny, None)  # type: ignore[assignment]
    )
    settings = strategy.settings(epochs=2, warmup_epochs=0, batch=48)  # type: ignore[call-arg]
    return strategy.task(ground, images, settings, 0)


def begun(name: str, tiny: Space, images: Dataset, folder: Path) -> Path:
    """The checkpoint of its first epoch, as written before runs were noted in it."""
    with pytest.raises(Stop):
        fit(task(name, tiny, images), RunFolder(folder, config()), stop_after(1))
    path = folder / "checkpoint.safetensors"
    changed(path, lambda _: None)
    return path


def changed(path: Path, change: Callable[[Tensors], object]) -> None:
    """Write the file anew with other tensors."""
    with safe_open(path, "pt") as file:
        notes = {key: text for key, text in file.metadata().items() if key != "request"}
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, notes)


def first(tensors: Tensors, start: str) -> str:
    """The first tensor whose name starts so."""
    return next(name for name in sorted(tensors) if name.startswith(start))


CHANGES: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "no table": (lambda t: t.pop(first(t, "table.")), r"holds no tensor table\.\w+, which"),
    "no weight": (lambda t: t.pop(first(t, "net.child")), r"holds no tensor net\.child\."),
    "no generator": (lambda t: t.pop("generator"), "holds no tensor generator"),
    "another shape": (
        lambda t: t.update(generator=torch.zeros(3, dtype=torch.uint8)),
        r"holds generator as uint8 \[3\], expected uint8 \[5056\]",
    ),
    "another type": (
        lambda t: t.update({(name := first(t, "table.")): t[name].half()}),
        r"as float16 .*, expected float32",
    ),
    "half a moment": (
        lambda t: t.pop(next(n for n in t if n.endswith("exp_avg"))),
        r"does not fit this run: there is no optimiser\..*exp_avg",
    ),
    "another's moment": (
        lambda t: t.update({next(n for n in t if n.endswith("exp_avg")): torch.zeros(7)}),
        r"does not fit this run: optimiser\..*exp_avg is \[7\], its parameter \[",
    ),
    "a moment too many": (
        lambda t: t.update({f"{first(t, 'optimiser.').split('.')[0]}.weights.999.step": one()}),
        r"optimiser\.weights\.999\.step is of no parameter",
    ),
    "a layer too many": (lambda t: t.update({"net.child.more": one()}), "does not fit this run"),
}


def one() -> Tensor:
    return torch.ones(())


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_that_lacks_or_twists_a_tensor_is_refused(
    tiny: Space, images: Dataset, tmp_path: Path, name: str
) -> None:
    path = begun("darts", tiny, images, tmp_path)
    change, says = CHANGES[name]
    changed(path, change)
    with pytest.raises(UsageError, match=says) as caught:
        fit(task("darts", tiny, images), RunFolder(tmp_path, config()))
    assert str(path) in str(caught.value)
    assert caught.value.hint == f"delete {tmp_path}"
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1, "nothing was trained"


@pytest.mark.parametrize(("theirs", "ours"), [("darts", "bars"), ("bars", "darts")])
def test_a_strategy_does_not_go_on_from_the_checkpoint_of_another(
    tiny: Space, images: Dataset, tmp_path: Path, theirs: str, ours: str
) -> None:
    begun(theirs, tiny, images, tmp_path)
    with pytest.raises(UsageError, match=r"checkpoint\.safetensors holds no tensor "):
        fit(task(ours, tiny, images), RunFolder(tmp_path, config()))


@pytest.mark.parametrize("name", ["bars", "darts", "pc-darts", "dcp-nas"])
def test_its_own_checkpoint_it_goes_on_from_also_one_of_before_runs_were_noted(
    tiny: Space, images: Dataset, tmp_path: Path, name: str
) -> None:
    begun(name, tiny, images, tmp_path / "two")
    once = fit(task(name, tiny, images), RunFolder(tmp_path / "one", config()))
    twice = fit(task(name, tiny, images), RunFolder(tmp_path / "two", config()))
    for entry in (*once, *twice):
        del entry["seconds"]
    assert json.dumps(twice) == json.dumps(once)
