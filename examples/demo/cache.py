"""Stages that are done once: a folder per stage, named by a digest of everything that went in.

A stage whose folder holds `done.json` is not done again. One without was interrupted: its work is
called on the same folder and may go on with what it finds there.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from binas.core import record
from binas.core.errors import DamagedError, UsageError

_DONE = "done.json"
_LOOKS = {"html", "plots", "drawing", "page"}  # of runtime/
ROOT = Path(__file__).resolve().parents[2]  # the checkout: examples are not part of the package


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a finished stage leaves beside its results.

    Attributes:
        stage: Its name.
        inputs: Digest of what went in.
        seconds: How long it took, interruptions not counted.
        summary: One sentence of what came out.
        files: Path below the folder → digest of what the work left there.
    """

    SCHEMA: ClassVar[str] = "binas.demo-stage/2"

    stage: str
    inputs: str
    seconds: float
    summary: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage with the folder that its inputs give it."""

    name: str
    folder: Path
    digest: str

    @property
    def done(self) -> Done | None:
        """What is known of it if it is finished.

        Raises:
            DamagedError: It is finished, but its files are not those that it left.
        """
        path = self.folder / _DONE
        if not path.exists():
            return None
        try:
            done = record.load(Done, path)
        except UsageError as error:
            raise self.damaged(str(error)) from None
        found = _files(self.folder)
        if missing := sorted(set(done.files) - set(found)):
            raise self.damaged(f"{missing[0]} is missing")
        if changed := sorted(name for name in done.files if found[name] != done.files[name]):
            raise self.damaged(f"{changed[0]} was changed after the stage was finished")
        return done

    def finish(self, summary: str, began_s: float) -> Done:
        """Mark it as finished; `began_s` is of `time.monotonic`."""
        done = Done(
            stage=self.name,
            inputs=self.digest,
            seconds=round(time.monotonic() - began_s, 1),
            summary=summary,
            files=_files(self.folder),
        )
        record.save(done, self.folder / _DONE)
        return done

    def damaged(self, why: str) -> DamagedError:
        """The error for a folder that is of no use, and the way out of it."""
        return DamagedError(
            f"what the stage {self.name!r} left in {self.folder} is of no use: {why}",
            hint=f"rm -r {shlex.quote(str(self.folder))}, then the same command does it again",
        )


def _files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): record.digest_bytes(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / _DONE
    }


def stage(root: Path, name: str, inputs: Mapping[str, Any], *rooms: str) -> Stage:
    """The stage of that name with these inputs.

    Args:
        root: Folder of all stages.
        name: Of the stage.
        inputs: Everything that decides what comes out, as JSON values.
        rooms: Folders of the checkout whose code makes the result: another version of it is another
            input.
    """
    facts = {
        "stage": name,
        "inputs": inputs,
        "code": {room: code_digest(room) for room in (*rooms, OWN)},
    }
    digest = record.digest_bytes(json.dumps(facts, sort_keys=True, default=str).encode())
    return Stage(name, root / f"{name}-{digest}", digest)


OWN = "examples/demo"  # how a stage measures decides its result, too


def code_digest(room: str) -> str:
    """Digest of the source files of one folder; how a report looks decides no result."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / room).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.stem not in _LOOKS:
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


class Tick(Protocol):
    """Told how far a stage is: steps done, steps in all, and what is being done."""

    def __call__(self, done: int, total: int, doing: str = "") -> None:
        """Move the bar."""
