"""The Markov chain of annealing, compiled by Numba: a change of one table after another, taken or dropped.

A table of circuits is `sources` [patterns, slots] and `stops` [patterns]: what a discretized machine with an MLP does
in every zero-pattern (see `nram.annealing.table`). The cases are rows of `memory`, `target` and `mask` [N, M], of which
the first `num_cells` count, with `limit` timesteps.

Random numbers come from one seeded generator, uniform on [0, 1) alone, so that the uncompiled functions draw the same.
"""

import math
from pathlib import Path

import numpy as np
from numba import njit

from nram.annealing.proposals import change_table
from nram.kernels.cache import CACHED, digest
from nram.machine.modules import MODULES
from nram.program import compiled
from nram.program.compiled import module_output

__all__ = ["anneal", "wrong_cells"]

KINDS = len(MODULES)
WRITE = [module.name for module in MODULES].index("WRITE")

HOPELESS = 1.0  # a proposal is dropped once it is so much worse on the cases so far, in cases, than may be taken


@njit
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


@njit
def _run(
    sources, stops, first_slot, arity, num_registers, operations, counts, used, visited, values,
    memory, num_cells, limit,
):  # fmt: skip
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
            a, b = values[operations[pattern, k, 2]], values[operations[pattern, k, 3]]
            values[operations[pattern, k, 1]] = module_output(operations[pattern, k, 0], a, b, memory, num_cells)
        for register in range(num_registers):
            moved[register] = values[sources[pattern, slots - num_registers + register]]
        for register in range(num_registers):
            values[register] = moved[register]
        if stops[pattern]:
            break


@njit
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


@njit
def _gain_in_error(
    sources, stops, first_slot, arity, num_registers, operations, counts, used, visited, values,
    memory, target, mask, num_cells, limit, prefix, cells, before, errors, most,
):  # fmt: skip
    """Fill `errors` [N] with those of a table; by how much they exceed `before` [N] in all. Ends early above `most`."""
    counts[:], visited[:] = -1, False
    gain = 0.0
    for case in range(len(memory)):
        cells[:] = memory[case]
        _run(
            sources, stops, first_slot, arity, num_registers, operations, counts, used, visited, values,
            cells, num_cells[case], limit[case],
        )  # fmt: skip
        errors[case] = _error(cells, target[case], mask[case], num_cells[case], prefix)
        gain += errors[case] - before[case]
        if gain > most:
            break
    return gain


@njit
def _anneal(
    sources, stops, first_slot, arity, module_of, width, num_registers,
    memory, target, mask, num_cells, limit, prefix, growth, temperature, proposals, until_right, seed,
):  # fmt: skip
    """Make `proposals` steps of the chain on a table, in place; its mean error on the cases [N] before and after.

    A step proposes a change. One that makes the error e larger by d is taken with the probability
    exp(-d / temperature).
    growth: chance that a slot gets a fresh expression of unused modules instead of a source. until_right: whether to
    end at error 0.
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
    error = _gain_in_error(
        now, now_stops, first_slot, arity, num_registers, operations, counts, used, visited, values,
        memory, target, mask, num_cells, limit, prefix, cells, then_errors, errors, math.inf,
    )  # fmt: skip
    before = error / cases
    for _ in range(proposals):
        if until_right and error < 1e-9:
            break
        then[:], then_stops[:] = now, now_stops
        matters = change_table(
            then, then_stops, used, visited, first_slot, arity, module_of, width, num_registers, growth,
            chosen, in_use, choices,
        )  # fmt: skip
        if not matters:
            now, then = then, now
            continue
        slack = -temperature * cases * math.log(max(np.random.random(), 1e-300)) + 1e-9
        change = _gain_in_error(
            then, then_stops, first_slot, arity, num_registers, operations, counts, then_used, then_visited, values,
            memory, target, mask, num_cells, limit, prefix, cells, errors, then_errors, slack + HOPELESS,
        )  # fmt: skip
        if change <= slack:
            now, then, now_stops, then_stops = then, now, then_stops, now_stops
            used, then_used, visited, then_visited = then_used, used, then_visited, visited
            errors, then_errors, error = then_errors, errors, error + change
    sources[:], stops[:] = now, now_stops
    return before, error / cases


@njit
def _wrong_cells(sources, stops, first_slot, arity, num_registers, memory, target, mask, num_cells, limit):
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


def _compile(source_digest):
    """The two functions that others call. `source_digest` is in them to be part of the key of Numba's cache."""

    @njit(cache=CACHED)
    def anneal(arguments):
        source_digest  # noqa: B018
        return _anneal(*arguments)

    @njit(cache=CACHED)
    def wrong_cells(arguments):
        source_digest  # noqa: B018
        return _wrong_cells(*arguments)

    return anneal, wrong_cells


anneal, wrong_cells = _compile(digest([*sorted(Path(__file__).parent.glob("*.py")), Path(compiled.__file__)]))
