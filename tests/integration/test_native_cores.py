"""Which cores the harness uses, seen from outside while it runs: where it roams, where it stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from binas.compile.build import compile_layers
from binas.core.layer import Layer
from binas.devices import registry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="affinity is told by Linux alone")

Cores = frozenset[int]
# A machine that no yardstick calls quiet: it is waited for, half of two seconds long.
IN_VAIN = "--quiet-ns 1 --repeats 4 --min-batch-ns 1e4 --max-ns 2e9"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The harness of one small layer beside its weights."""
    folder = tmp_path_factory.mktemp("cores")
    layer = Layer(op="elementwise", in_shape=(1, 1, 1, 16), out_channels=16, stages=("relu",))
    made = compile_layers([layer], registry.find("host"), folder / "layer.binas")
    for member in ("bench", "weights.bin"):
        (folder / member).write_bytes(made.read(member))
    (folder / "bench").chmod(0o755)
    return folder


@pytest.fixture
def two() -> Cores:
    """Two of the cores that we may use."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("not run here: two cores")
    return frozenset(allowed[:2])


@contextmanager
def only(cores: Cores) -> Iterator[None]:
    """What is started meanwhile may use these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def places(folder: Path, line: str, cores: Cores) -> list[Cores]:
    """The sets of cores that a harness was on while it ran, in order; repetitions are left out."""
    with only(cores):
        child = subprocess.Popen(
            [str(folder / "bench"), *line.split()], cwd=folder, stdout=subprocess.DEVNULL
        )
    found: list[Cores] = []
    while child.poll() is None:
        now = frozenset(os.sched_getaffinity(child.pid))
        if not found or found[-1] != now:
            found.append(now)
    assert child.returncode == 0
    return found


@pytest.mark.parametrize("mode", ["time", "layers"])
def test_while_it_waits_the_harness_tries_every_core_that_it_may_use_and_no_other(
    bench: Path, two: Cores, mode: str
) -> None:
    found = places(bench, f"{mode} --weights weights.bin {IN_VAIN}", two)
    single = {frozenset([core]) for core in two}
    assert set(found) - {two} == single, "both, one at a time"
    assert found.count(min(single, key=sorted)) > 1, "and comes back to the first one"
    assert found[-1] in single, "where it measured"


def test_a_harness_that_is_told_nothing_learns_on_several_cores_and_measures_on_one(
    bench: Path, two: Cores
) -> None:
    untold = "--repeats 400 --min-batch-ns 1e6 --max-ns 1e9"
    found = places(bench, f"time --weights weights.bin {untold}", two)
    assert len(found[-1]) == 1
    assert all(cores <= two for cores in found)


def test_a_harness_that_has_a_core_of_its_own_stays_on_it(bench: Path, two: Cores) -> None:
    core = max(two)
    found = places(bench, f"time --weights weights.bin {IN_VAIN} --core {core}", two)
    assert set(found) <= {two, frozenset([core])}, "those it began with, and its own"
    assert found[-1] == {core}


@pytest.mark.parametrize("kept", ["--waits 0", "--threads 2"])
@pytest.mark.parametrize("told", ["", "--quiet-ns 1"])
def test_a_harness_that_does_not_wait_or_has_several_threads_is_left_where_it_may_be(
    bench: Path, two: Cores, kept: str, told: str
) -> None:
    plan = "--repeats 400 --min-batch-ns 1e6 --max-ns 1e9"
    assert places(bench, f"time --weights weights.bin {plan} {told} {kept}", two) == [two]


def test_a_harness_with_one_core_stays_on_it(bench: Path, two: Cores) -> None:
    core = frozenset([max(two)])
    assert places(bench, f"time --weights weights.bin {IN_VAIN}", core) == [core]
