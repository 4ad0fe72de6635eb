"""What the demo is asked for is looked at before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from examples.demo.__main__ import main


@pytest.mark.parametrize(
    ("board", "said"),
    [
        ("rpi4-32", "no emulator here counts the instructions of rpi4-32 (armv7)"),
        ("x86-64-v3", "no emulator here counts the instructions of x86-64-v3 (x86_64)"),
        ("rip4", "unknown device 'rip4'"),
    ],
)
def test_a_board_that_the_report_cannot_count_is_refused_before_anything_is_done(
    tmp_path: Path, board: str, said: str
) -> None:
    home = tmp_path / "out"
    refused = CliRunner().invoke(main, ["--device", "null", "--board", board, "-o", str(home)])
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert "rpi4" in refused.stderr.splitlines()[-1], "the hint names one that does"
    assert not home.exists()
