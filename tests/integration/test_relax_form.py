"""`--emit relax`: TVM builds and runs the text, and gives the artifact's answers, every bit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm import relax

from binas.compile import codegen, examples, script
from binas.compile import isa as isas
from binas.compile.build import compile_model
from binas.compile.memory import SLACK
from binas.compile.model import BinaryModel
from binas.devices import registry
from binas.runtime.artifact import Artifact
from binas.runtime.library import Library
from tests.integration.corners import Corner
from tests.integration.test_pixels import network as camera

C = 8
Array = NDArray[Any]

SHAPE = r"R\.shape\(\[(\d+)\]\)"
DTYPE = r'R\.dtype\("(\w+)"\)'
MEMORY = re.compile(rf"(\w+): R\.Any = R\.memory\.alloc_storage\({SHAPE}")
TENSOR = re.compile(rf"R\.memory\.alloc_tensor\((\w+), 0, {SHAPE}, {DTYPE}")
PARAMETER = re.compile(rf"(\w+): .*R\.memory\.view\(weights, {SHAPE}, {DTYPE}, (\d+)\)")


def network() -> BinaryModel:
    """A residual, depthwise convolutions, pools and a concat; two inputs, two outputs.

    One input is read twice, a step has no parameters, and names mean something to Python or TVM.
    """
    w = Corner("relax")
    x, z = w.input("lambda", (2, C, 4, 6)), w.input("weights", (2, C, 4, 6))
    y = w.conv(w.conv(x, C, C, name="R"), C, C, group=C, name="stage/0.depthwise")
    parts = [w.pool(w.add(y, x)), w.pool(z, "AveragePool")]
    joined = w.node("Concat", parts, axis=1)
    y = w.add(w.conv(joined, 2 * C, 2 * C, group=2 * C), joined)
    return BinaryModel.of(w.finish([w.conv(y, 2 * C, 5, 1), w.relu(z)]), "net")


@dataclass(frozen=True)
class Emitted:
    """What `--emit relax` made.

    Attributes:
        artifact: Beside it.
        program: The IRModule.
        text: The file.
    """

    artifact: Artifact
    program: Any
    text: str

    def machine(self, program: Any) -> Callable[[bytes], list[Array]]:
        """TVM's virtual machine: weights → outputs of `inputs`."""
        manifest = self.artifact.manifest
        target = codegen.target(isas.find(manifest.cpu, manifest.arch))
        main = relax.VirtualMachine(relax.build(program, target), tvm.cpu())["main"]
        given = [tvm.runtime.tensor(x) for x in self.inputs().values()]

        def run(weights: bytes) -> list[Array]:
            found = main(*given, tvm.runtime.tensor(np.frombuffer(weights, np.uint8)))
            several = [found] if isinstance(found, tvm.runtime.Tensor) else found
            return [y.numpy() for y in several]

        return run

    def inputs(self) -> dict[str, Array]:
        """Numbers of both signs, or bytes."""
        generator = np.random.default_rng(0)
        return {
            port.name: generator.integers(0, 256, port.shape, np.uint8)
            if port.dtype == "uint8"
            else generator.standard_normal(port.shape, np.float32)
            for port in self.artifact.manifest.inputs
        }


def emitted(model: BinaryModel, folder: Path, device: str = "host", **how: Any) -> Emitted:
    """Compile a model and keep the program that its text is of."""
    programs: list[Any] = []
    real = script.text

    def kept(printable: Any) -> str:
        programs.append(printable)
        return real(printable)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "text", kept)
        made = compile_model(
            model, registry.find(device), folder / "net.binas", emit=["relax"], **how
        )
    (program,) = programs
    assert made.emitted == (folder / "net.relax",)
    return Emitted(made.artifact, program, (folder / "net.relax").read_text())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Emitted:
    """The network for this machine."""
    return emitted(network(), tmp_path_factory.mktemp("relax"))


@pytest.fixture(scope="module")
def read(small: Emitted) -> Any:
    """Its text as TVM reads it."""
    return tvm.script.from_source(small.text)


def must_agree(made: Emitted, program: Any) -> None:
    """Outputs are those of the artifact's harness in shape and every bit."""
    with Library(made.artifact) as library:
        expected = list(library.run(made.inputs()).values())
    found = made.machine(program)(made.artifact.read("weights.bin"))
    for y, wanted in zip(found, expected, strict=True):
        assert y.shape == wanted.shape
        np.testing.assert_array_equal(y.view(np.uint32), wanted.view(np.uint32))
        assert len(np.unique(wanted)) > 1


def test_what_tvm_makes_of_the_text_gives_the_answers_of_the_artifact(
    small: Emitted, read: Any
) -> None:
    must_agree(small, read)


def test_the_trained_example_gives_the_answers_of_its_artifact(tmp_path: Path) -> None:
    model = BinaryModel.load(Path(examples.__path__[0]) / "digits.onnx")
    digits = emitted(model, tmp_path)
    must_agree(digits, digits.program)


def test_every_parameter_is_read_from_its_place_in_the_weights(small: Emitted) -> None:
    run, weights = small.machine(small.program), small.artifact.read("weights.bin")
    expected = run(weights)
    places = PARAMETER.findall(small.text)
    assert len(places) > len(small.artifact.manifest.steps)
    for name, size, dtype, offset in places:
        changed = np.frombuffer(weights, np.uint8).copy()
        place = changed[int(offset) :][: int(size) * np.dtype(dtype).itemsize]
        assert place.any(), name
        place[:] = 0  # which is never out of range, should it say where something is
        found = run(changed.tobytes())
        assert any((y != z).any() for y, z in zip(found, expected, strict=True)), name


@pytest.mark.parametrize(
    "how", [{"uint8": True}, {"channels_last": True, "batch": 2}], ids=["bytes", "channels last"]
)
def test_an_image_enters_as_the_artifact_takes_it(how: dict[str, Any], tmp_path: Path) -> None:
    uint8 = how.pop("uint8", False)
    made = emitted(camera(**how), tmp_path, uint8=uint8)
    must_agree(made, tvm.script.from_source(made.text))


def test_every_value_has_the_slack_of_the_arena_behind_it(small: Emitted) -> None:
    sizes, tensors = dict(MEMORY.findall(small.text)), TENSOR.findall(small.text)
    manifest = small.artifact.manifest
    written = sum(len(step.outputs) for step in manifest.steps)
    wanted = len(manifest.inputs) + written + len(manifest.outputs)
    assert len(tensors) == len(sizes) == wanted
    for memory, size, dtype in tensors:
        assert int(sizes[memory]) >= int(size) * np.dtype(dtype).itemsize + SLACK


@pytest.mark.parametrize("device", ["x86-64-v3", "x86-64-v4", "rpi4", "rpi4-32"])
def test_the_text_reads_back_as_the_program_whatever_the_cpu(device: str, tmp_path: Path) -> None:
    made = emitted(camera(), tmp_path, device)
    tvm.ir.assert_structural_equal(tvm.script.from_source(made.text), made.program)
    assert {gv.name_hint for gv in made.program.get_global_vars()} == {
        *(step.symbol for step in made.artifact.manifest.steps),
        "binas_enter_0",
        "binas_leave_0",
        "binas_leave_1",
        "main",
    }
