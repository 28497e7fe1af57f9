"""Programs as arrays of integers, run by compiled code. The memory's size does not change the time of a timestep."""

from functools import cache

import numpy as np

from nram.machine.circuit import Layout
from nram.machine.modules import MODULES
from nram.program.notation import Circuit
from nram.program.table import Key
from nram.program.tree import Row

__all__ = ["Code"]

_NUMBER = {module.name: number for number, module in enumerate(MODULES)}
_CONSTANTS = {"ZERO": 0, "ONE": 1, "TWO": 2}


class Code:
    """The arrays that a program is interpreted from.

    operations int64[n, 4]: module number, output, two inputs; circuit c has first[c]..first[c + 1] - 1.
    moves int64[m, 2]: register, its new source; circuit c has first_move[c]..first_move[c + 1] - 1.
    table int64[states, 2^R]: index into `rows`, or -1. rows int64[rows, 3]: circuit, whether the machine stops after
    it, next state. constants int64[R + Q]: the sources' values at the start, zero except ONE and TWO.
    """

    def __init__(self, layout: Layout, circuits: tuple[Circuit, ...], rows: dict[Key, Row], num_states: int):
        self.num_registers = layout.num_registers
        self.constants = np.zeros(layout.num_sources, dtype=np.int64)
        for index, module in enumerate(layout.modules):
            self.constants[layout.num_registers + index] = _CONSTANTS.get(module.name, 0)
        operations, moves, first, first_move = [], [], [0], [0]
        for circuit in circuits:
            for index, found in enumerate(circuit.inputs):
                if found:
                    number, output = _NUMBER[layout.modules[index].name], layout.num_registers + index
                    operations.append((number, output, found[0], found[-1]))
            moves += [(register, source) for register, source in enumerate(circuit.registers) if source != register]
            first.append(len(operations))
            first_move.append(len(moves))
        self.operations = np.array(operations, dtype=np.int64).reshape(-1, 4)
        self.moves = np.array(moves, dtype=np.int64).reshape(-1, 2)
        self.first, self.first_move = np.array(first, dtype=np.int64), np.array(first_move, dtype=np.int64)
        self.table = np.full((num_states, 2**layout.num_registers), -1, dtype=np.int64)
        distinct: dict[tuple, int] = {}
        for (state, pattern), row in rows.items():
            self.table[state, pattern] = distinct.setdefault(tuple(row), len(distinct))
        self.rows = np.array(list(distinct), dtype=np.int64).reshape(-1, 3)

    def run(self, memory: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """Run each row of memory int64[B, M] in place for at most limit int64[B] timesteps; return those taken.

        A negative number -t says that timestep t, counted from 1, has no row. The first call compiles, or loads what
        an earlier process compiled.
        """
        return _run_batch()(
            self.operations, self.first, self.moves, self.first_move, self.table, self.rows,
            self.num_registers, self.constants, memory, limit,
        )  # fmt: skip


@cache
def _run_batch():
    """The compiled loop; the first call imports Numba. An import statement in `Code.run` would cost 2 us each time."""
    from nram.program.compiled import run_batch

    return run_batch
