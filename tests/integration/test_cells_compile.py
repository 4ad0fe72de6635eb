"""A cell on the host: binary depthwise convolutions, weight-binary ones, the shifted reduction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from binas.compile.build import compile_model
from binas.compile.model import BinaryModel
from binas.devices import registry
from binas.search.cells import BinarizerName, CellEdges, CellGenotype, CellSpace, Form, Inputs
from binas.search.export import export
from binas.search.genotype import Genotype
from binas.search.networks.family import build
from binas.search.space import Space

CELL: CellEdges = ((("skip", 0), ("dil5", 1)),)


@pytest.mark.parametrize(
    ("form", "binarizer", "inputs"),
    [
        ("child", "bi-real", "weights"),
        ("residual", "mconv", "weights"),
        ("residual", "mconv", "binary"),
    ],
)
def test_every_step_of_a_reduction_cell_is_exact_on_the_host(
    form: Form, binarizer: BinarizerName, inputs: Inputs, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    space = CellSpace(
        input_shape=(3, 8, 8),
        channels=4,
        cells=1,
        nodes=1,
        form=form,
        binarizer=binarizer,
        inputs=inputs,
    )
    genotype = CellGenotype(space=space, normal=CELL, reduction=CELL)
    model = BinaryModel.of(export(build(genotype).eval(), genotype), "cell")
    # Refuses where a step of the artifact differs from its reference.
    compile_model(model, registry.find("host"), tmp_path / "cell.binas", verify=True)
    assert [node.name for node in model.proto.graph.node if node.name.endswith(".odd")]


def test_every_step_of_a_bars_network_with_real_process_convolutions_is_exact_on_the_host(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    space = Space(
        input_shape=(3, 8, 8),
        classes=4,
        channels=8,
        nodes=1,
        stages=2,
        max_cells=1,
        widths=(1.0,),
        process="real",
    )
    genotype = Genotype(space=space, widths=(0, 0), normal=((("b3",),),) * 2, reduction=(("b3",),))
    model = BinaryModel.of(export(build(genotype).eval(), genotype), "bars")
    # Refuses where a step of the artifact differs from its reference.
    compile_model(model, registry.find("host"), tmp_path / "bars.binas", verify=True)
