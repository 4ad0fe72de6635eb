"""A processor that is not there: real numbers, in tensors that say they are somewhere else.

torch has no second device in a build for CPUs but "meta", which holds no numbers, and of which some
operations do not even notice that their other operand is on the CPU. `Elsewhere` tensors say that
they are on "meta", compute on the CPU, and refuse what a GPU refuses: an operand that was not
moved, other than a scalar in arithmetic. So a whole search can be run on them, and gives what it
gives on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from binas.search.hardware import Hardware, Processor

DEVICE = torch.device("meta")
MOVES = ("aten._to_copy.default", "aten.copy_.default")  # the only ways between two processors
WITH_SCALARS = ("add", "sub", "mul", "div")  # take one from the CPU


class Elsewhere(Tensor):
    """A tensor on the other processor."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        """The same numbers, there."""
        found: Elsewhere = Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), dtype=here.dtype, device=DEVICE
        )
        found.here = here
        return found

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch calls it so
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Compute here, say it was there."""
        kwargs, name = kwargs or {}, str(func)
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        left = [t.shape for t in tensors if not isinstance(t, Elsewhere)]
        takes = not any(left) and name.split(".")[1].rstrip("_") in WITH_SCALARS
        if left and name not in MOVES and not takes:
            raise AssertionError(f"{name} of tensors there and of {left} on the CPU")
        found = func(*tree_map(_here, args), **tree_map(_here, kwargs))
        if name == "aten.copy_.default" and not isinstance(args[0], Elsewhere):
            return args[0]
        if name == "aten._to_copy.default" and _is_cpu(kwargs.get("device")):
            return found
        return return_and_correct_aliasing(func, args, kwargs, tree_map(_there, found))


class Machine(TorchDispatchMode):
    """The CPU and another processor.

    Attributes:
        hardware: The other one.
        waits: Operations by which the CPU has asked it for numbers.
    """

    def __init__(self) -> None:
        """Nobody has waited."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.hardware = Hardware(processor=cast(Processor, "meta"), channels_last=False)
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See what is asked of it; make and move there what has not been there before."""
        kwargs = kwargs or {}
        if Elsewhere in types:
            found = func(*args, **kwargs)
            if type(found) in (Tensor, bool, int, float):
                self.waits.append(str(func))
            return found
        if kwargs.get("device") != DEVICE:
            return func(*args, **kwargs)
        return tree_map(_there, func(*args, **{**kwargs, "device": torch.device("cpu")}))


def _is_cpu(device: torch.device | None) -> bool:
    return device is not None and device.type == "cpu"


def _here(value: Any) -> Any:
    """What an operation is given instead, to be computed on the CPU."""
    if isinstance(value, Elsewhere):
        return value.here
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _there(value: Any) -> Any:
    return Elsewhere(value) if isinstance(value, Tensor) else value


@contextmanager
def machine() -> Iterator[Machine]:
    """Inside, a processor beside the CPU."""
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay what they are
    try:
        with Machine() as found:
            yield found
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swaps)
