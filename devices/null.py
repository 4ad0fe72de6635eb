"""No device at all: repeatable invented figures, so that everything above can be tried quickly.

Nothing is run. `Link.trust` says "invented", and whoever makes a Measurement of such an answer
must carry that as a doubt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from binas.core.errors import DeviceError
from binas.core.layer import Layer
from binas.devices.device import Device
from binas.devices.keeper import Holder
from binas.devices.link import Finished, Trust, checked_argv, checked_name
from binas.devices.probe import Machine

FIXED_NS = 2_000.0  # per run, besides the layers
_GMACS, _BINARY_GMACS, _GBYTES = 4.0, 60.0, 4.0  # per second: about what a Pi 4's core does


def invented_ns(layer: Layer) -> float:
    """A latency for a layer: work over a rate, and a few percent that depend on the layer alone."""
    N, H, W, C = layer.in_shape
    _, P, Q, K = layer.out_shape
    real = (layer.macs - layer.binary_macs) / _GMACS
    moved = (N * H * W * C * layer.in_bits + N * P * Q * K * 32 * layer.float_out) / 8 / _GBYTES
    own = int.from_bytes(hashlib.sha256(repr(layer).encode()).digest()[:4], "little") / 2**32
    return (200.0 + real + layer.binary_macs / _BINARY_GMACS + moved) * (0.97 + 0.06 * own)


class NullLink:
    """Answers as the harness would, with given times.

    Args:
        device: What it pretends to be.
        step_ns: Time of each step; the whole run takes their sum and `FIXED_NS`. Empty: whoever
            uses the link says of which layers (`pretend`), and the times are invented.
    """

    def __init__(self, device: Device, step_ns: Sequence[float] = ()) -> None:
        """Keep the times."""
        self._device, self._step_ns, self._fixed_ns = device, tuple(step_ns), FIXED_NS
        self._given = bool(self._step_ns)

    def pretend(self, layers: Sequence[Layer]) -> None:
        """Take an invented time for each of these layers from now on, unless times were given."""
        if not self._given:
            self._step_ns = tuple(invented_ns(layer) for layer in layers)

    def replay(self, step_ns: Sequence[float], fixed_ns: float) -> None:
        """Answer with these times from now on: of each step, and of a run besides its steps."""
        self._step_ns, self._fixed_ns = tuple(step_ns), fixed_ns

    @property
    def device(self) -> Device:
        """What it pretends to be."""
        return self._device

    @property
    def trust(self) -> Trust:
        """Nothing here was measured."""
        return "invented"

    @property
    def machine(self) -> Machine:
        """There is none."""
        return Machine()

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Nobody: there is no lock."""
        return ()

    def put(self, local: Path, name: str, *, executable: bool = False) -> None:
        """Take a file and forget it."""
        checked_name(name)

    def get(self, name: str, local: Path) -> None:
        """There never is a file: a null device computes nothing."""
        raise DeviceError(
            f"{self._device.name} computes nothing, so there is no {checked_name(name)}",
            hint="use --device host, or --emulate for an aarch64 artifact",
        )

    def run(self, argv: Sequence[str], timeout_s: float) -> Finished:
        """Answer `bench time` and `bench layers`; any other program ends well and says nothing."""
        program, *arguments = checked_argv(argv)
        answer = ""
        if program == "bench" and arguments and arguments[0] in ("time", "layers"):
            repeats = int(_option(arguments, "--repeats", "20"))
            threads = int(_option(arguments, "--threads", "1"))
            steps = [{"index": i, **_samples(ns, repeats)} for i, ns in enumerate(self._step_ns)]
            total = sum(self._step_ns) + self._fixed_ns
            whole = {"load_ns": 0, "first_ns": total, **_samples(total, repeats)}
            chosen = whole if arguments[0] == "time" else {"steps": steps}
            answer = json.dumps({"threads": threads, **chosen})
        return Finished(returncode=0, stdout=answer, stderr="")

    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> Self:
        """Nothing to begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to end."""


def _samples(ns: float, repeats: int) -> dict[str, object]:
    runs = max(1, round(5_000_000 / ns)) if ns > 0 else 1
    return {
        "runs_per_batch": runs,
        "samples_ns": [ns] * repeats,
        "preemptions": [0] * repeats,
    }


def _option(arguments: Sequence[str], name: str, default: str) -> str:
    where = list(arguments).index(name) if name in arguments else -1
    return arguments[where + 1] if 0 <= where < len(arguments) - 1 else default
