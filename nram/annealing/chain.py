"""The Markov chain of annealing, compiled by Numba: a change of one table after another, taken or dropped.

See `nram.annealing.lanes` for what it runs, and on what. Random numbers come from one seeded generator, uniform on
[0, 1) alone, so that the uncompiled functions draw the same.
"""

import math
from pathlib import Path

import numpy as np
from numba import njit

from nram.annealing.lanes import LANES, Circuits, Group, error, run
from nram.annealing.proposals import change_table
from nram.kernels.cache import CACHED, digest

__all__ = ["anneal", "wrong_cases"]

HOPELESS = 1.0  # a proposal is dropped once it is so much worse on the groups so far, in cases, than may be taken


@njit
def _circuits(sources, stops, modules):
    """A copy of a table, of which nothing is known yet."""
    patterns = len(sources)
    operations, counts = np.empty((patterns, modules, 4), dtype=np.int64), np.full(patterns, -1)
    used, visited = np.zeros((patterns, modules), dtype=np.bool_), np.zeros(patterns, dtype=np.bool_)
    return Circuits(sources.copy(), stops.copy(), operations, counts, used, visited)


@njit
def _scratch(wiring, cells):
    """Space to run a group of cases in memories of so many cells: values, flags, and the memories themselves."""
    values = np.zeros((wiring.num_registers + len(wiring.first_slot), LANES), dtype=np.uint8)
    flags = np.zeros((4 + wiring.num_registers, LANES), dtype=np.uint8)
    return values, flags, np.zeros((cells, LANES), dtype=np.uint8)


@njit
def _run(circuits, wiring, group, scratch):
    """Run a table on a group of cases; the memories that it leaves [M, LANES]."""
    values, flags, memory = scratch
    memory[:] = group.memory
    run(circuits, wiring, group, memory, values, flags)
    return memory


@njit
def _gain_in_error(circuits, wiring, groups, prefix, scratch, before, errors, most):
    """Fill `errors` [groups] with a table's; by how much they exceed `before` in all. Ends early above `most`."""
    circuits.counts[:], circuits.visited[:] = -1, False
    gain = 0.0
    for number in range(len(groups.memory)):
        group = _group(groups, number)
        errors[number] = error(group, _run(circuits, wiring, group, scratch), prefix, scratch[1])
        gain += errors[number] - before[number]
        if gain > most:
            break
    return gain


@njit
def _group(groups, number):
    """One of several groups."""
    memory, target, mask = groups.memory[number], groups.target[number], groups.mask[number]
    num_cells, limit, weight = groups.num_cells[number], groups.limit[number], groups.weight[number]
    return Group(memory, target, mask, num_cells, limit, weight)


@njit
def _anneal(sources, stops, wiring, groups, prefix, growth, temperature, proposals, until_right, seed):
    """Make `proposals` steps of the chain on a table, in place; its mean error on the cases before and after.

    A step proposes a change. One that makes the error e larger by d is taken with the probability
    exp(-d / temperature).
    growth: chance that a slot gets a fresh expression of unused modules instead of a source. until_right: whether to
    end at error 0.
    """
    np.random.seed(seed)
    modules, cases = len(wiring.first_slot), (groups.weight > 0).sum()
    now, then = _circuits(sources, stops, modules), _circuits(sources, stops, modules)
    errors, then_errors = np.zeros(len(groups.memory)), np.zeros(len(groups.memory))
    scratch = _scratch(wiring, groups.memory.shape[1])
    chosen, in_use = np.zeros(len(sources), dtype=np.bool_), np.zeros(modules, dtype=np.bool_)
    choices = np.empty(wiring.num_registers + modules, dtype=np.int64)
    total = _gain_in_error(now, wiring, groups, prefix, scratch, then_errors, errors, math.inf)
    before = total / cases
    for _ in range(proposals):
        if until_right and total < 1e-9:
            break
        then.sources[:], then.stops[:] = now.sources, now.stops
        if not change_table(then, now, wiring, growth, chosen, in_use, choices):
            now.sources[:] = then.sources
            continue
        slack = -temperature * cases * math.log(max(np.random.random(), 1e-300)) + 1e-9
        change = _gain_in_error(then, wiring, groups, prefix, scratch, errors, then_errors, slack + HOPELESS)
        if change <= slack:
            now, then, errors, then_errors, total = then, now, then_errors, errors, total + change
    sources[:], stops[:] = now.sources, now.stops
    return before, total / cases


@njit
def _wrong_cases(sources, stops, wiring, groups):
    """Whether a table leaves a wrong output cell, bool[groups, LANES]."""
    circuits, scratch = _circuits(sources, stops, len(wiring.first_slot)), _scratch(wiring, groups.memory.shape[1])
    wrong = np.zeros(groups.weight.shape, dtype=np.bool_)
    for number in range(len(groups.memory)):
        group = _group(groups, number)
        memory = _run(circuits, wiring, group, scratch)
        for lane in range(LANES):
            differs = (memory[:, lane] != group.target[:, lane]) & (group.mask[:, lane] == 1)
            wrong[number, lane] = differs.any()
    return wrong


def _compile(source_digest):
    """The two functions that others call. `source_digest` is in them to be part of the key of Numba's cache."""

    @njit(cache=CACHED)
    def anneal(arguments):
        source_digest  # noqa: B018
        return _anneal(*arguments)

    @njit(cache=CACHED)
    def wrong_cases(arguments):
        source_digest  # noqa: B018
        return _wrong_cases(*arguments)

    return anneal, wrong_cases


anneal, wrong_cases = _compile(digest(sorted(Path(__file__).parent.glob("*.py"))))
