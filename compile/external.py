"""Weights that lie in a file beside the model, as PyTorch's exporter writes them.

A model is a stranger's file: it may name no path but one below its own folder, and no more bytes
than are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from math import prod
from pathlib import Path, PurePosixPath

import onnx
from onnx import TensorProto, helper

from binas.core.errors import CompileError

_HINT = "save the model with its weights inside (onnx.save without external data)"


def load_external(proto: onnx.ModelProto, folder: Path | None, where: str, limit: int) -> bytes:
    """Read the weights of a model that lie in other files into it.

    Args:
        proto: The model, changed in place.
        folder: Where it lies; None for a model in memory, which has no neighbours.
        where: Its name, for messages.
        limit: Most bytes of all weights together.

    Returns:
        A digest of what was read; empty where nothing was.

    Raises:
        CompileError: A path that leads elsewhere, or bytes that are not there.
    """
    digest, total = sha256(), 0
    for tensor in _external(proto):
        at = f"{where}: weight {tensor.name!r} lies in another file"
        path, offset, length = _place(tensor, folder, at)
        total += length
        if total > limit:
            raise CompileError(f"{at}: more than {limit >> 20} MiB of weights", hint=_HINT)
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(length)
        except OSError as error:
            raise CompileError(f"{at}: {path.name}: {error.strerror}", hint=_HINT) from None
        if len(data) != length:
            raise CompileError(f"{at}: {path.name} ends before it", hint="copy both files again")
        digest.update(data)
        tensor.raw_data = data
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
    return digest.digest() if total else b""


def _external(proto: onnx.ModelProto) -> Iterator[TensorProto]:
    for tensor in proto.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor
    nodes = [*proto.graph.node, *(node for body in proto.functions for node in body.node)]
    for node in nodes:
        for attribute in node.attribute:
            if attribute.t.data_location == TensorProto.EXTERNAL:
                yield attribute.t


def _place(tensor: TensorProto, folder: Path | None, at: str) -> tuple[Path, int, int]:
    """File, offset and length in bytes, all of them checked."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = PurePosixPath(entries.get("location", ""))
    if folder is None:
        raise CompileError(at, hint=_HINT)
    # Backslashes and drives are for other systems, and no name of an exporter's.
    odd = "\\" in str(location) or ":" in str(location) or "\0" in str(location)
    if location.is_absolute() or ".." in location.parts or not location.name or odd:
        raise CompileError(
            f"{at}, at {str(location)[:80]!r}, which is not below the model's folder", hint=_HINT
        )
    path = folder / location
    try:
        inside = path.resolve().is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, RuntimeError):
        inside = False
    if not inside:
        raise CompileError(
            f"{at}, {str(location)[:80]!r}, which is not there", hint="copy both files together"
        )
    try:
        offset = int(entries.get("offset", "0"))
        size = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * prod(tensor.dims)
        length = int(entries.get("length", str(size)))
    except (ValueError, KeyError, TypeError):
        raise CompileError(f"{at}: offset or length is no number", hint=_HINT) from None
    if length != size or offset < 0 or offset + length > path.stat().st_size:
        raise CompileError(
            f"{at}: bytes {offset} to {offset + length} of {path.name}, which has "
            f"{path.stat().st_size}; {size} were expected",
            hint="copy both files again",
        )
    return path, offset, length
