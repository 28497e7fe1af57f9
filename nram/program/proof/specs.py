"""The tasks in symbols: what a cell holds at the start, and what it must hold at the end."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from nram.program.proof.expressions import (
    ANY,
    ONE,
    ZERO,
    Element,
    Expression,
    I,
    N,
    Number,
    Value,
    combine,
    plus,
)
from nram.program.proof.facts import Facts

__all__ = ["PROVABLE", "SPECS", "Spec"]


@dataclass(frozen=True)
class Spec:
    """A task on an array of n elements; all cells are zero except the array and the header, cell 0.

    first: the cell of the first element. header: n -> what cell 0 holds; None if the task has no header.
    address, expected: (n, index) -> the cell of an output, and what it must hold at the end. single: there is one
    output, and the index is the input k. n: the number of elements as an expression.
    """

    first: int
    header: Callable[[Expression], Expression] | None
    address: Callable[[Expression, Expression], Expression]
    expected: Callable[[Expression, Expression], Value]
    single: bool = False
    n: Expression = N

    def of(self, n: Expression) -> "Spec":
        """The task on n elements."""
        return replace(self, n=n)

    def start(self, cell: Expression, facts: Facts) -> Value:
        """What a cell holds at the start."""
        if self.header is not None and facts.equal(cell, ZERO) is True:
            return Number(self.header(self.n))
        cell = facts.normal(cell)
        if cell is None:
            return ANY
        behind = combine((1, cell), (-1, self.n), (-self.first, ONE))  # cells from the end of the array
        if facts.at_least(behind, 0):
            return Number(ZERO)
        if facts.at_least(plus(cell, -self.first), 0) and facts.at_least(combine((-1, behind)), 1):
            return Element(cell)
        return ANY


def _after_array(n: Expression, index: Expression) -> Expression:
    return combine((1, n), (1, index), (1, ONE))


SPECS = {
    "access": Spec(1, lambda n: I, lambda n, i: ZERO, lambda n, i: Element(I), single=True),
    "increment": Spec(0, None, lambda n, i: i, lambda n, i: Element(i, ONE)),
    "copy": Spec(1, lambda n: plus(n, 1), _after_array, lambda n, i: Element(plus(i, 1))),
    "reverse": Spec(1, lambda n: plus(n, 1), _after_array, lambda n, i: Element(combine((1, n), (-1, i)))),
}
PROVABLE = tuple(SPECS)
