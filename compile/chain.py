"""The chain of truth, walked at compile time, every link against the reference's values.

onnxruntime (the reference) → numpy meaning of every fused step → the artifact: on this machine
where it runs here, under emulation where it is for an ARM.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from numpy.typing import NDArray

from binas.compile import truth
from binas.compile.graph import Graph
from binas.devices.device import Device, missing_features
from binas.devices.emulator import QemuLink, has_qemu
from binas.devices.host import HostLink
from binas.devices.probe import host_device
from binas.runtime.artifact import Artifact
from binas.runtime.emulated import EmulatedSession
from binas.runtime.library import Library
from binas.runtime.session import Runner, Session
from binas.runtime.verify import VerifyReport, compare, must_agree, verify

Arrays = dict[str, NDArray[Any]]


def check(
    graph: Graph, taps: Arrays, artifact: Artifact, device: Device
) -> dict[str, VerifyReport]:
    """Walk the links this machine can see; the link "numpy" is always there.

    Raises:
        WrongAnswerError: A link differs; the message names the step.
    """
    numpy_report = compare(artifact.manifest, taps, truth.meanings(graph, taps))
    must_agree(numpy_report, f"{artifact.path.name}, numpy meaning")
    found = {"numpy": numpy_report}
    with ExitStack() as stack:
        for name, runner in _runners(artifact, device, stack):
            found[name] = verify(runner, taps)
    return found


def _runners(artifact: Artifact, device: Device, stack: ExitStack) -> Iterator[tuple[str, Runner]]:
    """Every way to run the artifact here."""
    host = host_device()
    if host.arch == device.arch and not missing_features(artifact.manifest.features, host.features):
        link = stack.enter_context(HostLink(host))
        yield "host", stack.enter_context(Session(artifact, link))
        yield "library", stack.enter_context(Library(artifact))
        return
    if device.arch == "aarch64":
        yield "unicorn", EmulatedSession(artifact)
    if has_qemu(device.arch):
        link = stack.enter_context(QemuLink(device))
        yield "qemu", stack.enter_context(Session(artifact, link))
