"""What a step of annealing proposes: random changes of a table of circuits, compiled by Numba.

See `nram.annealing.chain`, which takes or drops them.
"""

import numpy as np
from numba import njit

from nram.annealing.lanes import KINDS, READ, WRITE

__all__ = ["change_table"]

SECOND, THIRD = 0.4, 0.1  # chance that a proposal changes a second and a third slot
STOP = 0.02  # chance that a change turns a pattern's stop around
EVERYWHERE, HALF = 0.6, 0.15  # chance that a slot changes in all patterns, in those that agree in one register
FEW = 7  # draws, at most, until a slot is of a module in use, or a pattern one that occurs
REGISTER = 0.25  # chance that the slot is a register's
PREFERRED, FRESH_PREFERRED = 0.6, 0.8  # chance that a source is a register or in use; in a fresh expression
NESTED = 0.5  # chance that an input in it is an expression of its own
READS = 0.4  # chance that an input in it is a register or a READ
MIRROR = 0.005  # chance, where expressions grow, that a pattern gets another's circuit
UNUSED = 2  # inputs of unused modules that change with every proposal, which costs nothing


@njit
def _below(count):
    """A random integer of 0..count-1."""
    return int(np.random.random() * count)


@njit
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


@njit
def _choose_slot(slots, in_use, module_of, num_registers):
    """Draw a slot, most often one of a register or of a module in use, bool[Q]."""
    if np.random.random() < REGISTER:
        return slots - 1 - _below(num_registers)
    slot = _below(slots)
    for _ in range(FEW):
        if module_of[slot] >= 0 and not in_use[module_of[slot]]:
            slot = _below(slots)
    return slot


@njit
def _choose_source(width, in_use, choices, num_registers, preferred, only_reads):
    """Draw one of a slot's `width` sources: with the chance `preferred` a register or a module in use, bool[Q].

    only_reads: of these modules, only READs.
    """
    if np.random.random() >= preferred:
        return _below(width)
    count = 0
    for source in range(width):
        module = source - num_registers
        if module < 0 or (in_use[module] and (module % KINDS == READ or not only_reads)):
            choices[count] = source
            count += 1
    return choices[_below(count)]


@njit
def _choose_unused(width, in_use, num_registers):
    """Draw a module that is not in use and no WRITE from a slot's `width` sources, and note its use; -1 for none."""
    for _ in range(2 * FEW):
        module = _below(width) - num_registers
        if module >= 0 and not in_use[module] and module % KINDS != WRITE:
            in_use[module] = True
            return module
    return -1


@njit
def _put(sources, chosen, slot, source):
    """Give a slot a source in the chosen patterns."""
    for pattern in range(len(chosen)):
        if chosen[pattern]:
            sources[pattern, slot] = source


@njit
def _choose_input(width, in_use, choices, num_registers):
    """Draw a source for an input of a fresh expression."""
    if np.random.random() < READS:
        return _choose_source(width, in_use, choices, num_registers, 1.0, True)
    return _choose_source(width, in_use, choices, num_registers, FRESH_PREFERRED, False)


@njit
def _grow(sources, slot, chosen, visited, wiring, in_use, choices):
    """Give a slot a fresh expression of unused modules, around what it had or instead of it, in the chosen patterns.

    Or exchange the two inputs of its module. Whether anything changed.
    """
    first_slot, arity, width, num_registers = wiring.first_slot, wiring.arity, wiring.width, wiring.num_registers
    kind, owner, example = _below(8), wiring.module_of[slot], 0
    for pattern in range(len(chosen)):
        if chosen[pattern] and (visited[pattern] or not chosen[example]):
            example = pattern
    if kind == 0 and owner >= 0 and arity[owner] == 2:
        _exchange(sources, chosen, first_slot[owner])
        return True
    had = sources[example, slot]
    module = _choose_unused(width[slot], in_use, num_registers)
    if module < 0:
        return False
    first = second = -1  # what the new module takes over
    if kind >= 4 or owner < 0 and kind >= 2:
        first = had if kind < 7 else -1
    elif had >= num_registers and arity[had - num_registers] > 0:
        old = first_slot[had - num_registers]
        first = sources[example, old + _below(arity[had - num_registers])]
        if arity[had - num_registers] == 2 and arity[module] == 2:
            first, second = sources[example, old], sources[example, old + 1]
    _put(sources, chosen, slot, num_registers + module)
    for position in range(arity[module]):
        place = first_slot[module] + position
        taken = first if position == 0 else second
        if taken < 0 or taken >= width[place]:
            taken = -1
            if np.random.random() < NESTED:
                inner = _choose_unused(width[place], in_use, num_registers)
                if inner >= 0:
                    taken = num_registers + inner
                    for deeper in range(arity[inner]):
                        below = first_slot[inner] + deeper
                        _put(sources, chosen, below, _choose_input(width[below], in_use, choices, num_registers))
            if taken < 0:
                taken = _choose_input(width[place], in_use, choices, num_registers)
        _put(sources, chosen, place, taken)
    if arity[module] == 2 and _below(2):
        _exchange(sources, chosen, first_slot[module])
    return True


@njit
def _exchange(sources, chosen, slot):
    """Exchange the two inputs of a module, whose first slot it is, in the chosen patterns."""
    for pattern in range(len(chosen)):
        if chosen[pattern]:
            source = sources[pattern, slot]
            sources[pattern, slot] = sources[pattern, slot + 1]
            sources[pattern, slot + 1] = source


@njit
def change_table(then, now, wiring, growth, chosen, in_use, choices):
    """Change some slots or stops of the table `then`, a copy of `now`; whether that may change what the machine does.

    Of `now` it is known which modules are in use, and which patterns occurred.
    chosen bool[patterns], in_use bool[Q], choices int64[R + Q]: scratch.
    """
    sources, stops, module_of, num_registers = then.sources, then.stops, wiring.module_of, wiring.num_registers
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
        if not for_free and growth > 0 and np.random.random() < MIRROR:
            pattern = _below(patterns)
            sources[pattern] = sources[_below(patterns)]
            matters = True
            continue
        _choose_patterns(chosen, now.visited, num_registers)
        in_use[:] = False
        for pattern in range(patterns):
            if chosen[pattern] and now.visited[pattern]:
                in_use |= now.used[pattern]
        slot = _below(slots) if for_free else _choose_slot(slots, in_use, module_of, num_registers)
        is_used = module_of[slot] < 0 or in_use[module_of[slot]]
        if for_free and is_used:
            continue
        if is_used and growth > 0 and np.random.random() < growth:
            matters |= _grow(sources, slot, chosen, now.visited, wiring, in_use, choices)
            continue
        source = _choose_source(wiring.width[slot], in_use, choices, num_registers, PREFERRED, False)
        _put(sources, chosen, slot, source)
        matters |= is_used
    return matters
