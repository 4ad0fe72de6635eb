"""The C interface through ctypes, the harness's refusals, and the pool under ThreadSanitizer."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from binas.compile import link
from binas.compile.build import compile_layers, compile_model
from binas.compile.model import BinaryModel, ModelWriter
from binas.core import record
from binas.core.errors import CompileError, UsageError
from binas.core.layer import Layer
from binas.devices import registry
from binas.runtime.artifact import MEMBERS, Artifact, load
from binas.runtime.cli import bench as bench_command
from binas.runtime.library import Library
from tests.integration.sanitizers import FAKE_PLAN, sanitizing_compiler

OK, NULL, SIZE, UNALIGNED, WEIGHTS, THREADS, RANGE, KERNEL, STATE = range(9)
SIZES = ("context_bytes", "arena_bytes", "weights_bytes", "input_count", "output_count")
Array = NDArray[Any]
ROOT = Path(__file__).resolve().parents[2]


def network(channels: int) -> BinaryModel:
    """Two binary convolutions and an activation; two outputs."""
    generator = np.random.default_rng(channels)
    w = ModelWriter("net")
    x = w.input("x", (1, channels, 6, 6))
    for i in range(2):
        values = np.where(generator.random((channels, 3, 3, channels)) < 0.5, 1.0, -1.0)
        x = w.binary_conv2d(
            w.binary_quantize(x),
            values,
            scale=generator.standard_normal(channels),
            bias=generator.standard_normal(channels),
            pads=(1, 1, 1, 1),
            name=f"conv{i}",
        )
    return BinaryModel.of(w.finish([x, w.node("Relu", [x])]), "net")


def aligned(data: bytes | int) -> Array:
    """Bytes at a multiple of 64."""
    size = data if isinstance(data, int) else len(data)
    room = np.zeros(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    view = room[start : start + size]
    if not isinstance(data, int):
        view[:] = np.frombuffer(data, np.uint8)
    return view


def at(array: Array | None, offset: int = 0) -> ctypes.c_void_p:
    """A pointer."""
    return ctypes.c_void_p(None if array is None else array.ctypes.data + offset)


class Network:
    """One loaded library with its weights and what the reference says."""

    def __init__(self, artifact: Artifact, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "libmodel.so").write_bytes(artifact.read("libmodel.so"))
        self.library = ctypes.CDLL(str(folder / "libmodel.so"))
        for name in SIZES:
            getattr(self.library, f"binas_{name}").restype = ctypes.c_size_t
        for name in ("input_bytes", "output_bytes"):
            getattr(self.library, f"binas_{name}").restype = ctypes.c_size_t
            getattr(self.library, f"binas_{name}").argtypes = [ctypes.c_size_t]
        self.library.binas_step_name.restype = ctypes.c_char_p
        self.library.binas_step_name.argtypes = [ctypes.c_size_t]
        self.weights = aligned(artifact.read("weights.bin"))
        taps = artifact.taps()
        self.inputs = [taps[f"input:{port.name}"] for port in artifact.manifest.inputs]
        self.expected = [taps[f"output:{port.name}"] for port in artifact.manifest.outputs]
        self.arena_bytes = self.library.binas_arena_bytes()
        self.context_bytes = self.library.binas_context_bytes()

    def context(self) -> Array:
        """Memory for a context."""
        return aligned(self.context_bytes)

    def create(self, memory: Array, room: Array | None = None, **changes: Any) -> int:
        """binas_create in `memory` with `room` as the arena; `changes` replace arguments."""
        room = aligned(self.arena_bytes) if room is None else room
        arguments: dict[str, Any] = {
            "context": at(memory),
            "context_bytes": self.context_bytes,
            "arena": at(room),
            "arena_bytes": self.arena_bytes,
            "weights": at(self.weights),
            "weights_bytes": self.weights.size,
            "threads": 1,
        }
        assert set(changes) <= set(arguments)
        given = {**arguments, **changes}
        for name, value in given.items():
            given[name] = ctypes.c_size_t(value) if name.endswith("_bytes") else value
        return int(self.library.binas_create(*given.values()))

    def run(self, context: Array) -> tuple[int, list[Array]]:
        """binas_run on the fixed input."""
        outputs = [np.full_like(y, np.nan) for y in self.expected]
        status = self.library.binas_run(at(context), pointers(self.inputs), pointers(outputs))
        return int(status), outputs

    def is_right(self, outputs: list[Array]) -> bool:
        """Whether outputs are the reference's."""
        return all(
            np.allclose(y, expected, rtol=0, atol=1e-4 * max(1.0, np.abs(expected).max()))
            for y, expected in zip(outputs, self.expected, strict=True)
        )


def pointers(arrays: list[Array]) -> Any:
    """A C array of pointers."""
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """Two networks for this machine."""
    folder = tmp_path_factory.mktemp("native")
    host = registry.find("host")
    return [compile_model(network(C), host, folder / f"{C}.binas").artifact for C in (33, 64)]


@pytest.fixture(scope="module")
def nets(artifacts: list[Artifact], tmp_path_factory: pytest.TempPathFactory) -> list[Network]:
    """Both loaded into this process."""
    folder = tmp_path_factory.mktemp("loaded")
    return [Network(artifact, folder / str(i)) for i, artifact in enumerate(artifacts)]


@pytest.fixture
def net(nets: list[Network]) -> Network:
    """One of them."""
    return nets[0]


@pytest.fixture
def living(net: Network) -> Iterator[Array]:
    """A created context."""
    context, arena = net.context(), aligned(net.arena_bytes)
    assert net.create(context, arena) == OK
    yield context
    net.library.binas_destroy(at(context))
    assert arena.size == net.arena_bytes  # the arena lives as long as the context


@pytest.mark.parametrize("which", ["context", "arena", "weights"])
def test_a_null_pointer_is_refused(net: Network, which: str) -> None:
    assert net.create(net.context(), None, **{which: at(None)}) == NULL


@pytest.mark.parametrize("which", ["arena", "weights"])
def test_unaligned_memory_is_refused(net: Network, which: str) -> None:
    room = aligned(max(net.arena_bytes, net.weights.size) + 64)
    assert net.create(net.context(), None, **{which: at(room, 4)}) == UNALIGNED


@pytest.mark.parametrize("which", ["arena_bytes", "context_bytes"])
def test_too_small_memory_is_refused(net: Network, which: str) -> None:
    assert net.create(net.context(), None, **{which: 16}) == SIZE
    assert net.create(net.context(), None, **{which: getattr(net, which) - 64}) == SIZE


def test_weights_of_another_size_are_refused(net: Network) -> None:
    assert net.create(net.context(), weights_bytes=net.weights.size - 64) == WEIGHTS
    assert net.create(net.context(), weights_bytes=0) == WEIGHTS


def test_any_single_flipped_bit_of_the_weights_is_noticed(net: Network) -> None:
    context = net.context()
    for place in range(0, net.weights.size * 8, 97):
        net.weights[place // 8] ^= 1 << place % 8
        status = net.create(context)
        net.weights[place // 8] ^= 1 << place % 8
        assert status == WEIGHTS, place


def test_two_words_of_the_weights_that_change_places_are_noticed(net: Network) -> None:
    words = net.weights.view(np.uint64)
    different = np.flatnonzero(words != words[0])[0]
    words[[0, different]] = words[[different, 0]]
    status = net.create(net.context())
    words[[0, different]] = words[[different, 0]]
    assert status == WEIGHTS


@pytest.mark.parametrize("threads", [0, -1, 33, 2**31 - 1])
def test_a_number_of_threads_that_is_not_supported_is_refused(net: Network, threads: int) -> None:
    assert net.create(net.context(), threads=threads) == THREADS


@pytest.mark.parametrize("threads", [1, 2, 3, 32])
def test_any_number_of_threads_gives_the_same_bytes(net: Network, threads: int) -> None:
    answers = []
    for count in (1, threads):
        context, arena = net.context(), aligned(net.arena_bytes)
        assert net.create(context, arena, threads=count) == OK
        for _ in range(3):
            status, outputs = net.run(context)
            assert status == OK
            assert net.is_right(outputs)
        answers.append([y.tobytes() for y in outputs])
        net.library.binas_destroy(at(context))
    assert answers[0] == answers[1]


def test_a_run_with_null_arrays_is_refused(net: Network, living: Array) -> None:
    some = pointers(net.inputs)
    outputs = pointers([np.empty_like(y) for y in net.expected])
    run = net.library.binas_run
    assert run(at(living), None, outputs) == NULL
    assert run(at(living), some, None) == NULL
    assert run(at(living), (ctypes.c_void_p * 1)(None), outputs) == NULL
    assert run(at(None), some, outputs) == NULL


def test_a_context_that_is_destroyed_or_was_never_made_is_refused(net: Network) -> None:
    context = net.context()
    assert net.run(context)[0] == STATE
    arena = aligned(net.arena_bytes)
    assert net.create(context, arena) == OK
    net.library.binas_destroy(at(context))
    assert net.run(context)[0] == STATE
    assert net.library.binas_step(at(context), ctypes.c_size_t(0)) == STATE
    net.library.binas_destroy(at(context))  # twice is harmless
    net.library.binas_destroy(at(None))


def test_a_context_whose_creation_failed_is_refused(net: Network) -> None:
    context, arena = net.context(), aligned(net.arena_bytes)
    assert net.create(context, arena) == OK
    assert net.create(context, arena, weights_bytes=64) == WEIGHTS
    assert net.run(context)[0] == STATE


def test_a_run_with_unaligned_buffers_is_refused(net: Network, living: Array) -> None:
    some, outputs = pointers(net.inputs), pointers([np.empty_like(y) for y in net.expected])
    run = net.library.binas_run
    room = aligned(net.inputs[0].nbytes + 64)
    assert run(at(living), (ctypes.c_void_p * 1)(at(room, 2).value), outputs) == UNALIGNED
    assert run(at(living, 8), some, outputs) == UNALIGNED
    outputs[1] += 1
    assert run(at(living), some, outputs) == UNALIGNED


def test_buffers_of_other_sizes_are_refused_where_sizes_are_told(
    net: Network, living: Array
) -> None:
    outputs = [np.full_like(y, np.nan) for y in net.expected]
    size_t = ctypes.c_size_t
    right_in = [x.nbytes for x in net.inputs]
    right_out = [y.nbytes for y in outputs]

    def run(in_bytes: list[int], out_bytes: list[int]) -> int:
        return int(
            net.library.binas_run_sized(
                *(at(living), pointers(net.inputs)),
                *((size_t * 3)(*in_bytes), size_t(len(in_bytes)), pointers(outputs)),
                *((size_t * 3)(*out_bytes), size_t(len(out_bytes))),
            )
        )

    assert run(right_in, right_out) == OK
    assert net.is_right(outputs)
    for wrong in (0, right_in[0] - 4, right_in[0] + 4, 2**63):
        assert run([wrong], right_out) == SIZE
    assert run(right_in, [right_out[0], right_out[1] - 1]) == SIZE
    assert run(right_in, right_out[:1]) == RANGE
    assert run([*right_in, 4], right_out) == RANGE
    sized = net.library.binas_run_sized
    given = (at(living), pointers(net.inputs), None, size_t(1), pointers(outputs))
    assert sized(*given, (size_t * 2)(*right_out), size_t(2)) == NULL


def test_a_failed_creation_may_be_destroyed(net: Network) -> None:
    context = net.context()
    context[:] = 0xFF
    assert net.create(context, weights=at(None)) == NULL
    net.library.binas_destroy(at(context))
    assert net.run(context)[0] == STATE


def test_every_status_has_words_of_its_own(net: Network) -> None:
    text = net.library.binas_status_text
    text.restype = ctypes.c_char_p
    words = {text(ctypes.c_int(status)) for status in range(STATE + 1)}
    assert len(words) == STATE + 1
    assert (
        text(ctypes.c_int(STATE + 1)) == text(ctypes.c_int(-1)) == b"not a status of this interface"
    )
    assert net.library.binas_abi() == 1


def test_a_step_or_port_out_of_range_is_refused(net: Network, living: Array) -> None:
    steps = int(net.library.binas_step_count())
    step = net.library.binas_step
    assert step(at(living), ctypes.c_size_t(steps - 1)) == OK
    assert step(at(living), ctypes.c_size_t(steps)) == RANGE
    assert step(at(living), ctypes.c_size_t(2**63)) == RANGE
    assert net.library.binas_step_name(steps) is None
    assert net.library.binas_step_name(1) in (b"conv0", b"conv1")
    assert net.library.binas_input_bytes(1) == 0
    assert net.library.binas_input_bytes(0) == net.inputs[0].nbytes
    assert net.library.binas_output_bytes(2) == 0


def test_a_profile_runs_the_network_and_times_every_step(net: Network, living: Array) -> None:
    steps = int(net.library.binas_step_count())
    outputs = [np.empty_like(y) for y in net.expected]
    times = np.zeros(steps, np.uint64)
    given = (at(living), pointers(net.inputs), pointers(outputs))
    profile = net.library.binas_profile
    assert profile(*given, at(times), ctypes.c_size_t(steps)) == OK
    assert net.is_right(outputs)
    assert (times > 0).all()
    assert profile(*given, at(times), ctypes.c_size_t(steps - 1)) == SIZE
    assert profile(*given, at(None), ctypes.c_size_t(steps)) == NULL


def test_contexts_and_networks_run_at_once_in_one_process(nets: list[Network]) -> None:
    """Two contexts of each of two libraries, each in a thread of its own with workers."""
    wrong: list[int] = []

    def work(net: Network, number: int) -> None:
        context, arena = net.context(), aligned(net.arena_bytes)
        if net.create(context, arena, threads=1 + number % 2) != OK:
            wrong.append(number)
            return
        for _ in range(20):
            status, outputs = net.run(context)
            if status != OK or not net.is_right(outputs):
                wrong.append(number)
        net.library.binas_destroy(at(context))

    threads = [threading.Thread(target=work, args=(net, i)) for i, net in enumerate([*nets, *nets])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


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


def test_a_whole_network_stays_between_guard_pages(artifacts: list[Artifact]) -> None:
    for artifact in artifacts:
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.guarded_network", str(artifact.path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_library_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    layer = Layer(op="elementwise", in_shape=(1, 2, 2, 32), out_channels=32)
    made = compile_layers([layer], registry.find("host"), tmp_path / "one.binas")
    members = {name: made.read(name) for name in MEMBERS if name != "manifest.json"}
    with zipfile.ZipFile(made.path, "w") as archive:
        archive.writestr("manifest.json", record.dumps(made.manifest))
        for name, data in members.items():
            archive.writestr(name, b"garbage" if name == "libmodel.so" else data)
    with pytest.raises(UsageError, match=r"libmodel\.so is not what its manifest describes"):
        Library(load(made.path))


def cold_cache_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What zig made before it could link an empty program and library for this machine."""
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "zig"))
    link.prepare([registry.find("host").arch])
    return [path.name for path in (tmp_path / "zig" / "o").rglob("*") if path.is_file()]


@pytest.mark.skipif(registry.find("host").arch != "x86_64", reason="on ARM a program holds musl")
def test_a_first_compile_for_this_machine_waits_for_no_c_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cold_cache_files(tmp_path, monkeypatch)
    assert len(made) < 150  # musl alone are a thousand objects
    assert not [name for name in made if "compiler_rt" in name or name == "libc.a"]


def test_a_library_that_lacks_a_function_is_not_linked(tmp_path: Path) -> None:
    source = tmp_path / "lacking.c"
    source.write_text(
        "int nobody(void);\nint binas_abi(void);\nint binas_abi(void) { return nobody(); }\n"
    )
    with pytest.raises(CompileError, match="undefined symbol: nobody"):
        link.link_library(registry.find("host").arch, [source], tmp_path / "library.so")
