"""Boards that are not what was described: the walk stops at the step that shows it.

Scripted, because no test may do it to the machine: a board of another kind, a 32-bit system, a
clock that runs wrong, a board that is too hot. What is scripted pretends to be another machine, so
nothing measured there is a latency, and a test says so.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from binas.core.errors import DeviceError
from binas.devices.device import CPUS
from binas.devices.probe import this_machine
from binas.devices.registry import connect, find
from tests.integration.boards import Board, broken, shims

pytestmark = pytest.mark.timeout(120)

X86_ONLY = pytest.mark.isa("x86_64")


# Scripted: boards that are not what was described.


@X86_ONLY
def test_a_32_bit_system_is_named_and_so_is_the_board_to_use(
    scripted_board: Board, tmp_path: Path
) -> None:
    prelude = shims(tmp_path, uname="echo armv7l", getconf="echo 32")
    scripted_board(prelude=prelude, board="rpi4").close()
    step = broken("loop")
    assert (step.name, step.found[:6]) == ("architecture", "armv7l")
    assert "-32" in step.hint
    with pytest.raises(DeviceError, match="needs aarch64 with cortex-a72") as caught:
        connect(find("loop"))
    assert "-32" in caught.value.hint


@X86_ONLY
def test_a_board_of_another_kind_is_told_before_anything_is_sent(
    scripted_board: Board, tmp_path: Path
) -> None:
    prelude = shims(tmp_path, uname="echo riscv64")
    scripted_board(prelude=prelude, board="rpi4").close()
    assert broken("loop").name == "architecture"
    with pytest.raises(DeviceError, match="it is riscv64"):
        connect(find("loop"))


@X86_ONLY
def test_a_cpu_that_lacks_a_feature(board: Board) -> None:
    if not this_machine().lacks(CPUS["x86_64"]["x86-64-v4"]):
        return  # this CPU lacks nothing
    board(board="x86-64-v4").close()
    step = broken("loop")
    assert step.name == "features" and "lacks avx512" in step.found
    assert "an older CPU" in step.hint


def test_a_clock_that_runs_wrong_ends_the_walk(scripted_board: Board, tmp_path: Path) -> None:
    # `sleep 1` comes back at once: what passed there by its clock is not the second it should be.
    scripted_board(prelude=shims(tmp_path, sleep="exit 0")).close()
    step = broken("loop")
    assert step.name == "clock" and "runs wrong" in step.hint


def test_a_throttled_board_ends_the_walk_and_is_taken_for_no_real_one(
    scripted_board: Board, tmp_path: Path
) -> None:
    prelude = shims(tmp_path, vcgencmd="echo throttled=0x50005")
    with scripted_board(prelude=prelude) as link:
        assert link.trust == "emulated"  # no Raspberry Pi has this CPU: its sensor is made up
    step = broken("loop")
    assert step.name == "throttling" and "under-voltage now" in step.found
    assert "power supply" in step.hint
