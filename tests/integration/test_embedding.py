"""The examples for those who embed an artifact: C with CMake, several networks, Python."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from binas.compile import link
from binas.compile.build import compile_model
from binas.compile.model import BinaryModel, ModelWriter
from binas.core.errors import MeasureError, UsageError
from binas.devices import registry
from binas.runtime.artifact import Artifact
from binas.runtime.library import Library
from tests.integration.sanitizers import FAKE_PLAN, sanitizing_compiler

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "native"


def network(channels: int) -> BinaryModel:
    """A convolution whose largest output is not the first."""
    generator = np.random.default_rng(channels)
    w = ModelWriter("net")
    x = w.binary_conv2d(
        w.binary_quantize(w.input("x", (1, channels, 3, 3))),
        np.where(generator.random((channels, 3, 3, channels)) < 0.5, 1.0, -1.0),
        scale=np.ones(channels),
        bias=generator.standard_normal(channels),
        name="conv",
    )
    return BinaryModel.of(w.finish([x]), f"net{channels}")


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """Two networks for this machine."""
    folder = tmp_path_factory.mktemp("embedded")
    host = registry.find("host")
    return [compile_model(network(C), host, folder / f"{C}.binas").artifact for C in (31, 65)]


@pytest.fixture(scope="module")
def board_net(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The first of them for a board."""
    path = tmp_path_factory.mktemp("board") / "31.binas"
    return compile_model(network(31), registry.find("rpi4"), path).artifact


def raw_input(artifact: Artifact, folder: Path) -> Path:
    """The artifact's own input as a file of floats."""
    path = folder / "x.raw"
    path.write_bytes(artifact.taps()["input:x"].tobytes())
    return path


def expected(artifact: Artifact) -> np.ndarray:
    """What the reference makes of it."""
    taps = artifact.taps()
    return next(taps[f"output:{port.name}"] for port in artifact.manifest.outputs)


def says_the_largest(said: str, artifact: Artifact) -> bool:
    """Whether a line holds index and value of the reference's largest output."""
    index, value = said.split()
    y = expected(artifact).reshape(-1)
    return int(index) == y.argmax() and abs(float(value) - y.max()) < 1e-4 * max(1, abs(y.max()))


def unpacked(artifact: Artifact, folder: Path) -> Path:
    """The members of an artifact as files."""
    with zipfile.ZipFile(artifact.path) as archive:
        archive.extractall(folder)
    return folder


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """A program and what it said."""
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, timeout=120
    )


def test_the_cmake_project_builds_and_runs(
    nets: list[Artifact], tmp_path: Path, needs: Callable[[str], str]
) -> None:
    cmake, _ = needs("cmake"), needs("cc")
    build = tmp_path / "build"
    made = run(cmake, "-S", EXAMPLES, "-B", build, f"-DMODEL={nets[0].path}")
    assert made.returncode == 0, made.stderr
    made = run(cmake, "--build", build)
    assert made.returncode == 0, made.stdout + made.stderr
    weights = build / "net" / "weights.bin"
    done = run(build / "classify", weights, raw_input(nets[0], tmp_path))
    assert done.returncode == 0, done.stderr
    assert says_the_largest(done.stdout, nets[0])
    folders = [unpacked(net, tmp_path / str(i)) for i, net in enumerate(nets)]
    both = run(build / "several", *folders)
    assert both.returncode == 0, both.stderr
    alone = [run(build / "several", folder).stdout for folder in folders]
    assert both.stdout == "".join(alone)
    assert alone[0].split()[1] != alone[1].split()[1]


def test_cmake_refuses_a_file_that_is_no_artifact(
    tmp_path: Path, needs: Callable[[str], str]
) -> None:
    other = tmp_path / "other.binas"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme", "nothing here")
    made = run(needs("cmake"), "-S", EXAMPLES, "-B", tmp_path / "build", f"-DMODEL={other}")
    assert made.returncode != 0
    assert f"failed to extract: {other}" in " ".join(made.stderr.split())


def test_the_example_in_c_runs_on_a_board(
    board_net: Artifact, tmp_path: Path, needs: Callable[[str], str]
) -> None:
    folder = unpacked(board_net, tmp_path / "net")
    program = tmp_path / "classify"
    link.zig(
        [
            *("-target", "aarch64-linux-gnu.2.28", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall"),
            *("-Wextra", "-Werror", str(EXAMPLES / "classify.c"), str(EXAMPLES / "weights.c")),
            *(str(folder / "libmodel.so"), "-Wl,-rpath,$ORIGIN/net", "-o", str(program)),
        ]
    )
    qemu = needs("qemu-aarch64")
    root = Path("/usr/aarch64-linux-gnu")
    if not (root / "lib" / "ld-linux-aarch64.so.1").exists():
        pytest.skip("no C library of aarch64: apt-get install libc6-arm64-cross")
    done = run(
        qemu,
        "-L",
        root,
        "-E",
        f"LD_LIBRARY_PATH={folder}",
        program,
        folder / "weights.bin",
        raw_input(board_net, tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert says_the_largest(done.stdout, board_net)


@pytest.mark.parametrize("fault", ["weights", "input"])
def test_the_example_in_c_says_what_is_wrong(
    nets: list[Artifact], tmp_path: Path, needs: Callable[[str], str], fault: str
) -> None:
    folder = unpacked(nets[0], tmp_path / "net")
    program, x = tmp_path / "classify", raw_input(nets[0], tmp_path)
    made = run(
        *(needs("cc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{folder}"),
        *(EXAMPLES / "classify.c", EXAMPLES / "weights.c", folder / "libmodel.so"),
        *(f"-Wl,-rpath,{folder}", "-o", program),
    )
    assert made.returncode == 0, made.stderr
    if fault == "input":
        x.write_bytes(x.read_bytes() + b"\0")
        said = f"{x}: expected {x.stat().st_size - 1} bytes\n"
    else:
        (folder / "weights.bin").write_bytes(bytes(len(nets[0].read("weights.bin"))))
        said = "the weights are not this network's, or are damaged\n"
    done = run(program, folder / "weights.bin", x)
    assert done.returncode in (1, 2)
    assert done.stderr == said


@pytest.mark.parametrize("compiler", ["cc", "c++"])
def test_the_header_is_plain_c_and_cpp(
    tmp_path: Path, needs: Callable[[str], str], compiler: str
) -> None:
    header = link.native_sources("model.h")[0]
    standard = ("c", "-std=c99") if compiler == "cc" else ("c++", "-std=c++98")
    source = tmp_path / "only"
    source.write_text('#include "model.h"\nint main(void) { return binas_abi() - BINAS_ABI; }\n')
    warnings = ("-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-Wno-long-long")
    done = run(
        needs(compiler), "-x", *standard, *warnings, f"-I{header.parent}", "-fsyntax-only", source
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_several_networks_at_once_are_clean_under_sanitizers(
    sanitizer: str, tmp_path: Path
) -> None:
    compiler = sanitizing_compiler(sanitizer, tmp_path)
    header = link.native_sources("model.h")[0].parent
    common = [compiler, "-std=gnu11", "-O1", "-g", f"-fsanitize={sanitizer}", f"-I{header}"]
    common += ["-fno-sanitize-recover=all", "-pthread"]
    folders = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "plan.c").write_text(FAKE_PLAN.replace("x[i] + 1.0f", f"x[i] + {number}.0f"))
        sources = [*link.native_sources("model.c", "layout.c", "threads.c"), folder / "plan.c"]
        made = run(*common, "-shared", "-fPIC", *sources, "-o", folder / "libmodel.so")
        assert made.returncode == 0, made.stderr
        (folder / "weights.bin").write_bytes(bytes(64))
        folders.append(folder)
    program = tmp_path / "several"
    sources = [EXAMPLES / "several.c", EXAMPLES / "weights.c"]
    made = run(*common, *sources, "-ldl", "-o", program)
    assert made.returncode == 0, made.stderr
    done = run(program, *folders, *folders)
    assert (done.returncode, done.stderr) == (0, "")
    sums = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert sums == [1024 * 2.5, 1024 * 4.5] * 2  # 0.5, and twice the number


def test_the_example_in_python_runs_here_and_through_a_link(
    nets: list[Artifact], tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", nets[1].taps()["input:x"])
    for device in ((), ("--device", "host")):
        done = run(
            sys.executable, EXAMPLES / "classify.py", nets[1].path, tmp_path / "x.npy", *device
        )
        assert done.returncode == 0, done.stderr
        assert says_the_largest(done.stdout, nets[1])


def test_a_run_reads_and_writes_arrays_where_they_lie(nets: list[Artifact]) -> None:
    (port,) = nets[0].manifest.outputs
    x = nets[0].taps()["input:x"]
    y = np.full(port.shape, np.nan, np.float32)
    with Library(nets[0]) as net:
        assert net.run({"x": x}, out={port.name: y})[port.name] is y
        np.testing.assert_allclose(y, expected(nets[0]), atol=1e-4)
        first = y.copy()
        x[:] = -x  # the same memory: the next run sees it
        net.run({"x": x}, out={port.name: y})
        assert (y != first).any()
        strided = np.repeat(x, 2, axis=3)[:, :, :, ::2]
        np.testing.assert_array_equal(net.run({"x": strided})[port.name], y)


@pytest.mark.parametrize("fault", ["missing", "shape", "dtype", "strided", "read-only"])
def test_an_output_array_that_cannot_be_written_in_place_is_refused(
    nets: list[Artifact], fault: str
) -> None:
    (port,) = nets[0].manifest.outputs
    y = np.zeros(port.shape, np.float64 if fault == "dtype" else np.float32)
    if fault == "shape":
        y = y[:, :-1]
    elif fault == "strided":
        y = np.zeros((*port.shape, 2), np.float32)[..., 0]
    y.flags.writeable = fault != "read-only"
    out = {} if fault == "missing" else {port.name: y}
    with Library(nets[0]) as net, pytest.raises(UsageError, match=r"out holds .* expected"):
        net.run({"x": nets[0].taps()["input:x"]}, out=out)


def test_a_closed_library_answers_with_an_error(nets: list[Artifact]) -> None:
    net = Library(nets[0])
    net.close()
    with pytest.raises(MeasureError, match="binas_run: the context was not created"):
        net.run({"x": nets[0].taps()["input:x"]})
