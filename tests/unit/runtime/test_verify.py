"""Verification: what counts as equal, and that the first wrong step is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from binas.core.errors import WrongAnswerError
from binas.devices.host import HostLink
from binas.devices.probe import host_device
from binas.runtime.artifact import Artifact
from binas.runtime.session import Session
from binas.runtime.verify import compare, verify


def got(net: Artifact) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in net.taps().items() if name in ("m", "y", "b")}


def test_a_right_device_passes(net: Artifact) -> None:
    with HostLink(host_device()) as link, Session(net, link) as session:
        report = verify(session)
    assert report.binary_layers_exact and report.flips == 0 and report.max_abs_error == 0
    assert [check.tensor for check in report.checks] == ["m", "y", "b", "y"]


@pytest.mark.parametrize(
    ("mood", "says"),
    [
        ("wrong float", "step scale, tensor m differs .* 1 of 4 values, by up to 0.5"),
        ("wrong bit", "step shift, tensor b differs .* 1 of 4 values; all before it agree"),
        ("stray bit", "step shift, tensor b differs"),
    ],
)
def test_the_first_wrong_step_is_named(net: Artifact, tmp_path: Path, mood: str, says: str) -> None:
    (tmp_path / "mood").write_text(mood)
    with HostLink(host_device()) as link, Session(net, link) as session:
        link.put(tmp_path / "mood", "mood")
        with pytest.raises(WrongAnswerError, match=says):
            verify(session)


def test_a_bit_at_its_threshold_may_flip_and_is_counted(net: Artifact) -> None:
    taps, found = net.taps(), got(net)
    found["b"] ^= np.uint32(0b1000)  # y[3] is 0, its margin, too
    report = compare(net.manifest, taps, found)
    assert report.flips == 1 and report.first_wrong is None and report.binary_layers_exact


def test_a_bit_without_a_margin_may_not_flip(net: Artifact) -> None:
    taps, found = net.taps(), got(net)
    del taps["margin:b"]
    found["b"] ^= np.uint32(0b1000)
    report = compare(net.manifest, taps, found)
    assert report.first_wrong is not None and not report.binary_layers_exact


def test_floats_agree_within_1e_5_of_the_largest_and_no_further(net: Artifact) -> None:
    taps, found = net.taps(), got(net)
    taps["y"] = taps["y"] * 100  # largest: 400
    found["y"] = taps["y"] + np.float32(0.0039)
    assert compare(net.manifest, taps, found).first_wrong is None
    found["y"] = taps["y"] + np.float32(0.0041)
    assert compare(net.manifest, taps, found).first_wrong is not None


def test_nan_is_never_right(net: Artifact) -> None:
    found = got(net)
    found["m"][0, 0, 0, 1] = np.nan
    wrong = compare(net.manifest, net.taps(), found).first_wrong
    assert wrong is not None and wrong.tensor == "m" and wrong.wrong == 1


def test_a_whole_run_that_differs_is_wrong_although_every_step_is_right(
    make_net: Callable[..., Artifact], tmp_path: Path
) -> None:
    x = np.array([1.5, 1.0, -4.0, 3.0], dtype=np.float32)
    conftest_taps = make_net().taps()
    m = x.reshape(1, 1, 1, 4) * np.array([2, -3, 0.5, 1], np.float32)
    y = m + np.float32(1)
    clear = {
        **conftest_taps,
        "input:x": x.reshape(1, 4),
        "x": x.reshape(1, 1, 1, 4),
        "m": m,
        "y": y,
        "b": np.array([[[[0b1001]]]], np.uint32),
        "margin:b": np.abs(y),
    }
    (tmp_path / "mood").write_text("wrong run")
    net = make_net(tapped=clear)
    with HostLink(host_device()) as link, Session(net, link) as session:
        verify(session)
        link.put(tmp_path / "mood", "mood")
        with pytest.raises(WrongAnswerError, match="output y differs"):
            verify(session)


def test_outputs_are_not_judged_where_the_reference_has_a_bit_at_its_threshold(
    net: Artifact,
) -> None:
    outputs = {"y": np.full((1, 4), 9, np.float32)}
    report = compare(net.manifest, net.taps(), got(net), outputs)
    assert not report.judged_outputs and report.first_wrong is None
