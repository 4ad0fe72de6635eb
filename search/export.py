"""A trained network as an ONNX file of the contract, written node by node.

No tracing: every module knows its own nodes (`search/ops.py`), so what is written is what was
meant, in milliseconds, and batch norm is folded in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import nn

from binas.core import record
from binas.core.errors import SearchError
from binas.search.cells import CellGenotype
from binas.search.genotype import Buildable, Genotype

if TYPE_CHECKING:
    import onnx

    from binas.compile.model import ModelWriter


class Writable(Protocol):
    """A network that can write itself."""

    def write(self, writer: ModelWriter, x: str) -> str | tuple[str, ...]:
        """Add all nodes; the name of the output, or of all of them."""
        ...


def export(
    net: Writable,
    genotype: Buildable,
    path: Path | None = None,
    *,
    labels: Sequence[str] = (),
    sources: Mapping[str, str] | None = None,
    name: str = "",
) -> onnx.ModelProto:
    """Write a network.

    Args:
        net: Trained, its batch norm statistics final.
        genotype: What it was built from; kept in the file's metadata.
        path: Where to; None writes no file.
        labels: Names of the classes, one per output; kept in the metadata, one per line.
        sources: Name → digest of what the network came from; kept in the metadata, and by the
            artifact's manifest.
        name: Of the graph; the genotype's digest when empty.

    Returns:
        The model: input "input" [1, C, H, W] float32; of a classifier, output logits [1, classes].

    Raises:
        SearchError: A weight is not finite.
    """
    from binas.compile.model import ModelWriter  # noqa: PLC0415 (onnx: 0.2 s)

    if isinstance(net, nn.Module):
        for key, tensor in net.state_dict().items():
            if not bool(tensor.isfinite().all()):
                raise SearchError(f"weight {key} is not finite", hint="retrain at a lower rate")
    writer = ModelWriter(name or f"{_kind(genotype)}-{record.digest(genotype)}")
    x = writer.input("input", (1, *genotype.space.input_shape))
    metadata = {
        "genotype": record.dumps(genotype),
        "genotype_digest": record.digest(genotype),
        "space_digest": record.digest(genotype.space),
        **{f"{source}_digest": digest for source, digest in (sources or {}).items()},
    }
    if labels:
        metadata["labels"] = "\n".join(labels)
    written = net.write(writer, x)
    outputs = [written] if isinstance(written, str) else list(written)
    proto = writer.finish(outputs, metadata=metadata)
    if path is not None:
        record.write_atomic(path, proto.SerializeToString(deterministic=True))
    return proto


def _kind(genotype: Buildable) -> str:
    """What the graph's name starts with."""
    if isinstance(genotype, Genotype):
        return "bars"
    return genotype.space.layout if isinstance(genotype, CellGenotype) else genotype.name
