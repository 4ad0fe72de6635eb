"""`binas-search export`: a trained network as an ONNX file of the contract."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from binas.core import cli
from binas.search.commands import shared

if TYPE_CHECKING:
    from binas.search.forms import ExportAnswer


@click.command(cls=cli.Command)
@click.argument("run_folder", type=shared.FOLDER, metavar="RUN")
@click.option("-o", "--output", type=shared.FILE, required=True, help="ONNX file to write.")
@cli.json_option
def export(run_folder: Path, output: Path, as_json: bool) -> None:
    """Write the network of a retraining run as an ONNX file of the contract.

    \b
    Example:
      binas-search export runs/fast-net -o net.onnx
      binas-compile net.onnx --device host -o net.binas
    """
    from binas.core import record  # noqa: PLC0415
    from binas.search import export as exporting  # noqa: PLC0415
    from binas.search.retrain import Trained, load_network  # noqa: PLC0415

    trained = record.load(Trained, run_folder / "trained.json")
    weights = run_folder / "weights.safetensors"
    net = load_network(trained.genotype, weights, real=trained.real)
    proto = exporting.export(
        net, trained.genotype, output, labels=trained.labels, sources=trained.sources
    )
    nodes = [node.op_type for node in proto.graph.node]
    result: ExportAnswer = {
        "schema": "binas.export/1",
        "model": str(output),
        "bytes": output.stat().st_size,
        "nodes": len(nodes),
        "binary_convolutions": nodes.count("BinaryConv2d"),
        "accuracy": trained.accuracy,
    }
    if as_json:
        cli.emit(result)
    else:
        binary = result["binary_convolutions"]
        click.echo(f"{output}: {result['bytes']} bytes, {binary} binary convolutions")
