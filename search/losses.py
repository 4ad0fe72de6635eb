"""What a retraining minimises besides cross entropy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.ops import BinaryConv


def distribution_loss(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """-T² Σ_c p_c log q_c, the mean over images; p of the teacher, q of the student, both at T.

    Source: ReActNet (Liu et al., 2020, arXiv:2003.03488, eq. 7) with T = 1; the temperature is that
    of Hinton et al., 2015, arXiv:1503.02531.
    """
    p = (teacher / temperature).softmax(dim=1)
    log_q = (logits / temperature).log_softmax(dim=1)
    return -(p * log_q).sum(dim=1).mean() * temperature**2


def kernel_loss(net: nn.Module) -> Tensor:
    """Σ MSE(H, Ĥ) over all binary convolutions: real weights drawn to their own binarisation.

    Source: CP-NAS (Zhuo et al., 2020, arXiv:2005.00057), first term of L_H, as the authors' book
    prints it (Zhang et al., Binary Neural Networks, CRC 2023, eq. 4.17); whether λ multiplies this
    term cannot be read there, so it does here.
    """
    parts = [
        functional.mse_loss(conv.weight, conv.binarizer.weights(conv.weight, conv.learned).detach())
        for conv in net.modules()
        if isinstance(conv, BinaryConv) and not conv.real
    ]
    return torch.stack(parts).sum() if parts else torch.zeros(())


def centre_loss(features: Tensor, y: Tensor) -> Tensor:
    """½ Σ_s ‖f_s - f̄_{class of s}‖², over the number of images; class means of the batch.

    Source: CP-NAS as above, eq. 4.18, its second term. The book keeps running means; the mean of
    the batch needs no state.

    Args:
        features: What the classifier reads, [N, C].
        y: Classes, [N].
    """
    classes = int(y.max()) + 1
    members = functional.one_hot(y, classes).to(features.dtype)
    means = members.T @ features / members.sum(dim=0).clamp(min=1)[:, None]
    return 0.5 * (features - means[y]).square().sum() / len(y)
