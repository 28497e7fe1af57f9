"""The interpreter's loop, compiled by Numba. `Code.run` imports this file, and Numba with it, when it first runs."""

import numpy as np
from numba import njit

from nram.kernels.cache import CACHED
from nram.machine.modules import MODULES

__all__ = ["run_batch"]

(READ, ZERO, ONE, TWO, INC, ADD, SUB, DEC, LESS, LESS_OR_EQUAL, EQUAL, MIN, MAX, WRITE) = range(len(MODULES))


@njit(cache=CACHED)
def run_batch(operations, first, moves, first_move, table, rows, num_registers, constants, memory, limit):
    """Run every row of memory [B, M] in place and return the timesteps taken (see `Code.run` of the interpreter)."""
    taken = np.empty(len(memory), dtype=np.int64)
    for example in range(len(memory)):
        taken[example] = _run(
            operations, first, moves, first_move, table, rows,
            num_registers, constants, memory[example], limit[example],
        )  # fmt: skip
    return taken


@njit(cache=CACHED)
def _run(operations, first, moves, first_move, table, rows, num_registers, constants, memory, limit):
    """Run one memory [M] in place; return the timesteps taken, or -t if timestep t has no row."""
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
