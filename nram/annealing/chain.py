"""The Markov chain of annealing, compiled by Numba: a change of one table after another, taken or dropped.

A table of circuits is `sources` [patterns, slots] and `stops` [patterns]: what a discretized machine with an MLP does
in every zero-pattern (see `nram.annealing.table`). The cases are rows of `memory`, `target` and `mask` [N, M], of which
the first `num_cells` count, with `limit` timesteps.

Random numbers come from one seeded generator, uniform on [0, 1) alone, so that the uncompiled functions draw the same.
"""

import math

import numpy as np
from numba import njit

from nram.kernels.cache import CACHED
from nram.machine.modules import MODULES

__all__ = ["anneal", "wrong_cells"]

KINDS = len(MODULES)
(READ, ZERO, ONE, TWO, INC, ADD, SUB, DEC, LESS, LESS_OR_EQUAL, EQUAL, MIN, MAX, WRITE) = range(KINDS)

SECOND, THIRD = 0.4, 0.1  # chance that a proposal changes a second and a third slot
STOP = 0.02  # chance that a change turns a pattern's stop around
EVERYWHERE, HALF = 0.6, 0.15  # chance that a slot changes in all patterns, in those that agree in one register
FEW = 7  # draws, at most, until a slot is of a module in use, or a pattern one that occurs
REGISTER = 0.25  # chance that the slot is a register's
PREFERRED = 0.6  # chance that the new source is a register or a module in use
UNUSED = 2  # inputs of unused modules that change with every proposal, which costs nothing
HOPELESS = 1.0  # a proposal is dropped once it is so much worse on the cases so far, in cases, than may be taken


@njit(cache=CACHED)
def _below(count):
    """A random integer of 0..count-1."""
    return int(np.random.random() * count)


@njit(cache=CACHED)
def _list_operations(sources, first_slot, arity, num_registers, operations, used, pattern):
    """List the modules of a pattern's circuit that reach a register or a cell, in order; return their number.

    operations [patterns, Q, 4]: module, where its output goes, its inputs. used [patterns, Q]: which they are.
    """
    modules, slots = len(first_slot), sources.shape[1]
    for module in range(modules):
        used[pattern, module] = module % KINDS == WRITE
    for register in range(num_registers):
        source = sources[pattern, slots - num_registers + register]
        if source >= num_registers:
            used[pattern, source - num_registers] = True
    count = 0
    for module in range(modules - 1, -1, -1):
        if used[pattern, module]:
            count += 1
            for position in range(arity[module]):
                source = sources[pattern, first_slot[module] + position]
                if source >= num_registers:
                    used[pattern, source - num_registers] = True
    place = 0
    for module in range(modules):
        if used[pattern, module]:
            operations[pattern, place, 0] = module % KINDS
            operations[pattern, place, 1] = num_registers + module
            for position in range(2):
                taken = position < arity[module]
                source = sources[pattern, first_slot[module] + position] if taken else 0
                operations[pattern, place, 2 + position] = source
            place += 1
    return count


@njit(cache=CACHED)
def _run(
    sources,
    stops,
    first_slot,
    arity,
    num_registers,
    operations,
    counts,
    used,
    visited,
    values,
    memory,
    num_cells,
    limit,
):
    """Run the discretized machine on one memory [M], in place. counts [patterns]: -1 where nothing is listed yet."""
    slots = sources.shape[1]
    moved = values[len(values) - num_registers :]
    for register in range(num_registers):
        values[register] = 0
    for _ in range(limit):
        pattern = 0
        for register in range(num_registers):
            pattern |= (values[register] == 0) << register
        visited[pattern] = True
        if counts[pattern] < 0:
            counts[pattern] = _list_operations(sources, first_slot, arity, num_registers, operations, used, pattern)
        for k in range(counts[pattern]):
            module = operations[pattern, k, 0]
            a, b = values[operations[pattern, k, 2]], values[operations[pattern, k, 3]]
            if module == READ:
                result = np.int64(memory[a])
            elif module == WRITE:
                memory[a] = b
                result = 0
            elif module == ZERO:
                result = 0
            elif module == ONE:
                result = 1
            elif module == TWO:
                result = 2
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
            values[operations[pattern, k, 1]] = result
        for register in range(num_registers):
            moved[register] = values[sources[pattern, slots - num_registers + register]]
        for register in range(num_registers):
            values[register] = moved[register]
        if stops[pattern]:
            break


@njit(cache=CACHED)
def _error(memory, target, mask, num_cells, prefix):
    """The error of one memory: the wrong share of its output cells, and with weight `prefix` that from the first on."""
    cells = wrong = right_before = 0
    for cell in range(num_cells):
        if mask[cell]:
            cells += 1
            if memory[cell] != target[cell]:
                wrong += 1
            elif wrong == 0:
                right_before += 1
    return ((1 - prefix) * wrong + prefix * (cells - right_before)) / cells


@njit(cache=CACHED)
def _choose_patterns(chosen, visited, num_registers):
    """Draw the patterns bool[patterns] in which a slot changes: all, those that agree in a register, or one."""
    patterns, where = len(chosen), np.random.random()
    if where < EVERYWHERE:
        chosen[:] = True
    elif where < EVERYWHERE + HALF:
        register, is_zero = _below(num_registers), _below(2)
        for pattern in range(patterns):
            chosen[pattern] = (pattern >> register & 1) == is_zero
    else:
        chosen[:] = False
        pattern = _below(patterns)
        for _ in range(FEW):
            if not visited[pattern]:
                pattern = _below(patterns)
        chosen[pattern] = True


@njit(cache=CACHED)
def _choose_slot(slots, in_use, module_of, num_registers):
    """Draw a slot, most often one of a register or of a module in use, bool[Q]."""
    if np.random.random() < REGISTER:
        return slots - 1 - _below(num_registers)
    slot = _below(slots)
    for _ in range(FEW):
        if module_of[slot] >= 0 and not in_use[module_of[slot]]:
            slot = _below(slots)
    return slot


@njit(cache=CACHED)
def _choose_source(width, in_use, choices, num_registers):
    """Draw one of a slot's `width` sources, most often a register or a module in use, bool[Q]."""
    if np.random.random() >= PREFERRED:
        return _below(width)
    count = 0
    for source in range(width):
        if source < num_registers or in_use[source - num_registers]:
            choices[count] = source
            count += 1
    return choices[_below(count)]


@njit(cache=CACHED)
def _change(sources, stops, used, visited, module_of, width, num_registers, chosen, in_use, choices):
    """Change some slots or stops of a table; whether that may change what the machine does.

    used bool[patterns, Q], visited bool[patterns]: modules in use, and patterns that occurred, before the change.
    chosen bool[patterns], in_use bool[Q], choices int64[R + Q]: scratch.
    """
    patterns, slots = sources.shape
    changes = 1 + (np.random.random() < SECOND) + (np.random.random() < THIRD)
    matters = False
    for number in range(changes + UNUSED):
        for_free = number >= changes
        if not for_free and np.random.random() < STOP:
            pattern = _below(patterns)
            stops[pattern] = not stops[pattern]
            matters = True
            continue
        _choose_patterns(chosen, visited, num_registers)
        in_use[:] = False
        for pattern in range(patterns):
            if chosen[pattern] and visited[pattern]:
                in_use |= used[pattern]
        slot = _below(slots) if for_free else _choose_slot(slots, in_use, module_of, num_registers)
        is_used = module_of[slot] < 0 or in_use[module_of[slot]]
        if for_free and is_used:
            continue
        source = _choose_source(width[slot], in_use, choices, num_registers)
        for pattern in range(patterns):
            if chosen[pattern]:
                sources[pattern, slot] = source
        matters |= is_used
    return matters


@njit(cache=CACHED)
def anneal(
    sources, stops, first_slot, arity, module_of, width, num_registers,
    memory, target, mask, num_cells, limit, prefix, temperature, proposals, until_right, seed,
):  # fmt: skip
    """Make `proposals` steps of the chain on a table, in place; its mean error on the cases [N] before and after.

    A step proposes a change. One that makes the error e larger by d is taken with the probability
    exp(-d / temperature).
    until_right: whether to end at error 0.
    """
    np.random.seed(seed)
    patterns, modules, cases = len(sources), len(first_slot), len(memory)
    now, then = sources.copy(), sources.copy()
    now_stops, then_stops = stops.copy(), stops.copy()
    operations = np.empty((patterns, modules, 4), dtype=np.int64)
    used, then_used = np.zeros((patterns, modules), dtype=np.bool_), np.zeros((patterns, modules), dtype=np.bool_)
    visited, then_visited = np.zeros(patterns, dtype=np.bool_), np.zeros(patterns, dtype=np.bool_)
    counts, values = np.full(patterns, -1), np.zeros(2 * num_registers + modules, dtype=np.int64)
    errors, then_errors = np.zeros(cases), np.zeros(cases)
    cells = np.empty(memory.shape[1], dtype=memory.dtype)
    chosen, in_use = np.zeros(patterns, dtype=np.bool_), np.zeros(modules, dtype=np.bool_)
    choices = np.empty(num_registers + modules, dtype=np.int64)
    error = 0.0
    for case in range(cases):
        cells[:] = memory[case]
        _run(
            now, now_stops, first_slot, arity, num_registers, operations, counts, used, visited, values,
            cells, num_cells[case], limit[case],
        )  # fmt: skip
        errors[case] = _error(cells, target[case], mask[case], num_cells[case], prefix)
        error += errors[case]
    before = error / cases
    for _ in range(proposals):
        if until_right and error < 1e-9:
            break
        then[:], then_stops[:] = now, now_stops
        matters = _change(then, then_stops, used, visited, module_of, width, num_registers, chosen, in_use, choices)
        if not matters:
            now, then = then, now
            continue
        slack = -temperature * cases * math.log(max(np.random.random(), 1e-300)) + 1e-9
        counts[:], then_visited[:] = -1, False
        then_used[:] = used
        change, hopeless = 0.0, False
        for case in range(cases):
            cells[:] = memory[case]
            _run(
                then, then_stops, first_slot, arity, num_registers, operations, counts, then_used, then_visited, values,
                cells, num_cells[case], limit[case],
            )  # fmt: skip
            then_errors[case] = _error(cells, target[case], mask[case], num_cells[case], prefix)
            change += then_errors[case] - errors[case]
            if change > slack + HOPELESS:
                hopeless = True
                break
        if not hopeless and change <= slack:
            now, then, now_stops, then_stops = then, now, then_stops, now_stops
            used, then_used, visited, then_visited = then_used, used, then_visited, visited
            errors, then_errors, error = then_errors, errors, error + change
    sources[:], stops[:] = now, now_stops
    return before, error / cases


@njit(cache=CACHED)
def wrong_cells(sources, stops, first_slot, arity, num_registers, memory, target, mask, num_cells, limit):
    """How many output cells of each case the table leaves wrong: int64[N]."""
    patterns, modules, cases = len(sources), len(first_slot), len(memory)
    operations = np.empty((patterns, modules, 4), dtype=np.int64)
    used, visited = np.zeros((patterns, modules), dtype=np.bool_), np.zeros(patterns, dtype=np.bool_)
    counts, values = np.full(patterns, -1), np.zeros(2 * num_registers + modules, dtype=np.int64)
    wrong = np.zeros(cases, dtype=np.int64)
    for case in range(cases):
        cells = memory[case].copy()
        _run(
            sources, stops, first_slot, arity, num_registers, operations, counts, used, visited, values,
            cells, num_cells[case], limit[case],
        )  # fmt: skip
        for cell in range(num_cells[case]):
            wrong[case] += mask[case, cell] and cells[cell] != target[case, cell]
    return wrong
