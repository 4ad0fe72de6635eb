"""Records and TOML that were made to harm: refused in time, in little memory, with a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from binas.core import record
from binas.core.errors import UsageError
from binas.core.layer import Layer
from binas.runtime.table import LatencyTable
from binas.search import space
from binas.search.config import settings
from binas.search.strategy.settings import SearchSettings
from tests.fuzz import seeds

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_record_holds_no_number_that_is_not_finite(value: str) -> None:
    text = seeds.table().decode().replace("11.5", value)
    with pytest.raises(UsageError, match=r"entries\.0\.result.*finite number"):
        record.loads(LatencyTable, text, where="table.json")


def test_toml_that_is_too_deep_or_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hostile.toml"
    for text, said in (
        ("epochs = " + "[" * 5000, "nested too deeply"),
        ("epochs = " + "9" * 5000, "is not TOML"),
        ("#" * (record.MAX_TOML_BYTES + 1), "is larger than 1 MiB"),
    ):
        path.write_text(text)
        for read in (lambda: settings(SearchSettings, path, {}), lambda: space.load(str(path))):
            with pytest.raises(UsageError, match=said):
                read()


def test_a_message_is_no_longer_than_a_screen() -> None:
    with pytest.raises(UsageError) as caught:
        record.loads(LatencyTable, json.dumps({"schema": "x" * 10**6}), where="table.json")
    assert len(str(caught.value)) == 2000


NONSENSE = """
import resource, sys, time
from pathlib import Path
from binas.core import record
from binas.core.errors import DamagedError, UsageError
from binas.runtime.table import LatencyTable
path = Path(sys.argv[1])
record.loads(LatencyTable, path.with_suffix(".good").read_bytes(), where="good")
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
begin = time.process_time()
try:
    record.load(LatencyTable, path)
except UsageError as error:
    print(time.process_time() - begin, error)
"""


@pytest.mark.parametrize(
    ("key", "part", "count"),
    [
        ('"entries": [', "[],", record.MAX_KEYS),
        ('"facts": {', '"%d":0,', record.MAX_KEYS),
        ('"agreement": [', "1.25,", record.MAX_VALUES),
        ('"agreement": [', '"12345678",', record.MAX_VALUES),
        ('"device": "\U0001f600', "x", record.MAX_RECORD_BYTES - 100),
        ('"step_ns": 0.', "1", record.MAX_RECORD_BYTES - 100),
    ],
    ids=["lists", "keys", "numbers", "texts", "a text", "digits"],
)
def test_many_wrong_values_are_refused_in_time(
    tmp_path: Path, key: str, part: str, count: int
) -> None:
    path = tmp_path / "table.json"
    path.with_suffix(".good").write_bytes(seeds.table())
    body = "".join(part % i for i in range(count - 10)) if "%d" in part else part * (count - 10)
    end = {"[": "0]}", "{": '"x":0}}'}.get(key[-1], '"}' if part == "x" else "}")
    path.write_text('{"schema": "binas.table/1", ' + key + body + end)
    done = subprocess.run(
        [sys.executable, "-c", NONSENSE, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    seconds, _, message = done.stdout.partition(" ")
    assert "does not fit binas.table/1" in message
    assert float(seconds) < 2


def test_more_values_than_a_record_has_are_not_parsed() -> None:
    for many in (b"[" * (record.MAX_KEYS + 1), b"," * (record.MAX_VALUES + 1)):
        with pytest.raises(UsageError, match="holds more values than a"):
            record.loads(LatencyTable, many, where="table.json")


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    with path.open("wb") as file:
        file.truncate(record.MAX_RECORD_BYTES + 1)
    with pytest.raises(UsageError, match="is larger than 64 MiB"):
        record.load(LatencyTable, path)


def test_a_layer_that_no_kernel_could_compute_is_refused() -> None:
    for change, said in (
        ({"in_shape": (1, 8, 0, 32)}, "a size"),
        ({"kernel": (9, 9)}, "an output"),
        ({"padding": (0, -1, 0, 0)}, "padding or parts"),
        ({"pad_value": 2}, "pad_value"),
        ({"in_bits": 8}, "bits"),
        ({"out_channels": 1 << 25}, "a size"),
    ):
        known: dict[str, Any] = {"op": "conv", "in_shape": (1, 8, 8, 32), "out_channels": 8}
        with pytest.raises(UsageError, match=f"a layer has {said} of"):
            Layer(**{**known, **change})
