"""A run's folder: what was asked for, the log, the last good state, the result.

config.json             what was asked for; the same command with the same answer resumes
log.jsonl               one JSON object per finished epoch
checkpoint.safetensors  all state after the last finished epoch, without pickle
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from binas.core import record
from binas.core.errors import UsageError

Scalar = str | int | float | bool | None

# All that a run leaves, results first: killed while it starts over, it is still the old run.
FILES = (
    "result.json",
    "genotype.json",
    "trained.json",
    "weights.safetensors",
    "checkpoint.safetensors",
    "log.jsonl",
    "config.json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a run was asked for.

    Attributes:
        kind: "search" or "retrain".
        data: Name of the data set.
        data_digest: Of its arrays.
        seed: Of everything that is drawn.
        settings: Every number that shapes the result.
        inputs: Name → digest of the records it reads (space, genotype, table).
        versions: Of the programs; a change of these alone does not forbid to go on.
    """

    SCHEMA: ClassVar[str] = "binas.run/1"

    kind: str
    data: str
    data_digest: str
    seed: int
    settings: dict[str, Scalar]
    inputs: dict[str, str]
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Of what decides the numbers of a training run."""
    return {name: version(name) for name in ("binas", "numpy", "torch")}


class RunFolder:
    """A folder that belongs to one configuration.

    Args:
        path: The folder; made if it is not there.
        config: What is asked for now.
        force: Throw away what is there.

    Raises:
        UsageError: The folder holds a run that was asked for something else.
    """

    def __init__(self, path: Path, config: Config, *, force: bool = False) -> None:
        """Open or make the folder."""
        self.path = path
        if force:
            for name in FILES:
                (path / name).unlink(missing_ok=True)
        kept = path / "config.json"
        if kept.exists():
            old = record.load(Config, kept)
            if replace(old, versions={}) != replace(config, versions={}):
                raise UsageError(
                    f"{path} holds a run with other {_difference(old, config)}",
                    hint="give another -o, or --force to start over",
                )
        else:
            record.save(config, kept)

    def log(self, entries: list[dict[str, Any]]) -> None:
        """Replace the log: one line per epoch, so a resumed run leaves no line twice."""
        lines = [json.dumps(entry, sort_keys=True, allow_nan=False) + "\n" for entry in entries]
        record.write_atomic(self.path / "log.jsonl", "".join(lines).encode())

    def checkpoint(self, tensors: Mapping[str, Tensor], entries: list[dict[str, Any]]) -> None:
        """Keep the state after the epochs of `entries`; log and tensors always agree."""
        data = save_tensors(
            {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()},
            metadata={"log": json.dumps(entries)},
        )
        record.write_atomic(self.path / "checkpoint.safetensors", data)
        self.log(entries)

    def resume(self) -> tuple[dict[str, Tensor], list[dict[str, Any]]] | None:
        """The state kept last and its log; None where a run has not finished an epoch.

        Raises:
            UsageError: The checkpoint is damaged.
        """
        path = self.path / "checkpoint.safetensors"
        if not path.exists():
            return None
        data = path.read_bytes()
        try:
            tensors = load_tensors(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            entries: list[dict[str, Any]] = json.loads(header["__metadata__"]["log"])
        except (SafetensorError, ValueError, KeyError) as error:
            raise UsageError(
                f"{path} is damaged: {error}", hint="give --force to start over"
            ) from None
        return tensors, entries


def _difference(old: Config, new: Config) -> str:
    """The first settings that differ, with both values."""
    for name in ("kind", "data", "data_digest", "seed"):
        if getattr(old, name) != getattr(new, name):
            return f"{name}: {getattr(old, name)}, now {getattr(new, name)}"
    for name in ("settings", "inputs"):
        before, now = getattr(old, name), getattr(new, name)
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                return f"{key}: {before.get(key)}, now {now.get(key)}"
    return "settings"
