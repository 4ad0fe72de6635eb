"""A one-stage detector without anchors: every place of a map says what is there and how large.

    score[k]      logit of class k at a place
    l, t, r, b    distances from the place to the sides of the box, in pixels
    box           (x - l, y - t, x + r, y + b) with (x, y) the centre of the place

Boxes come out in pixels of the image: the grid and the strides are part of the network, so a device
decodes them. What is left to its user is to drop low scores and boxes that overlap (`boxes.py`).
Source: FCOS (Tian et al., 2019, arXiv:1904.01355) without its centre-ness; a place belongs to a box
if it is within one place of the box's centre (centre sampling, as in the authors' later code).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.ops import NormConv
from binas.search.transfer.backbone import Backbone, Level
from binas.search.transfer.boxes import Boxes

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter

PRIOR = 0.01  # of a class at a place before training (RetinaNet, arXiv:1708.02002, section 3.3)
# Of the box, the sign of each distance: left and top lie before the place.
_SIGNS = (-1.0, -1.0, 1.0, 1.0)


class LevelHead(nn.Module):
    """Scores and boxes of one map; real, as the classifier of a 1-bit network is."""

    def __init__(self, level: Level, size: tuple[int, int], width: int, classes: int) -> None:
        """A 3x3, then a 1x1 for the scores and one for the distances."""
        super().__init__()
        self.stride = level.stride
        self.first = NormConv(level.channels, width, 3)
        self.scores = nn.Conv2d(width, classes, 1)
        self.distances = nn.Conv2d(width, 4, 1)
        nn.init.constant_(cast(Tensor, self.scores.bias), -np.log((1 - PRIOR) / PRIOR))
        nn.init.constant_(cast(Tensor, self.distances.bias), 1.0)
        rows, columns = (torch.arange(n // level.stride) * level.stride for n in size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres = torch.stack([x, y, x, y]).float() + level.stride / 2
        self.register_buffer("grid", centres[None], persistent=False)
        signs = torch.tensor(_SIGNS)[:, None, None] * level.stride
        self.register_buffer("scale", signs, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, P, Q] → logits [N, classes, P, Q] and boxes [N, 4, P, Q]."""
        y = functional.relu(self.first(x))
        distances = functional.relu(self.distances(y))
        return self.scores(y), distances * cast(Tensor, self.scale) + cast(Tensor, self.grid)

    def write(self, writer: ModelWriter, x: str, name: str) -> tuple[str, str]:
        """Conv, Relu; Conv; Conv, Relu, Mul, Add."""
        y = writer.node("Relu", [self.first.write(writer, x, f"{name}/first")], name=f"{name}/relu")
        scores = _write_conv(writer, self.scores, y, f"{name}/scores")
        d = writer.node(
            "Relu", [_write_conv(writer, self.distances, y, f"{name}/distances")], name=f"{name}/d"
        )
        scale, grid = cast(Tensor, self.scale).numpy(), cast(Tensor, self.grid).numpy()
        scaled = writer.node(
            "Mul", [d, writer.constant(scale, f"{name}/stride")], name=f"{name}/pixels"
        )
        boxes = [scaled, writer.constant(grid, f"{name}/grid")]
        return scores, writer.node("Add", boxes, name=f"{name}/boxes")


class Detector(nn.Module):
    """A head on each of the coarser maps of a backbone.

    Attributes:
        limits: Per map but the last, the longest side of boxes that belong to it, in pixels.
    """

    def __init__(self, backbone: Backbone, classes: int, *, maps: int = 2, width: int = 32) -> None:
        """Heads on the last `maps` maps."""
        super().__init__()
        self.backbone, self.classes, self.maps = backbone, classes, maps
        size = backbone.input_shape[1:]
        levels = backbone.levels[-maps:]
        self.heads = nn.ModuleList(LevelHead(level, size, width, classes) for level in levels)
        self.limits = tuple(4.0 * level.stride for level in levels[:-1])

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Images → per map logits [N, classes, P, Q] and boxes [N, 4, P, Q]."""
        maps = self.backbone(x)[-self.maps :]
        return [head(y) for head, y in zip(self.heads, maps, strict=True)]

    def write(self, writer: ModelWriter, x: str) -> tuple[str, ...]:
        """All nodes; per map the names of logits and boxes."""
        maps = self.backbone.write(writer, x)[-self.maps :]
        found: list[str] = []
        for place, (head, y) in enumerate(zip(self.heads, maps, strict=True)):
            found += cast(LevelHead, head).write(writer, y, f"detect{place}")
        return tuple(found)

    def loss(self, x: Tensor, true: Sequence[Boxes]) -> Tensor:
        """Focal loss of the scores and IoU loss of the boxes, over the number of places that count.

        Sources: RetinaNet (Lin et al., 2017, arXiv:1708.02002, eq. 5, with 0.25 and 2); UnitBox (Yu
        et al., 2016, arXiv:1608.01471): -log IoU.
        """
        scores_sum, boxes_sum, places = x.new_zeros(()), x.new_zeros(()), 0
        for level, (logits, boxes) in enumerate(self(x)):
            labels, corners = self.targets(level, true)
            goal = functional.one_hot(labels + 1, self.classes + 1)[..., 1:].permute(0, 3, 1, 2)
            scores_sum = scores_sum + _focal(logits, goal.to(logits.dtype))
            counts = labels >= 0
            places += int(counts.sum())
            found = boxes.permute(0, 2, 3, 1)[counts]
            boxes_sum = boxes_sum - _iou(found, corners[counts]).clamp(min=1e-3).log().sum()
        return (scores_sum + boxes_sum) / max(1, places)

    def targets(self, level: int, true: Sequence[Boxes]) -> tuple[Tensor, Tensor]:
        """What each place should say: class [N, P, Q], -1 for nothing; box [N, P, Q, 4].

        Where two boxes want one place, the smaller has it.
        """
        head = cast(LevelHead, self.heads[level])
        _, _, P, Q = cast(Tensor, head.grid).shape
        labels = torch.full((len(true), P, Q), -1, dtype=torch.int64)
        corners = torch.zeros(len(true), P, Q, 4)
        low = self.limits[level - 1] if level else 0.0
        high = self.limits[level] if level < len(self.limits) else np.inf
        for image, one in enumerate(true):
            sides = (one.corners[:, 2:] - one.corners[:, :2]).max(axis=1, initial=0)
            area = np.prod(one.corners[:, 2:] - one.corners[:, :2], axis=1)
            for index in np.argsort(-area, kind="stable"):
                if not low < sides[index] <= high:
                    continue
                left, top, right, bottom = one.corners[index]
                p, q = (top + bottom) / 2 / head.stride, (left + right) / 2 / head.stride
                for row in range(max(0, int(p) - 1), min(P, int(p) + 2)):
                    for column in range(max(0, int(q) - 1), min(Q, int(q) + 2)):
                        x, y = (column + 0.5) * head.stride, (row + 0.5) * head.stride
                        if left < x < right and top < y < bottom:
                            labels[image, row, column] = int(one.labels[index])
                            corners[image, row, column] = torch.from_numpy(one.corners[index])
        return labels, corners


def read_outputs(outputs: Sequence[np.ndarray], least: float = 0.0) -> Boxes:
    """Boxes of one image from what the network gives, per map logits and boxes.

    Args:
        outputs: Logits [1, classes, P, Q] and boxes [1, 4, P, Q], map after map.
        least: Lowest logit that is kept; 0 is a probability of one half.
    """
    corners, labels, scores = [], [], []
    for logits, boxes in zip(outputs[::2], outputs[1::2], strict=True):
        flat = logits[0].reshape(logits.shape[1], -1)
        best = flat.max(axis=0)
        kept = best >= least
        corners.append(boxes[0].reshape(4, -1).T[kept])
        labels.append(flat.argmax(axis=0)[kept])
        scores.append(best[kept])
    return Boxes(
        np.concatenate(corners).astype(np.float64),
        np.concatenate(labels).astype(np.int64),
        np.concatenate(scores).astype(np.float64),
    )


def _focal(logits: Tensor, goal: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    p = logits.sigmoid()
    miss = functional.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    weight = (alpha * goal + (1 - alpha) * (1 - goal)) * (p - goal).abs() ** gamma
    return (weight * miss).sum()


def _iou(found: Tensor, true: Tensor) -> Tensor:
    """Of box i with box i, [N]."""
    low = torch.maximum(found[:, :2], true[:, :2])
    high = torch.minimum(found[:, 2:], true[:, 2:])
    both = (high - low).clamp(min=0).prod(dim=1)
    areas = [(b[:, 2:] - b[:, :2]).prod(dim=1) for b in (found, true)]
    return both / (areas[0] + areas[1] - both).clamp(min=1e-6)


def _write_conv(writer: ModelWriter, conv: nn.Conv2d, x: str, name: str) -> str:
    w = writer.constant(conv.weight.detach().numpy(), f"{name}.w")
    b = writer.constant(cast(Tensor, conv.bias).detach().numpy(), f"{name}.b")
    return writer.node("Conv", [x, w, b], name=name)
