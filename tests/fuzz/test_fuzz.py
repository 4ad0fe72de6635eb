"""Whatever a file holds: reading it succeeds, or is refused with a sentence, soon and in few bytes.

Files are broken at random from valid ones, for part of a second per kind; `make fuzz` takes its
time and another seed. Faults that were found are tests of their own in `test_hostile*.py`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import GROUPS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("group", GROUPS)
def test_broken_files_are_read_or_refused(
    group: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    seconds, seed = pytestconfig.getoption("--fuzz-seconds"), pytestconfig.getoption("--fuzz-seed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.child", group, str(seconds), str(seed), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120 + 60 * seconds,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    last = told[-1] if told else {}
    # A kind that was begun and not told ended the program.
    fault = last.get("fault", f"it ended with {done.returncode}: {done.stderr[-3000:]}")
    if fault:
        case = max(tmp_path.glob("case*"), key=lambda file: file.stat().st_mtime_ns)
        kept = ROOT / "runs" / "fuzz" / f"{last.get('kind')}-{seed}{case.suffix}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(case, kept)
        pytest.fail(f"{kept} (seed {seed}):\n{fault}")
    finished = [kind for kind in told if "refused" in kind]
    assert len(finished) == len(told) / 2
    for kind in finished:
        assert kind["refused"] > 0, f"{kind}: nothing refused; were the files broken at all?"
