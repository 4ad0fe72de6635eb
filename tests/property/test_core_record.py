"""Records survive the way to disk and back, whatever they hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar, Literal

from hypothesis import given
from hypothesis import strategies as st

from binas.core import record

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A part of a record."""

    kind: Literal["a", "b"]
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A record with every shape of field that ours have."""

    SCHEMA: ClassVar[str] = "binas.test-tree/1"

    name: str
    shape: tuple[int, int]
    flags: tuple[bool, ...]
    leaves: tuple[Leaf, ...]
    versions: dict[str, str]
    note: str | None = None


TREES = st.builds(
    Tree,
    name=TEXT,
    shape=st.tuples(st.integers(-(2**53), 2**53), st.integers(-(2**53), 2**53)),
    flags=st.lists(st.booleans(), max_size=4).map(tuple),
    leaves=st.lists(
        st.builds(
            Leaf,
            kind=st.sampled_from(["a", "b"]),
            ratio=st.floats(allow_nan=False, allow_infinity=False),
        ),
        max_size=3,
    ).map(tuple),
    versions=st.dictionaries(TEXT, TEXT, max_size=4),
    note=st.none() | TEXT,
)


@given(TREES)
def test_a_record_read_back_is_the_record_written(tree: Tree) -> None:
    again = record.loads(Tree, record.dumps(tree), where="memory")
    assert again == tree
    assert record.digest(again) == record.digest(tree)


@given(TREES)
def test_people_and_machines_read_the_same_record(tree: Tree) -> None:
    assert record.loads(Tree, record.dumps(tree, indent=1), where="memory") == tree


@given(TREES, st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order_of_keys(tree: Tree, random: object) -> None:
    data = json.loads(record.dumps(tree))
    keys = list(data)
    random.shuffle(keys)  # type: ignore[attr-defined]
    shuffled = json.dumps({key: data[key] for key in keys})
    assert record.digest(record.loads(Tree, shuffled, where="memory")) == record.digest(tree)


@given(TREES, TREES)
def test_different_records_have_different_digests(first: Tree, second: Tree) -> None:
    assert (record.digest(first) == record.digest(second)) == (
        record.dumps(first) == record.dumps(second)
    )
