"""Programs on plain integers, compiled: constant time per timestep, whatever the number of memory cells."""

import numpy as np
from numba import njit

from nram.machine.modules import MODULES

__all__ = ["Code"]

(READ, ZERO, ONE, TWO, INC, ADD, SUB, DEC, LESS, LESS_OR_EQUAL, EQUAL, MIN, MAX, WRITE) = range(len(MODULES))
_NUMBER = {module.name: number for number, module in enumerate(MODULES)}


class Code:
    """The arrays that a program is interpreted from.

    operations int64[n, 4]: module number, output, two inputs; those of circuit c are first[c]..first[c + 1] - 1.
    moves int64[m, 2]: register, source; likewise from first_move[c]. table int64[states, 2^R]: row, or -1.
    rows int64[rows, 3]: circuit, whether the machine stops after it, next state.
    """

    def __init__(self, layout, circuits, rows: dict, num_states: int):
        self.num_registers, self.num_sources = layout.num_registers, layout.num_sources
        operations, moves, first, first_move = [], [], [0], [0]
        constant = [0, 1, 2]
        self.constants = np.zeros(layout.num_sources, dtype=np.int64)
        for index, module in enumerate(layout.modules):
            if module.arity == 0:
                self.constants[layout.num_registers + index] = constant[_NUMBER[module.name] - ZERO]
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
        """Run every row of memory int64[B, M] in place, limit int64[B] timesteps at most; timesteps taken int64[B].

        A negative number -t says that no row of the program applies at timestep t, counted from 1.
        """
        return _run_batch(
            self.operations, self.first, self.moves, self.first_move, self.table, self.rows,
            self.num_registers, self.constants, memory, limit,
        )  # fmt: skip


@njit(cache=True)
def _run_batch(operations, first, moves, first_move, table, rows, num_registers, constants, memory, limit):
    taken = np.empty(len(memory), dtype=np.int64)
    for example in range(len(memory)):
        taken[example] = _run(
            operations, first, moves, first_move, table, rows,
            num_registers, constants, memory[example], limit[example],
        )  # fmt: skip
    return taken


@njit(cache=True)
def _run(operations, first, moves, first_move, table, rows, num_registers, constants, memory, limit):
    num_cells = len(memory)
    values = constants.copy()
    moved = np.zeros(num_registers, dtype=np.int64)
    state = 0
    for t in range(limit):
        pattern = 0
        for register in range(num_registers):
            pattern |= (values[register] == 0) << register
        row = table[state, pattern]
        if row < 0:
            return -(t + 1)
        circuit = rows[row, 0]
        for k in range(first[circuit], first[circuit + 1]):
            module, output = operations[k, 0], operations[k, 1]
            a, b = values[operations[k, 2]], values[operations[k, 3]]
            if module == READ:
                result = memory[a]
            elif module == WRITE:
                memory[a] = b
                result = 0
            elif module == INC:
                result = a + 1 if a + 1 < num_cells else 0
            elif module == DEC:
                result = a - 1 if a > 0 else num_cells - 1
            elif module == ADD:
                result = a + b if a + b < num_cells else a + b - num_cells
            elif module == SUB:
                result = a - b if a >= b else a - b + num_cells
            elif module == LESS:
                result = 1 if a < b else 0
            elif module == LESS_OR_EQUAL:
                result = 1 if a <= b else 0
            elif module == EQUAL:
                result = 1 if a == b else 0
            elif module == MIN:
                result = min(a, b)
            else:
                result = max(a, b)
            values[output] = result
        if rows[row, 1]:
            return t + 1
        state = rows[row, 2]
        for k in range(first_move[circuit], first_move[circuit + 1]):
            moved[k - first_move[circuit]] = values[moves[k, 1]]
        for k in range(first_move[circuit], first_move[circuit + 1]):
            values[moves[k, 0]] = moved[k - first_move[circuit]]
    return limit
