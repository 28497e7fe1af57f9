"""The rows of a program, and the tree of zero-tests that leads to them."""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Branch", "Conditions", "Leaf", "Row", "Tree", "grow"]


class Row(NamedTuple):
    """What the machine does: the number of its circuit, whether it then stops, the next controller state (MLP: 0)."""

    circuit: int
    stop: bool
    next_state: int = 0


Conditions = tuple[tuple[int, bool], ...]  # (register, whether it is zero)


class Leaf(NamedTuple):
    """The end of a path: the row."""

    row: Row

    def leaves(self, conditions: Conditions = ()) -> Iterator[tuple[Conditions, Row]]:
        """This row, with the conditions that lead to it."""
        yield conditions, self.row

    def tested(self) -> set[int]:
        """The registers that the tree tests."""
        return set()


class Branch(NamedTuple):
    """A test of one register: one subtree if it is zero, the other if not."""

    register: int
    zero: "Tree"
    nonzero: "Tree"

    def leaves(self, conditions: Conditions = ()) -> Iterator[tuple[Conditions, Row]]:
        """All rows in order, each with the conditions that lead to it."""
        yield from self.zero.leaves((*conditions, (self.register, True)))
        yield from self.nonzero.leaves((*conditions, (self.register, False)))

    def tested(self) -> set[int]:
        """The registers that the tree tests."""
        return {self.register} | self.zero.tested() | self.nonzero.tested()


Tree = Leaf | Branch


def grow(rows: dict[int, Row], registers: tuple[int, ...]) -> Tree:
    """A small tree that finds the row of every zero-pattern in `rows`; other patterns follow any path.

    It grows greedily: each test leaves as few different rows as possible on its two sides.
    """
    distinct = set(rows.values())
    if len(distinct) <= 1:
        return Leaf(distinct.pop())

    def halves(register: int) -> tuple[dict[int, Row], dict[int, Row]]:
        zero = {pattern: row for pattern, row in rows.items() if pattern >> register & 1}
        return zero, {pattern: row for pattern, row in rows.items() if not pattern >> register & 1}

    def cost(register: int) -> tuple:
        zero, nonzero = halves(register)
        return (not zero or not nonzero, len(set(zero.values())) + len(set(nonzero.values())), register)

    best = min(registers, key=cost)
    rest = tuple(register for register in registers if register != best)
    return Branch(best, *(grow(half, rest) for half in halves(best)))
