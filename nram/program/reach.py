"""Which rows of a program can occur, whatever the memory holds, for all M >= 3."""

from nram.program.abstract import next_patterns
from nram.program.program import Program
from nram.program.table import Key

__all__ = ["is_complete", "reachable"]


def reachable(program: Program) -> Program:
    """The program without the rows that cannot occur."""
    keys = _reach(program)
    return program.with_rows({key: row for key, row in program.rows.items() if key in keys})


def is_complete(program: Program) -> bool:
    """Whether the program has a row for everything that can occur."""
    return _reach(program) <= set(program.rows)


def _reach(program: Program) -> set[Key]:
    start = (0, 2**program.layout.num_registers - 1)  # all registers are zero
    seen, waiting = {start}, [start]
    while waiting:
        state, pattern = waiting.pop()
        row = program.rows.get((state, pattern))
        if row is None or row.stop:
            continue
        for new in next_patterns(program.circuits[row.circuit], pattern):
            if (row.next_state, new) not in seen:
                seen.add((row.next_state, new))
                waiting.append((row.next_state, new))
    return seen
