"""Minimal filtering F(m, r): m outputs of a filter of r taps from m + r - 1 multiplications.

    y = A ((G g) * (B d))        d [m + r - 1], g [r], y [m]; * is of elements

Toom-Cook's multiplication of polynomials, transposed: at n - 1 points and at infinity a product is
the product of the values (Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray,
Fast Algorithms for Convolutional Neural Networks, 2016). All numbers are exact until a kernel
rounds them. Rounding grows with n, so n is bounded. A filter of one tap saves nothing and is as it
is written: m products, all matrices the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

# Exact in floats, and close to one another in their powers. A point and its negative share sums,
# but 0, ±1 and ±2 alone round worse than 0, ±1, 2 and -1/2 (3x3: 4.6 times a direct error).
_POINTS = tuple(map(Fraction, ("0", "1", "-1", "2", "-1/2", "-2")))
_MOST = 4  # outputs

Matrix = list[list[Fraction]]
V = TypeVar("V")  # what is added up: a number, or a vector of them


@dataclass(frozen=True, slots=True)
class Filtering:
    """One F(m, r).

    Attributes:
        outputs: m.
        taps: r.
    """

    outputs: int
    taps: int

    @classmethod
    def of(cls, taps: int) -> Filtering | None:
        """The most outputs for which points are known; None if that gains nothing."""
        outputs = min(_MOST, len(_POINTS) + 2 - taps)
        return cls(outputs, taps) if taps > 1 and outputs > 1 else None

    @property
    def products(self) -> int:
        """Multiplications, and as many inputs: n = m + r - 1."""
        return self.outputs + self.taps - 1

    @property
    def known(self) -> bool:
        """Whether there are points for it."""
        return self.products <= len(_POINTS) + 1

    @property
    def points(self) -> tuple[Fraction, ...]:
        """The finite points; infinity is the last multiplication."""
        return _POINTS[: self.products - 1] if self.taps > 1 else ()

    def of_weights(self) -> Matrix:
        """G [n][r]: powers of the points, divided by what keeps the points apart."""
        if self.taps == 1:
            return [[Fraction(1)]] * self.outputs
        rows = []
        for p in self.points:
            apart = Fraction(1)
            for q in self.points:
                apart *= p - q if q != p else 1
            rows.append([p**k / apart for k in range(self.taps)])
        return [*rows, [Fraction(k == self.taps - 1) for k in range(self.taps)]]

    def of_inputs(self) -> Matrix:
        """B [n][n]: the polynomials that are 0 at all points but one; at infinity, at all."""
        if self.taps == 1:
            return _identity(self.outputs)
        n, rows = self.products, []
        for p in (*self.points, None):
            row = [Fraction(1)]
            for q in self.points:
                if q != p:
                    row = [
                        a - q * b
                        for a, b in zip([Fraction(0), *row], [*row, Fraction(0)], strict=True)
                    ]
            rows.append(row + [Fraction(0)] * (n - len(row)))
        return rows

    def of_products(self) -> Matrix:
        """A [m][n]: powers of the points; infinity has a part in the last output alone."""
        if self.taps == 1:
            return _identity(self.outputs)
        last = self.outputs - 1
        return [[*(p**o for p in self.points), Fraction(o == last)] for o in range(self.outputs)]


def _identity(n: int) -> Matrix:
    return [[Fraction(i == j) for j in range(n)] for i in range(n)]


Madd = Callable[[V, Fraction, V], V]  # x * c + y
Factors = tuple[tuple[int, Fraction], ...]  # (degree, c) of each x^degree - c


def inputs(filtering: Filtering, read: Callable[[int], V], madd: Madd[V]) -> list[V]:
    """B d, each sum that several points share made once.

    Args:
        filtering: Which.
        read: d[j].
        madd: Multiply by a constant and add.
    """
    if filtering.taps == 1:
        return [read(j) for j in range(filtering.products)]
    found: dict[tuple[Factors, int], V] = {}

    def through(factors: Factors, shift: int) -> V:
        """Coefficients of x^shift times the factors x^degree - c, as a sum of inputs."""
        key = factors, shift
        if key not in found:
            if not factors:
                found[key] = read(shift)
            else:
                *first, (degree, c) = factors
                rest = tuple(first)
                found[key] = madd(through(rest, shift), -c, through(rest, shift + degree))
        return found[key]

    points = filtering.points
    rows = []
    for p in (*points, None):
        zero = 0 if p == 0 else 1
        rows.append(through(_factors(points, p), zero))
    return rows


def _factors(points: Sequence[Fraction], without: Fraction | None) -> Factors:
    """(degree, c) of the factors of all points but 0 and one: x² - p² for a pair, else x - p.

    What most points share comes first, what belongs to one comes last.
    """
    pairs = [p for p in points if p > 0 and -p in points]
    singles = [p for p in points if p and -p not in points]
    whole = [(2, p * p) for p in pairs if without is None or abs(without) != p]
    alone = [(1, p) for p in singles if p != without]
    own = [(1, -without)] if without is not None and abs(without) in pairs else []
    # The largest pair, the single points, the other pairs: found to take the fewest sums.
    whole.reverse()
    return (*whole[:1], *alone, *whole[1:], *own)


def outputs(filtering: Filtering, products: Sequence[V], madd: Madd[V]) -> list[V]:
    """A M: a pair of points gives its sum to even outputs and its difference to odd ones."""
    if filtering.taps == 1:
        return list(products)
    points = filtering.points
    at = dict(zip(points, products, strict=False))
    one = Fraction(1)
    pairs = {
        p: (madd(at[-p], one, at[p]), madd(at[-p], -one, at[p]))
        for p in points
        if p > 0 and -p in at
    }
    rows = []
    for o in range(filtering.outputs):
        terms = [(p**o, parts[o % 2]) for p, parts in pairs.items()]
        terms += [(p**o, at[p]) for p in points if abs(p) not in pairs and p**o]
        if o == filtering.outputs - 1:
            terms.append((one, products[-1]))
        terms.sort(key=lambda term: term[0] != 1)
        (_, total), *rest = terms
        for c, part in rest:
            total = madd(part, c, total)
        rows.append(total)
    return rows


def sums(filtering: Filtering) -> tuple[int, int]:
    """Multiply-adds of B d and of A M."""
    made: list[Fraction] = []

    def madd(x: Fraction, c: Fraction, y: Fraction) -> Fraction:
        made.append(c)
        return x * c + y

    products = inputs(filtering, Fraction, madd)
    into = len(made)
    outputs(filtering, products, madd)
    return into, len(made) - into
