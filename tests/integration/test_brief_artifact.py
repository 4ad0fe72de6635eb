"""An artifact whose reference is in brief: small, verified on the device, and not blind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from binas.compile import stored
from binas.compile.build import Compiled, compile_model
from binas.compile.model import BinaryModel
from binas.core.errors import WrongAnswerError
from binas.devices import registry
from binas.devices.host import HostLink
from binas.devices.probe import host_device
from binas.runtime import brief
from binas.runtime.artifact import MEMBERS, Artifact, Tensor, write
from binas.runtime.session import Session
from binas.runtime.verify import verify
from binas.search.export import export
from binas.search.networks.bars import build
from binas.search.space import Space
from binas.search.survey import random_genotypes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    space = Space(input_shape=(1, 8, 8), classes=3, channels=8, stages=2, widths=(0.5, 1.0))
    genotype = random_genotypes(space, 1, 0)[0]
    net = build(genotype)
    net.eval()
    model = BinaryModel.of(export(net, genotype), "small")
    output = tmp_path_factory.mktemp("brief") / "small.binas"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "MAX_WHOLE_BYTES", 0)
        return compile_model(model, registry.find("host"), output, verify=True)


def verified(artifact: Artifact) -> None:
    with HostLink(host_device()) as link, Session(artifact, link) as session:
        report = verify(session)
    steps = [check for check in report.checks if check.step != "output"]
    assert report.by_digest and all(check.rows for check in steps)
    assert {t.name for s in artifact.manifest.steps for t in s.outputs} == {
        check.tensor for check in steps
    }


def test_the_artifact_is_verified_on_the_device(made: Compiled) -> None:
    assert brief.is_brief(made.artifact.taps())
    verified(made.artifact)


class Off:
    """A device that is wrong in one value of one tensor."""

    def __init__(self, right: Session, tensor: Tensor) -> None:
        self._right, self._tensor, self._channels = right, tensor.name, tensor.shape[3]

    @property
    def artifact(self) -> Artifact:
        return self._right.artifact

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._right.run(inputs)

    def steps(self, taps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = self._right.steps(taps)
        value = found[self._tensor].reshape(-1)
        if value.dtype == np.uint32:  # channel 0 of a pixel where that is at no threshold
            shape = found[self._tensor].shape
            near = self.artifact.taps()[f"brief:near:{self._tensor}"]
            pixel = next(i for i in range(value.size) if i * self._channels not in near)
            value[pixel * shape[3]] ^= 1
        else:
            value[0] += np.float32(2e-3) * max(1, np.abs(value).max())
        return found


def test_one_wrong_value_of_any_tensor_is_found_and_its_step_is_named(made: Compiled) -> None:
    tensors = [(step.name, t) for step in made.artifact.manifest.steps for t in step.outputs]
    assert {tensor.dtype for _, tensor in tensors} == {"bits", "float32"}
    with HostLink(host_device()) as link, Session(made.artifact, link) as session:
        for step, tensor in tensors:
            with pytest.raises(
                WrongAnswerError, match=f"step {step}, tensor {tensor.name} .* 1 of"
            ):
                verify(Off(session, tensor))


def test_a_wrong_whole_run_is_found_although_the_steps_are_right(
    made: Compiled, tmp_path: Path
) -> None:
    """Another model's digest draws another input; the steps' numbers are drawn by it, too."""
    other = dataclasses.replace(made.artifact.manifest, model_digest="f" * 12)
    members = {n: made.artifact.read(n) for n in MEMBERS if n != "manifest.json"}
    with pytest.raises(WrongAnswerError):
        verified(write(tmp_path / "other.binas", other, members))
