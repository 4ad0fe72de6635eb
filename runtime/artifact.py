"""Artifact: everything a board needs to run one network, in one file.

`name.binas` is a zip with these members and no others:

manifest.json   a Manifest: what it is, for which CPU, every step and where its tensors lie
libmodel.so     the C ABI of `runtime/native/model.h`, no TVM, no C++
bench           an executable (static but for x86-64): run, verify, measure
weights.bin     read by both; weights are stored once
taps.npz        the reference: a fixed input and the value of every tensor, or digests of them
model.h         the header of libmodel.so

The archive is written with fixed times and order, so equal contents give equal bytes.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from binas.core import archive, record
from binas.core.errors import DamagedError, UsageError
from binas.core.layer import Layer
from binas.devices.device import Device
from binas.runtime.brief import is_brief, port_input
from binas.runtime.layout import check_printed, check_taps

MEMBERS = ("manifest.json", "libmodel.so", "bench", "weights.bin", "taps.npz", "model.h")
MAX_MEMBER_BYTES = 512 << 20  # what claims to be larger is not a network for a board
MAX_TAPS_BYTES = 512 << 20
MAX_SIZE = 1 << 31  # of one side of a tensor, and of its elements


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One value between steps.

    Attributes:
        name: The ONNX name of the value.
        shape: N, H, W, C of the value (channels, not words).
        dtype: float32 [N, H, W, C], or bits: uint32 words [N, H, W, words(C)].
        offset: Byte offset in the arena; -1 while no memory plan exists.
        size_bytes: Bytes it occupies.
    """

    name: str
    shape: tuple[int, int, int, int]
    dtype: Literal["float32", "bits"]
    offset: int
    size_bytes: int

    def __post_init__(self) -> None:
        """Refuse sizes that no memory has."""
        _check_shape(self.name, self.shape)
        if self.offset < -1 or not 0 < self.size_bytes <= 8 * MAX_SIZE:
            raise _fault(f"tensor {self.name}", f"{self.size_bytes} bytes at {self.offset}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output of the model as its ONNX file declares it, row-major.

    Attributes:
        name: Its ONNX name.
        shape: As declared; of pixels N, H, W, C, whatever was declared.
        channels_last: Whether a shape of four is N, H, W, C and not N, C, H, W.
        dtype: What the caller gives; uint8: pixels of an image, which the network normalises.
    """

    name: str
    shape: tuple[int, ...]
    channels_last: bool = False
    dtype: Literal["float32", "uint8"] = "float32"

    def __post_init__(self) -> None:
        """Refuse sizes that no memory has, and pixels of what is no image."""
        _check_shape(self.name, self.shape)
        if self.dtype == "uint8" and not (len(self.shape) == 4 and self.channels_last):
            raise _fault(self.name, f"pixels of shape {list(self.shape)}")

    @property
    def size_bytes(self) -> int:
        """Bytes of the array."""
        return (1 if self.dtype == "uint8" else 4) * math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """How pixels become numbers: x = (pixel - mean) / std per channel, pixels 0 to 255."""

    SCHEMA: ClassVar[str] = "binas.normalisation/1"

    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: Literal["RGB", "BGR"] = "RGB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One kernel call of the plan.

    Attributes:
        name: Name of the ONNX node the step is mainly made from.
        nodes: Names of all ONNX nodes fused into it.
        layer: The key of its latency.
        kernel: Kernel family, ISA and tile, for people.
        inputs: Tensors read: first the operand(s), then one per "add" stage, in order.
        outputs: Tensors written: float32 first, then bits.
        symbol: The kernel's C function.
    """

    name: str
    nodes: tuple[str, ...]
    layer: Layer
    kernel: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    symbol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerKind:
    """What became of one weighted ONNX node, and why."""

    name: str
    kind: Literal["binary", "weight-binary", "float"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an artifact holds."""

    SCHEMA: ClassVar[str] = "binas.artifact/1"

    model_name: str
    model_digest: str
    device: str  # the name it was compiled for
    arch: Literal["x86_64", "aarch64", "armv7"]
    cpu: str
    features: tuple[str, ...]  # what the CPU must have, as /proc/cpuinfo spells it
    kernel_version: str  # digest of the kernel generators: tables of other versions do not apply
    versions: dict[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    steps: tuple[Step, ...]
    layers: tuple[LayerKind, ...]
    arena_bytes: int
    weights_bytes: int
    labels: tuple[str, ...] = ()
    normalisation: Normalisation | None = None
    digests: dict[str, str] = field(default_factory=dict)  # of every other member, by name
    sources: dict[str, str] = field(default_factory=dict)  # of what the model was made from
    tuning: dict[str, str] = field(default_factory=dict)  # digests of the tuning databases in use

    def __post_init__(self) -> None:
        """Refuse a plan whose tensors do not lie in its arena, and ports of one name."""
        check_printed(self)
        for what, ports in (("inputs", self.inputs), ("outputs", self.outputs)):
            if len({port.name for port in ports}) != len(ports):
                raise _fault(what, "two of one name")
        if any(port.dtype != "float32" for port in self.outputs):
            raise _fault("outputs", "one that is not float32")
        if min(self.arena_bytes, self.weights_bytes) < 0:
            raise _fault("arena and weights", f"{self.arena_bytes} and {self.weights_bytes} bytes")
        for step in self.steps:
            for tensor in (*step.inputs, *step.outputs):
                end = tensor.offset + tensor.size_bytes
                if tensor.offset >= 0 and end > self.arena_bytes:
                    raise _fault(
                        f"tensor {tensor.name} of step {step.name}",
                        f"bytes up to {end} in an arena of {self.arena_bytes}",
                    )


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact on disk, its manifest read and its members present."""

    path: Path
    manifest: Manifest

    def read(self, member: str) -> bytes:
        """The bytes of one member, as the manifest's digest says they are.

        Raises:
            UsageError: The archive is damaged, or the member is not the one that was written.
        """
        try:
            data = archive.member(self.path, member, MAX_MEMBER_BYTES)
        except DamagedError as error:
            raise _damaged(self.path, f"{member}: {error}") from None
        if record.digest_bytes(data) != self.manifest.digests.get(member):
            raise _damaged(self.path, f"{member} is not what its manifest describes")
        return data

    def inputs(self) -> dict[str, np.ndarray]:
        """The fixed input that the taps belong to: input port → array."""
        taps = self.taps()
        return {port.name: taps[f"input:{port.name}"] for port in self.manifest.inputs}

    def taps(self) -> dict[str, np.ndarray]:
        """Tensor name → reference value, for the fixed input (`input:NAME` per model input).

        Float tensors are float32 [N, H, W, C], bits are uint32 [N, H, W, words(C)]. Of a large
        network there are digests in their place, see `runtime/brief.py`.
        """
        data = self.read("taps.npz")
        try:
            found = archive.arrays(data, MAX_TAPS_BYTES)
            check_taps(self.manifest, found)
        except UsageError as error:
            raise _damaged(self.path, f"taps.npz: {error}") from None
        if is_brief(found):
            for port in self.manifest.inputs:
                found[f"input:{port.name}"] = port_input(self.manifest.model_digest, port)
        return found


def must_fit(artifact: Artifact, device: Device) -> None:
    """Check that an artifact can run on a device, before anything is sent.

    Raises:
        UsageError: Another architecture, or the CPU lacks what the code needs.
    """
    manifest = artifact.manifest
    hint = f"compile it for this device: binas-compile MODEL.onnx --device {device.name}"
    if manifest.arch != device.arch:
        raise UsageError(
            f"{artifact.path.name} is for {manifest.arch} (compiled for {manifest.device}), "
            f"{device.name} is {device.arch}",
            hint=hint,
        )
    lacking = device.lacks(manifest.features)
    if lacking:
        raise UsageError(
            f"{artifact.path.name} is for {manifest.cpu}, {device.name} ({device.cpu}) lacks "
            f"{', '.join(lacking)}",
            hint=hint,
        )


def write(path: Path, manifest: Manifest, members: dict[str, bytes]) -> Artifact:
    """Write an artifact, beside and renamed into place; `members` are all but the manifest."""
    manifest = replace(
        manifest, digests={name: record.digest_bytes(data) for name, data in members.items()}
    )
    contents = {"manifest.json": (record.dumps(manifest, indent=1) + "\n").encode(), **members}
    if set(contents) != set(MEMBERS):
        raise ValueError(f"an artifact has the members {MEMBERS}, got {sorted(contents)}")
    with record.replacing(path) as beside, zipfile.ZipFile(beside, "w") as zipped:
        for name in MEMBERS:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = (0o755 if name in ("bench", "libmodel.so") else 0o644) << 16
            stored = name == "weights.bin"  # bits do not compress; a stored member can be mapped
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            zipped.writestr(info, contents[name])
    return Artifact(path, manifest)


def load(path: Path) -> Artifact:
    """Open an artifact; nothing in it is executed or unpacked to disk.

    Raises:
        UsageError: Missing, not an artifact, damaged, or of another schema version.
    """
    if not path.is_file():
        raise UsageError(f"no such file: {path}", hint="make one with binas-compile")
    try:
        known = archive.sizes(path)
        if set(known) != set(MEMBERS):
            raise _damaged(path, f"it has the members {', '.join(sorted(known)[:8])}")
        text = archive.member(path, "manifest.json", record.MAX_BYTES)
    except DamagedError as error:
        raise _damaged(path, str(error)) from None
    return Artifact(path, record.loads(Manifest, text, where=f"{path}: manifest.json"))


def _check_shape(name: str, shape: tuple[int, ...]) -> None:
    if min(shape, default=1) < 1 or math.prod(shape) > MAX_SIZE:
        raise _fault(f"{name}", f"shape {list(shape)[:8]}")


def _fault(what: str, found: str) -> UsageError:
    return UsageError(
        f"{what} has {found}, which cannot be", hint="make the artifact again with binas-compile"
    )


def _damaged(path: Path, why: str) -> DamagedError:
    return DamagedError(
        f"{path} is not a binas artifact or is damaged: {why}",
        hint="make it again with binas-compile",
    )
