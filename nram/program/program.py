"""Programs: parse, print, run, trace and save them, and make a controller that emits their circuits."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from nram.machine.circuit import Layout
from nram.machine.controller import MLP
from nram.program.execution import Step, run_circuit, step_of
from nram.program.interpreter import Code
from nram.program.python_text import to_python
from nram.program.rules import read_rules, rules_text
from nram.program.saved import from_json, to_json
from nram.program.table import Key, Table, zero_pattern
from nram.results.files import write_text

__all__ = ["Program"]


class Program(Table):
    """A table of circuits (see `nram.program.table.Table` for its fields) that runs."""

    @classmethod
    def parse(cls, text: str, layout: Layout, task: str | None = None) -> "Program":
        """The program with one controller state that the rules describe (see `nram.program.rules`).

        Raises ValueError naming the line that cannot be read. Patterns that no rule fits get no row.
        """
        return cls(layout, *read_rules(text, layout), task)

    def __str__(self) -> str:
        """The program as rules, which `parse` reads if there is one controller state."""
        return rules_text(self)

    def to_python(self) -> str:
        """The text of a Python module that defines `run(memory, limit)` and needs nothing else."""
        return to_python(self)

    @classmethod
    def load(cls, path: str | Path) -> "Program":
        """The program that `save` wrote. Raises ValueError naming the file if it is damaged."""
        try:
            table = from_json(Path(path).read_text(encoding="utf-8"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a program: {error}") from error
        return cls(table.layout, table.circuits, table.rows, table.task)

    def save(self, path: str | Path) -> None:
        """Write the program as JSON (see `nram.program.saved`)."""
        write_text(Path(path), to_json(self))

    @cached_property
    def code(self) -> Code:
        """The program as the arrays of its interpreter."""
        return Code(self.layout, self.circuits, self.rows, self.num_states)

    def run(self, memory: list[int] | np.ndarray, limit: int) -> list[int] | np.ndarray:
        """The memory left after at most `limit` timesteps: a list for a list, int64[M] for an array.

        The input stays as it is. Raises ValueError for cells outside 0..M-1, fewer than 3 cells, a limit below 1, or
        a timestep that has no row: a program of an LSTM has rows only for what it was shown.
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

    def trace(self, memory: list[int], limit: int) -> Iterator[Step]:
        """The execution on one memory: a Step per timestep, then a last one without a row, which shows the end."""
        memory, registers, state = [int(cell) for cell in memory], [0] * self.layout.num_registers, 0
        for _ in range(limit):
            row = self.rows.get((state, zero_pattern(registers)))
            if row is None:
                raise ValueError(f"the program has no row for state {state} and registers {registers}")
            circuit = self.circuits[row.circuit]
            step = step_of(row, circuit, registers, memory)
            yield step
            registers, state = [step.values[source] for source in circuit.registers], row.next_state
            if row.stop:
                break
        yield Step(tuple(registers), tuple(memory), None, (), ())

    def visited(self, memory: list[int], limit: int) -> list[Key]:
        """The (controller state, zero-pattern) of every timestep of an execution."""
        cells, registers, state, keys = list(memory), [0] * self.layout.num_registers, 0, []
        for _ in range(limit):
            keys.append((state, zero_pattern(registers)))
            row = self.rows[keys[-1]]
            registers = run_circuit(self.circuits[row.circuit], registers, cells)
            if row.stop:
                break
            state = row.next_state
        return keys

    def controller(self, strength: float = 1e4) -> tuple[MLP, dict[str, torch.Tensor]]:
        """A hand-made controller that emits these circuits: the MLP and the parameters of one member.

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
