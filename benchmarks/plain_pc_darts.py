"""A PC-DARTS supernet in plain PyTorch: `nn` modules only, one per operation and edge.

What `binas.search` is measured against (`benchmarks/supernet_step.py`). It is the network that
quark0/darts and yuhuixu1993/PC-DARTS describe, written down as directly as PyTorch allows: every
mixed edge runs its eight operations on the first C/k channels, adds them weighted, puts the rest
of the channels behind them and shuffles. It uses nothing of this package.

Sources: DARTS (Liu et al., 2019, arXiv:1806.09055), PC-DARTS (Xu et al., 2020, arXiv:1907.05737).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

NODES = 4
OPS = ("none", "max", "avg", "skip", "sep3", "sep5", "dil3", "dil5")


class Zero(nn.Module):
    """The operation "none"."""

    def __init__(self, stride: int) -> None:
        """At stride 2 it also subsamples."""
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Zeros."""
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class FactorizedReduce(nn.Module):
    """ReLU, two 1x1 of stride 2, the second shifted by one pixel, batch norm."""

    def __init__(self, channels: int, out_channels: int) -> None:
        """Half of the outputs each."""
        super().__init__()
        self.relu = nn.ReLU()
        self.first = nn.Conv2d(channels, out_channels // 2, 1, stride=2, bias=False)
        self.second = nn.Conv2d(channels, out_channels // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Halve rows and columns."""
        x = self.relu(x)
        out: Tensor = self.norm(torch.cat([self.first(x), self.second(x[:, :, 1:, 1:])], dim=1))
        return out


def relu_conv_norm(channels: int, out_channels: int) -> nn.Module:
    """ReLU, 1x1, batch norm."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels, affine=False),
    )


def separable(channels: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    """ReLU, depthwise, 1x1, batch norm."""
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=False),
    ]


def operation(op: str, channels: int, stride: int) -> nn.Module:
    """One of the eight candidates."""
    if op == "none":
        return Zero(stride)
    if op == "skip":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    if op in ("max", "avg"):
        pool = (
            nn.MaxPool2d(3, stride, 1)
            if op == "max"
            else nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        )
        return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False))
    kernel = int(op[-1])
    if op.startswith("sep"):
        return nn.Sequential(
            *separable(channels, kernel, stride, 1), *separable(channels, kernel, 1, 1)
        )
    return nn.Sequential(*separable(channels, kernel, stride, 2))


class MixedEdge(nn.Module):
    """Eight operations on C/k channels, weighted; the rest passes by; shuffled in k groups."""

    def __init__(self, channels: int, stride: int, k: int) -> None:
        """One module per operation."""
        super().__init__()
        self.k, self.part = k, channels // k
        self.ops = nn.ModuleList(operation(op, self.part, stride) for op in OPS)
        self.pool = nn.MaxPool2d(2) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """[N, C, H, W], [ops] → [N, C, P, Q]."""
        seen, rest = x[:, : self.part], x[:, self.part :]
        y = sum(
            (w * op(seen) for w, op in zip(weights, self.ops, strict=True)), start=torch.zeros(())
        )
        if self.k == 1:
            return y
        y = torch.cat([y, self.pool(rest)], dim=1)
        N, C, H, W = y.shape
        return y.view(N, self.k, C // self.k, H, W).transpose(1, 2).reshape(N, C, H, W)


class Cell(nn.Module):
    """Fourteen mixed edges."""

    def __init__(
        self, before: int, last: int, channels: int, *, reduce: bool, reduced: bool, k: int
    ) -> None:
        """Stride 2 on the edges that leave the inputs of a reduction."""
        super().__init__()
        self.first = (
            FactorizedReduce(before, channels) if reduced else relu_conv_norm(before, channels)
        )
        self.second = relu_conv_norm(last, channels)
        self.edges = nn.ModuleList(
            MixedEdge(channels, 2 if reduce and source < 2 else 1, k)
            for node in range(2, 2 + NODES)
            for source in range(node)
        )

    def forward(self, first: Tensor, second: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        """Softmaxed alpha [14, 8] and beta [14]."""
        states, edge = [self.first(first), self.second(second)], 0
        for _ in range(NODES):
            total = torch.zeros(())
            for state in list(states):
                total = total + beta[edge] * self.edges[edge](state, alpha[edge])
                edge += 1
            states.append(total)
        return torch.cat(states[2:], dim=1)


class PlainPcDarts(nn.Module):
    """The supernet: stem, cells with reductions after one and two thirds, classifier."""

    def __init__(self, channels: int = 16, cells: int = 8, classes: int = 10, k: int = 4) -> None:
        """Sizes as in PC-DARTS' CIFAR search."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels)
        )
        before = last = 3 * channels
        reduced, made = False, []
        self.reductions = {cells // 3, 2 * cells // 3}
        for place in range(cells):
            reduce = place in self.reductions
            channels *= 2 if reduce else 1
            made.append(Cell(before, last, channels, reduce=reduce, reduced=reduced, k=k))
            before, last, reduced = last, NODES * channels, reduce
        self.cells = nn.ModuleList(made)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: Tensor, alphas: list[Tensor], betas: list[Tensor]) -> Tensor:
        """Images and raw architecture parameters, normal then reduction → logits."""
        first = second = self.stem(x)
        weights = [alpha.softmax(-1) for alpha in alphas]
        edges = [torch.cat([part.softmax(0) for part in parts_of(beta)]) for beta in betas]
        for place, cell in enumerate(self.cells):
            kind = int(place in self.reductions)
            first, second = second, cell(first, second, weights[kind], edges[kind])
        out: Tensor = self.classifier(self.pool(second).flatten(1))
        return out


def parts_of(beta: Tensor) -> Iterator[Tensor]:
    """The edges into each node."""
    first = 0
    for node in range(2, 2 + NODES):
        yield beta[first : first + node]
        first += node
