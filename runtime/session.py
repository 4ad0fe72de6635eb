"""Session: an artifact on a device, ready to be run, checked and measured.

The harness `bench` does the work on the device (its commands: docs/architecture.md); a session
uploads it once, speaks its protocol and turns what comes back into values.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from binas.core.errors import DeviceError, MeasureError, TimedOutError, TransportError, UsageError
from binas.devices.link import Finished, Link
from binas.devices.null import NullLink
from binas.runtime import harness, replay
from binas.runtime.artifact import Artifact, must_fit
from binas.runtime.layout import checked_inputs, from_layout, layout_bytes, split_ports, tap_bytes
from binas.runtime.measure import Facts, Failure, Measurement, Plan, Result
from binas.runtime.observe import Observer, cool_down, facts_of

RUN_S = 600.0  # one inference; an emulated one is a hundred times slower than a real one
START_S = 30.0  # to start the harness and load the weights, besides the measuring itself

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The three times of a network.

    Attributes:
        load_ns: From the files to a ready network.
        first_ns: The first run, with cold caches.
        steady: All further ones.
    """

    load_ns: float
    first_ns: float
    steady: Measurement


class Runner(Protocol):
    """What can run an artifact, on a device or under emulation."""

    @property
    def artifact(self) -> Artifact:
        """What is run."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """One inference: input port → array, output port → array."""

    def steps(self, taps: Mapping[str, np.ndarray]) -> Arrays:
        """Every step on the given inputs: tensor → the value that the step computed."""


class Session:
    """An artifact on a device.

    Args:
        artifact: What to run.
        link: Where; the session does not close it.
        threads: Threads of the network.

    Raises:
        UsageError: The artifact is for another machine, or it has no room for so many threads.
        DeviceError: The device does not take the files.
    """

    def __init__(self, artifact: Artifact, link: Link, *, threads: int = 1) -> None:
        """Check that the two fit, then upload; nothing is sent otherwise."""
        if not 1 <= threads <= harness.MAX_THREADS:
            raise UsageError(f"threads is {threads}, expected 1 to {harness.MAX_THREADS}")
        must_fit(artifact, link.device)
        self._artifact, self._link, self._threads = artifact, link, threads
        self._observer: Observer | None = None
        if isinstance(link, NullLink):  # it runs nothing, so it must be told what it does not run
            replay.pretend(link, [step.layer for step in artifact.manifest.steps])
        self._folder = tempfile.TemporaryDirectory(prefix="binas.")
        self._local = Path(self._folder.name)
        try:
            for member in ("bench", "weights.bin"):
                (self._local / member).write_bytes(artifact.read(member))
                link.put(self._local / member, member, executable=member == "bench")
        except BaseException:
            self.close()
            raise

    @property
    def artifact(self) -> Artifact:
        """What is run."""
        return self._artifact

    @property
    def link(self) -> Link:
        """Where it is run."""
        return self._link

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """One inference.

        Args:
            inputs: Every input port's float32 array, of the port's shape, finite.

        Returns:
            Every output port's float32 array.

        Raises:
            UsageError: Inputs that do not fit the ports.
            DeviceError: The program ended badly on the device.
        """
        manifest = self._artifact.manifest
        blob = b"".join(x.tobytes() for x in checked_inputs(manifest, inputs))
        raw = self._exchange("run", blob, sum(port.size_bytes for port in manifest.outputs))
        return split_ports(manifest.outputs, raw)

    def cool_down(self, limit_s: float) -> None:
        """Wait until the device gets no colder, at most so long; 0: not at all."""
        if limit_s > 0 and self._link.trust == "real":
            cool_down(self._look, limit_s)

    def round_trip_ns(self, inputs: Mapping[str, np.ndarray]) -> float:
        """One inference as the host sees it, from the input sent to the output fetched."""
        began = time.perf_counter_ns()
        self.run(inputs)
        return float(time.perf_counter_ns() - began)

    def steps(self, taps: Mapping[str, np.ndarray]) -> Arrays:
        """Every step alone, each on the given values of its inputs.

        Args:
            taps: A value for every tensor that a step reads, as `Artifact.taps` gives them.

        Returns:
            For every tensor that a step writes, what the step computed.
        """
        steps = self._artifact.manifest.steps
        blob = b"".join(tap_bytes(taps, t, self._artifact) for s in steps for t in s.inputs)
        written = [tensor for step in steps for tensor in step.outputs]
        raw = self._exchange("steps", blob, sum(layout_bytes(tensor) for tensor in written))
        found, place = {}, 0
        for tensor in written:
            size = layout_bytes(tensor)
            found[tensor.name] = from_layout(tensor, raw[place : place + size])
            place += size
        return found

    def time(self, plan: Plan, *, quiet_ns: float | None = None) -> Measurement:
        """Latency of the whole network in its steady state; raises as `timing` does."""
        return self.timing(plan, quiet_ns=quiet_ns).steady

    def timing(self, plan: Plan, *, quiet_ns: float | None = None) -> Timing:
        """Time to load, time of the first run, and the steady state.

        Args:
            plan: How to measure.
            quiet_ns: What the device's yardstick takes when left alone, if known.

        Raises:
            MeasureError: Emulated, or the harness measured nothing usable.
            TimedOutError: It took far longer than the plan allows.
            DeviceError: The program ended badly on the device.
        """
        doubts = self._must_have_a_clock()
        before = self._look()
        timeout_s = START_S + 2 * plan.max_ns / 1e9
        options = harness.options(plan, self._threads, self._core, quiet_ns)
        answer = self._timed(["time", *options], timeout_s)
        steady = harness.measurement(answer, plan, self._facts(before), doubts)
        return Timing(
            load_ns=float(answer.get("load_ns", 0)),
            first_ns=float(answer.get("first_ns", 0)),
            steady=steady,
        )

    def layers(
        self,
        plan: Plan,
        *,
        seed: int = 0,
        only: Sequence[int] | None = None,
        quiet_ns: float | None = None,
    ) -> list[Result]:
        """Latency of each step by itself, in plan order.

        Args:
            plan: How to measure; `max_ns` holds per step.
            seed: Of the order in which the harness takes the steps.
            only: Indices of the steps wanted; None: all.
            quiet_ns: What the device's yardstick takes when left alone, if known.

        Returns:
            One Measurement or Failure per wanted step, in the order of `only`. A program that dies
            fails every step, because nothing tells how far it came.

        Raises:
            MeasureError: Emulated.
            TransportError: The link broke.
        """
        doubts = self._must_have_a_clock()
        steps = range(len(self._artifact.manifest.steps)) if only is None else only
        before = self._look()
        options = harness.options(plan, self._threads, self._core, quiet_ns)
        arguments = ["layers", *options, "--seed", str(seed)]
        arguments += [] if only is None else ["--only", ",".join(map(str, only))]
        timeout_s = START_S + 2 * len(steps) * plan.max_ns / 1e9
        try:
            answer = self._timed(arguments, timeout_s)
        except TimedOutError as error:
            return [Failure(kind="timeout", message=str(error))] * len(steps)
        except TransportError:
            raise
        except (DeviceError, MeasureError) as error:
            return [Failure(kind="run", message=str(error))] * len(steps)
        return harness.layers(answer, steps, plan, self._facts(before), doubts)

    def close(self) -> None:
        """Remove the local copies; the link removes what is on the device."""
        self._folder.cleanup()

    def __enter__(self) -> Self:
        """Nothing to do: all is uploaded."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the local copies."""
        self.close()

    def _exchange(self, mode: str, blob: bytes, expected_bytes: int) -> bytes:
        """Send an input file, run, fetch the output file."""
        (self._local / "input.bin").write_bytes(blob)
        self._link.put(self._local / "input.bin", "input.bin")
        files = ["--weights", "weights.bin", "--input", "input.bin", "--output", "output.bin"]
        threads = [] if mode == "steps" else ["--threads", str(self._threads)]
        self._bench([mode, *files, *threads], RUN_S)
        self._link.get("output.bin", self._local / "output.bin")
        raw = (self._local / "output.bin").read_bytes()
        if len(raw) != expected_bytes:
            raise MeasureError(
                f"bench {mode} wrote {len(raw)} bytes on {self._link.device.name}, "
                f"expected {expected_bytes}",
                hint="make the artifact again with binas-compile",
            )
        return raw

    def _timed(self, arguments: Sequence[str], timeout_s: float) -> dict[str, Any]:
        """What the harness measured, if no more time passed there than here."""
        begin = time.monotonic_ns()
        answer = harness.answer(self._bench(arguments, timeout_s))
        if self._link.trust == "real":
            harness.must_keep_time(answer, time.monotonic_ns() - begin)
        return answer

    def _bench(self, arguments: Sequence[str], timeout_s: float) -> Finished:
        done = self._link.run(["bench", *arguments], timeout_s)
        if done.returncode != 0:
            raise DeviceError(
                f"bench {arguments[0]} of {self._artifact.path.name} ended on "
                f"{self._link.device.name} with {done.how}",
                hint=f"binas-devices check {self._link.device.name}",
            )
        return done

    @property
    def _core(self) -> int | None:
        pin = self._link.device.pin
        return pin if pin >= 0 and self._threads == 1 else None

    def _must_have_a_clock(self) -> tuple[str, ...]:
        """The doubts that the link itself raises.

        Raises:
            MeasureError: It has no clock that could count.
        """
        if self._link.trust == "emulated":
            raise MeasureError(
                "emulation gives no latency",
                hint="measure on a board, or on --device host; "
                f"binas-devices check {self._link.device.name} says what is emulated",
            )
        return replay.doubts(self._link) if self._link.trust == "invented" else ()

    def _look(self) -> Any:
        if self._observer is None:
            self._observer = Observer(self._link)
        return self._observer.look()

    def _facts(self, before: Any) -> Facts:
        return facts_of(before, self._look(), threads=self._threads, core=self._core)
