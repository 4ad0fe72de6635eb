"""Networks of cells and reference networks: their ONNX files compute what the modules compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from binas.search.cells import CellEdges, CellGenotype, CellOp, CellSpace, Form, Inputs
from binas.search.export import export
from binas.search.genotype import Buildable
from binas.search.networks.counting import count_network
from binas.search.networks.family import build
from binas.search.reference import Reference

NORMAL: CellEdges = ((("sep3", 0), ("dil5", 1)), (("skip", 0), ("max", 2)))
REDUCTION: CellEdges = ((("skip", 0), ("avg", 1)), (("dil3", 2), ("sep5", 1)))
PLAIN: CellEdges = ((("conv3", 0), ("dilconv5", 1)), (("conv5", 0), ("dilconv3", 2)))


def space(**changes: Any) -> CellSpace:
    sizes: dict[str, Any] = {"input_shape": (3, 16, 16), "channels": 4, "cells": 3, "nodes": 2}
    return CellSpace(**sizes | changes)


def cells(**changes: Any) -> CellGenotype:
    return CellGenotype(space=space(**changes), normal=NORMAL, reduction=REDUCTION)


def plain() -> CellGenotype:
    ops: tuple[CellOp, ...] = ("conv3", "conv5", "dilconv3", "dilconv5")
    dense = space(normal_ops=ops, reduction_ops=ops, binarizer="xnor")
    return CellGenotype(space=dense, normal=PLAIN, reduction=PLAIN)


NETWORKS: dict[str, Buildable] = {
    "child": cells(),
    "child pcnn": cells(binarizer="pcnn"),
    "weights": cells(form="weights", binarizer="xnor"),
    "real": cells(form="real"),
    "published by DCP-NAS": cells(
        form="residual", binarizer="mconv", stem="imagenet", input_shape=(3, 64, 64)
    ),
    "child, binary inputs": cells(inputs="binary"),
    "residual, binary inputs": cells(form="residual", binarizer="mconv", inputs="binary"),
    "broad, binary inputs": cells(layout="broad", cells=4, enhancements=2, inputs="binary"),
    "residual reactnet": cells(form="residual", binarizer="reactnet"),
    "broad": cells(layout="broad", cells=4, enhancements=2),
    "broad real": cells(
        layout="broad", cells=2, form="real", stem="imagenet", input_shape=(3, 64, 64)
    ),
    "plain": plain(),
    "bi-real-18": Reference(name="bi-real-18", input_shape=(3, 64, 64), classes=7, channels=4),
    "reactnet-a": Reference(name="reactnet-a", input_shape=(3, 64, 64), classes=7, channels=4),
    "quicknet": Reference(name="quicknet", input_shape=(3, 64, 64), classes=7, channels=8),
    "resnet-20": Reference(name="resnet-20", input_shape=(1, 16, 16), classes=7, channels=4),
}


def settled(net: nn.Module) -> Any:
    """The network in evaluation, as training might leave it: no statistic stands where it began."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean = torch.randn(norm.num_features, generator=generator) / 4
                norm.running_var = torch.rand(norm.num_features, generator=generator) + 0.5
        for name, parameter in net.named_parameters():
            if "norm" in name or "shift" in name or "slope" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) / 4)
    return net.eval()


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_computes_what_the_network_computes(name: str, *, real: bool) -> None:
    torch.manual_seed(0)
    genotype = NETWORKS[name]
    net = settled(build(genotype, real=real))
    proto = export(net, genotype)
    shape = genotype.space.input_shape
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (got,) = session.run(None, {"input": x.numpy()})
    with torch.no_grad():
        expected = net(x)
    assert float(expected.std()) > 0.01, "a network that says the same of everything"
    torch.testing.assert_close(torch.from_numpy(np.asarray(got)), expected, rtol=1e-3, atol=1e-3)
    binary = sum(node.op_type == "BinaryConv2d" for node in proto.graph.node)
    assert (binary == 0) == (real or "real" in name.split())


@pytest.mark.parametrize("form", ["child", "residual", "weights"])
def test_with_binary_inputs_no_1x1_of_a_cell_reads_reals(form: Form) -> None:
    choices: tuple[Inputs, ...] = ("weights", "binary")
    kept, changed = (
        count_network(build(cells(form=form, inputs=inputs)), (3, 16, 16)) for inputs in choices
    )
    between = kept.w_macs - changed.w_macs
    assert between == changed.wa_macs - kept.wa_macs > 0
    assert kept.binary_weights == changed.binary_weights
    assert (changed.w_macs == 0) == (form == "child"), "depthwise ones read reals in other forms"
