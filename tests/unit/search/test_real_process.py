"""The real process convolution of a BARS space: its counts, its export, its menu, its files."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from binas.compile.build import plan_layers
from binas.compile.model import BinaryModel
from binas.core import record
from binas.search.cost import count, layers_of
from binas.search.export import export
from binas.search.genotype import CellOps, Genotype
from binas.search.menu import menu
from binas.search.networks.bars import build
from binas.search.networks.bars_supernet import Supernet, one_hot
from binas.search.space import Process, Space, load, parse
from binas.search.survey import random_genotypes


def convolutions_only(channels: int, process: Process) -> Genotype:
    """Eight cells of four nodes on 32x32, a binary 3x3 on every edge, all widths 1."""
    space = Space(
        input_shape=(3, 32, 32),
        classes=10,
        channels=channels,
        nodes=4,
        widths=(1.0,),
        stem_stride=1,
        normal_ops=("skip", "b3"),
        reduction_ops=("skip", "b3"),
        process=process,
    )
    cell: CellOps = tuple("b3" for _ in space.edges)
    return Genotype(
        space=space, widths=(0, 0, 0), normal=((cell, cell),) * 3, reduction=(cell, cell)
    )


@pytest.mark.paper_check(number=11)
@pytest.mark.parametrize(
    ("channels", "process", "biops", "flops", "binary", "real"),
    [
        (16, "real", 434.1, 19.8, 1.705, 0.052),
        (16, "binary", 450.9, 3.0, 1.753, 0.004),
        (36, "real", 2197.7, 97.6, 8.631, 0.256),
        (36, "binary", 2282.6, 12.6, 8.875, 0.012),
        (48, "binary", 4058.0, 21.5, 15.778, 0.018),
    ],
)
def test_a_network_of_convolutions_counts_what_bars_code_counts(
    channels: int, process: Process, biops: float, flops: float, binary: float, real: float
) -> None:
    found = count(layers_of(convolutions_only(channels, process)))
    pairs = [
        (found.biops, biops, 0.05),
        (found.flops, flops, 0.05),
        (found.binary_weights, binary, 0.0005),
        (found.real_weights, real, 0.0005),
    ]
    for got, millions, rounding in pairs:  # 0.1 %, or what the last printed digit leaves open
        assert got / 1e6 == pytest.approx(millions, rel=1e-3, abs=rounding)


def test_its_menu_holds_every_layer_of_its_networks(space: Space) -> None:
    real = replace(space, process="real")
    found = menu(real)
    for genotype in random_genotypes(real, 30, seed=6):
        assert Counter(found.steps(genotype)) == Counter(layers_of(genotype)), str(genotype)


def test_it_compiles_to_a_float_convolution_that_computes_what_the_module_does(
    space: Space,
) -> None:
    for genotype in random_genotypes(replace(space, process="real"), 3, seed=2):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            net = build(genotype)
            net(torch.randn(16, *space.input_shape))  # statistics other than 0 and 1
            x = torch.randn(1, *space.input_shape)
        net.eval()
        proto = export(net, genotype)
        session = onnxruntime.InferenceSession(proto.SerializeToString())
        (got,) = session.run(None, {"input": x.numpy()})
        np.testing.assert_allclose(got, net(x).detach().numpy(), rtol=1e-4, atol=1e-4)
        steps = plan_layers(BinaryModel.of(proto, "net"))
        processes = [layer for name, layer in steps if name.endswith("/process")]
        assert len(processes) == sum(genotype.depths) + len(genotype.reduction)
        assert {(layer.op, layer.weight_bits) for layer in processes} == {("conv", 32)}


def test_the_supernet_trains_with_it(space: Space) -> None:
    genotype = random_genotypes(replace(space, process="real"), 1, seed=4)[0]
    net = Supernet(genotype.space)
    net(torch.randn(8, *space.input_shape), one_hot(genotype)).square().sum().backward()
    process = net.reduction[0].process.conv.weight  # type: ignore[union-attr]
    assert isinstance(process.grad, torch.Tensor)
    assert (process.grad != 0).any()


def test_files_from_before_it_keep_their_text_and_mean_a_binary_one(genotype: Genotype) -> None:
    text = record.dumps(genotype)
    assert "process" not in json.loads(text)["space"]
    assert record.loads(Genotype, text, where="text").space.process == "binary"
    real = replace(genotype, space=replace(genotype.space, process="real"))
    assert record.loads(Genotype, record.dumps(real), where="text") == real
    assert record.digest(real) != record.digest(genotype)
    assert record.digest(load("digits")) == "c43124989ed4"  # as before there was a choice


def test_it_is_a_key_of_a_space_file() -> None:
    text = 'input_shape = [1, 16, 16]\nclasses = 4\nprocess = "real"'
    assert parse(text, where="text").process == "real"
