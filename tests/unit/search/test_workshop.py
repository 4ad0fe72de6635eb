"""Workshop: in which order the compiler works off what a survey orders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from binas.core.layer import Layer
from binas.devices import registry
from binas.search import workshop
from binas.search.space import Space
from binas.search.survey import random_genotypes
from binas.search.workshop import DeviceWorkshop, What, compiled

SMALL = Layer(op="conv", in_shape=(1, 4, 4, 8), out_channels=8, weight_bits=32)
LARGE = replace(SMALL, in_shape=(1, 8, 8, 8))


def test_layers_come_before_networks_that_consist_of_them_and_large_ones_first(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (net,) = random_genotypes(tiny, 1, seed=0)
    orders: dict[Path, What] = {
        tmp_path / "net": net,
        tmp_path / "small": (SMALL,),
        tmp_path / "large": (LARGE,),
        tmp_path / "two": (SMALL, LARGE),
    }
    done: list[str] = []
    monkeypatch.setattr(
        workshop, "compile_one", lambda _what, _device, path: done.append(path.name)
    )
    made = compiled(DeviceWorkshop(registry.find("null"), [], jobs=1), orders, lambda *_: None)
    assert done == ["two", "large", "small", "net"]
    assert made == dict.fromkeys(orders)
