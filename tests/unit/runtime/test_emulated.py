"""In-process emulation: the answers of aarch64 code, and counts that are no times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from binas.core.errors import MeasureError, UsageError
from binas.devices.emulator import InstructionCounts, UnicornModel
from binas.runtime.artifact import Artifact
from binas.runtime.emulated import EmulatedSession, count_instructions, emulate_steps
from binas.runtime.verify import verify

ELF = (Path(__file__).parents[2] / "data" / "tiny_aarch64.elf").read_bytes()


def test_an_aarch64_network_runs_here(arm_net: Artifact, x: np.ndarray) -> None:
    session = EmulatedSession(arm_net)
    assert session.run({"x": x})["y"].tolist() == [[4.0, -2.0, -1.0, 0.0]]
    assert session.run({"x": 2 * x})["y"].tolist() == [[7.0, -5.0, -3.0, -1.0]]


def test_steps_run_on_the_given_values(arm_net: Artifact) -> None:
    taps = {**arm_net.taps(), "m": np.full((1, 1, 1, 4), 0.5, dtype=np.float32)}
    found = emulate_steps(arm_net, taps)
    assert found["m"].ravel().tolist() == [3.0, -3.0, -2.0, -1.0]
    assert found["b"].tolist() == [[[[0b1111]]]]


def test_an_emulated_network_is_verified_like_a_real_one(arm_net: Artifact) -> None:
    assert verify(EmulatedSession(arm_net)).binary_layers_exact


def test_instructions_are_counted_per_step_and_repeat(arm_net: Artifact) -> None:
    first, second = count_instructions(arm_net), count_instructions(arm_net)
    assert first == second
    assert first.total == sum(first.steps)
    # Step 1 does all that step 0 does, and the signs.
    assert 5 < first.steps[0] < first.steps[1] < 200


def test_counts_have_nothing_that_could_be_taken_for_a_time() -> None:
    counts = InstructionCounts(cpu="generic", steps=(1, 2))
    assert not [name for name in dir(counts) if name.endswith("_ns") or "median" in name]


def test_a_step_that_reports_an_error_is_an_error() -> None:
    model = UnicornModel(ELF, bytes(16), where="tiny")
    with pytest.raises(MeasureError, match="binas_step returned status 2"):
        model.step(7, [], [])


def test_weights_of_another_size_are_refused_by_the_network() -> None:
    with pytest.raises(MeasureError, match="binas_create returned status 1"):
        UnicornModel(ELF, bytes(20), where="tiny")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"#!/bin/sh\n", "no little-endian 64-bit ELF"),
        (ELF[:200], "damaged"),
        (ELF[:18] + b"\x3e\x00" + ELF[20:], "it is for x86_64"),
        (ELF.replace(b"binas_step", b"binas_stop"), "lacks binas_step"),
        (ELF[:16] + b"\x03\x00" + ELF[18:], "ELF type 3"),
    ],
)
def test_what_is_no_harness_of_ours_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        UnicornModel(data, bytes(16), where="tiny")


def test_other_architectures_are_refused_by_name(make_net: Callable[..., Artifact]) -> None:
    with pytest.raises(UsageError, match="is for armv7"):
        EmulatedSession(make_net("armv7"))
