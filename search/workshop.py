"""What the survey has made and measured elsewhere: the compiler and the boards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from typing import TYPE_CHECKING, Protocol

from binas.compile.children import cores
from binas.core.errors import CompileError
from binas.core.layer import Layer
from binas.devices.device import Device
from binas.runtime.fleet import Board, Job
from binas.runtime.measure import Measurement, Plan
from binas.search.genotype import Buildable

if TYPE_CHECKING:
    from binas.devices.link import Link

What = tuple[Layer, ...] | Buildable  # independent steps, or a whole network with random weights
Counted = Callable[[int, int], None]  # done, in all


class NetworkBoard(Board, Protocol):
    """A board of the fleet that can also be asked for whole networks."""

    anchor: Path | None

    def time(self, path: Path, plan: Plan) -> Measurement:
        """An artifact as a whole."""

    def lease_s(self, job: Job) -> float:
        """Longer than the board can take over a job."""


class Compiler(Protocol):
    """Takes orders until it is asked to finish."""

    def order(self, orders: Mapping[Path, What]) -> None:
        """An artifact at each path; work on them may begin at once, beside the caller's."""

    def finish(self, progress: Counted) -> dict[Path, CompileError | None]:
        """Wait until every order is done; what failed, says why."""


class Workshop(Protocol):
    """Compiles, and has the boards that measure; tests put a stand-in here."""

    @property
    def boards(self) -> Sequence[NetworkBoard]:
        """At least one; all of one kind."""

    def kernel_version(self) -> str:
        """Of the kernels that it compiles."""

    def tiles(self, layers: Sequence[Layer]) -> tuple[str, ...]:
        """The tile that it gives each layer's kernel; empty where there is nothing to choose."""

    def compiler(self) -> AbstractContextManager[Compiler]:
        """To be left before anything is measured; what is still open then is given up."""


@dataclass(frozen=True, slots=True)
class DeviceWorkshop:
    """The real one.

    Attributes:
        device: Compiled for.
        boards: Measure.
        jobs: Processes that compile; 0: one per core. Nothing is measured meanwhile.
    """

    device: Device
    boards: Sequence[NetworkBoard]
    jobs: int = 0

    @staticmethod
    def of(device: Device, links: Sequence[Link], plan: Plan, jobs: int = 0) -> DeviceWorkshop:
        """A workshop whose boards are at the end of these links, which stay the caller's."""
        from binas.runtime.board import DeviceBoard  # noqa: PLC0415 (a measuring host's part)

        return DeviceWorkshop(device, [DeviceBoard(link, plan) for link in links], jobs)

    def kernel_version(self) -> str:
        """See `Workshop`."""
        from binas.compile.build import kernel_version  # noqa: PLC0415 (tvm: 2 s)

        return kernel_version()

    def tiles(self, layers: Sequence[Layer]) -> tuple[str, ...]:
        """See `Workshop`; the tuning databases are those of whoever runs this."""
        from binas.compile.build import tiles  # noqa: PLC0415 (tvm: 2 s)

        return tiles(layers, self.device.cpu, self.device.arch)

    @contextmanager
    def compiler(self) -> Iterator[Compiler]:
        """See `Workshop`; several processes, since compiling is what takes the time."""
        workers = self.jobs or cores()
        if workers == 1:
            yield _InTurn(self.device)
            return
        # Spawned, not forked: the compiler holds threads. Ctrl-C is this process's to answer; the
        # others finish what they compile, and say nothing.
        with ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_start_worker
        ) as pool:
            try:
                yield _AtOnce(self.device, pool)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def compiled(
    workshop: Workshop, orders: Mapping[Path, What], progress: Counted
) -> dict[Path, CompileError | None]:
    """Everything that is to be compiled, in one go; see `Compiler`."""
    with workshop.compiler() as compiler:
        compiler.order(orders)
        return compiler.finish(progress)


@dataclass(frozen=True, slots=True)
class _InTurn:
    """One core: nothing is begun before the caller waits."""

    device: Device
    orders: dict[Path, What] = field(default_factory=dict)

    def order(self, orders: Mapping[Path, What]) -> None:
        self.orders.update(orders)

    def finish(self, progress: Counted) -> dict[Path, CompileError | None]:
        found: dict[Path, CompileError | None] = {}
        for path, what in _ranked(self.orders):
            found[path] = compile_one(what, self.device, path)
            progress(len(found), len(self.orders))
        return found


@dataclass(frozen=True, slots=True)
class _AtOnce:
    """Several processes, which begin with the first order."""

    device: Device
    pool: ProcessPoolExecutor
    waiting: dict[Future[CompileError | None], Path] = field(default_factory=dict)

    def order(self, orders: Mapping[Path, What]) -> None:
        for path, what in _ranked(orders):
            self.waiting[self.pool.submit(compile_one, what, self.device, path)] = path

    def finish(self, progress: Counted) -> dict[Path, CompileError | None]:
        found: dict[Path, CompileError | None] = {}
        for future in as_completed(self.waiting):
            found[self.waiting[future]] = future.result()
            progress(len(found), len(self.waiting))
        return found


def _start_worker() -> None:
    """One thread per process: there are as many processes as cores."""
    import torch  # noqa: PLC0415 (seconds, and a measuring host has none)

    signal(SIGINT, SIG_IGN)
    torch.set_num_threads(1)


def _ranked(orders: Mapping[Path, What]) -> list[tuple[Path, What]]:
    return sorted(orders.items(), key=lambda order: _rank(order[1]))


def _rank(what: What) -> tuple[bool, int]:
    """Order of compiling: layers first, for networks consist of them, and the most work first.

    So all processes end at about the same time, and a network finds its kernels kept.
    """
    if isinstance(what, tuple):
        return False, -sum(layer.macs for layer in what)
    return True, 0


def compile_network(genotype: Buildable, device: Device, path: Path, jobs: int = 0) -> None:
    """An artifact of a whole network with random weights: they do not change how long it takes.

    `jobs` is that of `compile_model`.

    Raises:
        CompileError: It cannot be compiled.
    """
    from binas.compile.build import compile_model  # noqa: PLC0415 (tvm: 2 s)
    from binas.compile.model import BinaryModel  # noqa: PLC0415 (onnx)
    from binas.search.export import export  # noqa: PLC0415 (onnx)
    from binas.search.networks.family import build  # noqa: PLC0415 (torch)

    net = build(genotype)
    net.eval()
    compile_model(BinaryModel.of(export(net, genotype), path.stem), device, path, jobs=jobs)


def compile_one(what: What, device: Device, path: Path) -> CompileError | None:
    """An artifact at a path, made in one process: others compile or measure beside it.

    An error is returned, so that it can cross processes.
    """
    from binas.compile.build import compile_layers  # noqa: PLC0415 (tvm: 2 s)

    try:
        if isinstance(what, tuple):
            compile_layers(what, device, path, jobs=1)
        else:
            compile_network(what, device, path, jobs=1)
    except CompileError as error:
        return CompileError(str(error), hint=error.hint)
    return None
