"""LatencyTable: failures are entries, strangers do not mix, and a thousand layers load at once."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from binas.core import record
from binas.core.errors import MeasureError, UsageError
from binas.core.layer import Layer
from binas.runtime.fit import Pair, fit_of
from binas.runtime.measure import Facts, Failure, Measurement, Plan, measured
from binas.runtime.replay import invented_fixed, replay
from binas.runtime.table import Entry, LatencyTable, compare, merge


def layer(k: int) -> Layer:
    return Layer(op="binary_conv", in_shape=(1, 8, 8, 32), out_channels=k, in_bits=1, weight_bits=1)


def took(ns: float, *doubts: str) -> Measurement:
    return measured([ns] * 20, [0] * 20, 10**6, plan=Plan(), facts=Facts(), doubts=doubts)


def table(*entries: tuple[int, Measurement | Failure], **changes: Any) -> LatencyTable:
    known: dict[str, Any] = {
        "device": "rpi4",
        "cpu": "cortex-a72",
        "arch": "aarch64",
        "kernel_version": "k1",
        "threads": 1,
        "facts": {"model": "Raspberry Pi 4 Model B Rev 1.4"},
        "entries": tuple(Entry(layer=layer(k), result=result) for k, result in entries),
        "fixed": took(7),
    }
    return LatencyTable(**{**known, **changes})


BROKEN = Failure(kind="timeout", message="did not end within 5 s")


def test_a_network_takes_the_sum_of_its_layers_and_the_fixed_cost() -> None:
    found = table((1, took(100)), (2, took(30)))
    assert found.latency_ns(layer(2)) == 30
    assert found.sum_ns([layer(1), layer(2), layer(2)]) == 167


def test_a_layer_that_failed_has_no_latency_and_says_why() -> None:
    found = table((1, BROKEN))
    assert found.lookup(layer(1)) == BROKEN and len(found.failures) == 1
    with pytest.raises(MeasureError, match="timeout, did not end within 5 s"):
        found.sum_ns([layer(1)])


def test_a_layer_of_another_space_is_an_error_and_not_zero() -> None:
    with pytest.raises(UsageError, match="no layer binary_conv 8x8x32→8x8x3"):
        table((1, took(5))).latency_ns(layer(3))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", "rpi5"),
        ("cpu", "cortex-a76"),
        ("arch", "armv7"),
        ("kernel_version", "k2"),
        ("threads", 4),
    ],
)
def test_tables_that_differ_in_what_matters_do_not_mix(name: str, value: object) -> None:
    first, second = table((1, took(5))), table((1, took(5)), **{name: value})
    for mix in (merge, compare):
        with pytest.raises(UsageError, match=f"{name} is .* and {value!r}"):
            mix(first, second)


def test_the_hosts_of_two_machines_do_not_mix() -> None:
    other = table((1, took(5)), facts={"model": "another"})
    with pytest.raises(UsageError, match=r"model is 'Raspberry .*' and 'another'"):
        merge(table((1, took(5))), other)


def test_layers_of_other_tiles_do_not_mix_and_are_compared() -> None:
    first, second = table((1, took(5)), (2, took(5))), table((2, took(4)), (3, took(9)))
    tuned = replace(second, entries=tuple(replace(e, tile="2x32 u2") for e in second.entries))
    merge(first, tuned)  # of what the first was made with, nothing is known
    first = replace(first, entries=tuple(replace(e, tile="4x16 u1") for e in first.entries))
    with pytest.raises(UsageError, match=f"1 layer .* {layer(2)} .*'4x16 u1' and '2x32 u2'"):
        merge(first, tuned)
    assert merge(first, replace(tuned, entries=tuned.entries[1:])).lookup(layer(3)) == took(9)
    assert compare(first, tuned)[1].ratio == 0.8


def test_merging_prefers_measurements_and_then_fewer_doubts() -> None:
    first = table((1, BROKEN), (2, took(20)), (3, took(30, "a", "b")), (4, took(40)))
    second = table((1, took(11)), (2, BROKEN), (3, took(33, "a")), (5, took(50)))
    both = merge(first, second)
    found = [both.latency_ns(layer(k)) for k in range(1, 6)]
    assert found == [11, 20, 33, 40, 50]
    fitted = replace(first, fit=fit_of([Pair(name=n, predicted_ns=1, measured_ns=1) for n in "ab"]))
    assert merge(fitted, second).fit is None


def test_comparing_gives_ratios_where_both_have_a_time() -> None:
    rows = compare(table((1, took(10)), (2, took(5))), table((1, took(15)), (2, BROKEN)))
    assert [row.ratio for row in rows] == [1.5, None]


def test_a_fit_says_how_far_sums_can_be_trusted() -> None:
    pairs = [
        Pair(name=str(i), predicted_ns=p, measured_ns=m)
        for i, (p, m) in enumerate([(110, 100), (190, 200), (330, 300), (300, 400)])
    ]
    fit = fit_of(pairs)
    assert fit.nets == 4 and fit.worst == pytest.approx(0.25)
    assert fit.median_abs_relative_error == pytest.approx(0.1)
    assert fit.spearman == pytest.approx(0.8)


def test_ties_share_their_rank() -> None:
    def spearman(*values: tuple[float, float]) -> float:
        return fit_of(Pair(name="", predicted_ns=p, measured_ns=m) for p, m in values).spearman

    # scipy.stats.spearmanr([1, 2, 2, 3], [1, 3, 2, 4]) = 0.948683...
    assert spearman((1, 1), (2, 3), (2, 2), (3, 4)) == pytest.approx(0.9486832980505138)
    assert spearman((1, 1), (1, 2)) == 0


def test_a_table_survives_its_file_failures_and_fit_included(tmp_path: Path) -> None:
    fit = fit_of([Pair(name=n, predicted_ns=1, measured_ns=2) for n in "ab"])
    first = table((1, took(5, "doubtful")), (2, BROKEN), fit=fit)
    record.save(first, tmp_path / "t.json")
    assert record.load(LatencyTable, tmp_path / "t.json") == first
    assert record.load(LatencyTable, tmp_path / "t.json").latency_ns(layer(1)) == 5


def test_the_index_never_reaches_the_file() -> None:
    asked, fresh = table((1, took(5))), table((1, took(5)))
    asked.latency_ns(layer(1))
    assert record.dumps(asked) == record.dumps(fresh) and asked == fresh


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"timeout"', '"tired"'),
        ('"threads":1', '"threads":"1"'),
        ('"kind"', '"kinds"'),
        ('"samples_ns":[5.0', '"samples_ns":[-5.0'),
        ('"runs_per_batch"', '"runs"'),
    ],
)
def test_a_table_with_a_fault_is_refused(old: str, new: str) -> None:
    text = record.dumps(table((1, took(5)), (2, BROKEN)))
    assert old in text
    with pytest.raises(UsageError, match=r"t\.json"):
        record.loads(LatencyTable, text.replace(old, new), where="t.json")


def test_a_table_that_says_two_things_of_one_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="the table of rpi4 holds 1 layers more than once"):
        table((1, took(5)), (2, took(6)), (1, took(7)))


def test_a_table_of_no_threads_is_refused() -> None:
    with pytest.raises(UsageError, match="the table of rpi4 is of 0 threads"):
        table((1, took(5)), threads=0)


def test_a_table_cut_in_the_middle_is_refused() -> None:
    text = record.dumps(table((1, took(5))))
    with pytest.raises(UsageError, match="is not JSON"):
        record.loads(LatencyTable, text[: len(text) // 2], where="t.json")


def test_a_thousand_layers_are_saved_and_loaded_within_a_second(tmp_path: Path) -> None:
    many = table(*((k, took(100.0 + k)) for k in range(1, 1001)))
    start = time.process_time()
    record.save(many, tmp_path / "t.json")
    read = record.load(LatencyTable, tmp_path / "t.json")
    assert read.latency_ns(layer(1000)) == 1100
    assert time.process_time() - start < 1.0


def test_replaying_gives_the_tables_own_results() -> None:
    known = table((1, took(5)), (2, BROKEN))
    assert replay([layer(2), layer(1), layer(2)], known) == [BROKEN, took(5), BROKEN]


def test_invented_results_repeat_and_say_so() -> None:
    first, second = replay([layer(32), layer(64)]), replay([layer(32), layer(64)])
    assert first == second
    assert all(isinstance(r, Measurement) and "invented" in r.doubts[0] for r in first)
    times = [r.median_ns for r in first if isinstance(r, Measurement)]
    assert 0 < times[0] < times[1]
    assert "invented" in invented_fixed().doubts[0]


def test_the_table_of_a_large_space_on_a_busy_board_is_read_again(tmp_path: Path) -> None:
    samples = tuple(4113.0703125 + i / 7 for i in range(320))
    busy = Measurement(
        samples_ns=samples, runs_per_batch=64, preemptions=(1,) * 320, yardsticks_ns=samples
    )
    large = table(*((k, busy) for k in range(1, 1201)))
    path = tmp_path / "table.json"
    record.save(large, path)
    assert path.stat().st_size < record.MAX_RECORD_BYTES
    assert record.load(LatencyTable, path) == large
