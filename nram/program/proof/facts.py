"""Assumptions about n, i and M, and what follows from them.

n, i and M are linear functions of three integers u, v, w >= 0. A linear function of these is never negative if
and only if no coefficient is negative.
"""

from dataclasses import dataclass
from functools import lru_cache

from nram.program.abstract import NONZERO, UNKNOWN
from nram.program.proof.expressions import Element, Expression, M, Number, Unknown, Value, combine, integer

__all__ = ["Facts"]


@dataclass(frozen=True)
class Facts:
    """n, i and M as linear functions (constant, factors of u, v and w) of any integers u, v, w >= 0."""

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
        """The expression with values of 0..M-1 that is equal modulo M; None if there is no single one."""
        terms, size = self._in_terms(expression), self.M
        for times in (0, 1, -1, 2, -2):
            low = [term + times * part for term, part in zip(terms, size, strict=True)]
            high = [part - term for part, term in zip(size, low, strict=True)]
            if min(low) >= 0 and min(high[1:]) >= 0 and high[0] >= 1:
                return combine((1, expression), (times, M))
        return None

    def is_zero(self, expression: Expression) -> bool | None:
        """Whether the expression is zero modulo M: always, never, or None if it depends or is not known."""
        normal = self.normal(expression)
        if normal is None:
            return None
        if not any(self._in_terms(normal)):
            return True
        return False if self.at_least(normal, 1) else None

    def equal(self, a: Expression, b: Expression) -> bool | None:
        """Whether two expressions are equal modulo M: always, never, or None as in `is_zero`."""
        return self.is_zero(combine((1, a), (-1, b)))

    def value_is_zero(self, value: Value) -> bool | None:
        """Whether a value is zero: always, never, or None as in `is_zero`."""
        if isinstance(value, Number):
            return self.is_zero(value.expression)
        if isinstance(value, Element):
            return False if self.is_zero(value.offset) else None
        return False if value.nonzero else None

    def covers(self, claimed: Value, found: Value) -> bool:
        """Whether `claimed` can be every integer that `found` can be."""
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

    def abstract(self, value: Value) -> int | str:
        """The abstract value, as in `nram.program.abstract`."""
        if isinstance(value, Number):
            for constant in (0, 1, 2):
                if self.equal(value.expression, integer(constant)) is True:
                    return constant
        return NONZERO if self.value_is_zero(value) is False else UNKNOWN
