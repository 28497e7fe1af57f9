"""The invariant of a loop, guessed from its first rounds at a large n."""

from dataclasses import dataclass

from nram.program.proof.claim import Claim
from nram.program.proof.expressions import Element, Expression, I, Number, Unknown, Value, combine
from nram.program.proof.facts import Facts
from nram.program.proof.machine import NotProved

__all__ = ["Invariant", "guess"]

LARGE = 40  # guess the invariant at a q of at least this
SEEN = 3  # rounds that the guess must fit


@dataclass(frozen=True)
class Invariant:
    """What holds after `first` timesteps and i rounds of `period` timesteps, as functions of i.

    registers: what each holds. writes: (address, value) of what round i writes.
    """

    first: int
    period: int
    registers: list[Value]
    writes: tuple[tuple[Expression, Value], ...]


def guess(claim: Claim, first: int, period: int) -> Invariant:
    """The linear functions of i that fit the first rounds. Raises NotProved if the rounds differ."""
    machine, facts = claim.machine(), claim.facts((LARGE, 1, 0, 0))
    state, registers_seen, layers_seen = machine.start(), [], []
    for timestep in range(first + SEEN * period + 1):
        if timestep >= first and (timestep - first) % period == 0:
            registers_seen.append(state.registers)
            layers_seen.append(len(state.memory.layers))
        _, state = machine.run(state, facts, 1, may_stop=False)
    registers = [_line_through(list(values), facts) for values in zip(*registers_seen[:SEEN], strict=True)]
    rounds = [state.memory.layers[begin:end] for begin, end in zip(layers_seen, layers_seen[1:], strict=False)][:SEEN]
    if len({len(writes) for writes in rounds}) > 1 or any(address is None for each in rounds for address, _ in each):
        raise NotProved("the rounds do not write alike")
    writes = []
    for same_write in zip(*rounds, strict=True):
        address = _line_through([Number(address) for address, _ in same_write], facts)
        if not isinstance(address, Number):
            raise NotProved("the rounds do not write at evenly spaced cells")
        writes.append((address.expression, _line_through([value for _, value in same_write], facts)))
    return Invariant(first, period, registers, tuple(writes))


def _line_through(values: list[Value], facts: Facts) -> Value:
    """The linear function of i that has these values at i = 0, 1, 2; Unknown if there is none."""
    kinds = {type(value) for value in values}
    if kinds == {Number}:
        line = _line([value.expression for value in values])
        if line is not None:
            return Number(line)
    if kinds == {Element}:
        address, offset = _line([value.address for value in values]), _line([value.offset for value in values])
        if address is not None and offset is not None:
            return Element(address, offset)
    return Unknown(all(facts.value_is_zero(value) is False for value in values))


def _line(points: list[Expression]) -> Expression | None:
    slope = combine((1, points[1]), (-1, points[0]))
    if any(slope[1:]) or combine((1, points[2]), (-1, points[1])) != slope:
        return None
    return combine((1, points[0]), (slope[0], I))
