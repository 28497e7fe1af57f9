"""A program: the table that a discretized machine is, from the registers' zero-pattern to a circuit (section 3.4)."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from nram.machine.circuit import Layout
from nram.machine.controller import MLP
from nram.program.interpreter import Code
from nram.program.notation import Circuit

__all__ = ["Program", "Row", "Step"]

FORMAT = 1


class Row(NamedTuple):
    """What the machine does: the circuit's number, whether it stops after it, the controller's next state (MLP: 0)."""

    circuit: int
    stop: bool
    next_state: int = 0


class Step(NamedTuple):
    """One timestep of a traced run: registers and memory at its start, then what happened.

    reads: (pointer, value) of every READ in use; writes: (pointer, value) of every WRITE in use. values: of every
    source, registers first, then modules; None for a module that is not in use.
    """

    registers: tuple[int, ...]
    memory: tuple[int, ...]
    row: Row
    reads: tuple[tuple[int, int], ...]
    writes: tuple[tuple[int, int], ...]
    values: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Program:
    """A table of circuits.

    rows: (controller state, zero-pattern) -> Row; bit r of a pattern is set if register r is zero. An MLP controller
    has the one state 0. The run starts in state 0 with all registers zero. task: key of its task, or None.
    """

    layout: Layout
    circuits: tuple[Circuit, ...]
    rows: dict[tuple[int, int], Row]
    task: str | None = None

    @classmethod
    def parse(cls, text: str, layout: Layout, task: str | None = None) -> "Program":
        """A program of one controller state from rules, of which the first that fits applies:

            when r1 = 0 and r3 > 0:
                READ r4; WRITE ADD READ
                stop
            otherwise:
                ADD r2 r4

        `r3 > 0` says that register 3 is not zero. A rule's statements are `stop` and those of a circuit (see
        `nram.program.notation`). Raises ValueError for rules that cannot be read; patterns that no rule fits get no
        row.
        """
        rules: list[tuple[str, list[str]]] = []
        for line in (line.split("#")[0].strip() for line in text.splitlines()):
            if line.endswith(":"):
                rules.append((line[:-1], []))
            elif line and not rules:
                raise ValueError(f"{line!r} comes before the first rule ('when ...:' or 'otherwise:')")
            elif line:
                rules[-1][1].extend(part.strip() for part in line.split(";"))
        circuits, rows = [], {}
        for head, statements in rules:
            zero, nonzero = _condition(head, layout.num_registers)
            circuit = Circuit.parse("\n".join(part for part in statements if part != "stop"), layout)
            row = Row(len(circuits), "stop" in statements)
            circuits.append(circuit)
            for pattern in range(2**layout.num_registers):
                if pattern & zero == zero and not pattern & nonzero:
                    rows.setdefault((0, pattern), row)
        return cls(layout, tuple(circuits), rows, task)

    @cached_property
    def code(self) -> Code:
        """The program as the arrays of its interpreter."""
        return Code(self.layout, self.circuits, self.rows, self.num_states)

    @property
    def states(self) -> list[int]:
        """The controller states that have rows."""
        return sorted({state for state, _ in self.rows})

    @property
    def num_states(self) -> int:
        return 1 + max(max(state, row.next_state) for (state, _), row in self.rows.items())

    def run(self, memory, limit: int):
        """The memory that is left after at most `limit` timesteps: a list for a list, else int64[M] for an array.

        The input stays as it is. Raises ValueError for cells outside 0..M-1, fewer than 3 cells, a limit below 1, or
        if a timestep has no row (a program of an LSTM knows only what it was shown).
        """
        cells = np.array(memory)
        if cells.ndim != 1 or cells.dtype.kind not in "iu":
            raise ValueError("memory must be a list or a one-dimensional array of integers")
        if len(cells) < 3 or cells.min() < 0 or cells.max() >= len(cells):
            raise ValueError(f"a memory has at least 3 cells and holds integers 0..M-1; this one has M = {len(cells)}")
        if limit < 1:
            raise ValueError("limit must be at least 1 timestep")
        cells = cells.astype(np.int64, copy=False)
        taken = int(self.code.run(cells[None], np.array([limit]))[0])
        if taken < 0:
            raise ValueError(f"the program has no row for what it meets in timestep {-taken}")
        return cells.tolist() if isinstance(memory, list) else cells

    def trace(self, memory, limit: int) -> Iterator[Step]:
        """The run timestep by timestep, in plain Python; after the last, a Step whose row is None closes the trace."""
        memory, registers, state = [int(cell) for cell in memory], [0] * self.layout.num_registers, 0
        for _ in range(limit):
            row = self.rows.get((state, zero_pattern(registers)))
            if row is None:
                raise ValueError(f"the program has no row for state {state} and registers {registers}")
            before, circuit = (tuple(registers), tuple(memory)), self.circuits[row.circuit]
            values = source_values(circuit, registers, memory)
            registers, reads, writes = _outcome(circuit, values)
            yield Step(*before, row, tuple(reads), tuple(writes), tuple(values))
            if row.stop:
                break
            state = row.next_state
        yield Step(tuple(registers), tuple(memory), None, (), ())

    def visited(self, memory: list[int], limit: int) -> list[tuple[int, int]]:
        """The (controller state, zero-pattern) of every timestep of a run."""
        cells, registers, state, keys = list(memory), [0] * self.layout.num_registers, 0, []
        for _ in range(limit):
            keys.append((state, zero_pattern(registers)))
            row = self.rows[keys[-1]]
            registers, _, _ = run_circuit(self.circuits[row.circuit], registers, cells)
            if row.stop:
                break
            state = row.next_state
        return keys

    def to_python(self) -> str:
        """The text of a Python module that defines `run(memory, limit)` and needs nothing else."""
        from nram.program.python_text import to_python

        return to_python(self)

    def controller(self, strength: float = 1e4) -> tuple[MLP, dict[str, torch.Tensor]]:
        """A controller made by hand that emits these circuits: the MLP and one member's parameters.

        One hidden unit per pattern is 1 at that pattern and 0 at every other. Raises ValueError for a program of
        several controller states.
        """
        if self.num_states > 1:
            raise ValueError("a program of several controller states needs an LSTM")
        num_registers, hidden = self.layout.num_registers, len(self.rows)
        mlp = MLP(num_registers, hidden, self.layout.num_logits + 1)
        params = {name: torch.zeros(shape) for name, shape in mlp.shapes().items()}
        params["second_weight"] = torch.eye(hidden)
        for unit, ((_, pattern), row) in enumerate(self.rows.items()):
            for register in range(num_registers):
                params["first_weight"][register, unit] = 1.0 if pattern >> register & 1 else -1.0
            params["first_bias"][unit] = 1.0 - pattern.bit_count()
            logits = self.layout.one_hot_logits(self.circuits[row.circuit].sources(), strength)
            params["output_weight"][unit, :-1] = logits
            params["output_weight"][unit, -1] = strength if row.stop else -strength
        return mlp, params

    @cached_property
    def tree(self) -> "Leaf | Branch":
        """Which registers are tested, and in which order, to find the row; patterns without a row follow any path."""
        if self.num_states > 1:
            raise ValueError("a program of several controller states has a tree per state: see `state_tree`")
        return self.state_tree(0)

    def state_tree(self, state: int) -> "Leaf | Branch":
        """The tree of one controller state."""
        rows = {pattern: row for (of, pattern), row in self.rows.items() if of == state}
        return _grow(rows, tuple(range(self.layout.num_registers)))

    def __str__(self) -> str:
        """The program as rules that `parse` reads, if it has one controller state; else with the states' numbers."""
        lines = []
        for state in self.states:
            for conditions, row in self.state_tree(state).leaves():
                head = " and ".join(f"r{register + 1} {'=' if zero else '>'} 0" for register, zero in conditions)
                state_head = f"state {state}: " if self.num_states > 1 else ""
                lines.append(state_head + (f"when {head}:" if head else "otherwise:"))
                lines += [f"    {statement}" for statement in self.circuits[row.circuit].statements()]
                if self.num_states > 1 and not row.stop:
                    lines.append(f"    # then state {row.next_state}")
                if row.stop:
                    lines.append("    stop")
        return "\n".join(lines) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the program as JSON: circuits in the notation; patterns with a 0 for a zero register, else +."""
        rows = [
            {"state": state, "registers": _pattern_text(pattern, self.layout.num_registers), **row._asdict()}
            for (state, pattern), row in self.rows.items()
        ]
        content = {
            "format": FORMAT,
            "task": self.task,
            "num_registers": self.layout.num_registers,
            "repetitions": self.layout.repetitions,
            "circuits": [circuit.statements() for circuit in self.circuits],
            "rows": rows,
        }
        Path(path).write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Program":
        """The program that `save` wrote. Raises ValueError if the file is not one."""
        try:
            content = json.loads(Path(path).read_text())
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}, not {FORMAT}")
            layout = Layout(content["num_registers"], content["repetitions"])
            circuits = tuple(Circuit.parse("\n".join(lines), layout) for lines in content["circuits"])
            rows = {
                (row["state"], sum((mark == "0") << r for r, mark in enumerate(row["registers"]))): Row(
                    row["circuit"], row["stop"], row["next_state"]
                )
                for row in content["rows"]
            }
            return cls(layout, circuits, rows, content["task"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a program: {error}") from error


class Leaf(NamedTuple):
    """The end of a tree: the row."""

    row: Row

    def leaves(self, conditions=()):
        yield conditions, self.row


class Branch(NamedTuple):
    """A test of one register: where to go on if it is zero, and if not."""

    register: int
    zero: "Leaf | Branch"
    nonzero: "Leaf | Branch"

    def leaves(self, conditions=()):
        """All rows in order, each with the conditions (register, whether it is zero) that lead to it."""
        yield from self.zero.leaves((*conditions, (self.register, True)))
        yield from self.nonzero.leaves((*conditions, (self.register, False)))


def _grow(rows: dict[int, Row], registers: tuple[int, ...]) -> Leaf | Branch:
    distinct = set(rows.values())
    if len(distinct) <= 1:
        return Leaf(distinct.pop())

    def halves(register: int):
        zero = {pattern: row for pattern, row in rows.items() if pattern >> register & 1}
        return zero, {pattern: row for pattern, row in rows.items() if not pattern >> register & 1}

    def cost(register: int):
        zero, nonzero = halves(register)
        return (not zero or not nonzero, len(set(zero.values())) + len(set(nonzero.values())), register)

    best = min(registers, key=cost)
    rest = tuple(register for register in registers if register != best)
    return Branch(best, *(_grow(half, rest) for half in halves(best)))


def zero_pattern(registers) -> int:
    """Bit r is set if register r is zero."""
    return sum((value == 0) << r for r, value in enumerate(registers))


def run_circuit(circuit: Circuit, registers: list[int], memory: list[int]):
    """One timestep on Python integers, `memory` changed in place: (new registers, reads, writes); see `Step`."""
    return _outcome(circuit, source_values(circuit, registers, memory))


def source_values(circuit: Circuit, registers: list[int], memory: list[int]) -> list[int | None]:
    """Every source's value in one timestep on Python integers (see `Step`); `memory` is changed in place."""
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


def _outcome(circuit: Circuit, values: list[int | None]):
    """(new registers, reads, writes) of the timestep in which a circuit's sources had these values."""
    reads, writes, first = [], [], circuit.layout.num_registers
    for index, (module, found) in enumerate(zip(circuit.layout.modules, circuit.inputs, strict=True)):
        if found and module.name == "READ":
            reads.append((values[found[0]], values[first + index]))
        elif found and module.name == "WRITE":
            writes.append((values[found[0]], values[found[1]]))
    return [values[source] for source in circuit.registers], reads, writes


def _condition(head: str, num_registers: int) -> tuple[int, int]:
    """Bit masks of the registers that a rule's head wants zero, and not zero."""
    masks = {"=": 0, ">": 0}
    if head.strip() == "otherwise":
        return 0, 0
    for part in re.sub(r"^when\s+", "", head.strip()).split(" and "):
        match = re.fullmatch(r"\s*r(\d+)\s*([=>])\s*0\s*", part)
        if not match or not 1 <= int(match[1]) <= num_registers:
            raise ValueError(f"{head!r} is no rule; write 'when r1 = 0 and r2 > 0:' or 'otherwise:'")
        masks[match[2]] |= 1 << int(match[1]) - 1
    return masks["="], masks[">"]


def _pattern_text(pattern: int, num_registers: int) -> str:
    return "".join("0" if pattern >> r & 1 else "+" for r in range(num_registers))
