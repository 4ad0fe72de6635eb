"""Where and in what precision a network is trained, as one value."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from binas.core.errors import UsageError

M = TypeVar("M", bound=nn.Module)
Processor = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """How a step is computed.

    Attributes:
        processor: "cpu" or "cuda".
        bf16: Convolutions in bfloat16 under autocast; weights, batch norm and losses stay float32.
            ±1 is exact in it; sums above 256 are rounded, in training alone.
        channels_last: Activations in N H W C order, in which batch norms, pools and strided
            convolutions are faster, on a CPU, too.
        compiled: The forward pass through torch.compile.
    """

    processor: Processor = "cpu"
    bf16: bool = False
    channels_last: bool = True
    compiled: bool = False

    def __post_init__(self) -> None:
        """Refuse a processor that is not there."""
        if self.processor == "cuda" and not torch.cuda.is_available():
            raise UsageError("torch sees no CUDA device", hint="leave out --processor cuda")

    @staticmethod
    def of(processor: Processor) -> Hardware:
        """The switches that pay on a processor; on a CPU a run repeats bit for bit."""
        gpu = processor == "cuda"
        return Hardware(processor=processor, bf16=gpu, compiled=gpu)

    def place(self, net: M) -> M:
        """The network where it is trained; parameters stay the same objects on a CPU."""
        net = net.to(self.processor)
        if self.channels_last:
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return net

    def images(self, x: Tensor) -> Tensor:
        """A batch where it is used, in the layout asked for."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return x.to(self.processor, memory_format=layout, non_blocking=True)

    def autocast(self) -> AbstractContextManager[object]:
        """Around a forward pass and its loss."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.processor, torch.bfloat16)


CPU = Hardware()
