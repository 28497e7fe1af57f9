"""Memory in symbols: what it was at the start, and what has been written since."""

from dataclasses import dataclass

from nram.program.proof.expressions import (
    ANY,
    ZERO,
    Expression,
    M,
    Number,
    Value,
    combine,
    plus,
    replace_i,
    value_at,
)
from nram.program.proof.facts import Facts
from nram.program.proof.specs import Spec

__all__ = ["Layer", "Loop", "Memory", "Write"]

Write = tuple[Expression | None, Value]  # address (None: any one cell), value


@dataclass(frozen=True)
class Loop:
    """What `count` rounds have written: round i wrote each value at its address, for i = 0..count-1."""

    writes: tuple[tuple[Expression, Value], ...]
    count: Expression


Layer = Loop | Write


@dataclass(frozen=True)
class Memory:
    """The start of a task, and what was written over it, oldest first."""

    spec: Spec
    layers: tuple[Layer, ...] = ()

    def read(self, cell: Value, facts: Facts) -> Value:
        """What a cell holds."""
        if not isinstance(cell, Number):
            return ANY
        possible = []  # what may have been written there, newest first, since the last certain write
        for layer in reversed(self.layers):
            if isinstance(layer, Loop):
                found = _left_by(layer, cell.expression, facts)
                if found is not None:
                    return facts.join([found, *possible])
                continue
            address, value = layer
            there = None if address is None else facts.equal(address, cell.expression)
            if there:
                return facts.join([value, *possible])
            if there is None:
                possible.append(value)
        return facts.join([self.spec.start(cell.expression, facts), *possible])

    def write(self, cell: Value, value: Value) -> "Memory":
        """The memory after one WRITE."""
        return self.with_layers([(cell.expression if isinstance(cell, Number) else None, value)])

    def with_layers(self, new) -> "Memory":
        """The memory with newer layers."""
        return Memory(self.spec, (*self.layers, *new))


def _left_by(loop: Loop, cell: Expression, facts: Facts) -> Value | None:
    """What a loop left in a cell; None if it did not write there, ANY if that is not known."""
    found = []  # (round, value) of every write that hits the cell, in the order of a round
    for address, value in loop.writes:
        stride, base = address[2], replace_i(address, ZERO)
        if stride == 0:
            there = facts.equal(base, cell)
            if there is False:
                continue
            last = plus(loop.count, -1)
            if there is None or not facts.at_least(last, 0):
                return ANY
            found.append((last, value_at(value, last)))
        else:
            size = abs(stride)
            distance = facts.normal(combine((stride // size, cell), (-stride // size, base)))
            if distance is None or not facts.at_least(combine((1, M), (-size, loop.count)), 0):
                return ANY
            if facts.at_least(combine((1, distance), (-size, loop.count)), 1 - size):
                continue  # beyond the cell of the last round
            if any(part % size for part in distance[1:]):
                return ANY
            if distance[0] % size:
                continue  # between the cells of two rounds
            number = tuple(part // size for part in distance)
            if not facts.at_least(combine((1, loop.count), (-1, number)), 1):
                return ANY
            found.append((number, value_at(value, number)))
    if not found:
        return None
    last, value = found[-1]  # the last write of a round counts
    return value if all(facts.equal(number, last) is True for number, _ in found) else ANY
