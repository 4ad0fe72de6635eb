"""Where and in what precision a network is trained, as one value.

What is large lives on the processor: images, weights, activations. What decides stays on the CPU,
whatever trains: architecture parameters, statistics of operations, prices, generators. It is small,
is drawn from and compared in Python, and so a search decides by the same code everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from binas.core.errors import UsageError

M = TypeVar("M", bound=nn.Module)
Processor = Literal["cpu", "cuda"]


class Selection(Protocol):
    """What of a supernet runs, and with which weights: a `Mixture` or a `Choice`."""

    def to(self, device: str) -> Self:
        """The same there; gradients flow back to where it came from."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """How a step is computed.

    Attributes:
        processor: "cpu" or "cuda".
        bf16: Convolutions in bfloat16 under autocast; weights, batch norm and losses stay float32.
            ±1 is exact in it; sums above 256 are rounded, while training and where sampled
            networks of a supernet are compared. What a search or a training reports is float32.
        channels_last: Activations in N H W C order, in which batch norms, pools and strided
            convolutions are faster, on a CPU, too; N C H W nevertheless where that would corrupt
            memory (`layout`).
        compiled: The forward pass through torch.compile.
    """

    processor: Processor = "cpu"
    bf16: bool = False
    channels_last: bool = True
    compiled: bool = False

    def __post_init__(self) -> None:
        """Refuse a processor that is not there."""
        if self.processor == "cuda" and not torch.cuda.is_available():
            raise UsageError(
                f"torch {torch.__version__} sees no CUDA device, expected one for --processor cuda",
                hint="give --processor auto, which takes a GPU where torch sees one; whether it "
                "does: python -c 'import torch; print(torch.cuda.is_available())'",
            )

    @staticmethod
    def of(processor: Processor) -> Hardware:
        """What pays for one network under training; on a CPU a run repeats bit for bit."""
        gpu = processor == "cuda"
        return Hardware(processor=processor, bf16=gpu, compiled=gpu)

    @staticmethod
    def searching(processor: Processor) -> Hardware:
        """What pays for a supernet under training; on a CPU a run repeats bit for bit.

        Not compiled: sampled supernets run other operations in every epoch and would be compiled
        anew each time, and a mixture of thousands of kernels takes minutes to compile.
        """
        gpu = processor == "cuda"
        return Hardware(processor=processor, bf16=gpu, channels_last=gpu)

    @property
    def noted(self) -> dict[str, str]:
        """For the log of an epoch: where it was trained, unless on a CPU."""
        return {} if self.processor == "cpu" else {"processor": self.processor}

    @property
    def layout(self) -> torch.memory_format:
        """Of activations and weights.

        On CPUs without AVX-512, oneDNN 3.12 in torch 2.13 writes past the gradient of the weights
        of a 1x1 convolution of stride 2 whose channels are last, and the process dies later.
        """
        capability = torch.backends.cpu.get_cpu_capability()
        corrupting = torch.backends.mkldnn.enabled and capability in ("DEFAULT", "AVX2")
        last = self.channels_last and not (self.processor == "cpu" and corrupting)
        return torch.channels_last if last else torch.contiguous_format

    def place(self, net: M) -> M:
        """The network where it is trained; its parameters stay the same objects."""
        net = net.to(self.processor)
        if self.layout is torch.channels_last:
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return net

    def images(self, x: Tensor) -> Tensor:
        """A batch where it is used, in the layout that is used."""
        return x.to(self.processor, memory_format=self.layout, non_blocking=True)

    def classes(self, y: Tensor) -> Tensor:
        """The classes of a batch where they are used."""
        return y.to(self.processor, non_blocking=True)

    def autocast(self) -> AbstractContextManager[object]:
        """Around a forward pass and its loss."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.processor, torch.bfloat16)

    def logits(self, net: nn.Module, x: Tensor, selection: Selection | None = None) -> Tensor:
        """A forward pass of images and selection, wherever they are, by a net that `place` placed.

        Args:
            net: Images [N, C, H, W], and a selection if one is given → logits.
            x: The images.
            selection: What of a supernet runs.

        Returns:
            Logits [N, classes] on the processor; float32, whatever computed them.
        """
        given = () if selection is None else (selection.to(self.processor),)
        with self.autocast():
            found: Tensor = net(self.images(x), *given)
        return found.float() if self.bf16 else found

    @contextmanager
    def exactly(self) -> Iterator[Hardware]:
        """Inside, the same in full float32, for differences that bfloat16 and TF32 would drown.

        Gradients must be taken inside, too: a convolution looks at the switch again when it goes
        backward.
        """
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        try:
            yield replace(self, bf16=False)
        finally:
            torch.backends.cudnn.allow_tf32 = before


CPU = Hardware()
PLAIN = Hardware.searching("cpu")  # images N, C, H, W; networks as they were built


def found_processor(name: Literal["cpu", "cuda", "auto"]) -> Processor:
    """The processor of that name; of "auto" the GPU, where torch sees one."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name
