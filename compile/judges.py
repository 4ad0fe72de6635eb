"""Who says what a tile costs: the clock of a device, or a pipeline model for want of one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from binas.compile import cycles
from binas.compile.build import compile_choices
from binas.compile.tile import Choice
from binas.compile.tuning import Estimated, Measured
from binas.core.errors import MeasureError, UsageError
from binas.devices import registry
from binas.devices.device import CPUS, Device
from binas.devices.link import Link
from binas.runtime.measure import Measurement, Plan
from binas.runtime.session import Session

# Short batches: a round over a dozen tiles is over before the machine changes its mind.
PLAN = Plan(repeats=7, warmup=1, min_batch_ns=100_000, max_ns=40_000_000)


class Judge(Protocol):
    """Says what tiles cost."""

    def costs(self, choices: Sequence[Choice], rounds: int) -> list[list[float]]:
        """Per round, what every kernel costs, in the order given."""

    def gain(self, tuned: float, rule: float) -> Measured | Estimated:
        """Two costs, said to be what they are."""


@dataclass(slots=True)
class Clock:
    """Measures on a device.

    Attributes:
        link: Open; not closed here.
        device: Compiled for.
        quiet_ns: The device's yardstick when it is left alone, as far as seen.
        jobs: Processes that compile before it measures, as `compile_model` takes them.
    """

    link: Link
    device: Device
    quiet_ns: float | None = None
    jobs: int = 0

    def costs(self, choices: Sequence[Choice], rounds: int) -> list[list[float]]:
        """Nanoseconds, all in one program.

        Raises:
            MeasureError: Emulated, or a kernel could not be measured.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tiles.binas"
            artifact = compile_choices(choices, {}, self.device, path, self.jobs)
            with Session(artifact, self.link) as session:
                return [self._round(session, seed) for seed in range(rounds)]

    def _round(self, session: Session, seed: int) -> list[float]:
        found = []
        for result in session.layers(PLAN, seed=seed, quiet_ns=self.quiet_ns):
            if not isinstance(result, Measurement):
                raise MeasureError(
                    f"a tile could not be measured: {result.message}",
                    hint=f"binas-devices check {self.link.device.name}; the same command goes on",
                )
            self.quiet_ns = min(filter(None, (self.quiet_ns, result.quiet_ns)), default=None)
            found.append(result.median_ns)
        return found

    def gain(self, tuned: float, rule: float) -> Measured:
        """Two times."""
        return Measured(tuned_ns=tuned, rule_ns=rule, machine=self.link.machine.model)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Estimates, for want of a device.

    Attributes:
        device: Compiled for.
        model: LLVM's name of the CPU whose pipeline is assumed.
        jobs: Processes that compile, as `compile_model` takes them.
    """

    device: Device
    model: str
    jobs: int = 0

    def costs(self, choices: Sequence[Choice], rounds: int) -> list[list[float]]:
        """Cycles; an estimate repeats itself, so one round is all rounds.

        Raises:
            UsageError: There is no estimate for this CPU.
            DeviceError: A tool for it is not installed.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tiles.binas"
            artifact = compile_choices(choices, {}, self.device, path, self.jobs)
            return [list(cycles.estimate(artifact, model=self.model).steps)]

    def gain(self, tuned: float, rule: float) -> Estimated:
        """Two estimates."""
        return Estimated(tuned_cycles=tuned, rule_cycles=rule, pipeline=self.model)


@contextmanager
def judge_for(device: Device, board: Device | None = None, jobs: int = 0) -> Iterator[Judge]:
    """The clock of a board, of the device itself or of this machine; else the device's pipeline.

    Args:
        device: Compiled for.
        board: Measures; None: whatever is at hand.
        jobs: Processes that compile, as `compile_model` takes them.

    Raises:
        UsageError: A board that invents its answers.
        DeviceError: The board is out of reach.
    """
    at_hand = board or _at_hand(device)
    if at_hand is None:
        yield Pipeline(device, device.cpu, jobs)
        return
    if at_hand.link.kind == "null":
        raise UsageError(f"{at_hand.name} invents its times", hint="--board NAME, or a real device")
    with registry.connect(at_hand) as link:
        yield Clock(link, device, jobs=jobs)


def _at_hand(device: Device) -> Device | None:
    if device.link.kind != "none":
        return device
    host = registry.find("host")
    runs = host.arch == device.arch and not host.lacks(CPUS[device.arch][device.cpu])
    return host if runs else None
