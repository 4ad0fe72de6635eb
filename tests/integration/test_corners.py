"""Corner models through the whole chain of truth: on this machine, and emulated on two ARMs.

Every model is compiled with `verify=True`: each fused step of the artifact is compared with
onnxruntime on the reference's inputs, then the network as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from binas.compile.build import Compiled, compile_model
from binas.compile.model import BinaryModel
from binas.core.errors import DeviceError, WrongAnswerError
from binas.devices import registry
from binas.devices.emulator import QemuLink
from binas.devices.host import HostLink
from binas.devices.probe import host_device
from binas.runtime import artifact as artifacts
from binas.runtime.artifact import Artifact
from binas.runtime.session import Session
from binas.runtime.verify import verify
from tests.integration.corners import (
    CORNERS,
    Corner,
    groups_and_parts,
    norms_after_pools,
    paddings_and_strides,
    residuals,
    two_images_and_a_flattened_one,
    vectors,
)

pytestmark = pytest.mark.slow
CORNER = pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: corner.__name__)


class Made:
    """Corners compiled and verified, each once per device."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[tuple[str, str], Compiled] = {}

    def __call__(self, corner: Any, device: str) -> Compiled:
        """The corner for a device."""
        key = corner.__name__, device
        if key not in self._found:
            writer, outputs = corner()
            model = BinaryModel.of(writer.finish(outputs), corner.__name__)
            path = self._folder / f"{corner.__name__}.{device}.binas"
            self._found[key] = compile_model(model, registry.find(device), path, verify=True)
        return self._found[key]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Compiles corners; tests of this file share the artifacts."""
    return Made(tmp_path_factory.mktemp("corners"))


def must_be_exact(result: Compiled, links: set[str]) -> None:
    """Every link agrees: binary layers exactly, floats within the tolerance, outputs judged."""
    assert set(result.verified) == links
    for report in result.verified.values():
        assert report.first_wrong is None
        assert report.binary_layers_exact
        assert report.checks


@CORNER
def test_a_corner_is_right_on_this_machine(corner: Any, made: Made) -> None:
    must_be_exact(made(corner, "host"), {"numpy", "host", "library"})


@CORNER
def test_a_corner_is_right_on_an_emulated_64_bit_arm(corner: Any, made: Made) -> None:
    result = made(corner, "rpi4")
    must_be_exact(result, set(result.verified) | {"numpy", "unicorn"})


@CORNER
def test_a_corner_is_right_on_an_emulated_32_bit_arm(
    corner: Any, made: Made, needs: Callable[[str], str]
) -> None:
    needs("qemu-arm")
    must_be_exact(made(corner, "rpi4-32"), {"numpy", "qemu"})


def test_a_64_bit_arm_under_qemu_gives_what_unicorn_gives(
    made: Made, needs: Callable[[str], str]
) -> None:
    needs("qemu-aarch64")
    result = made(residuals, "rpi4")
    must_be_exact(result, {"numpy", "unicorn", "qemu"})


def test_results_do_not_depend_on_the_number_of_threads(made: Made) -> None:
    for corner in (paddings_and_strides, two_images_and_a_flattened_one, groups_and_parts):
        artifact = made(corner, "host").artifact
        taps = artifact.taps()
        inputs = {port.name: taps[f"input:{port.name}"] for port in artifact.manifest.inputs}
        answers = []
        for threads in (1, 2, 3):
            with HostLink(host_device()) as link, Session(artifact, link, threads=threads) as run:
                answers.append({name: y.tobytes() for name, y in run.run(inputs).items()})
        assert answers[0] == answers[1] == answers[2]


def with_member(artifact: Artifact, path: Path, **members: bytes) -> Artifact:
    """A copy with some members replaced (dots written as underscores) and the digests made anew."""
    named = {name.replace("_", "."): data for name, data in members.items()}
    others = [name for name in artifacts.MEMBERS if name != "manifest.json"]
    contents = {name: named.get(name) or artifact.read(name) for name in others}
    return artifacts.write(path, artifact.manifest, contents)


def flip(data: bytes, byte: int, bit: int = 0) -> bytes:
    """The data with one bit changed."""
    changed = bytearray(data)
    changed[byte] ^= 1 << bit
    return bytes(changed)


def test_a_changed_bit_of_the_weights_is_refused_on_the_device(made: Made, tmp_path: Path) -> None:
    artifact = made(norms_after_pools, "host").artifact
    weights = artifact.read("weights.bin")
    for byte in (0, len(weights) // 2, len(weights) - 1):
        damaged = with_member(
            artifact, tmp_path / "damaged.binas", weights_bin=flip(weights, byte, byte % 8)
        )
        with (
            HostLink(host_device()) as link,
            Session(damaged, link) as session,
            pytest.raises(DeviceError, match="weights of another network, or damaged"),
        ):
            verify(session)


def test_a_wrong_weight_that_nobody_noticed_is_found_and_its_step_named(tmp_path: Path) -> None:
    """The weights and their checksum agree with each other, not with the reference."""
    writer = Corner("wrong weight")
    x = writer.input("x", (1, 32, 4, 4))
    first = writer.conv(x, 32, 32, name="innocent")
    last = writer.conv(first, 32, 32, name="guilty")
    model = BinaryModel.of(writer.finish([last]), "wrong")
    right = compile_model(model, registry.find("host"), tmp_path / "right.binas")
    proto = model.proto
    (weights,) = (t for t in proto.graph.initializer if t.name == "guilty.w_packed")
    weights.raw_data = flip(weights.raw_data, 17)
    other = BinaryModel.of(proto, "wrong")
    wrong = compile_model(other, registry.find("host"), tmp_path / "wrong.binas")
    mixed = with_member(
        wrong.artifact, tmp_path / "x.binas", taps_npz=right.artifact.read("taps.npz")
    )
    with (
        HostLink(host_device()) as link,
        Session(mixed, link) as session,
        pytest.raises(WrongAnswerError, match=r"step guilty, tensor guilty:0 differs"),
    ):
        verify(session)


def test_equal_models_give_equal_bytes(made: Made, tmp_path: Path) -> None:
    again = Made(tmp_path)(vectors, "host").artifact
    assert again.path.read_bytes() == made(vectors, "host").artifact.path.read_bytes()


def test_the_harness_of_an_arm_runs_whole_networks_under_qemu(
    made: Made, needs: Callable[[str], str]
) -> None:
    needs("qemu-aarch64")
    artifact = made(norms_after_pools, "rpi4").artifact
    with QemuLink(registry.find("rpi4")) as link, Session(artifact, link, threads=2) as session:
        report = verify(session)
    assert report.binary_layers_exact
