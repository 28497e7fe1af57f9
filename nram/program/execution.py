"""Circuits on Python integers, timestep by timestep: slower than the interpreter, but every value can be seen."""

from typing import NamedTuple

from nram.program.notation import Circuit
from nram.program.tree import Row

__all__ = ["Step", "run_circuit", "source_values", "step_of"]


class Step(NamedTuple):
    """One timestep of an execution: registers and memory at its start, then what happened.

    row: None in the step that closes an execution. reads, writes: (pointer, value) of every READ and WRITE in use.
    values: of every source, registers first, then modules; None for an unused module.
    """

    registers: tuple[int, ...]
    memory: tuple[int, ...]
    row: Row | None
    reads: tuple[tuple[int, int], ...]
    writes: tuple[tuple[int, int], ...]
    values: tuple[int | None, ...] = ()


def run_circuit(circuit: Circuit, registers: list[int], memory: list[int]) -> list[int]:
    """Run one timestep: return the new registers and change `memory` in place."""
    values = source_values(circuit, registers, memory)
    return [values[source] for source in circuit.registers]


def step_of(row: Row, circuit: Circuit, registers: list[int], memory: list[int]) -> Step:
    """Run one timestep and return all that happened in it; changes `memory` in place."""
    before = tuple(registers), tuple(memory)
    values = source_values(circuit, registers, memory)
    reads, writes, first = [], [], circuit.layout.num_registers
    for index, (module, found) in enumerate(zip(circuit.layout.modules, circuit.inputs, strict=True)):
        if found and module.name == "READ":
            reads.append((values[found[0]], values[first + index]))
        elif found and module.name == "WRITE":
            writes.append((values[found[0]], values[found[1]]))
    return Step(*before, row, tuple(reads), tuple(writes), tuple(values))


def source_values(circuit: Circuit, registers: list[int], memory: list[int]) -> list[int | None]:
    """The value of every source in one timestep (see `Step`); changes `memory` in place."""
    num_cells, values = len(memory), list(registers)
    for module, found in zip(circuit.layout.modules, circuit.inputs, strict=True):
        if found is None and module.arity:
            values.append(None)
            continue
        inputs = [values[source] for source in found or ()]
        if module.name == "READ":
            values.append(memory[inputs[0]])
        elif module.name == "WRITE":
            memory[inputs[0]] = inputs[1]
            values.append(0)
        else:
            values.append(module.integer(*inputs, *[0] * (2 - module.arity), num_cells))
    return values
