"""Estimates: blocks counted by two emulators, priced by llvm-mca, and never a latency."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from binas.compile.build import compile_model
from binas.compile.cli import main
from binas.compile.cycles import Estimate, disassembled, estimate, executed_blocks
from binas.compile.model import BinaryModel
from binas.core import record
from binas.core.errors import UsageError
from binas.devices import registry
from binas.runtime.artifact import Artifact
from binas.runtime.emulated import EmulatedSession, count_instructions
from binas.search.export import export
from binas.search.networks.bars import build
from binas.search.space import Space
from binas.search.survey import random_genotypes

needs_mca = pytest.mark.skipif(
    not (shutil.which("llvm-mca") and shutil.which("llvm-objdump")), reason="llvm is not installed"
)
needs_qemu = pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="no qemu-user here")


@pytest.fixture(scope="module")
def model() -> BinaryModel:
    space = Space(input_shape=(1, 8, 8), classes=3, channels=8, stages=2, widths=(0.5, 1.0))
    genotype = random_genotypes(space, 1, 0)[0]
    net = build(genotype)
    net.eval()

    return BinaryModel.of(export(net, genotype), "small")


def artifact(model: BinaryModel, device: str, folder: Path) -> Artifact:
    return compile_model(model, registry.find(device), folder / f"{device}.binas").artifact


@needs_mca
def test_an_estimate_prices_every_step_in_cycles(model: BinaryModel, tmp_path: Path) -> None:
    made = artifact(model, "rpi4", tmp_path)
    found = estimate(made)
    assert (found.device, found.model) == ("rpi4", "cortex-a72")
    assert len(found.steps) == len(made.manifest.steps)
    assert all(cycles > 0 for cycles in found.steps)
    # The kernels' own instructions are all that the emulator counts but for the way into a step.
    assert (
        0.8 * count_instructions(made).total < found.instructions <= count_instructions(made).total
    )
    # No CPU of this kind does more than three instructions a cycle, nor stalls on every one.
    assert found.instructions / 4 < found.total < 4 * found.instructions
    in_order = estimate(made, model="cortex-a53")
    assert in_order.total > found.total  # two instructions a cycle at most, in order
    path = tmp_path / "estimate.json"
    record.save(found, path)
    assert record.load(Estimate, path) == found
    assert "_ns" not in path.read_text()


@needs_mca
@needs_qemu
def test_the_host_is_estimated_by_a_plugin_of_qemu(model: BinaryModel, tmp_path: Path) -> None:
    if registry.find("host").arch != "x86_64":
        pytest.skip("not run here: x86-64")
    made = artifact(model, "x86-64-v3", tmp_path)
    blocks = executed_blocks(made)
    assert sum(block.executed for block in blocks) > 0
    found = estimate(made, model="haswell")
    assert all(cycles > 0 for cycles in found.steps)
    assert found.instructions == sum(block.instructions * block.executed for block in blocks)


@needs_mca
def test_the_command_prices_a_model_in_cycles_and_says_what_they_are(
    model: BinaryModel, tmp_path: Path
) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(model.proto.SerializeToString())
    asked = [str(path), "--device", "rpi4", "--estimate", "--pipeline", "cortex-a53"]
    told = CliRunner().invoke(main, [*asked, "--json"])
    found = json.loads(told.stdout)["estimated_cycles"]
    assert found["pipeline"] == "cortex-a53"
    assert found["total"] == pytest.approx(sum(step["cycles"] for step in found["steps"]))
    assert "_ns" not in json.dumps(found)
    shown = CliRunner().invoke(main, asked).stdout
    assert f"{found['total']:,.0f} cycles" in shown
    assert "never a latency" in shown


@needs_mca
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--device", "rpi4", "--pipeline", "cortex-a999"], "knows no pipeline: 'cortex-a999'"),
        (["--device", "rpi4-32"], "there is no estimate for armv7"),
        (["--device", "x86-64-v4"], "no emulator executes the AVX-512 code"),
    ],
)
def test_what_cannot_be_estimated_is_refused_before_anything_is_compiled(
    model: BinaryModel, tmp_path: Path, asked: list[str], said: str
) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(model.proto.SerializeToString())
    refused = CliRunner().invoke(main, [str(path), "--estimate", *asked])
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert [found.name for found in tmp_path.iterdir()] == ["small.onnx"]


def test_what_no_emulator_executes_is_not_estimated(model: BinaryModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no emulator executes the AVX-512 code"):
        estimate(artifact(model, "x86-64-v4", tmp_path))


def test_there_is_no_estimate_for_32_bit_boards(model: BinaryModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no estimate for armv7"):
        estimate(artifact(model, "rpi4-32", tmp_path))


@needs_mca
def test_a_trace_is_all_that_a_step_executes_in_order(model: BinaryModel, tmp_path: Path) -> None:
    made = artifact(model, "aarch64", tmp_path)
    counts = count_instructions(made).steps
    session = EmulatedSession(made)
    for index, count in enumerate(counts):
        trace = session.trace(index)
        assert sum(size // 4 for _, size in trace) == count
    bench = tmp_path / "bench"
    bench.write_bytes(made.read("bench"))
    code = disassembled(bench, "aarch64", around=True)
    assert code.addresses.keys() > disassembled(bench, "aarch64").addresses.keys()
    # A block that ends in no branch is followed by the one behind it.
    inside = [(at, size) for at, size in trace if at in code.addresses]
    for (at, size), (after, _) in itertools.pairwise(inside):
        last = code.lines[code.addresses[at] + size // 4 - 1]
        if not last.startswith(("b", "cb", "tb", "ret")):
            assert after == at + size
