"""Session: the harness's protocol against a real process, and what happens when it misbehaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from binas.core import record
from binas.core.errors import DeviceError, MeasureError, TimedOutError, UsageError
from binas.devices.device import Device, LinkSettings
from binas.devices.host import HostLink
from binas.devices.null import NullLink, invented_ns
from binas.devices.probe import host_device
from binas.devices.registry import connect, find
from binas.runtime import harness
from binas.runtime.artifact import Artifact
from binas.runtime.measure import Failure, Measurement, Plan
from binas.runtime.replay import INVENTED, invented
from binas.runtime.session import Session
from binas.runtime.table import Entry, LatencyTable

PLAN = Plan(repeats=4, warmup=0, min_batch_ns=1000, max_ns=1_000_000)


@pytest.fixture
def link() -> Iterator[HostLink]:
    with HostLink(host_device()) as made:
        yield made


def mood(link: HostLink, name: str, tmp_path: Path) -> None:
    (tmp_path / "mood").write_text(name)
    link.put(tmp_path / "mood", "mood")


def test_a_run_gives_every_output_in_the_shape_of_its_port(
    net: Artifact, link: HostLink, x: np.ndarray
) -> None:
    with Session(net, link) as session:
        assert session.run({"x": x})["y"].tolist() == [[4.0, -2.0, -1.0, 0.0]]


def test_steps_run_on_the_given_values_and_not_on_each_others(
    net: Artifact, link: HostLink
) -> None:
    taps = {**net.taps(), "m": np.full((1, 1, 1, 4), -1.5, dtype=np.float32)}
    with Session(net, link) as session:
        got = session.steps(taps)
    assert got["m"].ravel().tolist() == [3.0, -3.0, -2.0, -1.0]
    assert got["y"].ravel().tolist() == [-0.5] * 4
    assert got["b"].dtype == np.uint32 and got["b"].tolist() == [[[[0]]]]


def test_a_measurement_has_every_sample_and_the_facts(net: Artifact, link: HostLink) -> None:
    with Session(net, link) as session:
        found = session.timing(PLAN)
    assert found.steady.samples_ns == (300.0, 301.0, 302.0, 303.0)
    assert (found.load_ns, found.first_ns) == (1000, 900)
    assert found.steady.facts.threads == 1
    assert found.steady.facts.load is not None


def test_threads_reach_the_harness(net: Artifact, link: HostLink) -> None:
    with Session(net, link, threads=2) as session:
        assert session.time(PLAN).facts.threads == 2


def test_threads_that_the_harness_has_no_seat_for_are_refused_before_anything_is_copied(
    net: Artifact, link: HostLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(*_: object, **__: object) -> None:
        raise AssertionError("copied")

    monkeypatch.setattr(HostLink, "put", put)
    for threads in (0, harness.MAX_THREADS + 1):
        with pytest.raises(UsageError, match=f"threads is {threads}, expected 1 to 32"):
            Session(net, link, threads=threads)


def test_the_harness_has_as_many_seats_as_we_know_of() -> None:
    header = resources.files("binas.runtime") / "native" / "threads.h"
    assert f"#define BINAS_MAX_THREADS {harness.MAX_THREADS}\n" in header.read_text()


def test_a_pinned_device_pins_one_thread_and_leaves_several_free(net: Artifact) -> None:
    pinned = replace(host_device(), pin=0)
    with HostLink(pinned) as link:
        assert Session(net, link).time(PLAN).facts.core == 0
        assert Session(net, link, threads=2).time(PLAN).facts.core is None


def test_layers_come_in_plan_order(net: Artifact, link: HostLink) -> None:
    with Session(net, link) as session:
        first, second = session.layers(PLAN, seed=3)
    assert isinstance(first, Measurement) and first.samples_ns[0] == 100
    assert isinstance(second, Measurement) and second.samples_ns[0] == 200


def test_a_layer_that_the_harness_leaves_out_is_a_failure(
    net: Artifact, link: HostLink, tmp_path: Path
) -> None:
    mood(link, "half", tmp_path)
    first, second = Session(net, link).layers(PLAN)
    assert isinstance(first, Measurement)
    assert second == Failure(kind="run", message="bench said nothing of step 1")


def test_a_harness_that_refuses_fails_every_layer_with_its_own_words(
    net: Artifact, link: HostLink, tmp_path: Path
) -> None:
    mood(link, "refuse", tmp_path)
    for result in Session(net, link).layers(PLAN):
        assert isinstance(result, Failure) and result.kind == "run"
        assert "step 1: status 7" in result.message
    with pytest.raises(DeviceError, match="exit status 3: step 1: status 7"):
        Session(net, link).time(PLAN)


def test_a_harness_that_hangs_is_a_timeout(
    net: Artifact, link: HostLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binas.runtime.session.START_S", 0.3)
    mood(link, "hang", tmp_path)
    session = Session(net, link)
    assert [r.kind for r in session.layers(PLAN) if isinstance(r, Failure)] == ["timeout"] * 2
    with pytest.raises(TimedOutError, match="did not end within"):
        session.time(PLAN)


def test_an_answer_that_is_no_json_is_named(net: Artifact, link: HostLink, tmp_path: Path) -> None:
    mood(link, "chatty", tmp_path)
    with pytest.raises(MeasureError, match="'hello\\\\n', expected one JSON object"):
        Session(net, link).time(PLAN)


def test_an_answer_without_samples_is_no_measurement(
    net: Artifact, link: HostLink, tmp_path: Path
) -> None:
    mood(link, "nothing", tmp_path)
    with pytest.raises(MeasureError, match="nothing usable"):
        Session(net, link).time(PLAN)


def test_an_output_of_another_length_is_refused(
    net: Artifact, link: HostLink, tmp_path: Path, x: np.ndarray
) -> None:
    mood(link, "long", tmp_path)
    with pytest.raises(MeasureError, match=r"wrote 20 bytes .* expected 16"):
        Session(net, link).run({"x": x})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("z", np.zeros((1, 4), np.float32), "no input 'z'"),
        ("x", np.zeros((4, 1), np.float32), r"shape \[4, 1\], expected \[1, 4\]"),
        ("x", np.zeros((1, 4)), "is float64, expected float32"),
        ("x", np.array([[0, 1, np.nan, 2]], np.float32), "NaN"),
        ("x", np.array([[0, 1, np.inf, 2]], np.float32), "infinite"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(
    net: Artifact, link: HostLink, name: str, value: np.ndarray, says: str
) -> None:
    with Session(net, link) as session, pytest.raises(UsageError, match=says):
        session.run({name: value})


def test_a_missing_input_is_named(net: Artifact, link: HostLink) -> None:
    with pytest.raises(UsageError, match="no value for input 'x'"):
        Session(net, link).run({})


class Untouchable(NullLink):
    def put(self, local: Path, name: str, *, executable: bool = False) -> None:
        raise AssertionError(f"{name} was sent")


def test_an_artifact_of_another_architecture_is_refused_before_anything_is_sent(
    make_net: Callable[..., Artifact],
) -> None:
    board = Device(name="b", title="a board", arch="armv7", cpu="cortex-a7")
    with pytest.raises(UsageError, match=r"is for aarch64 .*, b is armv7") as caught:
        Session(make_net("aarch64"), Untouchable(board))
    assert "binas-compile MODEL.onnx --device b" in caught.value.hint


def test_an_artifact_that_needs_more_than_the_cpu_has_is_refused_before_anything_is_sent(
    make_net: Callable[..., Artifact],
) -> None:
    board = Device(name="b", title="a board", arch="aarch64", cpu="cortex-a72")
    with pytest.raises(UsageError, match=r"b \(cortex-a72\) lacks asimddp"):
        Session(make_net("aarch64", features=("asimd", "asimddp")), Untouchable(board))


def test_a_null_device_gives_times_that_say_what_they_are(
    make_net: Callable[..., Artifact],
) -> None:
    device = Device(
        name="null", title="", arch="aarch64", cpu="generic", link=LinkSettings(kind="null")
    )
    with Session(make_net("aarch64"), NullLink(device, [1e5, 2e5])) as session:
        assert session.time(PLAN).doubts[0] == INVENTED
        results = session.layers(PLAN)
    assert [r.median_ns for r in results if isinstance(r, Measurement)] == [1e5, 2e5]
    assert all(INVENTED in r.doubts for r in results if isinstance(r, Measurement))


def test_a_null_device_without_times_invents_one_for_each_layer(
    make_net: Callable[..., Artifact],
) -> None:
    net = make_net("aarch64")
    with connect(find("null")) as link, Session(net, link) as session:
        results = session.layers(PLAN)
    known = [invented_ns(step.layer) for step in net.manifest.steps]
    assert [r.median_ns for r in results if isinstance(r, Measurement)] == pytest.approx(known)


def test_a_null_device_replays_a_table_and_says_so(
    make_net: Callable[..., Artifact], tmp_path: Path
) -> None:
    net = make_net("aarch64")
    steps = net.manifest.steps
    table = LatencyTable(
        device="desk",
        cpu="cortex-a72",
        arch="aarch64",
        kernel_version="k1",
        threads=1,
        entries=tuple(
            Entry(layer=step.layer, result=invented(ns))
            for step, ns in zip(steps, (1e5, 3e5), strict=True)
        ),
        fixed=invented(7e3),
    )
    record.save(table, tmp_path / "desk.json")
    link = LinkSettings(kind="null", table=str(tmp_path / "desk.json"))
    device = Device(name="null", title="", arch="aarch64", cpu="generic", link=link)
    with connect(device) as null, Session(net, null) as session:
        whole, layers = session.time(PLAN), session.layers(PLAN)
    assert [r.median_ns for r in layers if isinstance(r, Measurement)] == [1e5, 3e5]
    assert whole.median_ns == pytest.approx(4e5 + 7e3)
    assert whole.doubts[0].startswith(INVENTED) and "desk.json" in whole.doubts[0]


def test_nothing_stays_on_the_device(net: Artifact, x: np.ndarray) -> None:
    with HostLink(host_device()) as link, Session(net, link) as session:
        session.run({"x": x})
        folder = link._directory
        assert folder.exists()
    assert not folder.exists()


def test_a_clock_that_jumps_gives_no_measurement() -> None:
    answer = {"samples_ns": [1e6, 1e6, 5e9], "runs_per_batch": 4, "preemptions": [0, 0, 0]}
    harness.must_keep_time(answer, 21e9)
    with pytest.raises(MeasureError, match=r"20\.01 s were measured in a call of 0\.50 s"):
        harness.must_keep_time(answer, 0.5e9)
    with pytest.raises(MeasureError, match="it jumped"):
        harness.must_keep_time({"steps": [answer, answer]}, 21e9)


def test_a_harness_whose_clock_runs_fast_is_found_out(
    make_net: Callable[..., Artifact], link: HostLink, tmp_path: Path
) -> None:
    answer = '{"samples_ns": [9e9, 9e9], "runs_per_batch": 1, "preemptions": [0, 0]}'
    bench = tmp_path / "fast"
    bench.write_text(f"#!/bin/sh\necho '{answer}'\n")
    with Session(make_net(bench=bench), link) as session:
        with pytest.raises(MeasureError, match="clock says that 18"):
            session.time(PLAN)
        assert all(isinstance(result, Failure) for result in session.layers(PLAN))
