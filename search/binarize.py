"""Sign with a straight-through gradient, and the weights of a binary convolution.

Forward is the same for all: x >= 0 gives +1, anything below gives -1. Zero is +1 because a packed
bit has no third state (`core/bits.py`); torch.sign, which keeps 0, would not match the kernels.
Only the backward pass and the scale of the weights are choices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from binas.search.cells import BinarizerName
from binas.search.straight_through import (
    ClippedSign,
    LearnedSign,
    ProjectedSign,
    ScaledSign,
    TriangleSign,
    XnorSign,
    sign,
    through,
)

BARS_LIMIT = 1.3  # where the gradient of BARS' widened sign and of its weights ends


def clipped_sign(x: Tensor) -> Tensor:
    """Sign; gradient 1 where |x| < 1, else 0.

    Source: Hubara et al., Binarized Neural Networks, 2016, arXiv:1602.02830, eq. 4.

    Example:
        >>> clipped_sign(torch.tensor([-0.5, -0.0, 0.0, 3.0]))
        tensor([-1.,  1.,  1.,  1.])
    """
    return through(ClippedSign, x, 1.0)


def widened_sign(x: Tensor) -> Tensor:
    """Sign; gradient 1 where |x| < 1.3, else 0.

    Source: BARS, 2020, arXiv:2011.10804; the limit is its code's (walkerning/aw_nas,
    aw_nas/ops/bnn_ops.py).
    """
    return through(ClippedSign, x, BARS_LIMIT)


def triangle_sign(x: Tensor) -> Tensor:
    """Sign; gradient max(0, 2 - 2|x|).

    Source: Liu et al., Bi-Real Net, 2018, arXiv:1808.00278, eq. 5 (ApproxSign).
    """
    return through(TriangleSign, x)


class WeightBinarizer(Protocol):
    """How real weights [K, C, R, S] become ±1 times a scale.

    Some learn a tensor beside each layer's weights (MConv, PCNN): `initial` makes it, and the other
    two take it; it is None for all others.
    """

    def initial(self, w: Tensor) -> Tensor | None:
        """The tensor to learn beside these weights."""
        ...

    def __call__(self, w: Tensor, learned: Tensor | None = None) -> Tensor:
        """The scaled signs, same shape, with their training gradient."""
        ...

    def scale(self, w: Tensor, learned: Tensor | None = None) -> Tensor:
        """The scale per output channel, [K] float64, without gradient; may be negative."""
        ...


class _Unlearned:
    """A binariser that learns nothing beside the weights."""

    __slots__ = ()

    def initial(self, w: Tensor) -> Tensor | None:
        """Nothing."""
        return None


@dataclass(frozen=True, slots=True)
class TensorScale(_Unlearned):
    """sgn(w) · mean|w| over the whole tensor; gradient identity where |w| < limit · mean|w|.

    Source: BARS' code, gradient mode 1 (walkerning/aw_nas, aw_nas/ops/bnn_ops.py).
    """

    limit: float = BARS_LIMIT

    def __call__(self, w: Tensor, learned: Tensor | None = None) -> Tensor:
        """The scaled signs."""
        mean = w.detach().abs().mean()
        return through(ScaledSign, w, mean, self.limit * mean)

    def scale(self, w: Tensor, learned: Tensor | None = None) -> Tensor:
        """One number for all output channels."""
        return w.detach().double().abs().mean().expand(w.shape[0]).clone()


@dataclass(frozen=True, slots=True)
class ChannelScale(_Unlearned):
    """sgn(w) · mean|w| per output channel, scale detached; gradient 1 where |w| < 1.

    Source: Liu et al., Bi-Real Net, 2018, arXiv:1808.00278 (liuzechun/Bi-Real-net); the scale is
    XNOR-Net's (Rastegari et al., 2016, arXiv:1603.05279, eq. 6).
    """

    def __call__(self, w: Tensor, learned: Tensor | None = None) -> Tensor:
        """The scaled signs; the scale multiplies neither the gradient nor takes any."""
        mean = w.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
        return through(ScaledSign, w, mean, torch.ones_like(mean))

    def scale(self, w: Tensor, learned: Tensor | None = None) -> Tensor:
        """One number per output channel."""
        return w.detach().double().abs().mean(dim=(1, 2, 3))


@dataclass(frozen=True, slots=True)
class XnorScale(ChannelScale):
    """sgn(w) · s with s = mean|w| per output channel; the gradient goes through s, too.

    dw_i = s · 1[|w_i| <= 1] · g_i + sgn(w_i) · mean_j(g_j · sgn(w_j))
    Source: Rastegari et al., XNOR-Net, 2016, arXiv:1603.05279, eqs. 6 and 11, with the whole
    derivative of the scale.
    """

    def __call__(self, w: Tensor, learned: Tensor | None = None) -> Tensor:
        """The scaled signs."""
        return through(XnorSign, w)


@dataclass(frozen=True, slots=True)
class LearnedScale:
    """0.02 · sgn(w) · |m| with m learned per output channel, from N(0, 1): MConv.

    dw = g · |m| + λ (w - ŵ), without a clipping indicator;
    dm = sgn(m) · (Σ g · w - λ Σ (w - ŵ) · 0.02 sgn(w)), sums over the output channel.
    Source: YanjingLi0202/DCP-NAS, binary/MFunction_new.py. What differs: the factor sgn(m) of the
    derivative of |m|, without which a negative m moves the wrong way. Kept knowingly: dm has w
    where the derivative has 0.02 · sgn(w).
    """

    strength: float = 1e-4
    magnitude: float = 0.02

    def initial(self, w: Tensor) -> Tensor | None:
        """The scales before |·|, [K]."""
        return torch.randn(w.shape[0], dtype=w.dtype)

    def __call__(self, w: Tensor, learned: Tensor | None = None) -> Tensor:
        """The scaled signs."""
        return through(LearnedSign, w, _must(learned), self.strength, self.magnitude)

    def scale(self, w: Tensor, learned: Tensor | None = None) -> Tensor:
        """0.02 · |m|."""
        return self.magnitude * _must(learned).detach().double().abs()


@dataclass(frozen=True, slots=True)
class Projection:
    """Discrete back-propagation via projection with one projection per kernel (J = 1): PCNN.

    Ĉ = P(W̃, C) = ±a by the sign of mean(W) · C, with a = mean|C| over the layer and W [R, S]
    learned, from 1, repeated over all channels (W̃). With d = dL_S/dĈ:
    dC = d ∘ 1[|W̃ ∘ C| <= 1] ∘ W̃ + λ [W̃ ∘ (C + η d) - Ĉ] ∘ W̃
    dW = Σ_{kernels, planes} (d ∘ 1[|W̃ ∘ C| <= 1] ∘ C + λ [W̃ ∘ (C + η d) - Ĉ] ∘ (C + η d))
    Source: Gu et al., Projection CNNs for 1-bit CNNs, 2019, arXiv:1811.12755; Zhang et al., Binary
    Neural Networks: Algorithms, Architectures and Applications, pp. 51-56. λ and η are ours: what
    we could read of the sources does not give them.

    Attributes:
        strength: λ, of the projection loss.
        step: η, the step along the gradient within it.
    """

    strength: float = 1e-4
    step: float = 1e-2

    def initial(self, w: Tensor) -> Tensor | None:
        """W [R, S]."""
        return torch.ones(w.shape[2:], dtype=w.dtype)

    def __call__(self, w: Tensor, learned: Tensor | None = None) -> Tensor:
        """Ĉ."""
        return through(ProjectedSign, w, _must(learned), self.strength, self.step)

    def scale(self, w: Tensor, learned: Tensor | None = None) -> Tensor:
        """±mean|C|: negative where the mean of W is."""
        level = w.detach().double().abs().mean() * sign(_must(learned).detach().double().mean())
        return level.expand(w.shape[0]).clone()


@dataclass(frozen=True, slots=True)
class Binarizer:
    """The two choices of a 1-bit network.

    Attributes:
        activations: Sign with its gradient.
        weights: Scaled sign with its gradient.
        shifted: Whether signs and activations learn shifts per channel (ReActNet).
        held: Whether stored weights are kept in [-1, 1] (BARS; `held_weights.py`).
    """

    activations: Callable[[Tensor], Tensor]
    weights: WeightBinarizer
    shifted: bool = False
    held: bool = False


BARS = Binarizer(widened_sign, TensorScale(), held=True)
BI_REAL = Binarizer(triangle_sign, ChannelScale())
XNOR = Binarizer(clipped_sign, XnorScale())
PCNN = Binarizer(clipped_sign, Projection())
MCONV = Binarizer(triangle_sign, LearnedScale())
REACTNET = Binarizer(triangle_sign, ChannelScale(), shifted=True)


def named(name: BinarizerName) -> Binarizer:
    """The binariser a space names."""
    match name:
        case "xnor":
            return XNOR
        case "bi-real":
            return BI_REAL
        case "reactnet":
            return REACTNET
        case "pcnn":
            return PCNN
        case "mconv":
            return MCONV
        case "bars":
            return BARS


def _must(learned: Tensor | None) -> Tensor:
    if learned is None:
        raise ValueError(
            "this binariser learns a tensor beside the weights: give that of initial()"
        )
    return learned
