"""A compiled network on this machine and under both emulators."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from binas.compile.build import compile_model
from binas.compile.model import BinaryModel, ModelWriter
from binas.core.errors import MeasureError, UsageError, WrongAnswerError
from binas.devices.check import check
from binas.devices.emulator import QemuLink, has_qemu
from binas.devices.registry import connect, find
from binas.devices.ssh import SshLink
from binas.runtime import artifact as artifacts
from binas.runtime.artifact import Artifact
from binas.runtime.cli import bench, run
from binas.runtime.emulated import EmulatedSession, count_instructions
from binas.runtime.measure import Measurement, Plan
from binas.runtime.session import Session
from binas.runtime.verify import verify

PLAN = Plan(repeats=5, warmup=1, min_batch_ns=200_000)


@pytest.fixture(scope="module")
def model() -> BinaryModel:
    generator = np.random.default_rng(3)

    def signs(*shape: int) -> np.ndarray:
        return generator.choice([-1.0, 1.0], shape).astype(np.float32)

    writer = ModelWriter("two-convs")
    value = writer.input("x", (1, 33, 6, 6))
    for name, C, K in (("a", 33, 64), ("b", 64, 40)):
        value = writer.binary_conv2d(
            writer.binary_quantize(value),
            signs(K, 3, 3, C),
            scale=generator.uniform(-0.2, 0.2, K),
            bias=generator.uniform(-0.3, 0.3, K),
            pads=(1, 1, 1, 1),
            name=name,
        )
    return BinaryModel.of(writer.finish([value]), "two-convs")


@pytest.fixture(scope="module")
def host_net(model: BinaryModel, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("host") / "net.binas"
    return compile_model(model, find("host"), path).artifact


@pytest.fixture(scope="module")
def pi_net(model: BinaryModel, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("rpi4") / "net.binas"
    return compile_model(model, find("rpi4"), path).artifact


def test_the_host_gives_the_references_answer(host_net: Artifact) -> None:
    with connect(find("host")) as link, Session(host_net, link) as session:
        report = verify(session)
    assert report.binary_layers_exact and report.judged_outputs


def test_threads_do_not_change_the_answer(host_net: Artifact) -> None:
    x = {"x": np.random.default_rng(0).standard_normal((1, 33, 6, 6)).astype(np.float32)}
    (name,) = (port.name for port in host_net.manifest.outputs)
    with connect(find("host")) as link:
        one, two = (Session(host_net, link, threads=n).run(x)[name] for n in (1, 2))
    assert np.array_equal(one, two)


def test_the_hosts_layers_add_up_to_about_the_whole(host_net: Artifact) -> None:
    with connect(find("host")) as link, Session(host_net, link) as session:
        whole = session.timing(PLAN)
        layers = session.layers(PLAN)
    assert all(isinstance(result, Measurement) for result in layers)
    total = sum(result.median_ns for result in layers if isinstance(result, Measurement))
    # Loose: the machine is shared; that sums predict is shown by the benchmarks.
    assert 0.3 < total / whole.steady.median_ns < 3
    assert whole.load_ns > 0 and whole.first_ns > 0


def test_unicorn_gives_the_references_answer_for_a_pi(pi_net: Artifact) -> None:
    report = verify(EmulatedSession(pi_net))
    assert report.binary_layers_exact and report.max_abs_error < 1e-4


def test_qemu_runs_the_very_harness_of_a_pi(pi_net: Artifact) -> None:
    if not has_qemu("aarch64"):
        pytest.skip("qemu-aarch64 is not installed: apt-get install qemu-user")
    with QemuLink(find("rpi4")) as link, Session(pi_net, link) as session:
        assert verify(session).binary_layers_exact
        with pytest.raises(MeasureError, match="emulation gives no latency"):
            session.time(PLAN)
        with pytest.raises(MeasureError, match="emulation gives no latency"):
            session.layers(PLAN)


def test_an_emulated_board_behind_ssh_answers_and_is_never_timed(
    pi_net: Artifact, board: Callable[..., SshLink], needs: Callable[[str], str], tmp_path: Path
) -> None:
    wrapper = [needs("qemu-aarch64"), "-cpu", "max"]
    with board(board="rpi4", wrapper=wrapper) as link, Session(pi_net, link) as session:
        assert link.trust == "emulated"
        assert verify(session).binary_layers_exact
        with pytest.raises(MeasureError, match="emulation gives no latency"):
            session.time(PLAN)
    steps = {step.name: step for step in check("loop")}
    assert all(step.ok for step in steps.values())
    assert "emulated: aarch64 under " in steps["architecture"].found
    assert steps["execute"].found == "an uploaded aarch64 program said 'binas'"


def test_a_real_board_behind_ssh_is_measured_by_its_own_clock(
    host_net: Artifact, board: Callable[..., SshLink]
) -> None:
    with board() as link, Session(host_net, link) as session:
        assert link.trust == "real" and verify(session).binary_layers_exact
        assert session.time(PLAN).median_ns > 0


def test_nothing_is_measured_through_a_made_up_sensor(
    host_net: Artifact, scripted_board: Callable[..., SshLink], tmp_path: Path
) -> None:
    (tmp_path / "vcgencmd").write_text("#!/bin/sh\necho throttled=0x0\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    with (
        scripted_board(prelude=f"PATH={tmp_path}:$PATH\nexport PATH\n") as link,
        Session(host_net, link) as session,
        pytest.raises(MeasureError, match="emulation gives no latency") as caught,
    ):
        session.time(PLAN)
    assert "binas-devices check loop says what is emulated" in caught.value.hint


def test_more_work_is_more_instructions(pi_net: Artifact) -> None:
    by_step = dict(
        zip(
            (step.name for step in pi_net.manifest.steps),
            count_instructions(pi_net).steps,
            strict=True,
        )
    )
    assert by_step["b"] > 10_000 and by_step["a"] > 10_000
    assert count_instructions(pi_net).steps == tuple(by_step.values())


def test_one_wrong_value_is_found_and_its_step_named(host_net: Artifact, tmp_path: Path) -> None:
    members = {name: host_net.read(name) for name in artifacts.MEMBERS if name != "manifest.json"}
    taps = host_net.taps()
    tensor = host_net.manifest.steps[-1].outputs[0]
    taps[tensor.name] = taps[tensor.name].copy()
    taps[tensor.name].flat[5] += 1
    with (tmp_path / "taps.npz").open("wb") as file:
        np.savez(file, **taps)  # type: ignore[arg-type]
    members["taps.npz"] = (tmp_path / "taps.npz").read_bytes()
    wrong = artifacts.write(tmp_path / "wrong.binas", host_net.manifest, members)
    name = host_net.manifest.steps[-1].name
    with (
        connect(find("host")) as link,
        Session(wrong, link) as session,
        pytest.raises(WrongAnswerError, match=f"step {name}, tensor"),
    ):
        verify(session)


def test_a_pi_artifact_is_refused_by_the_host(pi_net: Artifact) -> None:
    if find("host").arch == "aarch64":
        return  # it runs here
    with connect(find("host")) as link, pytest.raises(UsageError, match="is for aarch64"):
        Session(pi_net, link)


def test_the_commands_agree_on_the_answer(
    host_net: Artifact, pi_net: Artifact, tmp_path: Path
) -> None:
    x = np.random.default_rng(1).standard_normal((1, 33, 6, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    common = ["--input", str(tmp_path / "x.npy"), "--verify", "-o"]
    for net, device, more in ((host_net, "host", []), (pi_net, "rpi4", ["--emulate"])):
        target = str(tmp_path / f"{device}.npy")
        line = [str(net.path), "--device", device, *more, *common, target]
        done = CliRunner().invoke(run, line)
        assert done.exit_code == 0, done.output
    host, pi = (np.load(tmp_path / f"{name}.npy") for name in ("host", "rpi4"))
    assert np.allclose(host, pi, rtol=1e-4, atol=1e-4)


def test_bench_measures_the_host_and_counts_for_the_pi(
    host_net: Artifact, pi_net: Artifact
) -> None:
    line = [str(host_net.path), "--device", "host", "--layers", "--json", "--repeats", "5"]
    found = json.loads(CliRunner().invoke(bench, line).stdout)
    assert found["steady"]["median_ns"] > 0 and len(found["layers"]) == len(host_net.manifest.steps)
    done = CliRunner().invoke(bench, [str(pi_net.path), "--device", "rpi4", "--emulate"])
    assert done.exit_code == 6 and "instruction counts: " in done.stderr
