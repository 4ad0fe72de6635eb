"""Genotypes: the file gives the same network back, and what the space lacks is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from binas.core import record
from binas.core.errors import UsageError
from binas.search.genotype import CellOps, Genotype
from binas.search.space import Space
from binas.search.survey import random_genotypes

CELL: CellOps = ("b3", "none", "skip")


def test_a_file_gives_the_same_genotype_back(space: Space, tmp_path: Path) -> None:
    for genotype in random_genotypes(space, 20, seed=1):
        record.save(genotype, tmp_path / "g.json")
        assert record.load(Genotype, tmp_path / "g.json") == genotype


def test_the_digest_is_of_the_choices_and_of_the_space(genotype: Genotype) -> None:
    again = record.loads(Genotype, record.dumps(genotype, indent=2), where="text")
    assert record.digest(again) == record.digest(genotype)
    other = replace(genotype, space=replace(genotype.space, input_shape=(1, 16, 16)))
    assert record.digest(other) != record.digest(genotype)
    widths = tuple(1 - width for width in genotype.widths)
    assert record.digest(replace(genotype, widths=widths)) != record.digest(genotype)


def test_the_line_for_people_names_widths_and_operations(tiny: Space) -> None:
    genotype = Genotype(
        space=tiny, widths=(0, 1), normal=((CELL,), (CELL, CELL)), reduction=(CELL,)
    )
    assert str(genotype) == ("[0.5: b3·none·skip] b3·none·skip [1: b3·none·skip b3·none·skip]")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"widths": (0,)}, "stages"),
        ({"normal": ((CELL,),)}, "stages: found 1, expected 2"),
        ({"reduction": ()}, "reduction cells: found 0, expected 1"),
        ({"widths": (0, 2)}, "width of stage 1: found 2, expected 0 to 1"),
        ({"widths": (-1, 0)}, "width of stage 0: found -1"),
        ({"normal": ((), (CELL,))}, "cells of stage 0: found 0"),
        ({"normal": ((CELL,) * 3, (CELL,))}, "cells of stage 0: found 3"),
        ({"normal": ((("b3", "skip"),), (CELL,))}, "edges of stage 0 cell 0: found 2, expected 3"),
        ({"normal": ((CELL,), (("b3", "pool", "b3"),))}, "an operation of stage 1 cell 0"),
        ({"reduction": (("none",) * 3,)}, "reduction 0: found none·none·none"),
        ({"normal": ((CELL,), (("b3", "none", "none"),))}, "stage 1 cell 0: found b3·none·none"),
    ],
)
def test_what_the_space_does_not_hold_is_named(
    tiny: Space, change: dict[str, Any], says: str
) -> None:
    good: dict[str, Any] = {
        "space": tiny,
        "widths": (0, 1),
        "normal": ((CELL,), (CELL,)),
        "reduction": (CELL,),
    }
    Genotype(**good)
    with pytest.raises(UsageError) as caught:
        Genotype(**{**good, **change})
    assert says in str(caught.value)
    assert "binas-search run" in caught.value.hint


@pytest.mark.parametrize(
    ("corrupt", "says"),
    [
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: text.replace("binas.genotype/1", "binas.genotype/9"), "binas.genotype/9"),
        (lambda text: text.replace('"b3"', '"b4"'), "Input should be"),
        (lambda text: text.replace('"widths":[', '"widths":[7,', 1), "file.json"),
        (lambda text: text.replace('"classes":3', '"classes":0'), "classes is 0"),
        (lambda text: json.dumps({**json.loads(text), "more": 1}), "more: "),
        (lambda _: "[]", "holds schema None"),
    ],
)
def test_a_corrupt_file_is_refused_by_name(genotype: Genotype, corrupt: Any, says: str) -> None:
    text = corrupt(record.dumps(genotype))
    with pytest.raises(UsageError) as caught:
        record.loads(Genotype, text, where="file.json")
    assert "file.json" in str(caught.value)
    assert says in str(caught.value)
