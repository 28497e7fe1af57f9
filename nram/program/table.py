"""What a program is: a table from zero-patterns of the registers to circuits (section 3.4)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

from nram.machine.circuit import Layout
from nram.program.notation import Circuit
from nram.program.tree import Row, Tree, grow

__all__ = ["Key", "Table", "zero_pattern"]

Key = tuple[int, int]  # controller state, zero-pattern


def zero_pattern(registers) -> int:
    """The zero-pattern of R integers: bit r is set if register r is zero."""
    return sum((value == 0) << r for r, value in enumerate(registers))


@dataclass(frozen=True)
class Table:
    """Circuits, and which of them runs when. `nram.program.Program` adds the operations.

    rows: (controller state, zero-pattern) -> Row. An MLP controller has only state 0. An execution starts in state 0
    with all registers zero. task: key of its task, or None.
    """

    layout: Layout
    circuits: tuple[Circuit, ...]
    rows: dict[Key, Row]
    task: str | None = None

    @property
    def states(self) -> list[int]:
        """The controller states that have rows."""
        return sorted({state for state, _ in self.rows})

    @property
    def num_states(self) -> int:
        """One more than the largest controller state that a row has or leads to."""
        return 1 + max(max(state, row.next_state) for (state, _), row in self.rows.items())

    @cached_property
    def tree(self) -> Tree:
        """The tests that find the row. Raises ValueError for several controller states."""
        if self.num_states > 1:
            raise ValueError("a program of several controller states has a tree per state: see `state_tree`")
        return self.state_tree(0)

    def state_tree(self, state: int) -> Tree:
        """The tests that find the row in one controller state."""
        rows = {pattern: row for (of, pattern), row in self.rows.items() if of == state}
        return grow(rows, tuple(range(self.layout.num_registers)))

    def with_rows(self, rows: dict[Key, Row]) -> Self:
        """The same circuits with other rows; unused circuits are dropped, equal ones merged.

        Circuits are numbered in the order of states, and of patterns from all zero to none zero.
        """
        numbers: dict[Circuit, int] = {}
        result = {}
        for key in sorted(rows, key=lambda key: (key[0], -key[1])):
            row = rows[key]
            number = numbers.setdefault(self.circuits[row.circuit], len(numbers))
            result[key] = row._replace(circuit=number, next_state=0 if row.stop else row.next_state)
        return type(self)(self.layout, tuple(numbers), result, self.task)
