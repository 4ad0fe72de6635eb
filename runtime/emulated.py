"""An artifact inside an emulated CPU: the answers of a board, and counts of its instructions.

Needs nothing but unicorn from PyPI. There is no clock here, so there is nothing that could be taken
for a latency.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from binas.core.errors import UsageError
from binas.devices.device import Arch
from binas.devices.emulator import InstructionCounts, Read, UnicornModel, Write
from binas.runtime.artifact import Artifact, Step, Tensor
from binas.runtime.layout import checked_inputs, from_layout, layout_bytes, split_ports, tap_bytes

ARCH: Arch = "aarch64"  # of every CPU that is emulated in process


class EmulatedSession:
    """Runs an aarch64 artifact in this process.

    Args:
        artifact: What to run.

    Raises:
        UsageError: The artifact is for another architecture.
        DeviceError: unicorn is not installed.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Load the artifact's executable and its weights."""
        manifest = artifact.manifest
        if manifest.arch != ARCH:
            raise UsageError(
                f"{artifact.path.name} is for {manifest.arch}; in-process emulation knows {ARCH}",
                hint="install qemu-user for armv7, or use --device host for x86_64",
            )
        self._artifact = artifact
        self._model = UnicornModel(
            artifact.read("bench"), artifact.read("weights.bin"), where=artifact.path.name
        )

    @property
    def artifact(self) -> Artifact:
        """What is run."""
        return self._artifact

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference; as `Session.run`."""
        manifest = self._artifact.manifest
        given = [x.tobytes() for x in checked_inputs(manifest, inputs)]
        raw = self._model.run(given, [port.size_bytes for port in manifest.outputs])
        return split_ports(manifest.outputs, b"".join(raw))

    def steps(self, taps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every step alone, on the given values of its inputs; as `Session.steps`."""
        found: dict[str, np.ndarray] = {}
        for index, step in enumerate(self._artifact.manifest.steps):
            values = self._step(index, step, taps)
            found.update(
                (tensor.name, from_layout(tensor, raw))
                for tensor, raw in zip(step.outputs, values, strict=True)
            )
        return found

    @property
    def blocks(self) -> Mapping[tuple[int, int], int]:
        """(Address, bytes) of every block of the last run → how often it was executed."""
        return self._model.blocks

    def trace(self, index: int) -> list[tuple[int, int]]:
        """(Address, bytes) of every block that a step executes, in order, whatever its inputs."""
        return self._model.trace(index)

    def count_instructions(self) -> InstructionCounts:
        """Instructions of each step: on the values of the taps, on zeros where there are none.

        An artifact of layers alone has no taps; what its kernels execute hardly depends on values.
        """
        taps = self._artifact.taps()
        known = {t.name for step in self._artifact.manifest.steps for t in step.inputs} & set(taps)
        counts = []
        for index, step in enumerate(self._artifact.manifest.steps):
            writes = [self._write(tensor, taps) for tensor in step.inputs if tensor.name in known]
            self._model.step(index, writes, [])
            counts.append(self._model.executed)
        return InstructionCounts(cpu=self._artifact.manifest.cpu, steps=tuple(counts))

    def _step(self, index: int, step: Step, taps: Mapping[str, np.ndarray]) -> list[bytes]:
        writes = [self._write(tensor, taps) for tensor in step.inputs]
        reads = [Read(t.offset, layout_bytes(t)) for t in step.outputs]
        return self._model.step(index, writes, reads)

    def _write(self, tensor: Tensor, taps: Mapping[str, np.ndarray]) -> Write:
        return Write(tensor.offset, tap_bytes(taps, tensor, self._artifact))


def emulate_steps(artifact: Artifact, taps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every step of an aarch64 artifact, as `Session.steps`, under in-process emulation."""
    return EmulatedSession(artifact).steps(taps)


def count_instructions(artifact: Artifact) -> InstructionCounts:
    """Executed instructions of every step of an aarch64 artifact: an estimate, never a latency."""
    return EmulatedSession(artifact).count_instructions()
