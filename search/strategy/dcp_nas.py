"""DCP-NAS: a real-valued Parent shows the 1-bit Child the direction in which to change α.

Source: Li et al., 2023, arXiv:2306.15390; in the numbering of the authors' book (Zhang et al.,
Binary Neural Networks, CRC 2023), section 4.4, eqs. 4.21-4.53 and algorithm 10. The search code was
never published.

Unknown in the paper and ours here: the divergence is KL(Parent ‖ Child); the tangent is taken on
the very batch of the Child's step; weights are never copied, only α is; L_R is the mean over a
layer's weights (`effective_weights.py`).

What differs: backtracking ranks operations with learned weights alone. The book ranks all, and with
half of them as τ, ours, those pushed would be the ones without weights in every cell and model: the
push is for weights that lag (`decoupled.lagging`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.core.errors import UsageError
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.hardware import PLAIN, Hardware, Selection
from binas.search.networks.supernet import Mixture, Supernet
from binas.search.strategy import gauss_newton
from binas.search.strategy.around import Around, run
from binas.search.strategy.batch_statistics import fixed_statistics, taking_statistics
from binas.search.strategy.cell_ground import CellGround, CellPrices
from binas.search.strategy.coupling import Coupling
from binas.search.strategy.effective_weights import operation_norm, reconstruction_error
from binas.search.strategy.gradient import GradientSearch
from binas.search.strategy.ground import softmax
from binas.search.strategy.settings import SEE_HELP, Found, GradientSettings
from binas.search.strategy.task import Batch
from binas.search.train import cross_entropy, set_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class DcpNasSettings(GradientSettings):
    """How DCP-NAS searches.

    Attributes:
        tangent: λ of the tangent distance D; the paper sets 5e-3 and sees harm above 1e-3.
        reconstruction: μ of the reconstruction error L_R.
        curvature: How H_G v is had: Gauss-Newton products, or twice differentiated.
        backtracking: η; 0 turns backtracking off.
        coupling_rate: η_ψ.
        threshold: τ: rank of the norm, among operations with learned weights, above which one is
            backtracked; 0: half of those.
        largest_first: Whether rank 1 is the largest norm.
    """

    tangent: float = 1e-3
    reconstruction: float = 0.2
    curvature: Literal["gauss-newton", "exact"] = "gauss-newton"
    backtracking: float = 1.0
    coupling_rate: float = 1e-3
    threshold: int = 0
    largest_first: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no weight."""
        super(DcpNasSettings, self).__post_init__()
        values = (self.tangent, self.reconstruction, self.backtracking, self.coupling_rate)
        if not all(0 <= value < math.inf for value in values) or self.threshold < 0:
            raise UsageError(
                "tangent, reconstruction, backtracking, coupling_rate and threshold must be 0 or "
                "more",
                hint=SEE_HELP,
            )

    def passes(self, operations: int) -> int:
        """Parent: weights, α. Child: weights, α with its tangent and its curvature."""
        del operations
        warm = self.warmup_epochs
        return warm * self.epoch_passes(warm=True) + (self.epochs - warm) * self.epoch_passes()

    def epoch_passes(self, *, warm: bool = False) -> int:
        """Of one epoch: weights of both; after the warm-up also α of both, tangent, curvature."""
        return 2 if warm else 5 + (self.tangent > 0)


# The paper's own are unknown; these are PC-DARTS's on CIFAR-10, as for 8 cells of 16 channels.
PUBLISHED = DcpNasSettings(
    warmup_epochs=15,
    batch=256,
    optimiser="sgd",
    weight_rate=0.1,
    weight_decay=3e-4,
    clip=5.0,
    architecture_rate=6e-4,
    architecture_decay=1e-3,
)


class Search(GradientSearch[CellGround, DcpNasSettings]):
    """Child and Parent, α that passes between them, and ψ̃ of each."""

    def __init__(
        self,
        ground: CellGround,
        data: Dataset,
        settings: DcpNasSettings,
        seed: int,
        budget_ns: float | None = None,
    ) -> None:
        """Line 1 of algorithm 10: w, ŵ, α, ψ̃; α̂ is α, since one inherits the other's each time."""
        super().__init__(ground, data, settings, seed, budget_ns)
        self.child: Supernet = self.net  # type: ignore[assignment]
        self.parent = self.make(lambda: ground.net(real=True))
        self.nets["parent"] = self.parent
        self.optimisers |= {
            "parent weights": self.weight_optimiser(self.parent),
            "parent architecture": self.architecture_optimiser(self.logits),
        }
        self.couplings = {name: Coupling(self.logits, settings) for name in ("parent", "child")}
        for name, coupling in self.couplings.items():
            self.tables |= {f"{name}.{key}": table for key, table in coupling.tables()}

    def train(self, number: int) -> dict[str, Any]:
        """Lines 3-6 of algorithm 10: a Parent phase, α̂ ← α, a Child phase, α ← α̂."""
        parent = self._parent_phase(number)
        entry = super().train(number)
        passes = self.settings.epoch_passes(warm=self.progress < 0)
        return {**entry, "parent_loss": parent, "images": passes * self.steps * self.size}

    def _parent_phase(self, number: int) -> float:
        """One epoch: w on the weight half, α on the other; mean loss of the weight steps."""
        warm = number < self.settings.warmup_epochs
        weights = self.optimisers["parent weights"]
        architecture = self.optimisers["parent architecture"]
        set_rate(architecture, self.architecture_rate(number))
        self.parent.train()
        self._rank_operations("parent")
        loss_sum: Tensor | float = 0.0
        pairs = zip(
            self.batches_of(self.weight_half), self.batches_of(self.architecture_half), strict=True
        )
        for step, (mine, (x, y)) in enumerate(pairs):
            self.set_weight_rate(weights, number * self.steps + step, self.epochs * self.steps)
            loss, _ = self.weight_step(self.parent, weights, mine, self.weight_mixture())
            loss_sum = loss_sum + loss
            if not warm:
                # max_α f̃(w, α) = Σ_n p_n(X) log p_n(w, α): cross entropy (eq. 4.21).
                out = self.hardware.logits(self.parent, x, self.mixture())
                self._move("parent", architecture, self._slope(cross_entropy(out, y)))
        if not warm:
            self._rank_operations("child")
        return self.read(loss_sum)[0] / self.steps

    def weight_step(
        self, net: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, selection: Selection
    ) -> tuple[Tensor, Tensor]:
        """The Child's loss has μ L_R in addition (eqs. 4.25-4.27, 4.34-4.35)."""
        if net is not self.child or not self.settings.reconstruction:
            return super().weight_step(net, optimiser, batch, selection)
        x, y = batch
        out = self.hardware.logits(net, x, selection)
        loss = cross_entropy(out, y)
        extra = self.settings.reconstruction * reconstruction_error(net)
        return self.descend(net, optimiser, loss, extra), self.right(out, y)

    def architecture_step(self, theirs: Batch, mine: Batch) -> Tensor:
        """A step of α̂ along the gradient of L = -G + λ ‖t(α) - ∂G/∂α̂‖² + latency.

        ∂L/∂α̂ = -∂G/∂α̂ + 2λ (∂G/∂α̂ - t(α)) H_G(α̂) (eqs. 4.32, 4.33)
        with -G = KL(p^P ‖ p^C), t(α) = ∂ f̃/∂α of the Parent (eq. 4.29).
        """
        del mine
        x, y = theirs
        parent_out = self.hardware.logits(self.parent, x, self.mixture())
        tangent = self._slope(-cross_entropy(parent_out, y))
        t = gauss_newton.flat(self.processes.averaged(tangent))
        target = parent_out.detach().softmax(-1)
        with taking_statistics(self.child):
            out = self.hardware.logits(self.child, x, self.mixture())
        divergence = functional.kl_div(out.log_softmax(-1), target, reduction="batchmean")
        minus_g = self._slope(divergence, retain_graph=True)
        gradients = self._with_latency(divergence, minus_g)
        if self.settings.tangent:
            apart = -gauss_newton.flat(self.processes.averaged(minus_g)) - t
            bent = self._curved(x, y, target, apart)
            bent = 2 * self.settings.tangent * bent
            parts = bent.split([alpha.numel() for alpha in self.logits])
            gradients = tuple(g + part.view_as(g) for g, part in zip(gradients, parts, strict=True))
        self._move("child", self.architecture, gradients)
        return self.right(out, y)

    def _with_latency(self, loss: Tensor, plain: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The gradients of the loss with its latency term; the plain ones where it has none."""
        if self.latency_ratio(self.logits) is None:
            return plain
        return self._slope(self.architecture_loss(loss))

    def _slope(self, value: Tensor, *, retain_graph: bool = False) -> tuple[Tensor, ...]:
        """∂ value/∂α; 0 of a type of cell that does not stand in the network."""
        return torch.autograd.grad(
            value, self.logits, retain_graph=retain_graph, materialize_grads=True
        )

    def _curved(self, x: Tensor, y: Tensor, target: Tensor, v: Tensor) -> Tensor:
        """H_G v: -F v by default, F = (1/N) Σ_n g_n g_nᵀ, since E[H] = -F (eqs. 4.36-4.41).

        Always in float32.
        """
        with self.hardware.exactly() as hardware:
            if self.settings.curvature == "gauss-newton":
                rows = image_gradients(self.child, self.logits, x, y, hardware)
                return -gauss_newton.product(rows, v)

            def score(alphas: gauss_newton.Parameters) -> Tensor:
                out = hardware.logits(self.child, x, Mixture.soft(softmax(alphas)))
                return -functional.kl_div(out.log_softmax(-1), target, reduction="batchmean")

            return gauss_newton.hessian_product(score, self.logits, v)

    def _move(
        self, name: str, optimiser: torch.optim.Optimizer, gradients: tuple[Tensor, ...]
    ) -> None:
        """A plain step of α, then the decoupled correction (eqs. 4.50-4.52)."""
        gradients = self.processes.averaged(gradients)
        coupling = self.couplings[name]
        coupling.learn(gradients)
        before = [alpha.detach().clone() for alpha in self.logits]
        for alpha, gradient in zip(self.logits, gradients, strict=True):
            alpha.grad = gradient
        optimiser.step()
        coupling.correct(self.logits, before)

    def _rank_operations(self, name: str) -> None:
        """R(w_m) = ‖w_m‖²₂ of every operation with weights, once per phase (eq. 4.53)."""
        net = self.parent if name == "parent" else self.child
        norms = [
            torch.tensor([operation_norm(net, group, op) for op in range(len(g.ops))])
            for group, g in enumerate(net.groups)
        ]
        self.couplings[name].rank(norms)


def image_gradients(
    net: Supernet, alphas: list[Tensor], x: Tensor, y: Tensor, hardware: Hardware = PLAIN
) -> Tensor:
    """Rows g_n = ∂ log p_n(y_n)/∂α of a supernet, [images, parameters], in one backward pass.

    Batch norms are as they were left: run the batch inside `taking_statistics` before.
    """
    spread = gauss_newton.copies(alphas, len(x))
    weights = [p.softmax(-1).movedim(0, -1)[..., None, None, None] for p in spread]
    with fixed_statistics(net):
        out = hardware.logits(net, x, Mixture.soft(weights))
    scores = -functional.cross_entropy(out, y, reduction="none")
    return gauss_newton.image_gradients(scores, spread)


def search(
    space: AnySpace,
    data: Dataset,
    settings: DcpNasSettings | None = None,
    *,
    seed: int = 0,
    lut: Lut | CellPrices | None = None,
    budget_ns: float | None = None,
    **around: Unpack[Around],
) -> Found:
    """Search a space of cells; arguments and errors as of `bars.search`."""
    ground = CellGround(space, lut, budget_ns)
    task = Search(ground, data, settings or DcpNasSettings(), seed, budget_ns)
    return run(task, **around)
