"""binas-run and binas-bench, as a user calls them; binas-table is in `test_table_cli.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest

from binas.devices.emulator import has_qemu
from binas.devices.link import Link
from binas.runtime.artifact import Artifact, load
from binas.runtime.cli import bench, report, run
from binas.runtime.session import Session
from tests.unit.runtime.conftest import call

FAST = ["--repeats", "2", "--warmup", "0", "--min-time", "1us"]


@pytest.fixture(autouse=True)
def no_user_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BINAS_DEVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def x_file(tmp_path: Path, x: np.ndarray) -> str:
    np.save(tmp_path / "x.npy", x)
    return str(tmp_path / "x.npy")


def test_an_answer_goes_to_a_file(net: Artifact, x_file: str, tmp_path: Path) -> None:
    y = tmp_path / "y.npy"
    done = call(run, net.path, "--device", "host", "--input", x_file, "-o", y)
    assert done.exit_code == 0 and done.stdout == ""
    assert np.load(y).tolist() == [[4.0, -2.0, -1.0, 0.0]]


def test_without_a_file_the_answer_is_summed_up(net: Artifact, x_file: str) -> None:
    done = call(run, net.path, "--device", "host", "--input", f"x={x_file}")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[:2] == ["y  1x4  from -2.0 to 4.0", f"  {'0':>12}  4.0"]


def test_run_json_is_one_object(net: Artifact, x_file: str) -> None:
    done = call(run, net.path, "--device", "host", "--input", x_file, "--verify", "--json")
    found = json.loads(done.stdout)
    assert found["schema"] == "binas.run/1" and found["verify"]["binary_layers_exact"] is True
    assert found["outputs"][0]["top"][0] == {"index": 0, "label": "0", "value": 4.0}


def test_verification_needs_no_input(net: Artifact) -> None:
    done = call(run, net.path, "--device", "host", "--verify")
    assert done.exit_code == 0 and "verified 4 tensors: binary layers exact" in done.stdout


def test_a_board_is_verified_without_a_board(arm_net: Artifact, no_qemu: None) -> None:
    done = call(run, arm_net.path, "--device", "rpi4", "--emulate", "--verify")
    assert done.exit_code == 0, done.output


@pytest.fixture
def no_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("binas.runtime.answers.has_qemu", lambda arch: False)
    assert has_qemu("x86_64") is False


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "nothing to do"),
        (["--input", "no.npy"], 2, "no such file: no.npy"),
        (["--input", "z=no.npy"], 2, "the model has no input 'z'"),
        (["--verify", "-o", "y.npy"], 2, "-o y.npy without --input: --verify writes no output"),
        (["--input", "/dev/zero"], 2, "/dev/zero is a device, expected a file"),
    ],
)
def test_run_refuses_in_one_sentence_with_a_way_out(
    net: Artifact, arguments: list[str], status: int, says: str
) -> None:
    done = call(run, net.path, "--device", "host", *arguments)
    assert done.exit_code == status
    assert done.stderr.startswith("Error: ") and says in done.stderr and "Hint: " in done.stderr
    assert done.stdout == ""


def test_a_folder_is_no_file_for_an_answer(net: Artifact, x_file: str) -> None:
    done = call(run, net.path, "--device", "host", "--input", x_file, "-o", ".")
    assert done.exit_code == 2
    assert "-o .: the model has 1 output, expected a .npy file" in done.stderr
    assert "Hint: -o y.npy" in done.stderr


def test_an_answer_never_overwrites_its_input(net: Artifact, x_file: str) -> None:
    before = Path(x_file).read_bytes()
    for given in (x_file, f"x={x_file}"):
        done = call(run, net.path, "--device", "host", "--input", given, "-o", x_file)
        assert done.exit_code == 2, done.output
        assert "would overwrite" in done.stderr
    assert Path(x_file).read_bytes() == before


@pytest.mark.parametrize("option", ["--csv", "--timeline"])
def test_a_measurement_never_overwrites_the_artifact(net: Artifact, option: str) -> None:
    done = call(bench, net.path, "--device", "host", option, net.path)
    assert done.exit_code == 2
    assert "would overwrite" in done.stderr
    assert load(net.path).manifest == net.manifest


def test_a_report_never_overwrites_what_it_is_made_from(net: Artifact) -> None:
    done = call(report, net.path, "-o", net.path)
    assert done.exit_code == 2
    assert "would overwrite" in done.stderr
    assert load(net.path).manifest == net.manifest


def test_nan_input_is_refused_and_leaves_no_file(net: Artifact, tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.full((1, 4), np.nan, np.float32))
    y = tmp_path / "y.npy"
    done = call(run, net.path, "--device", "host", "--input", tmp_path / "nan.npy", "-o", y)
    assert done.exit_code == 2 and "NaN" in done.stderr and not y.exists()


def test_an_input_of_another_shape_is_refused_before_a_board_is_reached(
    arm_net: Artifact, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 1), np.float32))
    done = call(run, arm_net.path, "--device", "rpi4", "--input", tmp_path / "x.npy")
    assert done.exit_code == 2
    assert "has shape [4, 1], expected [1, 4]" in done.stderr and "x.reshape(1, 4)" in done.stderr


def test_an_input_that_is_no_npy_file_is_refused(net: Artifact, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_text("hello")
    done = call(run, net.path, "--device", "host", "--input", tmp_path / "x.npy")
    assert done.exit_code == 2 and "is no .npy file" in done.stderr


def test_a_misspelt_device_is_found_out_before_anything_runs(net: Artifact) -> None:
    done = call(run, net.path, "--device", "hots", "--verify")
    assert done.exit_code == 2 and "did you mean host?" in done.stderr


def test_an_artifact_of_another_architecture_is_refused(arm_net: Artifact) -> None:
    for command, more in ((run, ["--verify"]), (bench, [])):
        done = call(command, arm_net.path, "--device", "rpi4-32", *more)
        assert done.exit_code == 2 and "is for aarch64" in done.stderr


def test_a_board_without_a_route_says_how_to_add_one(arm_net: Artifact) -> None:
    done = call(bench, arm_net.path, "--device", "rpi4")
    assert done.exit_code == 5 and "devices.toml" in done.stderr and "--emulate" in done.stderr


def test_a_bench_quotes_the_median_and_keeps_the_samples(net: Artifact, tmp_path: Path) -> None:
    done = call(bench, net.path, "--device", "host", "--layers", "--json", *FAST)
    found = json.loads(done.stdout)
    assert found["schema"] == "binas.bench/1"
    assert found["steady"]["median_ns"] == 300.5
    assert found["steady"]["samples_ns"] == [300.0, 301.0]
    assert [layer["step"] for layer in found["layers"]] == ["scale", "shift"]


def test_a_bench_for_people_adds_up(net: Artifact, tmp_path: Path) -> None:
    csv, trace = tmp_path / "t.csv", tmp_path / "t.trace"
    done = call(bench, net.path, "--device", "host", *FAST, "--csv", csv, "--timeline", trace)
    assert "steady" in done.stdout and "total" in done.stdout
    assert csv.read_text().startswith("step,layer,kernel,median_ns")
    assert json.loads(trace.read_text())["traceEvents"]


def test_emulation_gives_counts_and_no_latency(arm_net: Artifact) -> None:
    done = call(bench, arm_net.path, "--device", "rpi4", "--emulate")
    assert done.exit_code == 6 and done.stdout == ""
    assert "emulation gives no latency; instruction counts: " in done.stderr


@pytest.mark.parametrize("command", [run, bench])
def test_more_threads_than_the_harness_has_are_refused_before_a_board_is_reached(
    arm_net: Artifact, command: click.Command
) -> None:
    done = call(command, arm_net.path, "--device", "rpi4", "--threads", "33")
    assert done.exit_code == 2
    assert "'--threads': 33 is not in the range 1<=x<=32." in done.stderr.splitlines()[-1]


def test_a_run_has_the_threads_that_are_asked_for(
    net: Artifact, x_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    create = Session.__init__

    def noted(self: Session, artifact: Artifact, link: Link, *, threads: int = 1) -> None:
        asked.append(threads)
        create(self, artifact, link, threads=threads)

    monkeypatch.setattr(Session, "__init__", noted)
    for more in ([], ["--threads", "2"]):
        done = call(run, net.path, "--device", "host", "--input", x_file, *more)
        assert done.exit_code == 0 and "from -2.0 to 4.0" in done.stdout
    assert asked == [1, 2]


def test_emulation_without_qemu_refuses_threads(arm_net: Artifact, no_qemu: None) -> None:
    more = ["--emulate", "--verify", "--threads", "2"]
    done = call(run, arm_net.path, "--device", "rpi4", *more)
    assert done.exit_code == 5 and "has one thread, not 2" in done.stderr


def test_times_take_units_and_nothing_else(net: Artifact) -> None:
    for wrong in ("5", "5 minutes", "-5ms"):
        done = call(bench, net.path, "--device", "host", f"--min-time={wrong}")
        assert done.exit_code == 2 and "write a number and its unit" in done.stderr


def test_strict_turns_doubts_into_a_failure(make_net: Callable[..., Artifact]) -> None:
    net = make_net("aarch64")
    done = call(bench, net.path, "--device", "null", "--layers", "--strict", *FAST)
    assert done.exit_code == 6 and "Doubt: invented by a null device" in done.stderr
    assert "shift" in done.stdout
