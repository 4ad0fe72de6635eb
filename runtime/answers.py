"""What `binas-run` reads and writes: arrays in files, and where an artifact is run."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from binas.core import archive, record
from binas.core.errors import DamagedError, DeviceError, UsageError
from binas.devices.device import Device
from binas.devices.emulator import has_qemu
from binas.devices.registry import connect
from binas.runtime import images
from binas.runtime.artifact import Artifact, Manifest
from binas.runtime.emulated import EmulatedSession
from binas.runtime.forms import OutputSummary, TopEntry
from binas.runtime.layout import checked_inputs
from binas.runtime.session import Runner, Session

MAX_INPUT_BYTES = 512 << 20
TOP = 5  # classes named in a summary


@contextmanager
def runner(
    artifact: Artifact, device: Device, *, emulate: bool, threads: int = 1
) -> Iterator[Runner]:
    """An artifact where the user wants it run; what was opened is closed at the end.

    Under emulation qemu-user runs the very harness that a board would run; without qemu an aarch64
    artifact is run by unicorn.

    Raises:
        DeviceError: No route to the device, no emulator, or one without threads.
        UsageError: The artifact does not fit the device.
    """
    with ExitStack() as stack:
        if emulate and device.arch == "aarch64" and not has_qemu(device.arch):
            if threads > 1:
                raise DeviceError(
                    f"--emulate without qemu has one thread, not {threads}",
                    hint="apt-get install qemu-user, or leave --threads out",
                )
            yield EmulatedSession(artifact)
            return
        link = stack.enter_context(connect(device, emulate=emulate))
        if link.trust == "invented":
            raise DeviceError(
                f"{device.name} computes nothing, so it has no answers",
                hint="use --device host, or --emulate for a board that is not there",
            )
        yield stack.enter_context(Session(artifact, link, threads=threads))


def read_inputs(manifest: Manifest, given: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of `[NAME=]FILE` arguments, .npy or images; a single input needs no name.

    Images of one input are a batch, in the order given.

    Raises:
        UsageError: A file that cannot be read, a name that is missing or given twice, or an array
            that the model does not take.
    """
    names = [port.name for port in manifest.inputs]
    found: dict[str, np.ndarray] = {}
    photos: dict[str, list[Path]] = {}
    for argument in given:
        name, equals, path = argument.partition("=")
        if not equals or name not in names:  # a file's name may hold "=", too
            if equals and not Path(argument).exists():
                raise UsageError(
                    f"the model has no input {name!r}", hint=f"its inputs: {', '.join(names)}"
                )
            if len(names) > 1:
                raise UsageError(
                    f"--input {argument} names no input and the model has {len(names)}",
                    hint=f"write --input NAME={argument}; names: {', '.join(names)}",
                )
            name, path = names[0], argument
        if images.is_image(path) and name not in found:
            photos.setdefault(name, []).append(Path(path))
            continue
        if name in found or name in photos:
            raise UsageError(f"input {name!r} is given twice", hint="give each --input once")
        found[name] = _read_array(Path(path))
    ports = {port.name: port for port in manifest.inputs}
    for name, paths in photos.items():
        found[name] = images.read_images(paths, ports[name], manifest.normalisation)
    checked_inputs(manifest, found)  # here already: nobody wants to reach a board first
    return found


def check_output(path: Path, manifest: Manifest, inputs: Sequence[str]) -> None:
    """Refuse an output file that cannot hold the answer, before anything is run.

    Args:
        path: Of the output.
        manifest: Of what is run.
        inputs: As they were given: a file, or a name and a file.

    Raises:
        UsageError: Another suffix than .npy, or .npz for several outputs; or one of the inputs.
    """
    wanted = ".npy" if len(manifest.outputs) == 1 else ".npz"
    if path.suffix not in (wanted, ".npz"):
        count = len(manifest.outputs)
        outputs = "1 output" if count == 1 else f"{count} outputs"
        better = path.with_suffix(wanted) if path.name else path / f"y{wanted}"
        raise UsageError(
            f"-o {path}: the model has {outputs}, expected a {wanted} file", hint=f"-o {better}"
        )
    record.keep(path, [Path(name) for given in inputs for name in (given, given.partition("=")[2])])


def write(path: Path, outputs: Mapping[str, np.ndarray]) -> None:
    """Write the outputs beside and renamed into place: .npy holds one, .npz all by name."""
    buffer = io.BytesIO()
    if path.suffix == ".npy":
        np.save(buffer, next(iter(outputs.values())), allow_pickle=False)
    else:
        arrays: dict[str, Any] = dict(outputs)
        np.savez(buffer, **arrays)
    record.write_atomic(path, buffer.getvalue())


def summary(name: str, value: np.ndarray, artifact: Artifact, *, top: int = TOP) -> OutputSummary:
    """An output in a few words: shape, range, and the largest entries where it looks like classes.

    Entries of a batch say which image they are of.
    Values that are not finite are None: JSON has no word for them.
    """
    labels = artifact.manifest.labels
    known: OutputSummary = {
        "name": name,
        "shape": list(value.shape),
        "min": _finite(value.min()),
        "max": _finite(value.max()),
        "mean": _finite(value.mean()),
        "top": [],
    }
    if value.ndim == 2:
        for row in range(value.shape[0]):
            for i in np.argsort(-value[row], kind="stable")[:top]:
                entry: TopEntry = {
                    "index": int(i),
                    "label": labels[i] if i < len(labels) else str(i),
                    "value": _finite(value[row, i]),
                }
                if value.shape[0] > 1:
                    entry["image"] = row
                known["top"].append(entry)
    return known


def _read_array(path: Path) -> np.ndarray:
    try:
        return archive.array(record.read_bytes(path, MAX_INPUT_BYTES))
    except DamagedError as error:
        raise UsageError(
            f"{path} is no .npy file of one array: {error}", hint="write it with numpy.save"
        ) from None


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
