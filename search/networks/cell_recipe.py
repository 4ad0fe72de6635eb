"""Recipe: what the convolutions of DARTS-type cells are made of, and the norms between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn
from torch.nn import functional

from binas.search.binarize import Binarizer
from binas.search.cells import Form
from binas.search.folding import write_norm
from binas.search.ops import Activation, BinaryConv, Sign

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the convolutions of a network's cells are made of.

    Attributes:
        form: Order of layers, and what is binary.
        binarizer: Gradients and scales.
        affine: Whether batch norms have parameters: in evaluation networks, not in supernets.
        real: Build the real-valued twin: no sign, real weights. That of a child is the DARTS
            network (its Parent), whose ReLUs stand where the child has signs.
        pool_norm: Whether a batch norm follows a pool: in supernets and in the residual form.
        binary_inputs: Whether the 1x1 convolutions at a cell's inputs read signs.
    """

    form: Form
    binarizer: Binarizer
    affine: bool
    real: bool = False
    pool_norm: bool = True
    binary_inputs: bool = False

    @property
    def order(self) -> Form:
        """The order of layers: a twin has that of DARTS, or of the residual form."""
        if self.form == "residual":
            return "residual"
        return "child" if self.form == "child" and not self.real else "real"

    @property
    def real_weights(self) -> bool:
        """Whether convolutions keep real weights."""
        return self.real or self.form == "real"

    @property
    def signed_inputs(self) -> bool:
        """Whether a sign stands before the convolutions at a cell's inputs."""
        return self.binary_inputs and not self.real_weights

    def norm(self, channels: int) -> Norm:
        """A batch norm."""
        eps = 1e-3 if self.form == "residual" else 1e-5
        return Norm(channels, eps=eps, affine=self.affine)

    def conv(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        depthwise: bool = False,
        binary_input: bool = False,
    ) -> BinaryConv:
        """A convolution without bias; binary unless the weights are real."""
        conv = BinaryConv(
            channels,
            out_channels,
            kernel,
            self.binarizer,
            stride=stride,
            dilation=dilation,
            groups=channels if depthwise else 1,
            binary_input=binary_input,
            real=self.real_weights,
        )
        if self.real_weights:
            nn.init.kaiming_uniform_(conv.weight, a=5**0.5)  # torch's own, as DARTS has it
        return conv

    def sign(self, channels: int) -> Sign:
        """The sign before a convolution with binary input."""
        return Sign(channels, self.binarizer, real=self.real)

    def activation(self, channels: int) -> nn.Module:
        """PReLU per channel, or the binariser's own."""
        return Activation(channels, self.binarizer)


class Norm(nn.BatchNorm2d):
    """Batch norm whose result is multiplied by a gain, in one pass over memory."""

    def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """norm(x) · gain; a gain (a scalar tensor) needs a norm without parameters.

        A gain per image, [N, 1, 1, 1], takes a pass of its own.
        """
        if gain is None or gain.dim():
            return super().forward(x) if gain is None else super().forward(x) * gain
        batch = self.training or self.running_mean is None
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / float(cast(Tensor, self.num_batches_tracked))
        # Under autocast x is in bfloat16; statistics are not, and a gain must be as they are.
        kind = x.dtype if self.running_mean is None else self.running_mean.dtype
        weight = gain.to(kind).expand(self.num_features)
        if not x.is_contiguous():  # then torch's backward reads past a weight of stride 0
            weight = weight.contiguous()
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            weight,
            None,
            training=batch,
            momentum=momentum,
            eps=self.eps,
        )

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """A BatchNormalization."""
        return write_norm(writer, self, x, name)
