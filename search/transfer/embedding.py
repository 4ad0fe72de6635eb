"""Embeddings: images of one identity lie close together, also of identities never trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.transfer.backbone import Backbone

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter


class Embedder(nn.Module):
    """Backbone, mean over the image, dense, batch norm: images → embeddings [N, dimensions].

    Embeddings are compared by their cosine, so their length means nothing; whoever compares
    normalises. The order dense → batch norm is that of ArcFace's output "E" without its dropout;
    in evaluation both are one dense layer.
    """

    def __init__(self, backbone: Backbone, dimensions: int) -> None:
        """A real dense layer on the last map."""
        super().__init__()
        self.backbone = backbone
        self.linear = nn.Linear(backbone.levels[-1].channels, dimensions, bias=False)
        self.norm = nn.BatchNorm1d(dimensions, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, dimensions], not normalised."""
        y: Tensor = self.norm(self.linear(self.backbone(x)[-1].mean(dim=(2, 3))))
        return y

    def write(self, writer: ModelWriter, x: str) -> str:
        """The backbone, GlobalAveragePool, Flatten, Gemm with the batch norm folded in float64."""
        y = self.backbone.write(writer, x)[-1]
        y = writer.node("GlobalAveragePool", [y], name="embedding/pool")
        y = writer.node("Flatten", [y], name="embedding/flatten", axis=1)
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None  # noqa: S101 (it tracks them)
        a = 1 / (variance.double() + self.norm.eps).sqrt()
        w = self.linear.weight.detach().double() * a[:, None]
        weights = writer.constant(w.numpy(), "embedding/linear.w")
        bias = writer.constant((-a * mean.double()).numpy(), "embedding/linear.b")
        return writer.node("Gemm", [y, weights, bias], name="embedding/linear", transB=1)


class MarginLoss(nn.Module):
    """-log of the softmax over s·cos(θ_j + m·[j = y]): classes must be apart by an angle m.

    θ_j is the angle between an embedding and the j-th class's direction. Where θ_y + m passes π
    the cosine would rise again; there cos θ_y - m·sin(π - m) goes on falling, as in the authors'
    code.
    Source: ArcFace (Deng et al., 2019, arXiv:1801.07698, eq. 3).
    """

    def __init__(self, dimensions: int, classes: int, *, scale: float, margin: float) -> None:
        """A direction per class, learnt beside the network and thrown away with the loss."""
        super().__init__()
        self.scale, self.margin = scale, margin
        self.directions = nn.Parameter(functional.normalize(torch.randn(classes, dimensions)))

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Per class cos θ_j, [N, classes]."""
        return functional.normalize(embeddings) @ functional.normalize(self.directions).T

    def forward(self, embeddings: Tensor, y: Tensor) -> Tensor:
        """Mean loss of embeddings [N, dimensions] of classes [N]."""
        cosines = self.cosines(embeddings)
        own = cosines.gather(1, y[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
        margin = torch.tensor(self.margin, dtype=own.dtype)
        moved = own * margin.cos() - (1 - own * own).sqrt() * margin.sin()
        beyond = own - margin * (torch.pi - margin).sin()
        moved = torch.where(own > (torch.pi - margin).cos(), moved, beyond)
        return functional.cross_entropy(self.scale * cosines.scatter(1, y[:, None], moved), y)
