"""`--forbid-skips`: CI cannot pass by skipping."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"

LACKS = "import pytest\n@pytest.mark.isa('no_such_feature')\ndef test_a(): raise AssertionError\n"
PROGRAM = (
    "import pytest\ndef test_a(): pytest.skip('qemu is not installed: apt-get install qemu-user')\n"
)
MODULE = "import pytest\npytest.skip('no torch', allow_module_level=True)\n"
MARKED = "import pytest\n@pytest.mark.skip\ndef test_a(): pass\n"
EXPECTED = "import pytest\n@pytest.mark.xfail\ndef test_a(): raise AssertionError\n"
PASSES = "def test_b(): pass\n"


def outcome(tmp_path: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on one module with our conftest."""
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_it.py").write_text(text + PASSES)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", *options],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("text", [PROGRAM, MARKED], ids=["program", "marked"])
def test_a_skip_fails_the_run_where_skips_are_forbidden(tmp_path: Path, text: str) -> None:
    assert outcome(tmp_path, text).returncode == 0
    strict = outcome(tmp_path, text, "--forbid-skips")
    assert strict.returncode == 1
    assert "forbidden skips" in strict.stdout
    assert "test_it.py::test_a" in strict.stdout
    assert "1 passed, 1 skipped" in strict.stdout.splitlines()[-1]


def test_a_module_that_skips_as_a_whole_fails_the_run(tmp_path: Path) -> None:
    assert outcome(tmp_path, MODULE, "--forbid-skips").returncode == 1


def test_a_missing_cpu_feature_may_skip_and_is_named(tmp_path: Path) -> None:
    strict = outcome(tmp_path, LACKS, "--forbid-skips")
    assert strict.returncode == 0
    assert "this CPU lacks no_such_feature" in strict.stdout


def test_an_expected_failure_is_not_a_skip(tmp_path: Path) -> None:
    assert outcome(tmp_path, EXPECTED, "--forbid-skips").returncode == 0
