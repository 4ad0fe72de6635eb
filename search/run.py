"""A run's folder: what was asked for, the log, the last good state, the result.

config.json             what was asked for; the same command with the same answer resumes
log.jsonl               one JSON object per finished epoch
steps.jsonl             one per step of the finished epochs
checkpoint.safetensors  all state after the last finished epoch, without pickle
events/                 both logs for TensorBoard, where asked for
"""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from binas.core import record
from binas.core.errors import UsageError
from binas.search.events import EVENT_FILES, Events

Scalar = str | int | float | bool | None

# All that a run leaves, results first: killed while it starts over, it is still the old run.
FILES = (
    "result.json",
    "genotype.json",
    "trained.json",
    "weights.safetensors",
    "checkpoint.safetensors",
    "log.jsonl",
    "steps.jsonl",
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
        origins: Setting → "default", the name of its file, or "command line"; where a number came
            from does not change what is asked for.
        arguments: The command that was typed, paths made absolute, without -o; what
            `binas-search resume` types again.
    """

    SCHEMA: ClassVar[str] = "binas.run/1"

    kind: str
    data: str
    data_digest: str
    seed: int
    settings: dict[str, Scalar]
    inputs: dict[str, str]
    versions: dict[str, str]
    origins: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    @property
    def processor(self) -> str:
        """Where it trains; folders that do not say are of a time when there was but the CPU."""
        return str(self.settings.get("processor", "cpu"))

    def request(self) -> Config:
        """What two runs must have in common to be the same; data by digest, whatever its path."""
        settings = {**self.settings, "processor": self.processor}
        return replace(self, data="", settings=settings, versions={}, origins={}, arguments=())

    def identity(self) -> str:
        """Digest of the request, wherever it is computed: a run may move to another processor."""
        asked = self.request()
        return record.digest(replace(asked, settings={**asked.settings, "processor": ""}))


def versions() -> dict[str, str]:
    """Of what decides the numbers of a training run."""
    packages = {name: version(name) for name in ("binas", "numpy", "torch")}
    return {"python": platform.python_version(), **packages}


class RunFolder:
    """A folder that belongs to one configuration.

    Args:
        path: The folder; made if it is not there.
        config: What is asked for now.
        force: Throw away what is there.
        writes: Whether this process writes; of several that train together one does.
        events: Also write what TensorBoard reads.

    Attributes:
        lost: What `resume` found missing that a run can go on without; empty where nothing is.

    Raises:
        UsageError: The folder holds a run that was asked for something else, or does not say what
            it was asked for.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        *,
        force: bool = False,
        writes: bool = True,
        events: bool = False,
    ) -> None:
        """Open or make the folder."""
        self.path, self.writes, self.lost = path, writes, ""
        self._config = config  # as the folder keeps it
        self._steps_bytes = 0  # of steps.jsonl, as the last checkpoint knows it
        self.events = Events(path) if events and writes else None
        if force and writes:
            for found in (*(path / name for name in FILES), *path.glob(EVENT_FILES)):
                found.unlink(missing_ok=True)
        kept = path / "config.json"
        if kept.exists():
            old = record.load(Config, kept)
            if old.request() != config.request():
                raise UsageError(
                    f"{path} holds a run with other {_difference(old.request(), config.request())}",
                    hint=_way_out(path, old, config),
                )
            self._config = old
        elif left := [name for name in FILES if (path / name).exists()]:
            raise UsageError(
                f"{path} holds {left[0]} of a run, but no config.json that says of which",
                hint=f"give another -o; or start over: {_anew(path, config)}",
            )
        elif writes:
            record.save(config, kept)

    def log(self, entries: list[dict[str, Any]]) -> None:
        """Replace the log: one line per epoch, so a resumed run leaves no line twice."""
        lines = [json.dumps(entry, sort_keys=True, allow_nan=False) + "\n" for entry in entries]
        record.write_atomic(self.path / "log.jsonl", "".join(lines).encode())

    def checkpoint(
        self,
        tensors: Mapping[str, Tensor],
        entries: list[dict[str, Any]],
        steps: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Keep the state after the epochs of `entries`; logs and tensors always agree.

        Args:
            tensors: All state.
            entries: One per epoch, from the first.
            steps: What to log of each step of the last of them.
        """
        if not self.writes:
            return
        size = self._append(steps)
        data = save_tensors(
            {name: _kept(tensor) for name, tensor in tensors.items()},
            metadata={
                "log": json.dumps(entries),
                "steps_bytes": str(size),
                "request": self._config.identity(),
            },
        )
        record.write_atomic(self.path / "checkpoint.safetensors", data)
        self._steps_bytes = size
        self.log(entries)
        if self.events is not None:
            self.events.epoch(entries[-1], steps)

    def _append(self, steps: Sequence[dict[str, Any]]) -> int:
        """Steps behind those that the last checkpoint knows of; what a killed run left goes."""
        path = self.path / "steps.jsonl"
        lines = "".join(json.dumps(s, sort_keys=True, allow_nan=False) + "\n" for s in steps)
        if not lines and not path.exists():
            return 0
        with path.open("ab") as file:
            file.truncate(self._steps_bytes)
            file.write(lines.encode())
        return self._steps_bytes + len(lines.encode())

    def resume(self) -> tuple[dict[str, Tensor], list[dict[str, Any]]] | None:
        """The state kept last and its log; None where a run has not finished an epoch.

        Raises:
            UsageError: The checkpoint is damaged, or of another run.
        """
        path = self.path / "checkpoint.safetensors"
        self._steps_bytes, self.lost = 0, ""
        if not path.exists():
            return None
        data = path.read_bytes()
        try:
            tensors = load_tensors(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
            entries: list[dict[str, Any]] = json.loads(header["log"])
            steps_bytes = int(header.get("steps_bytes", 0))
        except (SafetensorError, ValueError, KeyError) as error:
            raise self.unusable(f"is damaged: {error}") from None
        # Checkpoints of before it was noted do not say whose they are.
        if header.get("request", self._config.identity()) != self._config.identity():
            raise self.unusable(f"is of another run than {self.path / 'config.json'} tells of")
        self._steps_bytes = self._whole_lines(steps_bytes)
        return tensors, entries

    def unusable(self, why: str) -> UsageError:
        """The error of a checkpoint that no run can go on from."""
        return UsageError(
            f"{self.path / 'checkpoint.safetensors'} {why}", hint=_anew(self.path, self._config)
        )

    def _whole_lines(self, size: int) -> int:
        """Bytes of steps.jsonl that hold whole lines, of the first `size`; notes what is lost."""
        path = self.path / "steps.jsonl"
        found = path.read_bytes()[:size] if size and path.exists() else b""
        whole = found.rfind(b"\n") + 1
        if whole < size:
            self.lost = (
                f"{path} holds {whole} of the {size} bytes of finished epochs: the run goes on, "
                "the other steps are lost to this log"
            )
        return whole


def _kept(tensor: Tensor) -> Tensor:
    """A tensor as a file holds it: by itself, in order, from wherever it is."""
    return tensor.detach().cpu().contiguous().clone()


def _difference(old: Config, new: Config) -> str:
    """The first settings that differ, with both values."""
    for name in ("kind", "data_digest", "seed"):
        if getattr(old, name) != getattr(new, name):
            return f"{name}: {getattr(old, name)}, now {getattr(new, name)}"
    for name in ("settings", "inputs"):
        before, now = getattr(old, name), getattr(new, name)
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                return f"{key}: {before.get(key)}, now {now.get(key)}"
    return "settings"


def _way_out(path: Path, old: Config, new: Config) -> str:
    """What to do about a folder that holds another run."""
    moved = replace(new, settings={**new.settings, "processor": old.processor})
    if not old.arguments or old.request() != moved.request():
        return f"give another -o; or start over: {_anew(path, new)}"
    # The same command: --processor auto finds another one on another machine.
    there = f"binas-search resume {path}"
    move = f"{there} --processor {new.processor} goes on here, where numbers round otherwise"
    stay = f"{there} goes on on the CPU, and " if old.processor == "cpu" else ""
    return f"{stay}{move}; or give another -o"


def _anew(path: Path, asked: Config) -> str:
    """How to start over; said in whole, for `resume` and `compare` have no --force of their own."""
    if not asked.arguments:
        return f"delete {path}"
    return shlex.join(["binas-search", *asked.arguments, "-o", str(path), "--force"])
