"""What a survey has measured so far, on disk: one small file per chunk of layers.

A file's name is made of everything that decides its numbers, so that another kernel, plan or board
never finds them. Files are written whole after every answer; a damaged one is measured again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from binas.core import record
from binas.core.errors import UsageError
from binas.core.layer import Layer
from binas.runtime.measure import Failure, Plan, Result

SIZE = 16  # layers per file, and per artifact: enough to share a link step, small enough to lose


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One measurement of a layer, and by which board."""

    board: str
    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A layer with its passes in the order taken."""

    layer: Layer
    passes: tuple[Pass, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some layers of a table and what came of them."""

    SCHEMA: ClassVar[str] = "binas.chunk/2"

    layers: tuple[Kept, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What decides the numbers of a chunk; its digest names the file."""

    SCHEMA: ClassVar[str] = "binas.chunk-key/3"

    device: str
    model: str
    cpu: str
    kernel_version: str
    threads: int
    plan: Plan
    layers: tuple[Layer, ...] = ()
    tiles: tuple[str, ...] = ()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have a folder of chunks to ourselves: two builds in one would remove each other's artifacts.

    Raises:
        UsageError: Another process has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # whoever writes there first says it better
        yield
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another command is building a table in {folder}",
                hint="wait for it, or write another table: -o FILE",
            ) from None
        yield
    finally:
        os.close(lock)


class Store:
    """Layer → passes, kept in a folder.

    Args:
        folder: Of the files.
        layers: All layers of the table; their order decides which share a file.
        tiles: What each layer's kernel is made with.
        key: Of every chunk, but for its layers and their tiles.
    """

    def __init__(
        self, folder: Path, layers: Sequence[Layer], tiles: Sequence[str], key: Key
    ) -> None:
        """Read what is there; failures are forgotten, so that they are tried again."""
        self._passes: dict[Layer, list[Pass]] = {layer: [] for layer in layers}
        self._file: dict[Layer, int] = {}
        self.chunks: list[tuple[Layer, ...]] = []
        self._paths: list[Path] = []
        for first in range(0, len(layers), SIZE):
            part = tuple(layers[first : first + SIZE])
            self._file |= dict.fromkeys(part, len(self.chunks))
            self.chunks.append(part)
            own = replace(key, layers=part, tiles=tuple(tiles[first : first + SIZE]))
            named = record.digest(own)
            self._paths.append(folder / f"chunk-{named}.json")
            for kept in _read(self._paths[-1]):
                good = [one for one in kept.passes if not isinstance(one.result, Failure)]
                self._passes[kept.layer] = good

    def results(self, layer: Layer) -> tuple[Result, ...]:
        """What came of a layer, in the order taken."""
        return tuple(one.result for one in self._passes[layer])

    def passes(self, layer: Layer) -> tuple[Pass, ...]:
        """The same with the boards' names."""
        return tuple(self._passes[layer])

    def add(self, layers: Sequence[Layer], results: Sequence[Result], board: str) -> None:
        """Keep an answer, on disk before this returns."""
        for layer, result in zip(layers, results, strict=True):
            self._passes[layer].append(Pass(board=board, result=result))
        self._save(layers)

    def withdraw(self, layers: Iterable[Layer], board: str) -> None:
        """Forget a board's last answer for these layers."""
        gone = list(layers)
        for layer in gone:
            passes = self._passes[layer]
            last = max((i for i, one in enumerate(passes) if one.board == board), default=None)
            if last is not None:
                del passes[last]
        self._save(gone)

    def forget_failures(self, layers: Iterable[Layer]) -> None:
        """Before layers are tried another way."""
        for layer in layers:
            self._passes[layer] = [
                one for one in self._passes[layer] if not isinstance(one.result, Failure)
            ]

    def _save(self, layers: Iterable[Layer]) -> None:
        for place in sorted({self._file[layer] for layer in layers}):
            kept = tuple(
                Kept(layer=layer, passes=tuple(self._passes[layer])) for layer in self.chunks[place]
            )
            # Not indented: a board waits meanwhile, and nobody reads it.
            record.write_atomic(self._paths[place], record.dumps(Chunk(layers=kept)).encode())


def _read(path: Path) -> tuple[Kept, ...]:
    """A chunk's layers; none where there is no such file, or a damaged one."""
    try:
        return record.load(Chunk, path).layers
    except UsageError:
        return ()
