"""Counting and comparing in bit slices: plane i of a number holds its bit of weight 2**i.

Every bit of a vector is a counter of its own, so a full adder on whole registers adds as many
numbers as a register has bits (Harley and Seal's carry-save adders: Warren, Hacker's Delight,
2nd ed., 5-2). A count of n taps takes ceil(log2(n + 1)) planes. To compare it with a limit, minus
the limit is added to it: the carry out of the highest plane says "at least", and the sums that no
carry needs are nobody's.

Two spellings of each step: plain logic, and one `ternary(a, b, c, table)` with the truth table
`table`, bit 4a + 2b + c of it being the result (`vpternlogd`). Nothing here knows TVM: `Logic` is
made of any values that have &, | and ^.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Slice = Any  # a vector of bits
SUM, CARRY = 0x96, 0xE8
EITHER = 0xF6  # of x, a, w: x | (a ^ w)
FUSED_CARRY = 0x3A  # of t, t', x: t ? ~t' : x, the carry of x + (a1 ^ w1) + (a2 ^ w2)


class Tap(NamedTuple):
    """An activation and a weight; their mismatch is counted."""

    x: Slice
    w: Slice


@dataclass(frozen=True, slots=True)
class Logic:
    """How slices are combined.

    Attributes:
        ternary: The three-input instruction, where the CPU has one.
        keep: Names an intermediate result, so that it is computed once.
    """

    ternary: Callable[[Slice, Slice, Slice, int], Slice] | None
    keep: Callable[[Slice], Slice]

    def add(self, a: Slice, b: Slice, c: Slice) -> tuple[Slice, Slice]:
        """Sum and carry of three bits."""
        if self.ternary is not None:
            total = self.keep(self.ternary(a, b, c, SUM))
            return total, self.keep(self.ternary(a, b, c, CARRY))
        differs = self.keep(a ^ b)
        # The carry is c where a and b differ, else a: one bit select where there is one.
        return self.keep(differs ^ c), self.keep(((c ^ a) & differs) ^ a)

    def add_taps(self, x: Slice, first: Tap, second: Tap) -> tuple[Slice, Slice]:
        """Sum and carry of a bit and the mismatches of two taps."""
        if self.ternary is not None:
            t = self.keep(self.ternary(x, first.w, first.x, SUM))
            total = self.keep(self.ternary(t, second.w, second.x, SUM))
            return total, self.keep(self.ternary(t, total, x, FUSED_CARRY))
        return self.add(x, self.keep(first.x ^ first.w), self.keep(second.x ^ second.w))

    def either(self, x: Slice, tap: Tap) -> Slice:
        """Carry of a bit, the mismatch of a tap, and one."""
        if self.ternary is not None:
            return self.keep(self.ternary(x, tap.w, tap.x, EITHER))
        return self.keep(x | (tap.x ^ tap.w))

    def carry(self, planes: Sequence[Slice], addend: Sequence[Slice]) -> Slice:
        """What a number, an addend of as many planes or more, and one carry out of the highest."""
        found = addend[0] if not planes else self.keep(planes[0] | addend[0])
        for plane, other in zip(planes[1:], addend[1:], strict=False):
            found = self.keep(((other ^ found) & (plane ^ found)) ^ found)
        for other in addend[max(1, len(planes)) :]:
            found = self.keep(found & other)
        return found


@dataclass(slots=True)
class Counter:
    """Adds bits as they come: at most two wait at each weight, so few registers are live."""

    logic: Logic
    waiting: list[list[Slice]] = field(default_factory=list)

    def put(self, bit: Slice, level: int = 0) -> None:
        """Add a bit of weight 2**level."""
        while len(self.waiting) <= level:
            self.waiting.append([])
        self.waiting[level].append(bit)
        if len(self.waiting[level]) == 3:
            total, carry = self.logic.add(*self.waiting[level])
            self.waiting[level] = [total]
            self.put(carry, level + 1)

    def carried(self, level: int) -> Slice:
        """What lower weights carry into one at which nothing waits yet."""
        for low in range(level):
            if len(self.waiting[low]) == 2:
                a, b = self.waiting[low]
                self.put(self.logic.keep(a & b), low + 1)
        (found,) = self.waiting[level]
        return found

    def planes(self) -> list[Slice]:
        """The planes of the count, lowest first."""
        level = 0
        while level < len(self.waiting):
            if len(self.waiting[level]) == 2:
                a, b = self.waiting[level]
                self.waiting[level] = [self.logic.keep(a ^ b)]
                self.put(self.logic.keep(a & b), level + 1)
            level += 1
        return [plane for (plane,) in self.waiting]


def mismatches(taps: Sequence[Tap], logic: Logic) -> list[Slice]:
    """The planes of the number of taps whose bits differ."""
    if not taps:
        return []
    counter = Counter(logic)
    ones = logic.keep(taps[0].x ^ taps[0].w)
    rest = list(taps[1:])
    while len(rest) >= 2:
        ones, carry = logic.add_taps(ones, rest.pop(0), rest.pop(0))
        counter.put(carry, 1)
    counter.waiting = counter.waiting or [[]]
    counter.put(ones)
    if rest:
        counter.put(logic.keep(rest[0].x ^ rest[0].w))
    most = len(taps).bit_length()
    return counter.planes()[:most]  # what lies above can only be 0


def reach(rows: Sequence[Sequence[Tap]], addend: Sequence[Slice], logic: Logic) -> list[Slice]:
    """Per row, where the mismatches of its taps, an addend and one reach 2**planes.

    With addend = ~t, two's complement for -t - 1, that is where at least t taps differ.

    Args:
        rows: What is counted; of each row as many taps. Rows take turns: they may share loads.
        addend: As many planes as hold the number of taps and one, the lowest first.
        logic: How slices are combined.
    """
    if logic.ternary is None:
        # LLVM would fold an addend into weights and planes, and find no bit selects any more.
        return [logic.carry(mismatches(row, logic), addend) for row in rows]
    # What lies above the lowest plane waits for carries.
    counters = [Counter(logic, [[], *([plane] for plane in addend[1:])]) for _ in rows]
    ones = [addend[0] for _ in rows]
    taps = len(rows[0])
    for first in range(0, taps - 1, 2):
        for i, (row, counter) in enumerate(zip(rows, counters, strict=True)):
            ones[i], carry = logic.add_taps(ones[i], row[first], row[first + 1])
            counter.put(carry, 1)
    for one, row, counter in zip(ones, rows, counters, strict=True):
        # One, a bit and a last tap; or the bit alone: then it is the carry.
        counter.put(logic.either(one, row[-1]) if taps % 2 else one, 1)
    return [counter.carried(len(addend)) for counter in counters]
