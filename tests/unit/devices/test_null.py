"""The null device: repeatable, plausible, and honest about being neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from binas.core.errors import DeviceError
from binas.core.layer import Layer
from binas.devices.null import FIXED_NS, NullLink, invented_ns
from binas.devices.registry import find


def test_more_work_takes_longer_and_equal_work_as_long() -> None:
    small, large = (
        Layer(op="binary_conv", in_shape=(1, 8, 8, 64), out_channels=k, kernel=(3, 3), in_bits=1)
        for k in (32, 256)
    )
    assert 0 < invented_ns(small) < invented_ns(large)
    assert invented_ns(small) == invented_ns(small)


def test_it_answers_as_the_harness_would() -> None:
    link = NullLink(find("null"), [1000.0, 3000.0])
    layers = json.loads(link.run(["bench", "layers", "--repeats", "5"], 1).stdout)
    assert [step["samples_ns"] for step in layers["steps"]] == [[1000.0] * 5, [3000.0] * 5]
    whole = json.loads(link.run(["bench", "time", "--threads", "2"], 1).stdout)
    assert whole["samples_ns"][0] == 4000 + FIXED_NS and whole["threads"] == 2


def test_it_has_no_answers_to_give(tmp_path: Path) -> None:
    with NullLink(find("null")) as link, pytest.raises(DeviceError, match="computes nothing"):
        link.get("output.bin", tmp_path / "x")
