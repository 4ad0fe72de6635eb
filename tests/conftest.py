"""What all tests share: skips that name what is missing, and a way to forbid them.

A test may skip for two reasons only. The CPU lacks a feature and no emulator will do:
`isa("avx512f")`. The machine lacks a program: `needs("qemu-aarch64")`, or that of
`isa("avx512f", emulator="bochs")`; the skip names the package to install. `--forbid-skips`
lets the first pass and fails the run on anything else; `.ci/run` uses it where it installs the
packages itself.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A shared machine stalls at will: time says nothing about a property.
settings.register_profile("binas", deadline=None)
settings.load_profile("binas")

# A background job inherits SIGINT ignored and hands it on; programs that are tested for Ctrl-C must
# start as from a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Side by side, each process has a core to itself; threads of both on both would take turns.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# `examples/` and `benchmarks/` are no packages that anybody installs, but they are tested.
sys.path.append(str(Path(__file__).resolve().parents[1]))

LACKS_FEATURE = "this CPU lacks "

# Program → the Debian package that has it; `.ci/run` installs all of these.
PACKAGES = {
    "bash": "bash",
    "bochs": "bochs bochs-term vgabios",
    "c++": "g++",
    "cc": "gcc",
    "chromium": "chromium",
    "clang": "clang",
    "cmake": "cmake",
    "fish": "fish",
    "llvm-mca": "llvm",
    "qemu-aarch64": "qemu-user",
    "qemu-arm": "qemu-user",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "zsh": "zsh",
}


def cpu_features() -> frozenset[str]:
    """Features as /proc/cpuinfo spells them, plus the architecture's own name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    words = {
        word
        for line in lines
        if line.split(":")[0].strip() in ("flags", "Features")
        for word in line.partition(":")[2].split()
    }
    return frozenset(words | {platform.machine()})


def program(name: str) -> str | None:
    """Where a program is; servers live outside an ordinary user's PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def installed(name: str) -> str:
    """The path of a program, or a skip."""
    found = program(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return found


@pytest.fixture
def needs() -> Callable[[str], str]:
    """`needs("sshd")` gives the program's path, or skips and names its package."""

    return installed


@pytest.fixture(scope="session", autouse=True)
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One folder of kernels for all processes of a run, empty at its start; nobody's tuning."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BINAS_KERNEL_CACHE", str(shared / "kernels"))
        patch.setenv("BINAS_TUNING", str(shared / "tuning.json"))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--forbid-skips`, and how long and from which seed `tests/fuzz` goes on."""
    parser.addoption("--fuzz-seconds", type=float, default=0.4, help="per kind of file, or CPU")
    parser.addoption("--fuzz-seed", type=int, default=0, help="of what is drawn")
    parser.addoption(
        "--forbid-skips",
        action="store_true",
        help="fail the run if a test skips for anything but a missing CPU feature",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the `isa` marker and, where asked, watch the skips."""
    what = "isa(*features, emulator=None): skips where the CPU, and the emulator, lack one of them"
    config.addinivalue_line("markers", what)
    if config.getoption("--forbid-skips"):
        config.pluginmanager.register(SkipWatch(), "skip-watch")


# Files that take longest, about in this order. A process that is handed one of them last keeps the
# others waiting; what is not here takes a few seconds, and any order will do.
LONGEST = (
    "test_kernels",
    "test_kernels_arm",
    "test_corners",
    "test_docs",
    "test_board_faults",
    "test_rpc_link",
    "test_bars",
    "test_tiles",
    "test_demo",
    "test_compile_cli",
    "test_relax_form",
    "test_search_journey",
    "test_run_folders",
    "test_search_hardware",
    "test_train",
    "test_strategies",
    "test_embedding",
    "test_processes",
    "test_cycles",
    "test_menu",
    "test_tune",
    "test_ssh_link",
    "test_onnx",
    "test_steps",
    "test_fuzz",
    "test_hostile_records",
    "test_hostile",
    "test_wheel",
    "test_codegen",
    "test_supernet_step",
    "test_foreign_models",
    "test_cells_compile",
    "test_devices_artifact",
    "test_reproducible",
    "test_native",
    "test_native_harness",
    "test_skips",
    "test_completion",
    "test_table",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; within a file, the order stays."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip an `isa` test by the name of what is missing."""
    for marker in item.iter_markers("isa"):
        missing = [feature for feature in marker.args if feature not in cpu_features()]
        if missing and "emulator" in marker.kwargs:
            installed(marker.kwargs["emulator"])
        elif missing:
            pytest.skip(LACKS_FEATURE + ", ".join(missing))


class SkipWatch:
    """Turns skips that are nobody's fault but the machine's into a failed run."""

    def __init__(self) -> None:
        """Nothing has skipped yet."""
        self.skips: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that skipped; an expected failure reports as skipped, too, and is fine."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that skipped as a whole."""
        if report.skipped:
            self.note(report)

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Keep it unless a CPU feature is the reason."""
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(LACKS_FEATURE):
            self.skips.append(f"{report.nodeid}: {reason}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that would have passed."""
        passed = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if self.skips and session.exitstatus in passed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the skips that failed the run, above the summary line."""
        if self.skips:
            terminalreporter.section("forbidden skips", red=True)
            for line in self.skips:
                terminalreporter.line(line)
