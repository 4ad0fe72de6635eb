"""What the demo is asked for is looked at before it begins, and what decides its measurements."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from binas.compile import tuning
from binas.core import record
from binas.core.errors import BinasError
from examples.demo.__main__ import main
from examples.demo.cache import Done
from examples.demo.crew import Crew, Job
from examples.demo.journey import Request, travel


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


class Recorder(Crew):
    """Does nothing, and tells what it was to do."""

    def alone(self, job: Job) -> Done:
        """The table comes first."""
        raise BinasError(job.stage.digest)


def test_what_was_measured_with_another_tuning_database_is_not_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_stage() -> str:
        with pytest.raises(BinasError) as begun:
            travel(Request(device="null", output=tmp_path / "out"), Recorder())
        return str(begun.value)

    file = tmp_path / "tuning.json"
    monkeypatch.setenv("BINAS_TUNING", str(file))
    untuned = first_stage()
    assert first_stage() == untuned
    record.save(tuning.shipped(), file)
    assert first_stage() != untuned
