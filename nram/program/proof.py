"""Proofs that a program solves its task at every length: Access, Increment, Copy and Reverse.

The claim: for every n >= 1 and every M >= the task's smallest memory (plus `spare` cells), whatever the elements are
(integers of 1..M-1), the memory that is left at the task's time limit has the right value in every output cell. The
program runs on symbols instead of integers (`nram.program.symbols`); a zero-test that cannot be decided is followed
both ways. Where the number of timesteps depends on n, the argument is an induction over the rounds of a loop:

    base     t0 timesteps from the start lead to the invariant at i = 0, for every n >= n0
    step     from the invariant at i, k timesteps lead to the invariant at i + 1, for every n and i with i < n - c
    end      from the invariant at i = n - c, the timesteps that are left lead to the right output, for every n >= n0
    small    for each n < n0 the whole run leads to the right output (on symbols, or on each of all possible inputs)

The invariant says of each register what it holds, and which cells have been written so far with what. It is guessed
from the first timesteps at large n and then checked as above, so that a wrong guess can only make a proof fail. `prove`
tries several t0, k and c. A loop whose rounds move two elements each is treated for even and odd n apart (n = 2 q,
n = 2 q + 1), with q for n above. Memories of the smallest sizes, where one cell more or less matters, may be treated
one by one. A program may be right and the proof fail: then the answer is 'not proved'.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from operator import mul
from typing import NamedTuple

import numpy as np

from nram import tasks
from nram.program.extract import is_complete
from nram.program.symbols import (
    ANY,
    ONE,
    Element,
    Expression,
    Facts,
    I,
    M,
    N,
    Number,
    Unknown,
    Value,
    apply,
    combine,
    plus,
    replace_i,
    show,
)
from nram.program.table import Program

__all__ = ["PROVABLE", "Proof", "prove"]

MAX_INPUTS = 300_000  # of one size, which are all tried, at most
MAX_UNDECIDED = 6  # registers whose zero-test is followed both ways, at most
LARGE = 40  # the n, or q, from which the invariant is guessed
STOPS_WITHIN = 12  # timesteps after the loop, where the time limit is not what ends the run
ZERO = Number((0, 0, 0, 0))


class NotProved(Exception):
    """Why an attempt failed."""


@dataclass(frozen=True)
class Proof:
    """The outcome: `lines` tells the argument, or, if not `proved`, where the best attempts failed.

    spare: cells beyond the task's smallest memory that the claim needs. rows: the program's rows that valid inputs of
    the claim's kind can reach.
    """

    proved: bool
    task: str
    spare: int
    lines: tuple[str, ...]
    rows: frozenset = field(default=frozenset(), repr=False)

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class _Spec:
    """A task in symbols: what a cell holds at the start, and what output number `index` of n must hold at the end.

    first: cell of the first array element; the array has n cells, all others hold 0 except the header, cell 0.
    header, address, expected: of n (and an index) as expressions. single: there is one output, and i is the input k.
    """

    n: Expression
    first: int
    header: Callable | None
    address: Callable
    expected: Callable
    single: bool = False

    def start(self, cell: Expression, facts: Facts) -> Value:
        if self.header is not None and facts.equal(cell, (0, 0, 0, 0)) is True:
            return Number(self.header(self.n))
        cell = facts.normal(cell)
        if cell is None:
            return ANY
        after = combine((1, cell), (-1, self.n), (-self.first, ONE))
        if facts.at_least(after, 0):
            return ZERO
        if facts.at_least(plus(cell, -self.first), 0) and facts.at_least(combine((-1, after)), 1):
            return Element(cell)
        return ANY


def _after(n: Expression, index: Expression) -> Expression:
    return combine((1, n), (1, index), (1, ONE))


_SPECS = {
    "access": (1, lambda n: I, lambda n, i: ZERO.expression, lambda n, i: Element(I), True),
    "increment": (0, None, lambda n, i: i, lambda n, i: Element(i, ONE)),
    "copy": (1, lambda n: plus(n, 1), _after, lambda n, i: Element(plus(i, 1))),
    "reverse": (1, lambda n: plus(n, 1), _after, lambda n, i: Element(combine((1, n), (-1, i)))),
}
PROVABLE = tuple(_SPECS)


@dataclass(frozen=True)
class _Loop:
    """What `count` iterations have written: iteration i wrote `value` at `address`, for i = 0..count-1."""

    writes: tuple[tuple[Expression, Value], ...]
    count: Expression


@dataclass(frozen=True)
class _Memory:
    """The start of the task, then layers, oldest first: a `_Loop`, or (address, value); no address: any one cell."""

    spec: _Spec
    layers: tuple = ()

    def read(self, cell: Value, facts: Facts) -> Value:
        if not isinstance(cell, Number):
            return ANY
        possible = []  # what may have been written there, newest first, up to what surely was
        for layer in reversed(self.layers):
            if isinstance(layer, _Loop):
                found = _found_in_loop(layer, cell.expression, facts)
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

    def write(self, cell: Value, value: Value) -> "_Memory":
        address = cell.expression if isinstance(cell, Number) else None
        return _Memory(self.spec, (*self.layers, (address, value)))


def _found_in_loop(loop: _Loop, cell: Expression, facts: Facts) -> Value | None:
    """What a loop left in a cell; None if it did not write there, ANY if that is not known."""
    found = []
    for address, value in loop.writes:
        stride, base = address[2], replace_i(address, (0, 0, 0, 0))
        if stride == 0:
            there = facts.equal(base, cell)
            if there is False:
                continue
            last = plus(loop.count, -1)
            if there is None or not facts.at_least(last, 0):
                return ANY
            found.append((last, _at(value, last)))
        else:
            size = abs(stride)
            distance = facts.normal(combine((stride // size, cell), (-stride // size, base)))
            if distance is None or not facts.at_least(combine((1, M), (-size, loop.count)), 0):
                return ANY
            if facts.at_least(combine((1, distance), (-size, loop.count)), 1 - size):
                continue  # beyond the last iteration's
            if any(part % size for part in distance[1:]):
                return ANY
            if distance[0] % size:
                continue
            iteration = tuple(part // size for part in distance)
            if not facts.at_least(combine((1, loop.count), (-1, iteration)), 1):
                return ANY
            found.append((iteration, _at(value, iteration)))
    if not found:
        return None
    last, value = found[-1]  # the last write of an iteration counts
    return value if all(facts.equal(iteration, last) is True for iteration, _ in found) else ANY


def _at(value: Value, i: Expression) -> Value:
    """A value with the expression `i` for i."""
    if isinstance(value, Number):
        return Number(replace_i(value.expression, i))
    if isinstance(value, Element):
        return Element(replace_i(value.address, i), replace_i(value.offset, i))
    return value


@dataclass
class _State:
    registers: list[Value]
    memory: _Memory


class _Machine:
    """Runs a program on symbols, and keeps the rows that it used."""

    def __init__(self, program: Program, spec: _Spec):
        self.program, self.spec, self.rows = program, spec, set()
        self.complete = is_complete(program)

    def start(self) -> _State:
        return _State([ZERO] * self.program.layout.num_registers, _Memory(self.spec))

    def step(self, state: _State, facts: Facts) -> tuple[list[_State], _State | None]:
        """One timestep: states in which the machine may have stopped, and a state that covers all that go on."""
        zeros = [facts.value_is_zero(value) for value in state.registers]
        undecided = [r for r, zero in enumerate(zeros) if zero is None]
        if len(undecided) > MAX_UNDECIDED:
            raise NotProved("too many registers may or may not be zero")
        by_row: dict = {}
        for choice in product((True, False), repeat=len(undecided)):
            answers = list(zeros)
            for register, answer in zip(undecided, choice, strict=True):
                answers[register] = answer
            key = (0, sum(answer << r for r, answer in enumerate(answers)))
            if key not in self.program.rows:
                if self.complete:
                    continue  # registers of one source: some combinations cannot occur
                raise NotProved("the program has no row for a pattern that may occur")
            by_row.setdefault(self.program.rows[key], []).append((key, answers))
        stopped, going = [], []
        for row, cases in by_row.items():
            self.rows.update(key for key, _ in cases)
            registers = list(state.registers)
            for register in undecided:
                answers = {case[register] for _, case in cases}
                if answers == {True}:
                    registers[register] = ZERO
                elif answers == {False} and isinstance(registers[register], Unknown):
                    registers[register] = Unknown(True)
            after = self._circuit(self.program.circuits[row.circuit], registers, state.memory, facts)
            (stopped if row.stop else going).append(after)
        return stopped, self._join(going, state, facts) if going else None

    def _circuit(self, circuit, registers: list[Value], memory: _Memory, facts: Facts) -> _State:
        values = list(registers)
        for module, found in zip(circuit.layout.modules, circuit.inputs, strict=True):
            inputs = [values[source] for source in found or ()]
            if module.name in ("ZERO", "ONE", "TWO"):
                values.append(Number((("ZERO", "ONE", "TWO").index(module.name), 0, 0, 0)))
            elif found is None:
                values.append(ANY)
            elif module.name == "READ":
                values.append(memory.read(inputs[0], facts))
            elif module.name == "WRITE":
                memory = memory.write(*inputs)
                values.append(ZERO)
            elif len(found) == 2 and found[0] == found[1] and isinstance(inputs[0], Unknown):
                same = {"LESS-THAN": ZERO, "SUB": ZERO, "LESS-OR-EQUAL-THAN": Number(ONE), "EQUALITY-TEST": Number(ONE)}
                same |= {"MIN": inputs[0], "MAX": inputs[0]}
                values.append(same.get(module.name, ANY))
            else:
                values.append(apply(module.name, inputs[0], inputs[-1], facts))
        return _State([values[source] for source in circuit.registers], memory)

    def _join(self, states: list[_State], before: _State, facts: Facts) -> _State:
        if len(states) == 1:
            return states[0]
        registers = [facts.join(list(values)) for values in zip(*(state.registers for state in states), strict=True)]
        known = len(before.memory.layers)
        new = [state.memory.layers[known:] for state in states]
        addresses = []
        if any(address is None for layers in new for address, _ in layers):
            any_of_them = tuple((None, value) for layers in new for _, value in layers)
            return _State(registers, _Memory(self.spec, before.memory.layers + any_of_them))
        for layers in new:
            for address, _ in layers:
                if not any(facts.equal(address, other) is True for other in addresses):
                    addresses.append(address)
        layers = tuple(
            (address, facts.join([state.memory.read(Number(address), facts) for state in states]))
            for address in addresses
        )
        return _State(registers, _Memory(self.spec, before.memory.layers + layers))

    def run(self, state: _State, facts: Facts, timesteps: int, may_stop: bool) -> tuple[list[_State], _State | None]:
        """Several timesteps. Raises NotProved if the machine may stop and must not."""
        stopped = []
        for _ in range(timesteps):
            now, state = self.step(state, facts)
            if now and not may_stop:
                raise NotProved("the machine may stop too early")
            stopped += now
            if state is None:
                break
        return stopped, state


def prove(program: Program, task: tasks.Task | None = None, spares: int = 4) -> Proof:
    """Try to prove that a program solves its task (one of `PROVABLE`) at every length; see above.

    The fewer spare cells the proof needs the better; numbers below `spares` are tried. Raises ValueError for another
    task, or a program of several controller states.
    """
    task = task or tasks.get(program.task)
    if task.key not in _SPECS:
        raise ValueError(f"no proof is known for {task.key!r}; there are {', '.join(PROVABLE)}")
    if program.num_states > 1:
        raise ValueError("programs of several controller states are not proved")
    reasons: list[str] = []
    for spare in range(spares):
        proofs = _for_memories(program, task, spare, False, reasons)
        if proofs is None:
            continue
        besides = []  # of a smaller memory, for which the claim is true of some n only
        while spare > 0 and not besides:
            exact = _for_memories(program, task, spare - 1, True, reasons)
            if exact is None:
                besides = [f"Not proved for M = {show((task.cells_offset + spare - 1, task.cells_slope, 0, 0))}."]
                break
            if any(part.wrong for part in exact):
                besides = ["Besides:", *(line for part in exact for line in part.lines)]
                continue
            proofs = exact + proofs
            spare -= 1
        cells = show((task.cells_offset + spare, task.cells_slope, 0, 0))
        limit = show((task.limit_offset, task.limit_slope, 0, 0))
        claim = f"{task.title}: right for every n >= 1 and every M >= {cells} (and >= 3), within {limit} timesteps."
        rows = frozenset().union(*(part.rows for part in proofs))
        lines = (claim, *(line for part in proofs for line in part.lines), *besides)
        return Proof(True, task.key, spare, lines, rows)
    return Proof(False, task.key, 0, ("not proved", *dict.fromkeys(reasons)))


def _for_memories(program: Program, task: tasks.Task, spare: int, exact: bool, reasons: list[str]):
    """Proofs that together cover every n, for M = smallest + spare, or M >= that; None if there are none."""
    cells = f"M {'=' if exact else '>='} {show((task.cells_offset + spare, task.cells_slope, 0, 0))}"
    if _SPECS[task.key][-1] is True:
        try:
            return [_Attempt(program, task, spare, exact, 1, 0).without_loop(cells)]
        except NotProved as reason:
            reasons.append(f"{cells}: {reason}")
            return None
    for stretch in (1, 2):
        proofs = [_for_remainder(program, task, spare, exact, stretch, rest, cells, reasons) for rest in range(stretch)]
        if None not in proofs:
            return proofs
    return None


def _for_remainder(program, task, spare, exact, stretch, rest, cells, reasons):
    """A proof by induction for n = stretch * q + rest, or None."""
    attempt = _Attempt(program, task, spare, exact, stretch, rest)
    where = f"{cells}, n = {show((rest, stretch, 0, 0), attempt.names)}" if stretch > 1 else cells
    for period in (1, 2, 3):
        if stretch > 1 and period != stretch * task.limit_slope:
            continue
        for first in range(8):
            try:
                guess = attempt.guess(first, period)
            except NotProved as reason:
                reasons.append(f"{where}, from timestep {first + 1}, {period} a round: {reason}")
                continue
            for short in range(6):
                try:
                    return attempt.by_induction(first, period, short, *guess, where)
                except NotProved as reason:
                    reasons.append(f"{where}, from timestep {first + 1}, {period} a round: {reason}")
    return None


class _Part(NamedTuple):
    """A proof for some n and M: its text, the rows that it uses, and the small n for which it is not true."""

    lines: tuple[str, ...]
    rows: frozenset
    wrong: tuple[int, ...] = ()


class _Attempt:
    """One way to choose n and M: n = stretch * q + rest, where expressions have q in the place of n."""

    def __init__(self, program: Program, task: tasks.Task, spare: int, exact: bool, stretch: int, rest: int):
        self.program, self.task, self.spare, self.exact = program, task, spare, exact
        self.stretch, self.n = stretch, (rest, stretch, 0, 0)
        self.spec = _Spec(self.n, *_SPECS[task.key])
        self.names = "niM" if stretch == 1 else "qiM"

    def show(self, what) -> str:
        return show(what, self.names)

    def facts(self, q, i=(0, 0, 0, 0)) -> Facts:
        """Assumptions with M = the smallest memory + spare (+ w if not exact), for q and i as functions of u and v."""
        cells = [self.task.cells_slope * self.stretch * part for part in q]
        cells[0] += self.task.cells_slope * self.n[0] + self.task.cells_offset + self.spare
        cells[3] = 0 if self.exact else 1
        if not self.exact and not any(cells[1:3]):
            cells[0] = max(cells[0], 3)
        if cells[0] < 3:
            raise NotProved("memories of fewer than 3 cells")
        return Facts(tuple(q), tuple(i), tuple(cells))

    def without_loop(self, cells: str):
        """A task whose time limit does not depend on n: one run on symbols, k = i of 1..n."""
        machine = _Machine(self.program, self.spec)
        if self.task.limit_slope:
            raise NotProved("the time limit depends on n")
        facts = self.facts((1, 1, 1, 0), (1, 1, 0, 0))  # i = 1 + u, n = i + v
        stopped, state = machine.run(machine.start(), facts, self.task.limit_offset, may_stop=True)
        for final in stopped + ([state] if state else []):
            self.check(final, I, facts)
        lines = (f"For {cells}: one run on symbols, for every n and every k of 1..n, ends with the right output.",)
        return _Part(lines, frozenset(machine.rows))

    def check(self, final: _State, index: Expression, facts: Facts) -> None:
        address, expected = self.spec.address(self.n, index), self.spec.expected(self.n, index)
        found = final.memory.read(Number(address), facts)
        if not facts.covers(expected, found):
            raise NotProved(f"cell {self.show(address)} must end as {self.show(expected)}, and is {self.show(found)}")

    def check_outputs(self, finals: list[_State], smallest: int, head: int, short: int) -> None:
        """Every output of every final state, q >= smallest: the first and the last few one by one, then the others."""
        some = self.facts((smallest, 1, 0, 0))
        between = self.facts((head + 1 + short, 1, 1, 0), (head, 1, 0, 0))  # i = head + u, q = i + v + 1 + short
        for final in finals:
            for index in range(head * self.stretch):
                self.check(final, (index, 0, 0, 0), some)
            for back in range(1, short * self.stretch + self.n[0] + 1):
                self.check(final, plus(self.n, -back), some)
            for rest in range(self.stretch):
                self.check(final, (rest, 0, self.stretch, 0), between)

    def by_induction(self, first: int, period: int, short: int, registers, writes, where: str):
        machine, spec, task = _Machine(self.program, self.spec), self.spec, self.task
        head = -(-first // self.stretch) + 1  # so many rounds' outputs are looked at one by one

        # base
        least = short + head + 1
        for smallest in range(least, least + 4):
            base = _Machine(self.program, spec)
            try:
                facts = self.facts((smallest, 1, 0, 0))
                _, state = base.run(base.start(), facts, first, may_stop=False)
                claimed = [_at(value, ZERO.expression) for value in registers]
                if all(facts.covers(*pair) for pair in zip(claimed, state.registers, strict=True)):
                    break
            except NotProved:
                continue
        else:
            raise NotProved("the first timesteps do not lead to the invariant")
        machine.rows |= base.rows
        before = state.memory.layers

        # step: i = u, q = i + v + 1 + short
        facts = self.facts((short + 1, 1, 1, 0), (0, 1, 0, 0))
        state = _State(registers, _Memory(spec, (*before, _Loop(writes, I))))
        known = len(state.memory.layers)
        _, after = machine.run(state, facts, period, may_stop=False)
        made = after.memory.layers[known:]
        if len(made) != len(writes) or any(address is None for address, _ in made):
            raise NotProved("a round does not write where the invariant says")
        for (address, value), (found_address, found) in zip(writes, made, strict=True):
            if facts.equal(address, found_address) is not True or not facts.covers(value, found):
                texts = map(self.show, (found, found_address, value, address))
                raise NotProved("a round writes {} at {}, not {} at {}".format(*texts))
        for register, (value, found) in enumerate(zip(registers, after.registers, strict=True)):
            claimed = _at(value, plus(I, 1))
            if not facts.covers(claimed, found):
                raise NotProved(f"r{register + 1} is not {self.show(claimed)} after a round, but {self.show(found)}")

        # end: i = q - short
        rounds = plus(N, -short)
        facts = self.facts((smallest, 1, 0, 0))
        state = _State([_at(value, rounds) for value in registers], _Memory(spec, (*before, _Loop(writes, rounds))))
        spent = combine((period, rounds), (first, ONE))
        left = combine((task.limit_slope, self.n), (task.limit_offset, ONE), (-1, spent))
        constant = not any(left[1:])
        timesteps = left[0] if constant else STOPS_WITHIN
        if not facts.at_least(plus(left, -timesteps), 0) or timesteps < 0:
            raise NotProved("the time limit comes first")
        stopped, state = machine.run(state, facts, timesteps, may_stop=True)
        if state is not None and not constant:
            raise NotProved("the machine goes on after its work for a time that depends on n")
        self.check_outputs(stopped + ([state] if state else []), smallest, head, short)

        # small
        wrong, enumerated = [], []
        for q in range(-(-(task.min_difficulty - self.n[0]) // self.stretch), smallest):
            n = self.stretch * q + self.n[0]
            if self.exact and task.min_cells(n) + self.spare < 3:
                continue  # no memory
            facts = self.facts((q, 0, 0, 0))
            try:
                stopped, state = machine.run(machine.start(), facts, task.limit(n), may_stop=True)
            except NotProved:
                machine.rows |= set(self.program.rows)
                stopped, state = None, None
            try:
                if stopped is None:
                    raise NotProved(f"n = {n} is not decided")
                for final in stopped + ([state] if state else []):
                    for index in range(n):
                        self.check(final, (index, 0, 0, 0), facts)
            except NotProved:
                if not self.exact:
                    raise
                enumerated.append(n)
                memory = self.first_wrong(n, q)
                if memory is not None:
                    wrong.append((n, memory))
        name = self.names[0]
        holds = [f"r{r + 1} = {self.show(value)}" for r, value in enumerate(registers) if value != ANY]
        holds += [f"round i wrote {self.show(value)} at cell {self.show(address)}" for address, value in writes]
        lines = (
            f"For {where}:",
            f"    Invariant after {first} timesteps and i rounds of {period}: {'; '.join(holds)}.",
            f"    Base: the first {first} timesteps lead to it with i = 0, for every {name} >= {smallest}.",
            f"    Step: each round leads from i to i + 1, for every {name} and every i < {self.show(rounds)}.",
            f"    End: from i = {self.show(rounds)} what is left leads to the right output, for {name} >= {smallest}.",
            f"    Small: each {name} < {smallest} by one run on symbols to the end"
            + (f", n = {', '.join(map(str, enumerated))} by all possible inputs." if enumerated else "."),
            *(f"    But n = {n} goes wrong: {memory}." for n, memory in wrong),
        )
        return _Part(lines, frozenset(machine.rows), tuple(n for n, _ in wrong))

    def first_wrong(self, n: int, q: int) -> list[int] | None:
        """The first of all inputs of n elements that ends wrong, or None. Raises NotProved if there are too many."""
        num_cells = self.task.min_cells(n) + self.spare
        if (num_cells - 1) ** n > MAX_INPUTS:
            raise NotProved(f"n = {n} is not decided, and has too many inputs to try")
        spec, numbers = self.spec, (1, q, 0, num_cells)

        def value(expression: Expression) -> int:
            return sum(map(mul, expression, numbers)) % num_cells

        elements = np.array(list(product(range(1, num_cells), repeat=n))).reshape(-1, n)
        memory = np.zeros((len(elements), num_cells), dtype=np.int64)
        memory[:, spec.first : spec.first + n] = elements
        if spec.header is not None:
            memory[:, 0] = value(spec.header(self.n))
        final = memory.copy()
        taken = self.program.code.run(final, np.full(len(final), self.task.limit(n)))
        wrong = taken < 0
        for index in range(n):
            at = (index, 0, 0, 0)
            expected = spec.expected(self.n, at)
            right = (memory[:, value(expected.address)] + value(expected.offset)) % num_cells
            wrong |= final[:, value(spec.address(self.n, at))] != right
        return memory[wrong.argmax()].tolist() if wrong.any() else None

    def guess(self, first: int, period: int):
        """Registers and writes as functions of i, from the first rounds at n >= 40."""
        machine, facts = _Machine(self.program, self.spec), self.facts((LARGE, 1, 0, 0))
        state, heads, rounds = machine.start(), [], []
        for timestep in range(first + 3 * period + 1):
            if timestep >= first and (timestep - first) % period == 0:
                heads.append(state.registers)
                rounds.append(len(state.memory.layers))
            _, state = machine.run(state, facts, 1, may_stop=False)
        registers = [_extrapolate(list(values), facts) for values in zip(*heads[:3], strict=True)]
        layers = [state.memory.layers[begin:end] for begin, end in zip(rounds, rounds[1:], strict=False)][:3]
        if len({len(layer) for layer in layers}) > 1 or any(
            address is None for layer in layers for address, _ in layer
        ):
            raise NotProved("the rounds do not write alike")
        writes = []
        for in_rounds in zip(*layers, strict=True):
            address = _extrapolate([Number(address) for address, _ in in_rounds], facts)
            if not isinstance(address, Number):
                raise NotProved("the rounds do not write at evenly spaced cells")
            writes.append((address.expression, _extrapolate([value for _, value in in_rounds], facts)))
        return registers, tuple(writes)


def _extrapolate(values: list[Value], facts: Facts) -> Value:
    """The linear function of i that has these values at i = 0, 1, 2; Unknown if there is none."""
    kinds = {type(value) for value in values}
    if kinds == {Number}:
        line = _line([value.expression for value in values])
        if line is not None:
            return Number(line)
    if kinds == {Element}:
        line, offsets = _line([value.address for value in values]), _line([value.offset for value in values])
        if line is not None and offsets is not None:
            return Element(line, offsets)
    return Unknown(all(facts.value_is_zero(value) is False for value in values))


def _line(points: list[Expression]) -> Expression | None:
    slope = combine((1, points[1]), (-1, points[0]))
    if any(slope[1:]) or combine((1, points[2]), (-1, points[1])) != slope:
        return None
    return combine((1, points[0]), (slope[0], I))
