"""Corner models through the whole chain of truth: on this machine, and emulated on two ARMs.

Every model is compiled with `verify=True`: each fused step of the artifact is compared with
onnxruntime on the reference's inputs, then the network as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from binas.compile.build import Compiled, compile_model
from binas.compile.model import BinaryModel, ModelWriter
from binas.core.errors import DeviceError, WrongAnswerError
from binas.devices import registry
from binas.devices.emulator import QemuLink
from binas.devices.host import HostLink
from binas.devices.probe import host_device
from binas.runtime import artifact as artifacts
from binas.runtime.artifact import Artifact
from binas.runtime.session import Session
from binas.runtime.verify import verify

pytestmark = pytest.mark.slow

Array = NDArray[Any]
STRADDLING = (1, 31, 32, 33, 63, 65, 127, 129)


class Corner(ModelWriter):
    """A writer with random weights, the same on every run."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._random = np.random.default_rng(len(name))

    def numbers(self, *shape: int) -> Array:
        """Standard normal numbers."""
        return self._random.standard_normal(shape).astype(np.float32)

    def conv(self, x: str, C: int, K: int, size: int = 3, **fields: Any) -> str:
        """A binary convolution of x's sign; padded to the same size unless told otherwise."""
        w = np.where(self.numbers(K, size, size, C // fields.get("group", 1)) >= 0, 1.0, -1.0)
        fields.setdefault("pads", (size // 2,) * 4)
        fields.setdefault("scale", np.full(K, 0.1))
        fields.setdefault("bias", self.numbers(K))
        quantized = x if x in fields.pop("as_is", ()) else self.binary_quantize(x)
        return self.binary_conv2d(quantized, w, **fields)

    def norm(self, x: str, C: int, *, gamma: Array | None = None) -> str:
        """A batch norm; its scales have both signs and one is 0."""
        scale = self.numbers(C) if gamma is None else gamma
        scale[C // 2] = 0
        arrays = (scale, self.numbers(C), self.numbers(C), np.abs(self.numbers(C)) + 0.1)
        return self.node("BatchNormalization", [x, *map(self.constant, arrays)], epsilon=1e-5)

    def relu(self, x: str) -> str:
        """Relu."""
        return self.node("Relu", [x])

    def add(self, x: str, y: str) -> str:
        """A sum."""
        return self.node("Add", [x, y])

    def pool(self, x: str, op: str = "MaxPool") -> str:
        """A 2x2 pool."""
        return self.node(op, [x], kernel_shape=[2, 2], strides=[2, 2])

    def dense(self, x: str, features: int, K: int) -> str:
        """A dense layer."""
        return self.node(
            "Gemm", [x, self.constant(self.numbers(features, K)), self.constant(self.numbers(K))]
        )


def channels_around_the_word() -> tuple[Corner, list[str]]:
    """One binary convolution after another, from each number of channels to the next."""
    w = Corner("channels")
    x = w.input("x", (1, STRADDLING[0], 5, 5))
    for C, K in zip(STRADDLING, (*STRADDLING[1:], 10), strict=True):
        x = w.conv(w.norm(x, C), C, K)
    return w, [x]


def paddings_and_strides() -> tuple[Corner, list[str]]:
    """Padding 0, +1 and -1 at strides 1 and 2, symmetric and not, one output each."""
    w = Corner("paddings")
    x = w.input("x", (1, 33, 6, 7))
    outputs = []
    for value in (0, 1, -1):
        for stride, pads in ((1, (1, 1, 1, 1)), (2, (0, 1, 2, 0)), (2, (3, 3, 3, 4))):
            y = w.conv(x, 33, 34, pad_value=value, strides=(stride, stride), pads=pads)
            # The second convolution makes the first write bits, and bits alone.
            outputs.append(w.conv(w.norm(y, 34), 34, 3, 1))
    return w, outputs


def residuals() -> tuple[Corner, list[str]]:
    """Residuals before and after the activation, around a block, of a tensor and itself."""
    w = Corner("residuals")
    x = w.input("x", (1, 32, 5, 5))
    a = w.relu(w.add(w.norm(w.conv(x, 32, 32), 32), x))
    b = w.add(w.relu(w.norm(w.conv(a, 32, 32), 32)), a)
    slopes = w.constant(w.numbers(32, 1, 1))
    c = w.add(w.node("PRelu", [w.add(w.conv(b, 32, 32), b), slopes]), x)
    d = w.add(c, c)
    return w, [w.conv(d, 32, 4), w.add(x, x)]


def both_outputs_of_one_convolution() -> tuple[Corner, list[str]]:
    """A value that is output, added, and packed with two thresholds of its own."""
    w = Corner("outputs")
    x = w.input("x", (1, 40, 4, 4))
    y = w.conv(x, 40, 40)
    first, second = w.conv(w.norm(y, 40), 40, 5), w.conv(w.norm(y, 40), 40, 5)
    third = w.conv(y, 40, 5)
    return w, [y, w.add(w.add(first, second), third)]


def norms_after_pools() -> tuple[Corner, list[str]]:
    """Binary, pool, batch norm with negative scales, binary: the order may not be changed."""
    w = Corner("pools")
    x = w.input("x", (1, 33, 8, 8))
    a = w.pool(w.conv(x, 33, 33))
    b = w.pool(w.conv(w.norm(a, 33, gamma=-np.abs(w.numbers(33))), 33, 33), "AveragePool")
    c = w.node("GlobalAveragePool", [w.norm(b, 33)])
    return w, [w.dense(w.node("Flatten", [c]), 33, 7), b]


def two_images_and_a_flattened_one() -> tuple[Corner, list[str]]:
    """Batch 2; a dense layer on a flattened image; an output that is a flattened image."""
    w = Corner("batch")
    x = w.input("x", (2, 3, 8, 8))
    stem = w.node("Conv", [x, w.constant(w.numbers(32, 3, 3, 3))], strides=[2, 2], pads=[1] * 4)
    y = w.norm(w.conv(stem, 32, 32), 32)
    flat = w.node("Flatten", [y])
    return w, [w.dense(flat, 512, 10), w.node("Flatten", [w.relu(y)])]


def vectors() -> tuple[Corner, list[str]]:
    """A two-dimensional input, dense layers, sums, scales and shifts."""
    w = Corner("vectors")
    x = w.input("x", (2, 70))
    y = w.relu(w.norm(w.dense(x, 70, 33), 33))
    z = w.node("Mul", [w.node("Sub", [w.constant(w.numbers(33)), y]), w.constant(w.numbers(1))])
    return w, [w.node("Concat", [y, z], axis=1), w.add(y, z)]


def groups_and_parts() -> tuple[Corner, list[str]]:
    """Groups, concats and pads whose parts start inside a word, all packed afterwards."""
    w = Corner("parts")
    x, z = w.input("x", (1, 64, 4, 4)), w.input("z", (1, 24, 4, 4))
    a = w.conv(x, 64, 66, group=2)  # groups of 33 outputs
    b = w.conv(a, 66, 64)
    c = w.node("Concat", [z, a], axis=1)
    d = w.node("Pad", [z, w.constant(np.array([0, 0, 0, 0, 0, 16, 0, 0]))])
    bounds = [w.constant(np.array(bound)) for bound in ([0], [33], [1])]
    e = w.node("Slice", [b, *bounds])
    f = w.conv(w.conv(x, 64, 64, group=2, dilations=(2, 2), pads=(2, 2, 2, 2)), 64, 3)
    return w, [w.conv(c, 90, 3), w.conv(d, 40, 3), w.conv(e, 33, 3), f]


def bits_that_are_moved() -> tuple[Corner, list[str]]:
    """Pools, concats and shuffles of packed values, whole words of them and parts of words."""
    w = Corner("moved")
    x = w.input("x", (1, 33, 8, 8))
    a, b = w.conv(x, 33, 63), w.conv(x, 33, 65)
    joined = w.node("Concat", [w.pool(w.norm(a, 63)), w.pool(b)], axis=1)
    groups = [w.constant(np.array(sizes)) for sizes in ([1, 2, 64, 4, 4], [1, 128, 4, 4])]
    apart = w.node("Reshape", [w.norm(joined, 128), groups[0]])
    mixed = w.node("Reshape", [w.node("Transpose", [apart], perm=[0, 2, 1, 3, 4]), groups[1]])
    wide = w.node("MaxPool", [w.norm(w.conv(x, 33, 129), 129)], kernel_shape=[3, 3], pads=[1] * 4)
    return w, [w.conv(mixed, 128, 128, group=128), w.conv(mixed, 128, 3), w.conv(wide, 129, 3)]


def real_activations() -> tuple[Corner, list[str]]:
    """Binary weights on real activations, depthwise too, and float convolutions of odd sizes."""
    w = Corner("real")
    x = w.input("x", (1, 12, 7, 7))
    weights = np.where(w.numbers(20, 3, 3, 12) >= 0, 1.0, -1.0)
    a = w.binary_conv2d(x, weights, scale=np.ones(20), bias=np.zeros(20), pads=(1, 1, 1, 1))
    b = w.conv(x, 12, 12, group=12)
    c = w.node("Conv", [x, w.constant(w.numbers(9, 12, 5, 5))], pads=[2] * 4, dilations=[1, 1])
    return w, [a, b, w.node("LeakyRelu", [c], alpha=0.2), w.conv(c, 9, 3, strides=(2, 2))]


def degenerate_graphs() -> tuple[Corner, list[str]]:
    """Signs of signs, signs as outputs, an unused input, values that nobody reads."""
    w = Corner("degenerate")
    x, _ = w.input('a "name" ??/ %s ü', (1, 33, 3, 3)), w.input("unused", (1, 2))
    w.conv(x, 33, 4)
    q = w.binary_quantize(w.binary_quantize(x), name="c\U0001f600*/ #")
    y = w.conv(q, 33, 33, as_is=(q,))
    joined = w.node("Concat", [x, x], axis=1)
    return w, [w.binary_quantize(y), y, joined, w.node("Identity", [y])]


CORNERS: tuple[Callable[[], tuple[Corner, list[str]]], ...] = (
    channels_around_the_word,
    paddings_and_strides,
    residuals,
    both_outputs_of_one_convolution,
    norms_after_pools,
    two_images_and_a_flattened_one,
    vectors,
    groups_and_parts,
    bits_that_are_moved,
    real_activations,
    degenerate_graphs,
)
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
