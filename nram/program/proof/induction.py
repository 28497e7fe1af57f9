"""The proof by induction over the rounds of a loop: base, step, end, and the small n one by one."""

from nram.program.proof.all_inputs import first_wrong
from nram.program.proof.claim import Claim, Part
from nram.program.proof.expressions import ANY, ONE, ZERO, Expression, I, N, combine, integer, plus, value_at
from nram.program.proof.guess import Invariant
from nram.program.proof.machine import NotProved, State, SymbolicMachine
from nram.program.proof.memory import Layer, Loop, Memory

__all__ = ["by_induction"]

STARTS = 4  # how many values the base tries as the smallest q
STOPS_WITHIN = (
    12  # timesteps after the loop in which the machine must stop, if the time limit leaves more with larger n
)


def by_induction(claim: Claim, invariant: Invariant, short: int) -> Part:
    """The proof of a claim from an invariant that holds until round q - short. Raises NotProved."""
    machine = claim.machine()
    head = -(-invariant.first // claim.stretch) + 1  # check the outputs of this many first rounds one by one
    smallest, before = _base(claim, invariant, machine, short + head + 1)
    _step(claim, invariant, machine, before, short)
    for final in _end(claim, invariant, machine, before, smallest, short):
        claim.check_all(final, smallest, head, short)
    enumerated, wrong = _small(claim, machine, smallest)
    lines = (
        f"For {claim}:",
        *_text(claim, invariant, smallest, short, enumerated),
        *(f"    But n = {n} goes wrong: {memory}." for n, memory in wrong.items()),
    )
    return Part(lines, frozenset(machine.rows), tuple(wrong))


def _base(claim: Claim, invariant: Invariant, machine: SymbolicMachine, least: int) -> tuple[int, tuple[Layer, ...]]:
    """Check that the first timesteps lead to the invariant at i = 0; return (smallest q, what they write)."""
    claimed = [value_at(value, ZERO) for value in invariant.registers]
    for smallest in range(least, least + STARTS):
        base = claim.machine()
        try:
            facts = claim.facts((smallest, 1, 0, 0))
            _, state = base.run(base.start(), facts, invariant.first, may_stop=False)
        except NotProved:
            continue
        if all(facts.covers(*pair) for pair in zip(claimed, state.registers, strict=True)):
            machine.rows |= base.rows
            return smallest, state.memory.layers
    raise NotProved("the first timesteps do not lead to the invariant")


def _at_round(claim: Claim, invariant: Invariant, before: tuple[Layer, ...], i: Expression) -> State:
    """The state that the invariant claims at the start of round i."""
    registers = [value_at(value, i) for value in invariant.registers]
    return State(registers, Memory(claim.spec, (*before, Loop(invariant.writes, i))))


def _step(claim: Claim, invariant: Invariant, machine: SymbolicMachine, before: tuple[Layer, ...], short: int) -> None:
    """Check that a round leads from the invariant at i to the invariant at i + 1, for every i < q - short."""
    facts = claim.facts((short + 1, 1, 1, 0), (0, 1, 0, 0))  # i = u, q = i + v + 1 + short
    state = _at_round(claim, invariant, before, I)
    known = len(state.memory.layers)
    _, after = machine.run(state, facts, invariant.period, may_stop=False)
    made = after.memory.layers[known:]
    if len(made) != len(invariant.writes) or any(address is None for address, _ in made):
        raise NotProved("a round does not write where the invariant says")
    for (address, value), (found_address, found) in zip(invariant.writes, made, strict=True):
        if facts.equal(address, found_address) is not True or not facts.covers(value, found):
            found, found_address, value, address = map(claim.show, (found, found_address, value, address))
            raise NotProved(f"a round writes {found} at {found_address}, not {value} at {address}")
    for register, (value, found) in enumerate(zip(invariant.registers, after.registers, strict=True)):
        claimed = value_at(value, plus(I, 1))
        if not facts.covers(claimed, found):
            raise NotProved(f"r{register + 1} is not {claim.show(claimed)} after a round, but {claim.show(found)}")


def _end(
    claim: Claim, invariant: Invariant, machine: SymbolicMachine, before: tuple[Layer, ...], smallest: int, short: int
) -> list[State]:
    """The final states after the remaining timesteps, from the invariant at i = q - short."""
    task, rounds = claim.task, plus(N, -short)
    facts = claim.facts((smallest, 1, 0, 0))
    state = _at_round(claim, invariant, before, rounds)
    spent = combine((invariant.period, rounds), (invariant.first, ONE))
    left = combine((task.limit_slope, claim.n), (task.limit_offset, ONE), (-1, spent))
    constant = not any(left[1:])
    timesteps = left[0] if constant else STOPS_WITHIN
    if not facts.at_least(plus(left, -timesteps), 0) or timesteps < 0:
        raise NotProved("the time limit comes first")
    stopped, state = machine.run(state, facts, timesteps, may_stop=True)
    if state is not None and not constant:
        raise NotProved("the machine goes on after its work for a time that depends on n")
    return stopped + ([state] if state else [])


def _small(claim: Claim, machine: SymbolicMachine, smallest: int) -> tuple[list[int], dict[int, list[int]]]:
    """Check every q < smallest by a whole run; return the n that needed all inputs, and a memory for each wrong n.

    Raises NotProved if one goes wrong and the claim is not about one exact memory size.
    """
    enumerated, wrong = [], {}
    for q in range(-(-(claim.task.min_difficulty - claim.rest) // claim.stretch), smallest):
        n = claim.stretch * q + claim.rest
        if claim.exact and claim.task.min_cells(n) + claim.spare < 3:
            continue  # there is no memory this small
        try:
            _whole_run(claim, machine, q, n)
        except NotProved:
            if not claim.exact:
                raise
            enumerated.append(n)
            memory = first_wrong(claim, q)
            if memory is not None:
                wrong[n] = memory
    return enumerated, wrong


def _whole_run(claim: Claim, machine: SymbolicMachine, q: int, n: int) -> None:
    """One run on symbols to the end, for one n. Raises NotProved."""
    facts = claim.facts((q, 0, 0, 0))
    try:
        stopped, state = machine.run(machine.start(), facts, claim.task.limit(n), may_stop=True)
    except NotProved as reason:
        machine.rows |= set(claim.program.rows)  # any of them may be needed
        raise NotProved(f"n = {n} is not decided") from reason
    for final in stopped + ([state] if state else []):
        for index in range(n):
            claim.check(final, integer(index), facts)


def _text(claim: Claim, invariant: Invariant, smallest: int, short: int, enumerated: list[int]) -> tuple[str, ...]:
    """The argument, a line for each of its parts."""
    first, name, rounds = invariant.first, claim.name, claim.show(plus(N, -short))
    holds = [f"r{r + 1} = {claim.show(value)}" for r, value in enumerate(invariant.registers) if value != ANY]
    holds += [f"round i wrote {claim.show(value)} at cell {claim.show(address)}" for address, value in invariant.writes]
    by_inputs = f", n = {', '.join(map(str, enumerated))} by all possible inputs." if enumerated else "."
    return (
        f"    Invariant after {first} timesteps and i rounds of {invariant.period}: {'; '.join(holds)}.",
        f"    Base: the first {first} timesteps lead to it with i = 0, for every {name} >= {smallest}.",
        f"    Step: each round leads from i to i + 1, for every {name} and every i < {rounds}.",
        f"    End: from i = {rounds} what is left leads to the right output, for {name} >= {smallest}.",
        f"    Small: each {name} < {smallest} by one run on symbols to the end{by_inputs}",
    )
