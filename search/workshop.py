"""What the survey has made and measured elsewhere: the compiler and a session on a device."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from typing import TYPE_CHECKING, Protocol

from binas.core.errors import CompileError
from binas.core.layer import Layer
from binas.devices.device import Device
from binas.runtime import artifact
from binas.runtime.measure import Measurement, Plan, Result
from binas.search.genotype import Genotype

if TYPE_CHECKING:
    from binas.devices.link import Link

Job = tuple[tuple[Layer, ...], Path]
Counted = Callable[[int, int], None]  # done, in all


class Workshop(Protocol):
    """Compiles and measures; tests put a stand-in here."""

    def compile_layers(self, layers: Sequence[Layer], path: Path) -> None:
        """An artifact with one step per Layer."""
        ...

    def compile_chunks(self, jobs: Sequence[Job], progress: Counted) -> list[CompileError | None]:
        """Many such artifacts; what failed is in the list, in order."""
        ...

    def compile_network(self, genotype: Genotype, path: Path) -> None:
        """An artifact of a whole network with random weights."""
        ...

    def kernel_version(self, path: Path) -> str:
        """Of the kernels in an artifact."""
        ...

    def layers(self, path: Path, plan: Plan) -> list[Result]:
        """Every step of an artifact by itself."""
        ...

    def time(self, path: Path, plan: Plan) -> Measurement:
        """An artifact as a whole."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceWorkshop:
    """The real one.

    Attributes:
        device: Compiled for.
        link: Measured through; open.
        jobs: Processes that compile. Nothing is measured meanwhile.
    """

    device: Device
    link: Link
    jobs: int = 0

    def compile_layers(self, layers: Sequence[Layer], path: Path) -> None:
        """See `Workshop`."""
        from binas.compile.build import compile_layers  # noqa: PLC0415 (tvm: 2 s)

        compile_layers(layers, self.device, path)

    def compile_chunks(self, jobs: Sequence[Job], progress: Counted) -> list[CompileError | None]:
        """See `Workshop`; several processes, since compiling is what takes the time."""
        workers = min(self.jobs or os.cpu_count() or 1, len(jobs))
        errors: list[CompileError | None] = []
        if workers <= 1:
            for layers, path in jobs:
                errors.append(_compile(layers, self.device, path))
                progress(len(errors), len(jobs))
            return errors
        # Spawned, not forked: the compiler holds threads. Ctrl-C is this process's to answer; the
        # others finish what they compile, and say nothing.
        with ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=signal,
            initargs=(SIGINT, SIG_IGN),
        ) as pool:
            try:
                waiting = [pool.submit(_compile, la, self.device, path) for la, path in jobs]
                for future in waiting:
                    errors.append(future.result())
                    progress(len(errors), len(jobs))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return errors

    def compile_network(self, genotype: Genotype, path: Path) -> None:
        """See `Workshop`."""
        from binas.compile.build import compile_model  # noqa: PLC0415 (tvm: 2 s)
        from binas.compile.model import BinaryModel  # noqa: PLC0415 (onnx)
        from binas.search.export import export  # noqa: PLC0415 (onnx)
        from binas.search.networks.bars import build  # noqa: PLC0415 (torch)

        net = build(genotype)
        net.eval()
        compile_model(BinaryModel.of(export(net, genotype), path.stem), self.device, path)

    def kernel_version(self, path: Path) -> str:
        """See `Workshop`."""
        return artifact.load(path).manifest.kernel_version

    def layers(self, path: Path, plan: Plan) -> list[Result]:
        """See `Workshop`."""
        from binas.runtime.session import Session  # noqa: PLC0415 (a measuring host's part)

        with Session(artifact.load(path), self.link) as session:
            return session.layers(plan)

    def time(self, path: Path, plan: Plan) -> Measurement:
        """See `Workshop`."""
        from binas.runtime.session import Session  # noqa: PLC0415 (a measuring host's part)

        with Session(artifact.load(path), self.link) as session:
            return session.time(plan)


def _compile(layers: tuple[Layer, ...], device: Device, path: Path) -> CompileError | None:
    from binas.compile.build import compile_layers  # noqa: PLC0415 (tvm: 2 s)

    try:
        compile_layers(layers, device, path)
    except CompileError as error:
        return CompileError(
            str(error), hint=error.hint
        )  # of the base class: it must cross processes
    return None
