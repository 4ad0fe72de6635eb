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
        found: Elsewhere = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.shape, strides=here.stride(), dtype=here.dtype, device=DEVICE
        )
        found.here = here
        return found

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        """Compute here, say it was there."""
        named = named or {}
        flat = [t for t in tree_flatten((arguments, named))[0] if isinstance(t, Tensor)]
        left = [t.shape for t in flat if not isinstance(t, Elsewhere)]
        name = str(function)
        takes = not any(left) and name.split(".")[1].rstrip("_") in WITH_SCALARS
        if left and name not in MOVES and not takes:
            raise AssertionError(f"{name} of tensors there and of {left} on the CPU")
        stays = name in MOVES and torch.device(named.get("device") or DEVICE).type == "cpu"
        if name == "aten.copy_.default":
            stays = not isinstance(arguments[0], Elsewhere)
        found = function(*tree_map(_here, arguments), **tree_map(_here, named))
        if stays:
            return arguments[0] if name == "aten.copy_.default" else found
        found = tree_map(lambda t: Elsewhere(t) if isinstance(t, Tensor) else t, found)
        return return_and_correct_aliasing(function, arguments, named, found)


class _Makes(TorchDispatchMode):
    """Makes and moves tensors there that operations of nothing but CPU tensors ask for."""

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        named = named or {}
        asked = named.get("device")
        flat = tree_flatten((arguments, named))[0]
        if asked is None or torch.device(asked) != DEVICE:
            return function(*arguments, **named)
        if any(isinstance(t, Elsewhere) for t in flat):
            return function(*arguments, **named)
        found = function(*tree_map(_here, arguments), **tree_map(_here, named))
        return tree_map(lambda t: Elsewhere(t) if isinstance(t, Tensor) else t, found)


def _here(value: Any) -> Any:
    if isinstance(value, Elsewhere):
        return value.here
    return torch.device("cpu") if value == DEVICE and isinstance(value, torch.device) else value


@contextmanager
def hardware() -> Iterator[Hardware]:
    """Inside, a processor beside the CPU."""
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay what they are
    try:
        with _Makes():
            yield Hardware(processor=cast(Processor, "meta"), channels_last=False)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swaps)
