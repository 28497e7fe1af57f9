"""Arithmetic for proofs: linear expressions, what is known of a cell or register, and what follows from assumptions.

An expression c + a n + b i + d M is a tuple (c, a, b, d) of integers: n the number of elements, i a loop counter or an
index, M the number of cells. Expressions stand for integers modulo M. The assumptions are those of `Facts`: n, i and M
are given as linear functions of three further integers of which only u, v, w >= 0 is known. A linear function of these
is never negative exactly if none of its coefficients is.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from nram.program.abstract import NONZERO, UNKNOWN, abstract_output

__all__ = [
    "ANY", "Element", "Expression", "Facts", "I", "M", "N", "Number", "ONE", "Unknown", "Value", "apply", "combine",
    "plus", "replace_i", "show",
]  # fmt: skip

Expression = tuple[int, int, int, int]
ONE, N = (1, 0, 0, 0), (0, 1, 0, 0)
I, M = (0, 0, 1, 0), (0, 0, 0, 1)  # noqa: E741 - the paper's symbols


def combine(*terms: tuple[int, Expression]) -> Expression:
    """The sum of factor * expression."""
    c = n = i = m = 0
    for factor, (of_c, of_n, of_i, of_m) in terms:
        c, n, i, m = c + factor * of_c, n + factor * of_n, i + factor * of_i, m + factor * of_m
    return c, n, i, m


def plus(expression: Expression, constant: int) -> Expression:
    return combine((1, expression), (constant, ONE))


def replace_i(expression: Expression, by: Expression) -> Expression:
    """The expression with `by` for i."""
    c, n, i, m = expression
    return combine((1, (c, n, 0, m)), (i, by))


class Number(NamedTuple):
    """A value that is the expression modulo M."""

    expression: Expression


class Element(NamedTuple):
    """A value that is (what cell `address` held at the start, an array element of 1..M-1) + offset, modulo M."""

    address: Expression
    offset: Expression = (0, 0, 0, 0)


class Unknown(NamedTuple):
    """Any value; not zero if `nonzero`."""

    nonzero: bool = False


Value = Number | Element | Unknown
ANY = Unknown()


@dataclass(frozen=True)
class Facts:
    """Assumptions: n, i and M as linear functions (constant, factors of u, v and w) of any integers u, v, w >= 0."""

    n: tuple[int, int, int, int]
    i: tuple[int, int, int, int]
    M: tuple[int, int, int, int]

    def _in_terms(self, expression: Expression) -> tuple[int, int, int, int]:
        """The expression as (constant, factors of u, v and w)."""
        c, n, i, m = expression
        constant, *factors = (n * x + i * y + m * z for x, y, z in zip(self.n, self.i, self.M, strict=True))
        return constant + c, *factors

    def at_least(self, expression: Expression, bound: int) -> bool:
        """Whether the expression is always >= bound."""
        constant, u, v, w = self._in_terms(expression)
        return constant >= bound and u >= 0 and v >= 0 and w >= 0

    @lru_cache(maxsize=100_000)  # noqa: B019 - facts are few and small
    def normal(self, expression: Expression) -> Expression | None:
        """The expression of 0..M-1 that is equal modulo M; None if that is not one expression."""
        terms, size = self._in_terms(expression), self.M
        for times in (0, 1, -1, 2, -2):
            low = [term + times * part for term, part in zip(terms, size, strict=True)]
            high = [part - term for part, term in zip(size, low, strict=True)]
            if min(low) >= 0 and min(high[1:]) >= 0 and high[0] >= 1:
                return combine((1, expression), (times, M))
        return None

    def is_zero(self, expression: Expression) -> bool | None:
        """Whether the expression is zero modulo M: always, never, or None for anything else."""
        normal = self.normal(expression)
        if normal is None:
            return None
        if not any(self._in_terms(normal)):
            return True
        return False if self.at_least(normal, 1) else None

    def equal(self, a: Expression, b: Expression) -> bool | None:
        """Whether two expressions are equal modulo M: always, never, or None."""
        return self.is_zero(combine((1, a), (-1, b)))

    def value_is_zero(self, value: Value) -> bool | None:
        if isinstance(value, Number):
            return self.is_zero(value.expression)
        if isinstance(value, Element):
            return False if self.is_zero(value.offset) else None
        return False if value.nonzero else None

    def covers(self, claimed: Value, found: Value) -> bool:
        """Whether every value that `found` can be is one that `claimed` can be."""
        if isinstance(claimed, Unknown):
            return not claimed.nonzero or self.value_is_zero(found) is False
        if isinstance(claimed, Number) and isinstance(found, Number):
            return self.equal(claimed.expression, found.expression) is True
        if isinstance(claimed, Element) and isinstance(found, Element):
            same_cell = self.equal(claimed.address, found.address) is True
            return same_cell and self.equal(claimed.offset, found.offset) is True
        return False

    def join(self, values: list[Value]) -> Value:
        """A value that covers all of them."""
        first = values[0]
        if all(self.covers(first, value) for value in values):
            return first
        return Unknown(all(self.value_is_zero(value) is False for value in values))

    def abstract(self, value: Value):
        """The value as `nram.program.abstract` knows it."""
        if isinstance(value, Number):
            for constant in (0, 1, 2):
                if self.equal(value.expression, (constant, 0, 0, 0)) is True:
                    return constant
        return NONZERO if self.value_is_zero(value) is False else UNKNOWN


def apply(name: str, a: Value, b: Value, facts: Facts) -> Value:
    """What a module other than READ and WRITE makes of two values."""
    numbers = isinstance(a, Number) and isinstance(b, Number)
    if name in ("INC", "DEC"):
        return _sum(a, Number(ONE), 1 if name == "INC" else -1)
    if name in ("ADD", "SUB"):
        total = _sum(a, b, 1 if name == "ADD" else -1)
        if total != ANY:
            return total
    same = a == b and not isinstance(a, Unknown)
    if numbers and not same:
        first, second = facts.normal(a.expression), facts.normal(b.expression)
        if first is not None and second is not None:
            above = facts.at_least(combine((1, first), (-1, second)), 0)  # a >= b
            strictly_above = facts.at_least(combine((1, first), (-1, second)), 1)
            below = facts.at_least(combine((1, second), (-1, first)), 0)
            strictly_below = facts.at_least(combine((1, second), (-1, first)), 1)
            decided = {
                "LESS-THAN": 0 if above else 1 if strictly_below else None,
                "LESS-OR-EQUAL-THAN": 1 if below else 0 if strictly_above else None,
                "EQUALITY-TEST": 0 if strictly_above or strictly_below else 1 if above and below else None,
                "MIN": b if above else a if below else None,
                "MAX": a if above else b if below else None,
            }.get(name)
            if decided is not None:
                return Number((decided, 0, 0, 0)) if isinstance(decided, int) else decided
    if name in ("MIN", "MAX") and same:
        return a
    result = abstract_output(name, facts.abstract(a), facts.abstract(b), same)
    if name in ("MAX", "SUB", "ADD") and facts.abstract(b) == 0:
        return a
    if name in ("MAX", "ADD") and facts.abstract(a) == 0:
        return b
    return Number((result, 0, 0, 0)) if isinstance(result, int) else Unknown(result == NONZERO)


def _sum(a: Value, b: Value, sign: int) -> Value:
    """a + sign * b, where that is a Number or an Element; else ANY."""
    if isinstance(b, Number):
        if isinstance(a, Number):
            return Number(combine((1, a.expression), (sign, b.expression)))
        if isinstance(a, Element):
            return Element(a.address, combine((1, a.offset), (sign, b.expression)))
    if isinstance(b, Element):
        if isinstance(a, Number) and sign == 1:
            return Element(b.address, combine((1, b.offset), (1, a.expression)))
        if isinstance(a, Element) and sign == -1 and a.address == b.address:
            return Number(combine((1, a.offset), (-1, b.offset)))
    return ANY


def show(value: Value | Expression, names: str = "niM") -> str:
    """A value or expression as text; start[e] is what cell e held at the start."""
    if isinstance(value, Unknown):
        return "any value but 0" if value.nonzero else "any value"
    if isinstance(value, Element):
        offset = show(value.offset, names)
        plus_offset = "" if offset == "0" else f" {offset[0]} {offset[1:]}" if offset[0] == "-" else f" + {offset}"
        return f"start[{show(value.address, names)}]{plus_offset}"
    constant, *factors = value.expression if isinstance(value, Number) else value
    terms = [(factor, name) for factor, name in zip(factors, names, strict=True) if factor]
    text = "".join(
        f" {'-' if factor < 0 else '+'} {'' if abs(factor) == 1 else f'{abs(factor)} '}{name}" for factor, name in terms
    )
    if constant or not terms:
        text += f" {'-' if constant < 0 else '+'} {abs(constant)}"
    return text[3:] if text.startswith(" + ") else "-" + text[3:]
