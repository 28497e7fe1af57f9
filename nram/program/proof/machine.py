"""The program on symbols, timestep by timestep."""

from dataclasses import dataclass
from itertools import product

from nram.program.notation import Circuit
from nram.program.program import Program
from nram.program.proof.expressions import ANY, ZERO, Number, Unknown, Value, integer
from nram.program.proof.facts import Facts
from nram.program.proof.memory import Memory
from nram.program.proof.specs import Spec
from nram.program.proof.symbols import apply, apply_to_same
from nram.program.reach import is_complete
from nram.program.table import Key
from nram.program.tree import Row

__all__ = ["NotProved", "State", "SymbolicMachine"]

MAX_UNDECIDED = 6  # follow at most this many undecided zero-tests both ways
_CONSTANTS = ("ZERO", "ONE", "TWO")


class NotProved(Exception):
    """Why an attempt failed."""


@dataclass
class State:
    """Registers and memory between two timesteps."""

    registers: list[Value]
    memory: Memory


class SymbolicMachine:
    """Runs a program on symbols, and keeps the keys of the rows that it used."""

    def __init__(self, program: Program, spec: Spec):
        self.program, self.spec = program, spec
        self.rows: set[Key] = set()
        self.complete = is_complete(program)

    def start(self) -> State:
        """All registers zero, and the memory of the task."""
        return State([Number(ZERO)] * self.program.layout.num_registers, Memory(self.spec))

    def run(self, state: State, facts: Facts, timesteps: int, may_stop: bool) -> tuple[list[State], State | None]:
        """Run several timesteps: (states in which the machine may have stopped, a state that covers the rest or None).

        Raises NotProved if the machine may stop and `may_stop` is False.
        """
        stopped = []
        for _ in range(timesteps):
            now, state = self.step(state, facts)
            if now and not may_stop:
                raise NotProved("the machine may stop too early")
            stopped += now
            if state is None:
                break
        return stopped, state

    def step(self, state: State, facts: Facts) -> tuple[list[State], State | None]:
        """Run one timestep; return what `run` returns."""
        zeros = [facts.value_is_zero(value) for value in state.registers]
        undecided = [r for r, zero in enumerate(zeros) if zero is None]
        stopped, running = [], []
        for row, cases in self._rows_of(zeros, undecided).items():
            registers = list(state.registers)
            for register in undecided:
                answers = {case[register] for case in cases}
                if answers == {True}:
                    registers[register] = Number(ZERO)
                elif answers == {False} and isinstance(registers[register], Unknown):
                    registers[register] = Unknown(nonzero=True)
            after = _run_circuit(self.program.circuits[row.circuit], registers, state.memory, facts)
            (stopped if row.stop else running).append(after)
        return stopped, _join(running, state, facts) if running else None

    def _rows_of(self, zeros: list[bool | None], undecided: list[int]) -> dict[Row, list[list[bool]]]:
        """The rows that may apply, each with the zero-tests' results that lead to it."""
        if len(undecided) > MAX_UNDECIDED:
            raise NotProved("too many registers may or may not be zero")
        by_row: dict[Row, list[list[bool]]] = {}
        for choice in product((True, False), repeat=len(undecided)):
            answers = list(zeros)
            for register, answer in zip(undecided, choice, strict=True):
                answers[register] = answer
            key = (0, sum(answer << r for r, answer in enumerate(answers)))
            if key not in self.program.rows:
                if self.complete:
                    continue  # cannot occur: some registers have one source
                raise NotProved("the program has no row for a pattern that may occur")
            by_row.setdefault(self.program.rows[key], []).append(answers)
            self.rows.add(key)
        return by_row


def _run_circuit(circuit: Circuit, registers: list[Value], memory: Memory, facts: Facts) -> State:
    values = list(registers)
    for module, found in zip(circuit.layout.modules, circuit.inputs, strict=True):
        inputs = [values[source] for source in found or ()]
        if module.name in _CONSTANTS:
            values.append(Number(integer(_CONSTANTS.index(module.name))))
        elif found is None:
            values.append(ANY)
        elif module.name == "READ":
            values.append(memory.read(inputs[0], facts))
        elif module.name == "WRITE":
            memory = memory.write(*inputs)
            values.append(Number(ZERO))
        elif len(found) == 2 and found[0] == found[1] and isinstance(inputs[0], Unknown):
            values.append(apply_to_same(module.name, inputs[0]))
        else:
            values.append(apply(module.name, inputs[0], inputs[-1], facts))
    return State([values[source] for source in circuit.registers], memory)


def _join(states: list[State], before: State, facts: Facts) -> State:
    """A state that covers all of `states`, which follow `before` in one timestep."""
    if len(states) == 1:
        return states[0]
    registers = [facts.join(list(values)) for values in zip(*(state.registers for state in states), strict=True)]
    known = len(before.memory.layers)
    writes = [write for state in states for write in state.memory.layers[known:]]
    if any(address is None for address, _ in writes):
        return State(registers, before.memory.with_layers((None, value) for _, value in writes))
    addresses = []
    for address, _ in writes:
        if not any(facts.equal(address, other) is True for other in addresses):
            addresses.append(address)
    layers = (
        (address, facts.join([state.memory.read(Number(address), facts) for state in states])) for address in addresses
    )
    return State(registers, before.memory.with_layers(layers))
