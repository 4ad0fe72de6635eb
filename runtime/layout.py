"""How values lie in the files and the arena that the harness reads and writes.

Ports are raw little-endian float32 or bytes, row-major, concatenated in the manifest's order. In
the arena a float tensor is float32 [N, H, W, C], and one of bits uint32 [N, H, W, words(C)].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from binas.core.bits import words
from binas.core.errors import UsageError
from binas.core.text import unfit_name

if TYPE_CHECKING:
    from binas.runtime.artifact import Artifact, Manifest, Port, Tensor


MAX_PRINTED_CHARACTERS = 8192  # of a name or a reason; one that names a node is longer than it


def check_printed(manifest: Manifest) -> None:
    """Refuse a manifest whose names a terminal would take for orders.

    Raises:
        UsageError: One is no single line of text.
    """
    texts = [port.name for port in (*manifest.inputs, *manifest.outputs)]
    texts += [step.name for step in manifest.steps] + [layer.name for layer in manifest.layers]
    texts += [t.name for step in manifest.steps for t in (*step.inputs, *step.outputs)]
    texts += [*(layer.reason for layer in manifest.layers), *manifest.labels]
    unfit = unfit_name(texts, longest=MAX_PRINTED_CHARACTERS)
    if unfit is not None:
        raise UsageError(
            f"its text {unfit!r:.60} cannot be printed",
            hint="make the artifact again with binas-compile",
        )


def checked_inputs(manifest: Manifest, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The array of each input port, in order; copied only where C could not read it in place.

    Raises:
        UsageError: A port is missing, unknown, of another shape or dtype, or is not finite.
    """
    ports = {port.name: port for port in manifest.inputs}
    described = ", ".join(f"{p.name} {list(p.shape)}" for p in manifest.inputs)
    for name in inputs:
        if name not in ports:
            raise UsageError(f"the model has no input {name!r}", hint=f"its inputs: {described}")
    arrays = []
    for name, port in ports.items():
        if name not in inputs:
            raise UsageError(f"no value for input {name!r}", hint=f"its inputs: {described}")
        value = inputs[name]
        if value.shape != port.shape:
            raise UsageError(
                f"input {name!r} has shape {list(value.shape)}, expected {list(port.shape)}",
                hint=_way_to_shape(port, value.shape),
            )
        if value.dtype != port.dtype:
            raise UsageError(
                f"input {name!r} is {value.dtype}, expected {port.dtype}",
                hint="give pixels as they are, 0 to 255: the artifact normalises them"
                if port.dtype == "uint8"
                else "save it with x.astype(numpy.float32)",
            )
        if not np.isfinite(value).all():
            found = "NaN, which has no sign" if np.isnan(value).any() else "infinite values"
            raise UsageError(f"input {name!r} holds {found}", hint="clean the input first")
        kind = np.dtype(port.dtype).newbyteorder("<")
        arrays.append(np.require(value, kind, ("C", "ALIGNED")))
    return arrays


def _way_to_shape(port: Port, found: tuple[int, ...]) -> str:
    """How an array of another shape becomes the one expected, as a line to type."""
    wanted = port.shape
    turns = ((0, 3, 1, 2), (0, 2, 3, 1))  # images: channels last become channels first, and back
    turn = next(
        (t for t in turns if len(found) == 4 and tuple(found[i] for i in t) == wanted), None
    )
    if turn is not None:
        made = f"x.transpose{turn}"
    elif np.prod(found, dtype=object) == np.prod(wanted, dtype=object):
        made = f"x.reshape{wanted}"
    elif len(found) == len(wanted) and found[1:] == wanted[1:] and found[0] > wanted[0]:
        made = f"x[:{wanted[0]}]"  # so many images at a time
    else:
        made = f"x, whose shape is {wanted}"
    return f"numpy.save('x.npy', {made}), then the same command with --input x.npy"


def split_ports(ports: Sequence[Port], raw: bytes) -> dict[str, np.ndarray]:
    """Cut the concatenated outputs into arrays."""
    found, place = {}, 0
    for port in ports:
        part = np.frombuffer(raw, dtype="<f4", count=port.size_bytes // 4, offset=place)
        found[port.name] = part.reshape(port.shape).astype(np.float32)
        place += port.size_bytes
    return found


def layout_shape(tensor: Tensor) -> tuple[int, int, int, int]:
    """Shape of a tensor's array in the arena: channels, or words of channels for bits."""
    N, H, W, C = tensor.shape
    return (N, H, W, words(C) if tensor.dtype == "bits" else C)


def layout_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor's array in the arena."""
    return 4 * int(np.prod(layout_shape(tensor)))


def from_layout(tensor: Tensor, raw: bytes) -> np.ndarray:
    """The array of a tensor from its bytes in the arena."""
    kind = "<u4" if tensor.dtype == "bits" else "<f4"
    native = np.uint32 if tensor.dtype == "bits" else np.float32
    return np.frombuffer(raw, dtype=kind).reshape(layout_shape(tensor)).astype(native)


def check_taps(manifest: Manifest, taps: Mapping[str, np.ndarray]) -> None:
    """Compare the reference values that there are with the plan's shapes and dtypes.

    Raises:
        UsageError: One differs.
    """
    wanted: dict[str, tuple[tuple[int, ...], str]] = {}
    for step in manifest.steps:
        for tensor in (*step.inputs, *step.outputs):
            kind = "uint32" if tensor.dtype == "bits" else "float32"
            wanted[tensor.name] = layout_shape(tensor), kind
            wanted[f"margin:{tensor.name}"] = tensor.shape, "float32"
    for port in manifest.inputs:
        wanted[f"input:{port.name}"] = port.shape, port.dtype
    for port in manifest.outputs:
        wanted[f"output:{port.name}"] = port.shape, "float32"
    for name in wanted.keys() & taps.keys():
        shape, kind = wanted[name]
        found = taps[name]
        if found.shape != shape or found.dtype != np.dtype(kind):
            raise UsageError(
                f"the value of {name} is {found.dtype} {list(found.shape)}, "
                f"expected {kind} {list(shape)}"
            )


def tap_bytes(taps: Mapping[str, np.ndarray], tensor: Tensor, artifact: Artifact) -> bytes:
    """The bytes of a tensor's reference value, as they lie in the arena.

    Raises:
        UsageError: The artifact's taps lack the tensor, or hold another shape or dtype.
    """
    value = taps.get(tensor.name)
    dtype = np.uint32 if tensor.dtype == "bits" else np.float32
    if value is None or value.shape != layout_shape(tensor) or value.dtype != dtype:
        found = "nothing" if value is None else f"{value.dtype} {list(value.shape)}"
        raise UsageError(
            f"{artifact.path}: taps.npz holds {found} for {tensor.name}, "
            f"expected {np.dtype(dtype)} {list(layout_shape(tensor))}",
            hint="make the artifact again with binas-compile",
        )
    return np.ascontiguousarray(value, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()
