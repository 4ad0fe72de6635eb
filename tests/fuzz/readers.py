"""What commands do with a stranger's file, short of training, compiling or running it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from binas.core import record
from binas.core.errors import MeasureError
from binas.devices import registry
from binas.runtime import answers, benched, timeline
from binas.runtime import artifact as artifacts
from binas.runtime.artifact import must_fit
from binas.runtime.layout import layout_bytes, tap_bytes
from binas.runtime.measure import Measurement
from binas.runtime.table import LatencyTable, compare, merge
from binas.runtime.verify import must_agree, verify

Reader = Callable[[Path], None]
TAKEN = Measurement(samples_ns=(10.0, 11.0), runs_per_batch=1, preemptions=(0, 0))


def genotype(cls: Any) -> Reader:
    """`binas-search retrain FILE`, before it builds the network."""

    def read(path: Path) -> None:
        found = record.load(cls, path)
        assert record.loads(cls, record.dumps(found), where="again") == found
        str(found)

    return read


def space(path: Path) -> None:
    """`--space FILE.toml`."""
    from binas.search import space as spaces

    found = spaces.load(str(path))
    record.digest(found)
    assert all(min(found.size(stage)) > 0 for stage in range(found.stages))


def config(cls: Any) -> Reader:
    """`--config FILE.toml`."""

    def read(path: Path) -> None:
        from binas.search.config import settings

        record.digest_bytes(str(settings(cls, path, {})).encode())

    return read


def table(path: Path) -> None:
    """`binas-table show`, and what a search does with a table."""
    found = record.load(LatencyTable, path)
    benched.table_text(found, 30)
    json.dumps(benched.table_record(found), allow_nan=False)
    compare(found, merge(found, found))
    for entry in found.entries:
        if isinstance(entry.result, Measurement):
            found.sum_ns([entry.layer])


def devices(path: Path) -> None:
    """`binas-devices list` and `show`."""
    os.environ["BINAS_DEVICES"] = str(path)
    found, faults = registry.all_devices()
    for device in found:
        assert registry.find(device.name) == device
        json.dumps(record.to_dict(device), allow_nan=False)
    if faults:
        assert all(str(path) in str(fault) for fault in faults)
        raise faults[0]


class Replay:
    """A runner that answers with the artifact's own taps: what a right device would say."""

    def __init__(self, artifact: artifacts.Artifact) -> None:
        self.artifact = artifact

    def run(self, _inputs: Any) -> dict[str, Any]:
        """The outputs of the taps."""
        taps, found = self.artifact.taps(), {}
        for port in self.artifact.manifest.outputs:
            if f"output:{port.name}" not in taps:
                raise MeasureError(f"a device would not know the output {port.name[:40]!r}")
            found[port.name] = taps[f"output:{port.name}"].reshape(port.shape)
        return found

    def steps(self, taps: Any) -> dict[str, Any]:
        """The tensors of the taps, as a device would have read them."""
        steps = self.artifact.manifest.steps
        for tensor in (tensor for step in steps for tensor in step.inputs):
            assert len(tap_bytes(taps, tensor, self.artifact)) == layout_bytes(tensor)
        return {t.name: taps[t.name] for step in steps for t in step.outputs}


def artifact(path: Path) -> None:
    """`binas-run FILE --verify` and `binas-bench FILE`, without its machine code."""
    found = artifacts.load(path)
    must_fit(found, registry.find("host"))
    for member in artifacts.MEMBERS[1:]:
        found.read(member)
    must_agree(verify(Replay(found)), path.name)
    rows = timeline.rows(found.manifest.steps, [TAKEN] * len(found.manifest.steps), TAKEN)
    timeline.text(rows, TAKEN)
    timeline.to_csv(rows)


def array(path: Path) -> None:
    """`binas-run --input FILE.npy`."""
    from tests.unit.runtime.conftest import manifest

    answers.read_inputs(manifest("x86_64", "generic"), [str(path)])
