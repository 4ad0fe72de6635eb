"""Tables of any layers: merging is about layers, not about order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from binas.core.layer import Layer
from binas.runtime.measure import Facts, Failure, Plan, Result, measured
from binas.runtime.table import Entry, LatencyTable, compare, merge

PLAN = Plan(repeats=2)


def took(ns: float) -> Result:
    return measured([ns, ns], [0, 0], 10**8, plan=PLAN, facts=Facts())


results = st.one_of(
    st.floats(1, 1e6).map(took), st.just(Failure(kind="run", message="illegal instruction"))
)
entries = st.dictionaries(st.integers(1, 12), results, max_size=12)


def table(found: dict[int, Result]) -> LatencyTable:
    fixed = took(5)
    assert not isinstance(fixed, Failure)
    return LatencyTable(
        device="null",
        cpu="generic",
        arch="aarch64",
        kernel_version="k",
        threads=1,
        entries=tuple(
            Entry(layer=Layer(op="conv", in_shape=(1, 4, 4, 4), out_channels=k), result=result)
            for k, result in found.items()
        ),
        fixed=fixed,
    )


@given(entries, entries)
def test_a_merge_has_every_layer_once_and_never_a_failure_for_a_time(
    first: dict[int, Result], second: dict[int, Result]
) -> None:
    both = merge(table(first), table(second))
    layers = [entry.layer.out_channels for entry in both.entries]
    assert sorted(layers) == sorted({*first, *second})
    for entry in both.entries:
        k = entry.layer.out_channels
        known = [found[k] for found in (first, second) if k in found]
        assert entry.result in known
        if isinstance(entry.result, Failure):
            assert all(isinstance(result, Failure) for result in known)


@given(entries)
def test_a_table_merged_with_itself_is_itself(found: dict[int, Result]) -> None:
    assert merge(table(found), table(found)) == table(found)


@given(entries, entries)
def test_a_comparison_turned_round_has_the_inverse_ratios(
    first: dict[int, Result], second: dict[int, Result]
) -> None:
    one = {row.layer: row.ratio for row in compare(table(first), table(second))}
    other = {row.layer: row.ratio for row in compare(table(second), table(first))}
    assert set(one) == set(other)
    for layer, ratio in one.items():
        back = other[layer]
        assert (ratio is None) == (back is None)
        if ratio is not None and back is not None:
            assert abs(ratio * back - 1) < 1e-9
