"""The harness: what it refuses and measures, alone and under sanitizers."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from binas.compile import link
from binas.compile.build import compile_layers
from binas.core.layer import Layer
from binas.devices import registry
from binas.runtime.artifact import Artifact
from binas.runtime.cli import bench as bench_command
from tests.integration.native_network import compiled
from tests.integration.sanitizers import FAKE_PLAN, sanitizing_compiler


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """One network."""
    return compiled(tmp_path_factory.mktemp("native"), 33)


@pytest.fixture(scope="module")
def bench(artifacts: list[Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The harness of one network beside its weights and an input."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "bench").write_bytes(artifacts[0].read("bench"))
    (folder / "bench").chmod(0o755)
    weights = artifacts[0].read("weights.bin")
    (folder / "weights.bin").write_bytes(weights)
    (folder / "short.bin").write_bytes(weights[:-64])
    (folder / "damaged.bin").write_bytes(b"\x55" + weights[1:])
    (folder / "empty.bin").touch()
    size = sum(port.size_bytes for port in artifacts[0].manifest.inputs)
    (folder / "input.bin").write_bytes(bytes(size))
    (folder / "long.bin").write_bytes(bytes(size + 1))
    return folder


def call(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run the harness with arguments."""
    return subprocess.run(
        [str(folder / "bench"), *line.split()],
        cwd=folder,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},  # what lives to the end is no leak
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


RUN = "run --weights weights.bin --input input.bin --output out.bin"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "usage"),
        ("fly --weights weights.bin", "unknown mode: fly"),
        ("time", "--weights is missing"),
        ("time --weights", "an option without a value: --weights"),
        ("time --weights weights.bin --speed 3", "unknown option: --speed"),
        ("time --weights weights.bin --repeats 0", "--repeats"),
        ("time --weights weights.bin --repeats many", "not a number: many"),
        ("time --weights weights.bin --max-ns 1e9x", "not a number: 1e9x"),
        ("time --weights weights.bin --core zero", "not a number: zero"),
        ("time --weights weights.bin --core 100000", "cannot pin"),
        ("time --weights weights.bin --threads 0", "--threads"),
        ("time --weights weights.bin --threads 4294967297", "--threads"),
        ("time --weights nowhere.bin", "cannot open: nowhere.bin"),
        ("time --weights .", "."),
        ("time --weights empty.bin", "weights of another network, or damaged"),
        ("time --weights short.bin", "weights of another network, or damaged"),
        ("time --weights damaged.bin", "weights of another network, or damaged"),
        ("run --weights weights.bin", "--input and --output are needed"),
        ("run --weights weights.bin --input no.bin --output out.bin", "cannot open: no.bin"),
        ("run --weights weights.bin --input empty.bin --output out.bin", "wrong size: empty.bin"),
        ("run --weights weights.bin --input long.bin --output out.bin", "wrong size: long.bin"),
        ("run --weights weights.bin --input input.bin --output no/out.bin", "cannot write"),
        ("run --weights weights.bin --input input.bin --output /dev/full", "cannot write"),
        ("steps --weights weights.bin --input empty.bin --output o.bin", "too short: empty.bin"),
        ("steps --weights weights.bin --input no.bin --output new.bin", "cannot open: no.bin"),
    ],
)
def test_a_wrong_call_of_the_harness_exits_2_with_one_line(
    bench: Path, line: str, said: str
) -> None:
    done = call(bench, line)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("bench: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_missing_input_leaves_no_output(bench: Path) -> None:
    call(bench, "steps --weights weights.bin --input no.bin --output untouched.bin")
    assert not (bench / "untouched.bin").exists()


def test_the_harness_says_what_it_is_and_measures(bench: Path, artifacts: list[Artifact]) -> None:
    info = json.loads(call(bench, "info").stdout)
    manifest = artifacts[0].manifest
    assert info["steps"] == len(manifest.steps)
    assert info["arena_bytes"] == manifest.arena_bytes
    options = "--weights weights.bin --repeats 4 --min-batch-ns 1e4 --threads 2"
    timed = json.loads(call(bench, f"time {options}").stdout)
    assert timed["threads"] == 2
    assert 4 <= len(timed["samples_ns"]) <= 64  # until four were undisturbed, or patience ends
    assert len(timed["preemptions"]) == len(timed["yardsticks_ns"]) == len(timed["samples_ns"])
    assert min(timed["samples_ns"]) > 0 and min(timed["yardsticks_ns"]) > 0
    layers = json.loads(call(bench, f"layers {options} --seed 7").stdout)["steps"]
    assert sorted(step["index"] for step in layers) == list(range(info["steps"]))
    assert all(len(step["samples_ns"]) >= 4 for step in layers)
    some = json.loads(call(bench, f"layers {options} --only 2,0").stdout)["steps"]
    assert sorted(step["index"] for step in some) == [0, 2]
    assert "--only names no steps" in call(bench, f"layers {options} --only 2,99").stderr


def flags(process: int, size: int) -> list[str]:
    """What the kernel was told of each mapping of `size` bytes and more (VmFlags of smaps)."""
    found, large = list[str](), False
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        if line.startswith("Size:"):
            large = int(line.split()[1]) << 10 >= size
        elif line.startswith("VmFlags:") and large:
            found.append(line)
    return found


def test_weights_of_megabytes_are_in_large_pages_where_there_are_any(tmp_path: Path) -> None:
    layer = Layer(op="conv", in_shape=(1, 1, 1, 1024), out_channels=1024, weight_bits=32)
    artifact = compile_layers([layer], registry.find("host"), tmp_path / "dense.binas")
    for member in ("bench", "weights.bin"):
        (tmp_path / member).write_bytes(artifact.read(member))
    (tmp_path / "bench").chmod(0o755)
    line = [str(tmp_path / "bench"), "layers", "--weights", str(tmp_path / "weights.bin")]
    offered, given = Path("/sys/kernel/mm/transparent_hugepage").exists(), False
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as harness:
        try:
            end = time.monotonic() + 20
            while not given and time.monotonic() < end and harness.poll() is None:
                given = any(" hg" in line for line in flags(harness.pid, 4 << 20))
                time.sleep(0.05)
        finally:
            harness.kill()
    assert given == offered


def test_a_device_kept_busy_says_what_becomes_of_its_latency(artifacts: list[Artifact]) -> None:
    asked = [str(artifacts[0].path), "--device", "host", "--repeats", "2", "--cool-down", "100ms"]
    done = CliRunner().invoke(bench_command, [*asked, "--sustained", "300ms", "--json"])
    lasting = json.loads(done.stdout)["sustained"]
    assert 0.2 < lasting["seconds"] < 2
    assert lasting["first_ns"] > 0 and lasting["last_ns"] > 0
    shown = CliRunner().invoke(bench_command, [*asked, "--sustained", "300ms"]).stdout
    assert "to the first tenth" in shown


def test_where_no_machine_is_as_quick_as_asked_for_the_harness_gives_up_in_time(
    bench: Path,
) -> None:
    options = "--weights weights.bin --repeats 4 --min-batch-ns 1e4 --quiet-ns 1 --max-ns 1e6"
    timed = json.loads(call(bench, f"time {options}").stdout)
    assert 3 <= len(timed["samples_ns"]) <= 64
    assert timed["quiet_ns"] == 1


def test_a_harness_that_keeps_a_device_busy_waits_for_nothing(bench: Path) -> None:
    options = "--weights weights.bin --repeats 4 --min-batch-ns 1e4 --quiet-ns 1 --waits 0"
    begin = time.monotonic()
    timed = json.loads(call(bench, f"time {options} --max-ns 1e10").stdout)
    assert time.monotonic() - begin < 2  # a wait would last half of the ten seconds
    assert len(timed["samples_ns"]) == 4


def test_a_harness_that_was_told_of_a_slower_machine_believes_its_own_eyes(bench: Path) -> None:
    options = "--weights weights.bin --repeats 4 --min-batch-ns 1e4 --quiet-ns 1e9"
    timed = json.loads(call(bench, f"time {options}").stdout)
    assert min(timed["yardsticks_ns"]) * 0.8 < timed["quiet_ns"] < 1e9


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_the_harness_is_clean_under_sanitizers(sanitizer: str, tmp_path: Path) -> None:
    compiler = sanitizing_compiler(sanitizer, tmp_path)
    (tmp_path / "plan.c").write_text(FAKE_PLAN)
    sources = [
        *link.native_sources("model.c", "layout.c", "threads.c", "bench.c", "sampling.c"),
        tmp_path / "plan.c",
    ]
    header = link.native_sources("model.h")[0].parent
    subprocess.run(
        [
            *(compiler, "-std=gnu11", "-O1", "-g", f"-fsanitize={sanitizer}"),
            *("-fno-sanitize-recover=all", f"-I{header}", "-pthread", *map(str, sources)),
            *("-o", str(tmp_path / "bench")),
        ],
        check=True,
        capture_output=True,
    )
    (tmp_path / "weights.bin").write_bytes(bytes(64))
    x = np.arange(1024, dtype="<f4")
    (tmp_path / "input.bin").write_bytes(x.tobytes())
    done = call(tmp_path, f"{RUN} --threads 3")
    assert (done.returncode, done.stderr) == (0, "")
    y = np.frombuffer((tmp_path / "out.bin").read_bytes(), "<f4")
    # The port is [16, 8, 8] and the arena [8, 8, 16]: the same numbers, transposed.
    expected = (x + 2).reshape(64, 16).T.reshape(-1)
    np.testing.assert_array_equal(y, expected)
    timing = "time --weights weights.bin --repeats 5 --min-batch-ns 1e5 --threads 3"
    for line in (timing, timing.replace("time", "layers")):
        done = call(tmp_path, line)
        assert (done.returncode, done.stderr) == (0, "")
    steps = np.concatenate([x] * 4).astype("<f4").tobytes()
    (tmp_path / "steps.bin").write_bytes(steps)
    done = call(tmp_path, "steps --weights weights.bin --input steps.bin --output o.bin")
    assert (done.returncode, done.stderr) == (0, "")
