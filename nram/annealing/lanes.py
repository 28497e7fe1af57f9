"""The discretized machine on 64 cases at once, compiled by Numba: a lane for each case, one instruction for all lanes.

Everything is uint8, so that a loop over the lanes becomes a few vector instructions of the processor. What exceeds 255
wraps around on purpose, which is why a memory has at most `MOST_CELLS`. Circuits may differ from lane to lane: those of
one pattern of zeros run together.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from nram.machine.modules import MODULES

__all__ = ["KINDS", "LANES", "MOST_CELLS", "READ", "WRITE", "Circuits", "Group", "Wiring", "error", "run"]

LANES = 64  # with 32, LLVM unrolls the loops before it could make vectors of them
MOST_CELLS = 128
KINDS = len(MODULES)
(READ, ZERO, ONE, TWO, INC, ADD, SUB, DEC, LESS, LESS_OR_EQUAL, EQUAL, MIN, MAX, WRITE) = range(KINDS)

# Nothing here allocates, so references to arrays need no counting. It would take most of the time.
_compiled = njit(_nrt=False)
_inlined = njit(_nrt=False, forceinline=True)


class Wiring(NamedTuple):
    """Where the slots of a circuit are (see `nram.machine.circuit`).

    first_slot, arity: of every module. module_of: the module of every slot, or -1. width: how many sources it has.
    """

    first_slot: np.ndarray
    arity: np.ndarray
    module_of: np.ndarray
    width: np.ndarray
    num_registers: int


class Circuits(NamedTuple):
    """A table (see `nram.annealing.table`), and what is known of its circuits once they have run.

    operations int64[patterns, Q, 4]: the modules in use, in order, each with the row of its output and of its inputs.
    counts int64[patterns]: how many there are, or -1 where nothing is listed. used bool[patterns, Q]: the modules in
    use. visited bool[patterns]: patterns that occurred.
    """

    sources: np.ndarray
    stops: np.ndarray
    operations: np.ndarray
    counts: np.ndarray
    used: np.ndarray
    visited: np.ndarray


class Group(NamedTuple):
    """As many cases as there are lanes: cell c of all their memories is row c. A lane without weight is empty.

    memory, target: uint8[M, LANES]. mask: uint8[M, LANES], 1 for an output cell. num_cells: uint8[LANES].
    limit: int16[LANES]. weight: float64[LANES], 1 / the number of output cells.
    """

    memory: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    num_cells: np.ndarray
    limit: np.ndarray
    weight: np.ndarray


@_compiled
def _list_operations(circuits, wiring, pattern):
    """List the modules of a pattern's circuit that reach a register or a cell, in order."""
    first_slot, arity, num_registers = wiring.first_slot, wiring.arity, wiring.num_registers
    sources, used, operations = circuits.sources[pattern], circuits.used[pattern], circuits.operations[pattern]
    modules, slots = len(first_slot), len(sources)
    for module in range(modules):
        used[module] = module % KINDS == WRITE
    for register in range(num_registers):
        source = sources[slots - num_registers + register]
        if source >= num_registers:
            used[source - num_registers] = True
    for module in range(modules - 1, -1, -1):
        if used[module]:
            for position in range(arity[module]):
                source = sources[first_slot[module] + position]
                if source >= num_registers:
                    used[source - num_registers] = True
    count = 0
    for module in range(modules):
        if used[module]:
            operations[count, 0], operations[count, 1] = module % KINDS, num_registers + module
            for position in range(2):
                taken = position < arity[module]
                operations[count, 2 + position] = sources[first_slot[module] + position] if taken else 0
            count += 1
    circuits.counts[pattern] = count


@_inlined
def _fill(values, y, value):
    for lane in range(LANES):
        values[y, lane] = value


@_inlined
def _same(values, a):
    """Whether all lanes of a row hold the same."""
    different = np.uint8(0)
    for lane in range(LANES):
        different |= values[a, lane] ^ values[a, 0]
    return different == 0


@_inlined
def _read(values, a, y, memory):
    """y: what is in the cells of the addresses."""
    if _same(values, a):
        cell = values[a, 0]
        for lane in range(LANES):
            values[y, lane] = memory[cell, lane]
        return
    for lane in range(LANES):
        values[y, lane] = memory[values[a, lane], lane]


@_inlined
def _write(values, a, b, y, memory, here):
    """Write the values to the cells of the addresses, in the lanes that are `here`."""
    if _same(values, a):
        cell = values[a, 0]
        for lane in range(LANES):
            new, old = values[b, lane], memory[cell, lane]
            memory[cell, lane] = new if here[lane] else old
        return
    for lane in range(LANES):
        there = values[a, lane]
        values[y, lane] = there if here[lane] else np.uint8(255)
    for cell in range(len(memory)):
        number = np.uint8(cell)
        for lane in range(LANES):
            new, old = values[b, lane], memory[cell, lane]
            memory[cell, lane] = new if values[y, lane] == number else old


@_inlined
def _compute(module, values, a, b, y, memory, num_cells, here):
    """y [LANES]: what a module makes of a and b [LANES]. A sum or difference is taken modulo num_cells [LANES]."""
    if module == READ:
        _read(values, a, y, memory)
    elif module == WRITE:
        _write(values, a, b, y, memory, here)
        _fill(values, y, 0)
    elif module == ZERO:
        _fill(values, y, 0)
    elif module == ONE:
        _fill(values, y, 1)
    elif module == TWO:
        _fill(values, y, 2)
    elif module == INC:
        for lane in range(LANES):
            more = np.uint8(values[a, lane] + np.uint8(1))
            values[y, lane] = min(more, np.uint8(more - num_cells[lane]))
    elif module == DEC:
        for lane in range(LANES):
            less = np.uint8(values[a, lane] - np.uint8(1))
            values[y, lane] = min(less, np.uint8(less + num_cells[lane]))
    elif module == ADD:
        for lane in range(LANES):
            more = np.uint8(values[a, lane] + values[b, lane])
            values[y, lane] = min(more, np.uint8(more - num_cells[lane]))
    elif module == SUB:
        for lane in range(LANES):
            less = np.uint8(values[a, lane] - values[b, lane])
            values[y, lane] = min(less, np.uint8(less + num_cells[lane]))
    elif module == LESS:
        for lane in range(LANES):
            values[y, lane] = values[a, lane] < values[b, lane]
    elif module == LESS_OR_EQUAL:
        for lane in range(LANES):
            values[y, lane] = values[a, lane] <= values[b, lane]
    elif module == EQUAL:
        for lane in range(LANES):
            values[y, lane] = values[a, lane] == values[b, lane]
    elif module == MIN:
        for lane in range(LANES):
            values[y, lane] = min(values[a, lane], values[b, lane])
    elif module == MAX:
        for lane in range(LANES):
            values[y, lane] = max(values[a, lane], values[b, lane])


@_compiled
def _patterns(values, num_registers, pattern):
    """pattern [LANES]: which registers are 0."""
    for lane in range(LANES):
        pattern[lane] = 0
    for register in range(num_registers):
        row, bit = values[register], np.uint8(1 << register)
        for lane in range(LANES):
            pattern[lane] |= bit if row[lane] == 0 else np.uint8(0)


@_compiled
def run(circuits, wiring, group, memory, values, scratch):
    """Run a table on a group of cases, in `memory` [M, LANES], which holds what theirs do.

    values uint8[R + Q, LANES], scratch uint8[4 + R, LANES]: what they hold does not matter.
    """
    num_registers, slots = wiring.num_registers, circuits.sources.shape[1]
    num_cells, limit = group.num_cells, group.limit
    pattern, left, here, halted, moved = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4:]
    for lane in range(LANES):
        halted[lane] = 0
        for register in range(num_registers):
            values[register, lane] = moved[register, lane] = 0
    t = 0
    while True:
        _patterns(values, num_registers, pattern)
        remaining = 0
        for lane in range(LANES):
            left[lane] = (limit[lane] > np.int16(t)) & (halted[lane] == 0)
            remaining += left[lane]
        if remaining == 0:
            break
        while remaining > 0:  # pattern after pattern
            now = np.uint8(255)
            for lane in range(LANES):
                each = pattern[lane]
                now = min(now, each if left[lane] else np.uint8(255))
            for lane in range(LANES):
                here[lane] = left[lane] & (pattern[lane] == now)
            circuits.visited[now] = True
            if circuits.counts[now] < 0:
                _list_operations(circuits, wiring, now)
            operations = circuits.operations[now]
            for k in range(circuits.counts[now]):
                module, y, a, b = operations[k, 0], operations[k, 1], operations[k, 2], operations[k, 3]
                _compute(module, values, a, b, y, memory, num_cells, here)
            for register in range(num_registers):
                source = values[circuits.sources[now, slots - num_registers + register]]
                row = moved[register]
                for lane in range(LANES):
                    new, old = source[lane], row[lane]
                    row[lane] = new if here[lane] else old
            stops = np.uint8(circuits.stops[now])
            for lane in range(LANES):
                left[lane] ^= here[lane]
                halted[lane] |= here[lane] & stops
                remaining -= here[lane]
        for register in range(num_registers):
            for lane in range(LANES):
                values[register, lane] = moved[register, lane]
        t += 1


@_compiled
def error(group, memory, prefix, scratch):
    """The summed errors of a group's cases, whose memories are now `memory`.

    A case's error is the wrong share of its output cells; with the weight `prefix` it is that from the first wrong one.
    scratch: as of `run`.
    """
    wrong, right, unbroken, cells = scratch[0], scratch[1], scratch[2], scratch[3]
    for lane in range(LANES):
        wrong[lane], right[lane], unbroken[lane], cells[lane] = 0, 0, 1, 0
    for cell in range(len(memory)):
        for lane in range(LANES):
            mask = group.mask[cell, lane]
            bad = np.uint8(memory[cell, lane] != group.target[cell, lane]) & mask
            wrong[lane] += bad
            unbroken[lane] &= ~bad
            right[lane] += unbroken[lane] & mask
            cells[lane] += mask
    total = 0.0
    for lane in range(LANES):
        total += group.weight[lane] * ((1 - prefix) * wrong[lane] + prefix * (cells[lane] - right[lane]))
    return total
