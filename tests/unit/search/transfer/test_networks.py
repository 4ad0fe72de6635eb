"""Backbones, embedders, detectors: what torch computes is what the exported file says."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from binas.core.errors import UsageError
from binas.search.cells import CellGenotype
from binas.search.export import Writable, export
from binas.search.genotype import AnyGenotype, Genotype
from binas.search.networks.family import supernet
from binas.search.space import Space
from binas.search.transfer.backbone import Backbone, Level
from binas.search.transfer.boxes import Boxes
from binas.search.transfer.detector import Detector, LevelHead, read_outputs
from binas.search.transfer.embedding import Embedder, MarginLoss
from binas.search.transfer.scenes import SIDE, scenes


def stages(side: int = 16) -> Genotype:
    """Three stages of one small cell."""
    space = Space(input_shape=(3, side, side), classes=2, channels=8)
    full = len(space.widths) - 1
    return Genotype(
        space=space,
        widths=(full, full, full),
        normal=((("b3", "skip", "b3"),),) * 3,
        reduction=(("b3", "none", "skip"),) * 2,
    )


def cells(**changes: Any) -> CellGenotype:
    """The best of untrained scores in a small space of cells."""
    from binas.search.cells import CellSpace

    given: dict[str, Any] = {"input_shape": (3, 16, 16), "classes": 2, "channels": 8, "cells": 3}
    net = supernet(CellSpace(**{**given, **changes}))
    generator = torch.Generator().manual_seed(0)
    found = net.derive([torch.rand(group.shape, generator=generator) for group in net.groups])
    assert isinstance(found, CellGenotype)
    return found


def onnx_answers(net: Writable, genotype: AnyGenotype, x: torch.Tensor) -> list[np.ndarray]:
    proto = export(net, genotype)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return list(session.run(None, {"input": x.numpy()}))


def settled(net: nn.Module, side: int = 16) -> torch.Tensor:
    """The net in evaluation with statistics of its own, and one image."""
    generator = torch.Generator().manual_seed(1)
    net.train()
    for _ in range(3):
        net(torch.randn(8, 3, side, side, generator=generator))
    net.eval()
    return torch.randn(1, 3, side, side, generator=generator)


@pytest.mark.parametrize("genotype", [stages(), cells()], ids=["stages", "DARTS cells"])
def test_a_backbone_exports_one_output_per_resolution(genotype: AnyGenotype) -> None:
    torch.manual_seed(0)
    net = Backbone(genotype)
    x = settled(net)
    with torch.no_grad():
        maps = net(x)
    assert [Level(m.shape[1], 16 // m.shape[2]) for m in maps] == list(net.levels)
    strides = [level.stride for level in net.levels]
    assert strides == sorted(set(strides)) and len(strides) == 3
    for got, wanted in zip(onnx_answers(net, genotype, x), maps, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-3, atol=1e-3)


def test_a_broad_network_is_refused_as_a_backbone() -> None:
    with pytest.raises(UsageError, match="no feature maps one after another"):
        Backbone(cells(layout="broad", cells=4))


def test_an_embedder_exports_its_batch_norm_folded() -> None:
    torch.manual_seed(0)
    net = Embedder(Backbone(stages()), 33)
    x = settled(net)
    with torch.no_grad():
        wanted = net(x).numpy()
    (got,) = onnx_answers(net, stages(), x)
    assert got.shape == (1, 33)
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3)


def test_a_margin_of_zero_is_a_softmax_of_cosines() -> None:
    torch.manual_seed(0)
    loss, x, y = MarginLoss(9, 4, scale=8.0, margin=0.0), torch.randn(6, 9), torch.arange(6) % 4
    expected = nn.functional.cross_entropy(8 * loss.cosines(x), y)
    torch.testing.assert_close(loss(x, y), expected, rtol=1e-4, atol=1e-4)


def test_a_margin_adds_an_angle_to_the_own_class_alone() -> None:
    torch.manual_seed(0)
    loss, x, y = MarginLoss(9, 4, scale=8.0, margin=0.5), torch.randn(6, 9), torch.arange(6) % 4
    angles = loss.cosines(x).detach().clamp(-1, 1).acos()
    own = nn.functional.one_hot(y, 4) * 0.5
    assert float(angles.max()) + 0.5 < torch.pi  # nothing wraps around here
    expected = nn.functional.cross_entropy(8 * (angles + own).cos(), y)
    torch.testing.assert_close(loss(x, y), expected, rtol=1e-4, atol=1e-4)


def test_the_loss_rises_with_the_angle_all_the_way_round() -> None:
    loss = MarginLoss(3, 2, scale=1.0, margin=0.5)
    loss.directions.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    angles = torch.linspace(0.01, 3.13, 60)  # to the first class; the other is always at 90 degrees
    x = torch.stack([angles.cos(), angles.sin(), torch.zeros(60)], dim=1)
    losses = [loss(one[None], torch.tensor([0])).item() for one in x]
    assert all(before < later for before, later in pairwise(losses))


def test_a_detector_decodes_boxes_in_pixels_in_the_exported_file() -> None:
    torch.manual_seed(0)
    genotype = stages(SIDE)
    net = Detector(Backbone(genotype), 4)
    x = settled(net, SIDE)
    with torch.no_grad():
        wanted = [one for pair in net(x) for one in pair]
    got = onnx_answers(net, genotype, x)
    assert [one.shape for one in got] == [tuple(one.shape) for one in wanted]
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-3, atol=1e-2)


def test_a_place_that_is_told_its_distances_gives_the_box() -> None:
    head = LevelHead(Level(8, 4), (16, 16), 8, 2)
    with torch.no_grad():
        head.distances.weight.zero_()
        cast(torch.Tensor, head.distances.bias).copy_(torch.tensor([1.0, 0.5, 2.0, 0.25]))
    _, boxes = head(torch.zeros(1, 8, 4, 4))
    # The place in row 1, column 2 has its centre at x = 10, y = 6; distances count strides of 4.
    assert boxes[0, :, 1, 2].tolist() == [6.0, 4.0, 18.0, 7.0]


def test_targets_are_the_boxes_around_their_centres_on_the_map_of_their_size() -> None:
    net = Detector(Backbone(stages(SIDE)), 4)
    small, large = (4.0, 4.0, 16.0, 16.0), (20.0, 20.0, 60.0, 60.0)
    true = [Boxes(np.array([small, large]), np.array([1, 3]))]
    fine, coarse = (net.targets(level, true) for level in (0, 1))
    assert set(fine[0].unique().tolist()) == {-1, 1}
    assert set(coarse[0].unique().tolist()) == {-1, 3}
    assert fine[1][0, 2, 2].tolist() == list(small)
    assert int((fine[0] >= 0).sum()) == 9


def test_outputs_that_say_the_targets_read_back_as_the_boxes() -> None:
    net = Detector(Backbone(stages(SIDE)), 4)
    true = Boxes(np.array([(4.0, 4.0, 16.0, 16.0)]), np.array([2]))
    outputs: list[np.ndarray] = []
    for level in (0, 1):
        labels, corners = net.targets(level, [true])
        logits = nn.functional.one_hot(labels + 1, 5)[..., 1:].permute(0, 3, 1, 2) * 8.0 - 4.0
        outputs += [logits.numpy(), corners.permute(0, 3, 1, 2).numpy()]
    found = read_outputs(outputs)
    assert set(found.labels) == {2}
    assert (found.corners == true.corners).all()


def test_the_loss_of_right_boxes_is_lower() -> None:
    torch.manual_seed(0)
    net = Detector(Backbone(stages(SIDE)), 4)
    x, true = scenes("train", 4)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(8):
        loss = net.loss(torch.from_numpy(x), true)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]


def test_scenes_are_alike_every_time_and_boxes_hold_the_ink() -> None:
    x, boxes = scenes("train", 5, seed=3)
    again, _ = scenes("train", 2, seed=3)
    assert (x[:2] == again).all()
    assert x.dtype == np.float32 and x.shape == (5, 3, SIDE, SIDE)
    assert not (scenes("test", 1, seed=3)[0] == x[:1]).all()
    for image, one in zip(x, boxes, strict=True):
        assert 1 <= len(one.labels) <= 3
        corners = one.corners.astype(int)
        brightness, outside = image.mean(axis=0), np.ones((SIDE, SIDE), bool)
        for left, top, right, bottom in corners:
            outside[top:bottom, left:right] = False
        for left, top, right, bottom in corners:
            assert brightness[top:bottom, left:right].max() > brightness[outside].max() + 0.2
