"""What is added to a network while it is trained and is gone afterwards: paths dropped, a head.

Both are hooks on modules that exist anyway, so networks know nothing of them and what is exported
cannot contain them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from binas.search.networks.cell_family import CellNetwork
from binas.search.ops import Pool, Unit

DROPPABLE = (Unit, Pool)  # what computes on an edge; a skip is never dropped


class DropPath:
    """Drops, per image, what an edge adds: x ↦ x · mask / (1 - p).

    Cells of DARTS-type networks drop paths themselves, from torch's own generator; that is then
    seeded before each pass, so a resumed run still draws the same.

    Source: FractalNet (Larsson et al., 2017, arXiv:1605.07648), per image as in DARTS' code.
    """

    def __init__(self, net: nn.Module, generator: torch.Generator) -> None:
        """Attach to every operation on an edge; nothing is dropped until `probability` is set."""
        self.probability, self.generator = 0.0, generator
        self.hooks = [
            module.register_forward_hook(self._drop)
            for module in net.modules()
            if isinstance(module, DROPPABLE)
        ]
        if isinstance(net, CellNetwork):
            self.hooks.append(net.register_forward_pre_hook(self._prepare))

    def _prepare(self, net: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        if isinstance(net, CellNetwork):
            net.drop_path = self.probability
            if net.training:
                torch.manual_seed(int(torch.randint(1 << 31, (1,), generator=self.generator)))

    def _drop(self, module: nn.Module, _inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
        if not module.training or self.probability == 0:
            return y
        keep = 1 - self.probability
        mask = torch.rand((len(y), 1, 1, 1), generator=self.generator) < keep
        return y * mask.to(y) / keep

    def remove(self) -> None:
        """Detach."""
        _remove(self.hooks)


class Auxiliary(nn.Module):
    """A second classifier, on what a module two thirds of the way down gives.

    ReLU, mean to 2x2, 1x1 to 128, batch norm, ReLU, 2x2 to 768, batch norm, ReLU, linear.
    Source: DARTS' code, AuxiliaryHeadCIFAR; its 5x5 mean of stride 3 gives 2x2 on 8x8 maps, the
    adaptive mean here on maps of any size.
    """

    def __init__(self, pieces: nn.ModuleList, net: nn.Module, shape: Tensor) -> None:
        """Attach to the piece; its channels are seen by running the net once on `shape`.

        Args:
            pieces: The net's modules in order, stem and head included.
            net: All of it.
            shape: An image, [1, C, H, W].
        """
        super().__init__()
        self.seen: Tensor | None = None
        self.hooks = [pieces[2 * len(pieces) // 3].register_forward_hook(self._keep)]
        training = net.training
        net.eval()
        with torch.no_grad():
            classes = net(shape).shape[1]
        net.train(training)
        if self.seen is None:
            raise ValueError("the piece for the auxiliary head is not part of the network")
        self.head: nn.Sequential = nn.Sequential(
            nn.Conv2d(self.seen.shape[1], 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(768, classes),
        )

    def forward(self) -> Tensor:
        """Logits [N, classes] of what the net computed last."""
        if self.seen is None:
            raise ValueError("the network has not run")
        y: Tensor = self.head(functional.adaptive_avg_pool2d(functional.relu(self.seen), 2))
        return y

    def _keep(self, _module: nn.Module, _inputs: tuple[Tensor, ...], y: Tensor) -> None:
        self.seen = y

    def remove(self) -> None:
        """Detach."""
        _remove(self.hooks)
        self.seen = None


class Features:
    """Keeps what a module reads, such as the classifier's input."""

    def __init__(self, module: nn.Module) -> None:
        """Attach."""
        self.seen = torch.empty(0)
        self.hooks = [module.register_forward_pre_hook(self._keep)]

    def _keep(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.seen = inputs[0]

    def remove(self) -> None:
        """Detach."""
        _remove(self.hooks)


def _remove(hooks: list[RemovableHandle]) -> None:
    for hook in hooks:
        hook.remove()
