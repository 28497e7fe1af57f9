"""What is to be proved for one choice of n and M."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from nram import tasks
from nram.program.program import Program
from nram.program.proof.expressions import ZERO, Expression, Number, Value, integer, plus, show
from nram.program.proof.facts import Facts
from nram.program.proof.machine import NotProved, State, SymbolicMachine
from nram.program.proof.specs import SPECS, Spec
from nram.program.table import Key

__all__ = ["Claim", "Part"]


class Part(NamedTuple):
    """The proof of a claim: its text, the rows that it uses, and the small n for which the claim is not true."""

    lines: tuple[str, ...]
    rows: frozenset[Key]
    wrong: tuple[int, ...] = ()


@dataclass(frozen=True)
class Claim:
    """The program is right for every n = stretch * q + rest and every M >= smallest + spare (`exact`: only M = that).

    Expressions have q instead of n.
    """

    program: Program
    task: tasks.Task
    spare: int
    exact: bool
    stretch: int = 1
    rest: int = 0

    @cached_property
    def n(self) -> Expression:
        return (self.rest, self.stretch, 0, 0)

    @cached_property
    def spec(self) -> Spec:
        return SPECS[self.task.key].of(self.n)

    @property
    def name(self) -> str:
        """The name of an expression's second symbol: n or q."""
        return "n" if self.stretch == 1 else "q"

    def show(self, what: Value | Expression) -> str:
        return show(what, self.name + "iM")

    def __str__(self) -> str:
        smallest = (self.task.cells_offset + self.spare, self.task.cells_slope, 0, 0)
        cells = f"M {'=' if self.exact else '>='} {show(smallest)}"
        return cells if self.stretch == 1 else f"{cells}, n = {self.show(self.n)}"

    def machine(self) -> SymbolicMachine:
        return SymbolicMachine(self.program, self.spec)

    def facts(self, q: tuple[int, ...], i: tuple[int, ...] = ZERO) -> Facts:
        """The assumptions for q and i as functions of u and v: M is the smallest memory + spare, + w if not exact.

        Raises NotProved if there is no such memory.
        """
        cells = [self.task.cells_slope * self.stretch * part for part in q]
        cells[0] += self.task.cells_slope * self.rest + self.task.cells_offset + self.spare
        cells[3] = 0 if self.exact else 1
        if not self.exact and not any(cells[1:3]):
            cells[0] = max(cells[0], 3)
        if cells[0] < 3:
            raise NotProved("memories of fewer than 3 cells")
        return Facts(tuple(q), tuple(i), tuple(cells))

    def check(self, final: State, index: Expression, facts: Facts) -> None:
        """Raise NotProved unless output number `index` is right in a final state."""
        address, expected = self.spec.address(self.n, index), self.spec.expected(self.n, index)
        found = final.memory.read(Number(address), facts)
        if not facts.covers(expected, found):
            raise NotProved(f"cell {self.show(address)} must end as {self.show(expected)}, and is {self.show(found)}")

    def check_all(self, final: State, smallest: int, head: int, short: int) -> None:
        """Raise NotProved unless all outputs are right for q >= smallest.

        It checks those of the first `head` and the last `short` rounds one by one, the others as one expression.
        """
        some = self.facts((smallest, 1, 0, 0))
        between = self.facts((head + 1 + short, 1, 1, 0), (head, 1, 0, 0))  # i = head + u, q = i + v + 1 + short
        for index in range(head * self.stretch):
            self.check(final, integer(index), some)
        for back in range(1, short * self.stretch + self.rest + 1):
            self.check(final, plus(self.n, -back), some)
        for rest in range(self.stretch):
            self.check(final, (rest, 0, self.stretch, 0), between)
