"""The computer in which kernels of other CPUs run says what they do wrong."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from binas.devices import zig
from binas.devices.device import CPUS
from tests.integration.bare_machine import PAGE, BareMachine, Ended
from tests.integration.kernel_jobs import MODELS

ICELAKE = MODELS["icelake-server"]
NO_INSTRUCTION, NO_PAGE = 6, 14

C = """
typedef int int16 __attribute__((vector_size(64)));
int copy(const int *a, int *b, int n) { for (int i = 0; i < n; i++) b[i] = a[i]; return n; }
int count(const int16 *a, int16 *b) { *b = __builtin_elementwise_popcount(*a); return 0; }
int sum(int a, int b, int c, int d, int e, int f, int g, int h) { return a+b+c+d+e+f+g+10*h; }
int deep(int n) { volatile char room[8]; room[0] = n; return n ? deep(n - 1) + room[0] : 0; }
"""


@pytest.fixture
def machine(needs: Callable[[str], str], tmp_path: Path) -> BareMachine:
    """One that has the functions above."""
    needs("bochs")
    return made(tmp_path, "functions.c", C)


def made(folder: Path, name: str, source: str) -> BareMachine:
    (folder / name).write_text(source)
    target = ["-target", "x86_64-freestanding", "-mcpu=icelake_server"]
    target += ["-O1", "-fno-vectorize", "-fno-sanitize=undefined", "-c"]
    zig.cc([*target, str(folder / name), "-o", str(folder / "functions.o")])
    return BareMachine(folder / "functions.o", folder)


def test_calls_are_made_in_turn_with_all_their_arguments(machine: BareMachine) -> None:
    numbers = machine.reserve(struct.pack("<4i", 5, 6, 7, 8), writable=False)
    first = machine.reserve(bytes(16), writable=True)
    second = machine.reserve(bytes(16), writable=True)
    machine.call("copy", numbers, first, 4)
    machine.call("copy", first, second, 3)
    machine.call("sum", *range(1, 9))
    ended = machine.run(ICELAKE, [(second, 16)])
    assert ended == Ended([4, 3, 28 + 80], None, [struct.pack("<4i", 5, 6, 7, 0)])


@pytest.mark.parametrize("cpu", CPUS["x86_64"])
def test_there_is_a_model_of_every_cpu(machine: BareMachine, cpu: str) -> None:
    machine.call("sum", *range(8))
    assert machine.run(MODELS[cpu], []) == Ended([21 + 70], None, [])


def test_a_second_run_in_a_folder_finds_nothing_of_the_first(
    machine: BareMachine, tmp_path: Path
) -> None:
    machine.call("sum", *range(8))
    machine.run(ICELAKE, [])
    other = BareMachine(tmp_path / "functions.o", tmp_path)
    other.call("deep", 1 << 16)
    with pytest.raises(AssertionError, match="no resolution"):
        other.run(ICELAKE, [])


def test_a_machine_that_stops_early_has_not_ended(
    needs: Callable[[str], str], tmp_path: Path
) -> None:
    needs("bochs")
    stops = ".intel_syntax noprefix\n.globl stops\nstops: xchg bx, bx\nxor eax, eax\nret\n"
    machine = made(tmp_path, "functions.S", stops)
    machine.call("stops")
    with pytest.raises(AssertionError, match="stopped at call 0"):
        machine.run(ICELAKE, [])


def test_a_load_behind_the_last_page_is_a_fault(machine: BareMachine) -> None:
    numbers = machine.reserve(bytes(PAGE), writable=False)
    room = machine.reserve(bytes(2 * PAGE), writable=True)
    machine.call("copy", numbers, room, 1025)
    fault = machine.run(ICELAKE, []).fault
    assert fault is not None
    assert (fault.vector, fault.touched) == (NO_PAGE, numbers + PAGE)


def test_a_load_before_the_first_page_is_a_fault(machine: BareMachine) -> None:
    numbers = machine.reserve(bytes(PAGE), writable=False)
    room = machine.reserve(bytes(PAGE), writable=True)
    machine.call("copy", numbers - 4, room, 1)
    fault = machine.run(ICELAKE, []).fault
    assert fault is not None
    assert (fault.vector, fault.touched) == (NO_PAGE, numbers - 4)


def test_a_store_behind_the_last_page_is_a_fault(machine: BareMachine) -> None:
    numbers = machine.reserve(bytes(2 * PAGE), writable=False)
    room = machine.reserve(bytes(PAGE), writable=True)
    machine.call("copy", numbers, room, 1024)
    machine.call("copy", numbers, room, 1025)
    ended = machine.run(ICELAKE, [])
    assert ended.returned == [1024]
    assert ended.fault is not None
    assert (ended.fault.call, ended.fault.vector) == (1, NO_PAGE)
    assert ended.fault.touched == room + PAGE


def test_a_store_to_what_is_only_read_is_a_fault(machine: BareMachine) -> None:
    numbers = machine.reserve(bytes(16), writable=False)
    machine.call("copy", numbers, numbers, 1)
    fault = machine.run(ICELAKE, []).fault
    assert fault is not None
    assert (fault.vector, fault.touched) == (NO_PAGE, numbers)


def test_an_instruction_that_a_cpu_lacks_is_a_fault_there(machine: BareMachine) -> None:
    numbers = machine.reserve(struct.pack("<16i", *range(16)), writable=False)
    room = machine.reserve(bytes(64), writable=True)
    machine.call("count", numbers, room)
    fault = machine.run(MODELS["x86-64-v4"], []).fault
    assert fault is not None
    assert fault.vector == NO_INSTRUCTION


def test_the_same_instruction_counts_where_the_cpu_has_it(machine: BareMachine) -> None:
    numbers = machine.reserve(struct.pack("<16i", *range(16)), writable=False)
    room = machine.reserve(bytes(64), writable=True)
    machine.call("count", numbers, room)
    (found,) = machine.run(ICELAKE, [(room, 64)]).found
    assert struct.unpack("<16i", found) == tuple(n.bit_count() for n in range(16))


def test_what_ends_the_stack_ends_the_machine(machine: BareMachine) -> None:
    machine.call("deep", 1 << 16)
    with pytest.raises(AssertionError, match="no resolution"):
        machine.run(ICELAKE, [])


@pytest.mark.parametrize("index", [5, 13, 22, 29])
@pytest.mark.parametrize("target", [0, 19])
@pytest.mark.parametrize("place", ["", "+4096"])
def test_gathers_and_scatters_may_use_any_index(
    needs: Callable[[str], str], tmp_path: Path, index: int, target: int, place: str
) -> None:
    needs("bochs")
    source = f"""
    .intel_syntax noprefix
    .globl moved
moved:
    kxnorw k1, k1, k1
    kxnorw k2, k2, k2
    vmovdqu64 zmm{index}, [rdi]
    vpgatherdd zmm{target}{{k1}}, [rsi + zmm{index}*4{place}]
    vmovdqu64 [rdx], zmm{target}
    vpscatterdd [rcx + zmm{index}*4{place}]{{k2}}, zmm{target}
    vmovdqu64 [rdx + 64], zmm{index}
    xor eax, eax
    ret
"""
    machine = made(tmp_path, "functions.S", source)
    order = [15 - 3 * i % 16 for i in range(16)]
    skipped = int(place or "0") // 4
    indices = machine.reserve(struct.pack("<16i", *order), writable=False)
    numbers = machine.reserve(
        bytes(4 * skipped) + struct.pack("<16i", *range(100, 116)), writable=False
    )
    gathered = machine.reserve(bytes(128), writable=True)
    scattered = machine.reserve(bytes(4 * skipped + 64), writable=True)
    machine.call("moved", indices, numbers, gathered, scattered)
    ended = machine.run(ICELAKE, [(gathered, 128), (scattered + 4 * skipped, 64)])
    assert ended.fault is None
    found = [struct.unpack(f"<{len(data) // 4}i", data) for data in ended.found]
    assert found[0] == (*(100 + i for i in order), *order)
    assert found[1] == tuple(range(100, 116))
