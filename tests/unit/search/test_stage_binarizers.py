"""The binariser of a BARS space: chosen by the space, and what BARS' own does to stored weights."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from binas.core import record
from binas.core.errors import UsageError
from binas.search import binarize
from binas.search.data import Dataset
from binas.search.export import export
from binas.search.genotype import Genotype
from binas.search.held_weights import holding
from binas.search.networks.bars import build
from binas.search.networks.bars_supernet import Supernet
from binas.search.networks.stages import StageSupernet
from binas.search.ops import BatchSign, BinaryConv
from binas.search.recipe import RetrainSettings
from binas.search.space import Space, StageBinarizer, load, parse
from binas.search.strategy import bars
from binas.search.strategy.layout_ground import LayoutGround
from binas.search.survey import random_genotypes
from binas.search.training import Training

NAMES: tuple[StageBinarizer, ...] = get_args(StageBinarizer)


def binarizers(net: nn.Module) -> set[str]:
    """Of all binary layers, as text, since some hold functions."""
    layers = [m for m in net.modules() if isinstance(m, BinaryConv | BatchSign)]
    return {repr(layer.binarizer) for layer in layers}


def greatest(net: nn.Module) -> float:
    """The largest weight of a binary convolution."""
    layers = [m for m in net.modules() if isinstance(m, BinaryConv)]
    return max(float(layer.weight.detach().abs().max()) for layer in layers)


@pytest.mark.parametrize("name", NAMES)
def test_all_networks_of_a_space_have_its_binariser(tiny: Space, name: StageBinarizer) -> None:
    space = replace(tiny, binarizer=name)
    genotype = random_genotypes(space, 1, seed=0)[0]
    wanted = {repr(binarize.named(name))}
    for net in (build(genotype), Supernet(space), StageSupernet(space)):
        assert binarizers(net) == wanted


def test_the_binarisers_are_told_apart(tiny: Space) -> None:
    assert len({repr(binarize.named(name)) for name in NAMES}) == len(NAMES)
    assert binarizers(Supernet(tiny)) == {repr(binarize.BI_REAL)}


def test_files_from_before_it_keep_their_text_and_mean_bi_real(genotype: Genotype) -> None:
    text = record.dumps(genotype)
    assert "binarizer" not in json.loads(text)["space"]
    assert record.loads(Genotype, text, where="text").space.binarizer == "bi-real"
    other = replace(genotype, space=replace(genotype.space, binarizer="bars"))
    assert record.loads(Genotype, record.dumps(other), where="text") == other
    assert record.digest(load("digits")) == "c43124989ed4"  # as before there was a choice


def test_it_is_a_key_of_a_space_file_and_shifts_are_refused_there() -> None:
    text = 'input_shape = [1, 16, 16]\nclasses = 4\nbinarizer = "{}"'
    assert parse(text.format("pcnn"), where="text").binarizer == "pcnn"
    with pytest.raises(UsageError, match="binarizer"):
        parse(text.format("reactnet"), where="text")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_exported_computes_what_the_module_does(tiny: Space, name: StageBinarizer) -> None:
    genotype = random_genotypes(replace(tiny, binarizer=name), 1, seed=2)[0]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = build(genotype)
        net(torch.randn(16, *tiny.input_shape))  # statistics other than 0 and 1
        x = torch.randn(1, *tiny.input_shape)
    session = onnxruntime.InferenceSession(export(net.eval(), genotype).SerializeToString())
    (got,) = session.run(None, {"input": x.numpy()})
    np.testing.assert_allclose(got, net(x).detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("optimiser", "rate"), [("adam", 0.9), ("sgd", 20.0)])
@pytest.mark.parametrize(("name", "held"), [("bars", True), ("bi-real", False)])
def test_bars_keeps_stored_weights_within_1_in_searches_and_retraining(
    tiny: Space,
    images: Dataset,
    name: StageBinarizer,
    held: bool,
    optimiser: Literal["adam", "sgd"],
    rate: float,
) -> None:
    space = replace(tiny, binarizer=name)
    settings = bars.BarsSettings(
        epochs=1, warmup_epochs=0, batch=24, weight_rate=rate, optimiser=optimiser
    )
    task = bars.Search(LayoutGround(space, None), images, settings, 0)
    task.epoch(0)
    assert (greatest(task.net) <= 1) is held
    net = build(random_genotypes(space, 1, seed=0)[0])
    recipe = RetrainSettings(epochs=1, batch=24, rate=rate, optimiser=optimiser)
    Training(net, images, recipe, 0).epoch(0)
    assert (greatest(net) <= 1) is held


@pytest.mark.parametrize(("name", "real", "held"), [("bars", False, True), ("bars", True, False)])
def test_a_weight_that_is_drawn_beyond_1_is_brought_back_unless_it_is_real(
    name: StageBinarizer, real: bool, held: bool
) -> None:
    layer = BinaryConv(3, 4, 3, binarize.named(name), real=real)
    nn.init.constant_(layer.weight, 1.5)
    holding(torch.optim.Adam(layer.parameters()), layer)
    assert float(layer.weight.detach().max()) == (1.0 if held else 1.5)
