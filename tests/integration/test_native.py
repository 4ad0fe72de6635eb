"""The C interface of a compiled network, through ctypes: what it refuses, and what it computes."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from binas.runtime.artifact import Artifact
from tests.integration.native_network import (
    NULL,
    OK,
    RANGE,
    SIZE,
    STATE,
    THREADS,
    UNALIGNED,
    WEIGHTS,
    Array,
    Network,
    aligned,
    at,
    compiled,
    pointers,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """Two networks."""
    return compiled(tmp_path_factory.mktemp("native"), 33, 64)


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
