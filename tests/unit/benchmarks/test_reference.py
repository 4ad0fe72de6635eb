"""The reference against onnxruntime, and parameters on which everybody must agree exactly."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from benchmarks import models, parameters, reference
from benchmarks.macs import Conv
from benchmarks.onnx_builder import OnnxBuilder
from benchmarks.reference import NumpyBuilder
from benchmarks.works import Form, Work, layers

SHAPES = (
    Conv(channels=16, filters=24, size=9),
    Conv(channels=16, filters=24, size=8, stride=2),
    Conv(channels=64, filters=64, size=6, kernel=5, groups=2),
    Conv(channels=24, filters=24, size=9, dilation=2),
)


def both(work: Work, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """A model by onnxruntime and in numpy."""
    build = OnnxBuilder("model")
    proto = build.finish(models.layer_model(build, work, depth))
    x = parameters.image(work.conv)
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    given = session.get_inputs()[0]
    (found,) = session.run(None, {given.name: x.reshape(given.shape)})
    return np.asarray(found), np.asarray(models.layer_model(NumpyBuilder(x), work, depth))


@pytest.mark.parametrize("conv", SHAPES)
@pytest.mark.parametrize("form", ["bits", "residual", "branches"])
def test_binary_layers_are_exact(conv: Conv, form: Form) -> None:
    square = conv.channels == conv.filters and conv.stride == 1
    if form != "branches" and not square:
        form = "branches"  # such a layer fits in no chain
    found, wanted = both(Work(name="w", form=form, conv=conv), 3)
    assert reference.exact(found, wanted) == reference.Verdict(True, "exact")


@pytest.mark.parametrize("conv", [*SHAPES, Conv(channels=20, filters=30, size=1, kernel=1)])
def test_real_layers_are_near(conv: Conv) -> None:
    found, wanted = both(Work(name="w", form="branches", conv=conv, binary=False), 3)
    assert reference.near(found, wanted).agrees


@pytest.mark.parametrize("form", ["bits", "residual"])
def test_no_value_whose_sign_is_taken_is_zero(form: Form) -> None:
    conv = Conv(channels=32, filters=32, size=8)

    class Watching(NumpyBuilder):
        def sign(self, x: np.ndarray, channels: int) -> np.ndarray:
            assert (x != 0).all()
            assert (x * 64 == np.round(x * 64)).all()
            return super().sign(x, channels)

    models.layer_model(Watching(parameters.image(conv)), Work(name="w", form=form, conv=conv), 4)


def test_differences_are_told() -> None:
    a, b = np.ones((2, 3)), np.ones((2, 3))
    b[0, 0] = 2
    assert reference.exact(a, b).words == "1 of 6 values differ"
    assert not reference.near(a, b).agrees
    assert not reference.alike(a, b).agrees
    assert not reference.exact(a, a[:1]).agrees


def test_every_work_has_a_name_of_its_own() -> None:
    names = [work.name for work in layers()]
    assert len(set(names)) == len(names)
