"""The demo's own wiring, from images to the report: every stage, on as little as can be.

The device is the one that invents its times, so nothing waits for a quiet machine; all else is done
for real. Jobs run in this process: that they run beside each other is `test_crew.py`'s to say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from binas.core import record
from binas.search import workshop
from binas.search.strategy.settings import Found
from examples.demo import journey
from examples.demo.__main__ import main
from examples.demo.crew import Crew, Job
from examples.demo.summary import Demo

pytestmark = pytest.mark.slow

SPACE = """
input_shape = [1, 8, 8]
classes = 3
channels = 8
nodes = 1
stages = 2
max_cells = 1
widths = [1.0]
normal_ops = ["skip", "b3"]
reduction_ops = ["b3"]
"""
STAIRS = (8, 40)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small space, and 240 images of three classes.

    As many, and as many epochs, as show that a convolution is better than none: the first search
    must not choose the fastest network, for the second is to be no slower.
    """
    folder = tmp_path_factory.mktemp("demo")
    (folder / "tiny.toml").write_text(SPACE)
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {"labels": np.array(["left", "middle", "right"])}
    for part, count in (("train", 192), ("test", 48)):
        y = np.arange(count) % 3
        x = generator.normal(0, 0.3, (count, 1, 8, 8)).astype(np.float32)
        for image, place in zip(x, y, strict=True):
            image[0, :, 2 * place : 2 * place + 2] += 1
        arrays |= {f"x_{part}": x, f"y_{part}": y}
    np.savez(folder / "images.npz", **arrays)
    return folder


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains one after the other, in the order given."""

    def in_turn(crew: Crew, *chains: Sequence[Job]) -> None:
        for chain in chains:
            for job in chain:
                crew.alone(job)

    monkeypatch.setattr(Crew, "together", in_turn)
    monkeypatch.setattr(workshop, "cores", lambda: 1)
    monkeypatch.setattr(journey, "STAIR_CHANNELS", STAIRS)


def demo(home: Path, *arguments: str) -> Result:
    """The command on these images."""
    given = ["--data", str(home / "images.npz"), "--space", str(home / "tiny.toml")]
    short = ["--search-epochs", "16", "--train-epochs", "6", "--target", "1.0"]
    given += ["--device", "null", *short, "-o", str(home / "out"), *arguments]
    return CliRunner().invoke(main, given)


def test_the_demo_goes_the_whole_way_and_the_second_time_reuses_it(home: Path) -> None:
    done = demo(home, "--json")
    assert done.exit_code == 0, done.output
    assert "reused" not in done.stderr
    found = record.load(Demo, home / "out" / "report.json")
    assert json.loads(done.stdout)["schema"] == "binas.demo/1"
    assert record.loads(Demo, done.stdout, where="stdout") == found
    assert (found.device, found.estimate.device, found.target_ratio) == ("null", "rpi4", 1.0)
    for net in (found.baseline, found.latency_aware, found.parent):
        assert net.accuracy > 2 / 3, "three classes that differ in where they are bright"
        assert net.measured_us == pytest.approx(net.predicted_us, rel=0.15)
        assert sum(layer.measured_us for layer in net.layers) < net.measured_us
        assert net.artifact_bytes > 10_000 and len(net.layers) > 3
        assert any("invented" in doubt for doubt in net.doubts)
    assert found.target_us == pytest.approx(found.baseline.measured_us)
    assert found.latency_aware.predicted_us <= found.target_us * 1.01
    budgets = [
        record.load(Found, file).budget_ns
        for name in ("baseline", "latency-aware")
        for file in home.rglob(f"search-{name}-*/found.json")
    ]
    assert budgets == [None, pytest.approx(found.target_us * 1e3)]
    assert found.baseline.biops > 0 and found.parent.biops == 0 < found.parent.flops
    for search in found.searches.values():
        assert [epoch.epoch for epoch in search.epochs] == [*range(1, 17)]
        assert sum(sample.chosen for sample in search.samples) >= 1
    assert found.verify.binary_layers_exact
    for name in ("baseline", "latency_aware", "parent"):
        for device in ("null", "rpi4"):
            for link in ("numpy", "unicorn"):
                assert f"{name}, {device}: onnxruntime = {link}" in found.verify.links
    assert set(found.estimate.instructions) == {"baseline", "latency_aware", "parent"}
    assert min(found.estimate.instructions.values()) > 1_000
    assert [stair.channels for stair in found.staircase] == list(STAIRS)
    assert "From " in (home / "out" / "report.html").read_text()

    again = demo(home)
    assert again.exit_code == 0, again.output
    assert again.stderr.count(" reused: ") == len(found.seconds) == 13
    assert record.load(Demo, home / "out" / "report.json") == found
    assert "real-valued twin" in again.stdout

    (folder,) = (home / "out" / "stages").glob("train-real-twin-*")
    (folder / "model.onnx").write_bytes(b"damaged")
    refused = demo(home)
    assert refused.exit_code == 2
    assert f"in {folder} is of no use: model.onnx was changed" in refused.stderr
    assert f"Hint: rm -r {folder}, then the same command" in refused.stderr


def test_a_target_that_no_network_reaches_is_refused_with_options_of_the_demo(home: Path) -> None:
    refused = demo(home, "--target", "0.01", "-o", str(home / "hasty"))
    assert refused.exit_code == 3
    assert "no network of the space is within" in refused.stderr
    assert "Hint: raise --target (up to 1), or --search-epochs" in refused.stderr
