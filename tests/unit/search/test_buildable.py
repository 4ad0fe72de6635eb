"""What can be trained: the record of a trained network holds whichever kind it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from binas.core import record
from binas.search import published
from binas.search.genotype import Buildable, CellOps, Genotype
from binas.search.reference import Reference
from binas.search.retrain import Trained
from binas.search.space import Space

OPS: CellOps = ("b3", "skip", "b3")
KINDS: dict[str, Buildable] = {
    "stages": Genotype(
        space=Space(input_shape=(1, 8, 8), classes=3, stages=1),
        widths=(0,),
        normal=((OPS,),),
        reduction=(),
    ),
    "cells": published.load("DARTS_V2").genotype,
    "broad": published.load("BNASv2_CLR_v1").genotype,
    "reference": Reference(name="resnet-20", input_shape=(1, 16, 16), classes=3, channels=8),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_record_is_read_back_as_what_was_trained(kind: str, tmp_path: Path) -> None:
    trained = Trained(
        genotype=KINDS[kind],
        data="digits",
        labels=("a", "b", "c"),
        real=False,
        seed=0,
        accuracy=0.5,
        train_accuracy=0.5,
        seconds=1.0,
        sources={"table": "0123456789ab"},
    )
    record.save(trained, tmp_path / "trained.json")
    assert record.load(Trained, tmp_path / "trained.json") == trained
