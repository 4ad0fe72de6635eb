"""Augmentation of training images, each image for itself, drawn from the task's own generator.

Source: crop and flip, He et al., 2016, arXiv:1512.03385, section 4.2; cutout, DeVries and Taylor,
2017, arXiv:1708.04552, as DARTS' code has it (the square may reach over the rim).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def shifted(x: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to `pad` rows and columns, zeros coming in: [N, C, H, W] → same."""
    N, _, H, W = x.shape
    down, right = torch.randint(0, 2 * pad + 1, (2, N), generator=generator).to(x.device)
    padded = functional.pad(x, (pad, pad, pad, pad))
    rows = down[:, None] + torch.arange(H, device=x.device)
    columns = right[:, None] + torch.arange(W, device=x.device)
    image = torch.arange(N, device=x.device)[:, None, None]
    # Indexing three of four axes puts C last.
    return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flipped(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right, or not: [N, C, H, W] → same."""
    mirror = torch.randint(0, 2, (len(x), 1, 1, 1), generator=generator).to(x.device)
    return torch.where(mirror == 1, x.flip(3), x)


def cut_out(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Each image with a square of `size` around a random pixel set to 0: [N, C, H, W] → same."""
    N, _, H, W = x.shape
    row = torch.randint(0, H, (N, 1), generator=generator)
    column = torch.randint(0, W, (N, 1), generator=generator)
    rows, columns = torch.arange(H) - row + size // 2, torch.arange(W) - column + size // 2
    inside = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[
        :, None
    ]
    return x.masked_fill(inside[:, None].to(x.device), 0)
