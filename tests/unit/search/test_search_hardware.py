"""Searches on another processor than the CPU, in bfloat16, and channels last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from binas.core.errors import UsageError
from binas.search.cells import CellSpace
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.hardware import PLAIN, Hardware, found_processor
from binas.search.run import RunFolder
from binas.search.strategy import around, bars, bnas, bnas_v2, catalogue, cp_nas, darts, dcp_nas
from binas.search.strategy import pc_darts, uniform
from binas.search.strategy.settings import Found, SearchSettings
from binas.search.strategy.task import SearchTask
from tests.unit.search import elsewhere
from tests.unit.search.conftest import TINY
from tests.unit.search.test_train import config

SIZES: dict[str, Any] = {"input_shape": (1, 8, 8), "classes": 3, "channels": 8, "nodes": 2}
OPS: dict[str, Any] = {
    "normal_ops": ("none", "max", "skip", "sep3"),
    "reduction_ops": ("skip", "avg", "dil3"),
}
CELLS = CellSpace(cells=3, form="child", binarizer="xnor", **SIZES, **OPS)
WEIGHTS = replace(CELLS, form="weights")
PCNN = replace(WEIGHTS, binarizer="pcnn")
BROAD = CellSpace(layout="broad", cells=2, form="weights", **SIZES)
ALIKE: dict[str, Any] = {"batch": 24, "optimiser": "sgd", "weight_rate": 1e-2, "samples": 2}
SHORT: dict[str, Any] = {**ALIKE, "epochs": 2}
HALF: dict[str, Any] = {
    **ALIKE,
    "collapse": 1.0,
    "repeats": 1,
    "share": 0.5,
    "validation_images": 12,
}
BNAS = bnas.BnasSettings(weight_epochs=1, joint_epochs=1, **HALF)
DCP = dcp_nas.DcpNasSettings(clip=1.0, tangent=0.1, **SHORT)
# Strategy, space, settings: every strategy, every kind of space, both curvatures.
CASES: dict[str, tuple[str, AnySpace, SearchSettings]] = {
    "bars": ("bars", TINY, bars.BarsSettings(warmup_epochs=1, biops=1e5, **SHORT)),
    "bnas": ("bnas", PCNN, BNAS),
    "bnas by bounds": ("bnas", TINY, replace(BNAS, rule="ucb", sampling="bandit")),
    "bnas-v2": ("bnas-v2", BROAD, replace(bnas_v2.PC, warmup_epochs=0, **SHORT)),
    "cp-nas": ("cp-nas", CELLS, cp_nas.CpNasSettings(**HALF)),
    "darts": ("darts", CELLS, darts.DartsSettings(**SHORT)),
    "darts, second order": ("darts", TINY, darts.DartsSettings(order=2, **SHORT)),
    "dcp-nas": ("dcp-nas", CELLS, DCP),
    "dcp-nas, exact": ("dcp-nas", WEIGHTS, replace(DCP, curvature="exact")),
    "pc-darts": ("pc-darts", TINY, pc_darts.PcDartsSettings(warmup_epochs=0, **SHORT)),
    "uniform": ("uniform", CELLS, uniform.UniformSettings(nets=2, **{**ALIKE, "epochs": 1})),
}
Log = list[dict[str, Any]]


class StopError(Exception):
    pass


def search(
    case: str,
    images: Dataset,
    hardware: Hardware,
    folder: RunFolder | None = None,
    halt: int | None = None,
) -> tuple[Found, Log]:
    """What a case finds and logs; stops after `halt` epochs."""
    name, space, settings = CASES[case]
    log: Log = []

    def progress(done: int, _in_all: int, entry: dict[str, Any]) -> None:
        log.append({key: value for key, value in entry.items() if key != "seconds"})
        if done == halt:
            raise StopError

    found = catalogue.find(name).search(
        space, images, settings, seed=1, hardware=hardware, folder=folder, progress=progress
    )
    return replace(found, seconds=0.0), log


@pytest.mark.parametrize("case", CASES)
def test_a_search_on_another_processor_mixes_no_devices_and_finds_what_one_on_the_cpu_finds(
    case: str, images: Dataset
) -> None:
    here = search(case, images, PLAIN)
    with elsewhere.hardware() as hardware:
        assert search(case, images, hardware) == here
