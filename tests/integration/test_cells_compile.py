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
from binas.search.genotype import AnyGenotype, Genotype
from binas.search.networks.family import build
from binas.search.space import Space

CELL: CellEdges = ((("skip", 0), ("dil5", 1)),)


def verified(genotype: AnyGenotype, folder: Path) -> BinaryModel:
    """The model of an untrained network; refused where a step of its artifact is not exact."""
    model = BinaryModel.of(export(build(genotype).eval(), genotype), "net")
    compile_model(model, registry.find("host"), folder / "net.binas", verify=True)
    return model


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
    model = verified(genotype, tmp_path)
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
    verified(genotype, tmp_path)
