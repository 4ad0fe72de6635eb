"""`binas-compile` as a user calls it: the fixed forms, the refusals, and no half-written files."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click.testing
import numpy as np
import onnx
import pytest

from binas.compile.cli import main
from binas.compile.model import ModelWriter
from binas.runtime import artifact as artifacts

COMMAND = str(Path(sys.executable).with_name("binas-compile"))


def network(*, stem: bool = True) -> onnx.ModelProto:
    """A float stem (if wanted), a binary convolution, and one on real activations."""
    generator = np.random.default_rng(0)
    w = ModelWriter("net")
    x = w.input("x", (1, 8, 5, 5))
    if stem:
        weights = w.constant(generator.standard_normal((8, 8, 3, 3)))
        x = w.node("Conv", [x, weights], name="stem", pads=[1] * 4)
    ones = np.where(generator.random((8, 3, 3, 8)) < 0.5, 1.0, -1.0)
    a, b = np.ones(8), np.zeros(8)
    x = w.binary_conv2d(w.binary_quantize(x, name="sign"), ones, scale=a, bias=b, name="body")
    return w.finish([w.binary_conv2d(x, ones[:, :1, :1], scale=a, bias=b, name="head")])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network in a file."""
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    path.write_bytes(network().SerializeToString())
    return path


def call(*arguments: object) -> click.testing.Result:
    """Run the command in this process."""
    return click.testing.CliRunner().invoke(main, [str(argument) for argument in arguments])


def must_refuse(result: click.testing.Result, code: int, said: str) -> None:
    """An error is one sentence and a hint on stderr, with its code; never a traceback."""
    assert result.exit_code == code, result.output
    first, *rest = result.stderr.splitlines()
    assert first.startswith("Error: ")
    assert said in first
    assert [line[:6] for line in rest] in ([], ["Hint: "])
    assert result.stdout == ""


def test_json_is_one_object_with_the_promised_keys(model: Path, tmp_path: Path) -> None:
    result = call(model, "--device", "host", "-o", tmp_path / "n.binas", "--json", "--verify")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["schema"] == "binas.compile/1"
    assert answer["artifact"] == str(tmp_path / "n.binas")
    assert answer["binary_layers"] == 1
    assert answer["layers"] == [
        {
            "name": "stem",
            "kind": "float",
            "reason": "its weights are real; -s and +s per output channel make a bit",
        },
        {"name": "body", "kind": "binary", "reason": "both operands are one bit"},
        {
            "name": "head",
            "kind": "weight-binary",
            "reason": "its activations are not quantized; a sign before it makes them bits",
        },
    ]
    assert set(answer["verified"]) == {"numpy", "host", "library"}
    assert answer["verified"]["host"]["binary_layers_exact"] is True
    assert answer["artifact_bytes"] == (tmp_path / "n.binas").stat().st_size
    assert answer["arena_bytes"] >= answer["arena_lower_bound_bytes"]
    assert artifacts.load(tmp_path / "n.binas").manifest.device == "host"


def test_every_step_has_its_kernel_and_its_share_of_the_estimate(
    model: Path, tmp_path: Path
) -> None:
    result = call(model, "--device", "rpi4", "-o", tmp_path / "n.binas", "--json")
    steps = json.loads(result.stdout)["kernels"]
    manifest = artifacts.load(tmp_path / "n.binas").manifest
    assert [step["name"] for step in steps] == [step.name for step in manifest.steps]
    assert [step["macs"] for step in steps] == [step.layer.macs for step in manifest.steps]
    assert sum(step["estimated_share"] for step in steps) == pytest.approx(1)
    told = call(model, "--device", "rpi4", "-o", tmp_path / "n.binas").stdout
    assert "no measurement" in told
    assert max(steps, key=lambda step: step["estimated_share"])["kernel"] in told


def test_what_was_made_on_the_way_is_written_beside_the_artifact(
    model: Path, tmp_path: Path
) -> None:
    forms = "asm,tir,llvm,c,asm,relax"
    result = call(model, "-o", tmp_path / "n.binas", "--emit", forms, "--json")
    assert result.exit_code == 0, result.output
    names = ["n.s", "n.tir", "n.ll", "n.plan.c", "n.relax"]
    assert json.loads(result.stdout)["emitted"] == [str(tmp_path / name) for name in names]
    texts = {name: (tmp_path / name).read_text() for name in names}
    for text in texts.values():
        assert "binas_kernel_" in text
    assert "retq" in texts["n.s"] or "\tret" in texts["n.s"]
    assert "prim_func" in texts["n.tir"]
    assert "define" in texts["n.ll"]
    assert "binas_the_plan" in texts["n.plan.c"]
    assert "def main(x: R.Tensor((1, 8, 5, 5)" in texts["n.relax"]
    functions = [line.strip() for line in texts["n.tir"].splitlines() if line.startswith("def ")]
    assert functions
    for function in functions:
        assert f"    {function}\n" in texts["n.relax"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["n.binas", *names])


def test_an_unknown_form_is_refused_with_the_known_ones(model: Path, tmp_path: Path) -> None:
    result = call(model, "-o", tmp_path / "n.binas", "--emit", "relay")
    must_refuse(result, 2, "unknown form of --emit 'relay'")
    assert "relax" in result.stderr


def test_people_are_told_what_stayed_float_and_why(model: Path, tmp_path: Path) -> None:
    result = call(model, "-o", tmp_path / "n.binas")
    assert result.exit_code == 0
    assert "binary layers   1 of 3" in result.stdout
    assert "stem: its weights are real" in result.stdout


def test_the_artifact_lies_beside_the_model_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(network(stem=False).SerializeToString())
    assert call(path).exit_code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.binas", "mine.onnx"]


def test_a_float_layer_is_refused_where_all_must_be_binary(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "n.binas"
    result = call(model, "--require-binary", "-o", output)
    must_refuse(
        result,
        4,
        "1 layer stayed float: stem (its weights are real; -s and +s per output channel make",
    )
    assert "--allow-float stem" in result.stderr
    assert not output.exists()
    allowed = call(model, "--require-binary", "--allow-float", "stem", "-o", output)
    assert allowed.exit_code == 0
    wrong = call(model, "--require-binary", "--allow-float", "stern", "-o", output)
    must_refuse(wrong, 2, "unknown layer 'stern'")
    assert "did you mean stem?" in wrong.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--allow-float", "stem"), 2, "--allow-float without --require-binary"),
        (("--mean", "nan"), 2, "--mean 'nan' is not finite"),
        (("--std", "1,inf,1"), 2, "--std '1,inf,1' is not finite"),
        (("--std", "1e-44"), 2, "normalised pixels are no finite float32 numbers"),
        (("--mean", "1,2", "--std", "3"), 2, "a normalisation by 2 numbers for an image of 8 chan"),
    ],
)
def test_numbers_and_words_that_make_no_sense_are_refused(
    model: Path, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    must_refuse(call(model, *words, "-o", tmp_path / "n.binas"), code, said)
    assert not (tmp_path / "n.binas").exists()


def test_a_device_that_never_ends_is_no_model(tmp_path: Path) -> None:
    must_refuse(call("/dev/zero", "-o", tmp_path / "n.binas"), 2, "is a device, expected a file")


def test_an_unknown_device_is_refused_with_the_nearest_name(model: Path, tmp_path: Path) -> None:
    result = call(model, "--device", "rip4", "-o", tmp_path / "n.binas")
    must_refuse(result, 2, "unknown device 'rip4'")
    assert "rpi4" in result.stderr


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", 2, "holds no graph"),
        (b"this is no protobuf", 2, "is not an ONNX file"),
        (network().SerializeToString()[:-200], 2, "is not an ONNX file"),
    ],
    ids=["empty", "text", "truncated"],
)
def test_a_corrupt_model_is_refused(content: bytes, code: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    must_refuse(call(path), code, said)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.onnx"]


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    must_refuse(call(tmp_path / "no.onnx"), 2, "no such file")


def test_an_output_that_is_a_folder_is_refused(model: Path, tmp_path: Path) -> None:
    must_refuse(call(model, "-o", tmp_path), 2, "is a folder")
    assert list(tmp_path.iterdir()) == []


def test_an_output_below_a_file_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    must_refuse(call(model, "-o", tmp_path / "file" / "n.binas"), 2, "cannot write")


def test_a_folder_nobody_may_write_is_refused(model: Path) -> None:
    must_refuse(call(model, "-o", "/proc/n.binas"), 2, "cannot write")


def test_the_model_itself_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "net.binas"  # a model with the suffix of artifacts
    path.write_bytes(network(stem=False).SerializeToString())
    must_refuse(call(path), 2, f"would overwrite {path}")
    onnx.checker.check_model(onnx.load(str(path)))


def test_a_full_folder_of_temporary_files_is_said_before_anything_is_made(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil._ntuple_diskusage(10**9, 10**9, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    must_refuse(call(model, "-o", tmp_path / "n.binas"), 2, "has 0 MiB left for temporary files")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path, output = tmp_path / "wide.onnx", tmp_path / "n.binas"
    path.write_bytes(wide().SerializeToString())
    output.write_bytes(b"old")

    def small() -> None:  # the kernel refuses a larger file as it would on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (WIDE_BYTES, WIDE_BYTES))

    done = subprocess.run(
        [COMMAND, str(path), "-o", str(output)],
        preexec_fn=small,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: cannot write ")
    assert output.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.binas", "wide.onnx"]


WIDE_BYTES = 4 << 20


def wide() -> onnx.ModelProto:
    """A network whose weights alone are as large as `WIDE_BYTES`."""
    w = ModelWriter("wide")
    x = w.input("x", (1, 1024))
    weights = np.random.default_rng(0).standard_normal((1024, WIDE_BYTES // 4096))
    return w.finish([w.node("MatMul", [x, w.constant(weights)])])


@pytest.mark.parametrize("after_s", [0.5, 1.5, 2.5])
def test_an_interrupted_compilation_leaves_nothing_half_done(
    model: Path, tmp_path: Path, after_s: float
) -> None:
    output, temporary = tmp_path / "out" / "n.binas", tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [COMMAND, str(model), "--device", "rpi4", "--verify", "-o", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert [path for path in temporary.iterdir() if path.is_dir()] == []
    if output.parent.exists():  # the signal came when all was done: then the file is whole
        assert [path.name for path in output.parent.iterdir()] == ["n.binas"]
        artifacts.load(output).taps()
    else:
        assert process.returncode != 0
