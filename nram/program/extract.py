"""From a trained machine to a program (section 3.4: the circuits of an MLP, tabulated for all 2^R zero-patterns).

The program of an MLP is exact: it leaves the same memory as the discretized machine, for every memory of at least 3
cells and every limit. Four things make it small:

- `reach` leaves out patterns that cannot occur;
- `Circuit.pruned` leaves out modules that reach neither a register nor a cell;
- `simplify` uses what is zero in a pattern, and drops registers that affect no test and no cell;
- circuits that do the same become one.

The state of an LSTM is a vector of real numbers. Its program tabulates some executions and covers only these.
"""

import numpy as np
import torch

from nram.program.execution import run_circuit
from nram.program.notation import Circuit
from nram.program.program import Program
from nram.program.reach import reachable
from nram.program.simplify import small
from nram.program.table import Key, zero_pattern
from nram.program.tree import Row

__all__ = ["Tabulator", "from_machine", "from_runs"]

MAX_REGISTERS = 20
CHUNK = 4096  # patterns at a time


@torch.no_grad()
def from_machine(machine, simplify: bool = True) -> Program:
    """The program of a machine (`nram.Machine`) with an MLP controller.

    simplify=False drops only unused modules: every reachable pattern keeps its own circuit, and all registers stay.
    Raises ValueError for an LSTM (see `from_runs`) or more than 20 registers.
    """
    if machine.controller_kind != "mlp":
        raise ValueError("an LSTM's circuits depend on the past: tabulate runs with from_runs(machine, memory, limit)")
    layout = machine.layout
    if layout.num_registers > MAX_REGISTERS:
        raise ValueError(f"a table of 2^{layout.num_registers} patterns is too large; at most 2^{MAX_REGISTERS}")
    params, controller = machine.machines.params, machine.controller
    dtype = params["output_weight"].dtype
    all_sources, stops = [], []
    for patterns in torch.arange(2**layout.num_registers).split(CHUNK):
        zeros = (patterns[:, None] >> torch.arange(layout.num_registers) & 1).to(dtype)
        outputs, _ = controller.step(params, zeros[None], ())
        all_sources.append(layout.argmax(outputs[0, :, :-1]).to(torch.int16).numpy())
        stops.append((outputs[0, :, -1] >= 0).numpy())
    distinct, number = np.unique(np.concatenate(all_sources), axis=0, return_inverse=True)
    stop = np.concatenate(stops)
    circuits = [Circuit.from_sources(layout, sources).pruned() for sources in distinct]
    rows = {(0, pattern): Row(int(circuit), bool(stop[pattern])) for pattern, circuit in enumerate(number.reshape(-1))}
    program = reachable(Program(layout, tuple(circuits), rows, machine.task))
    return small(program) if simplify else program


def from_runs(machine, memory: torch.Tensor, limit: torch.Tensor) -> Program:
    """The program of what any machine does on examples: memory LongTensor[B, M], limit LongTensor[B].

    On other examples the program may meet a pattern without a row; `run` then raises ValueError. See `Tabulator`.
    """
    tabulator = Tabulator(machine)
    for cells, steps in zip(memory.tolist(), limit.tolist(), strict=True):
        tabulator.run(cells, steps)
    return tabulator.program()


class Tabulator:
    """Runs the discretized form of a machine on integers, one memory at a time, and tabulates what it did.

    The controller runs once for every pair of a controller state and a zero-pattern; states with the same bits are one
    state. A run raises ValueError if more than `max_states` states occur.
    """

    def __init__(self, machine, max_states: int = 1_000_000):
        self.machine, self.max_states = machine, max_states
        self.task = machine.task
        self._params = machine.machines.params
        start = machine.controller.initial_state(self._params, 1)
        self._numbers, self._states = {_bits(start): 0}, [start]
        self._circuits: list[Circuit] = []
        self._circuit_numbers: dict[Circuit, int] = {}
        self._rows: dict[Key, Row] = {}

    def run(self, memory: list[int] | np.ndarray, limit: int) -> list[int] | np.ndarray:
        """Return the memory left, as `Program.run` does: a list for a list, else an array."""
        cells, registers, state = [int(cell) for cell in memory], [0] * self.machine.num_registers, 0
        for _ in range(limit):
            key = (state, zero_pattern(registers))
            if key not in self._rows:
                self._rows[key] = self._ask(*key)
            row = self._rows[key]
            registers = run_circuit(self._circuits[row.circuit], registers, cells)
            if row.stop:
                break
            state = row.next_state
        return cells if isinstance(memory, list) else np.array(cells)

    @torch.no_grad()
    def _ask(self, state: int, pattern: int) -> Row:
        """What the controller says in one of its states, seeing one pattern."""
        layout = self.machine.layout
        zeros = torch.tensor([[[float(pattern >> r & 1) for r in range(layout.num_registers)]]])
        zeros = zeros.to(self._params["output_weight"].dtype)
        outputs, following = self.machine.controller.step(self._params, zeros, self._states[state])
        circuit = Circuit.from_sources(layout, layout.argmax(outputs[0, 0, :-1])).pruned()
        number = self._circuit_numbers.setdefault(circuit, len(self._circuits))
        if number == len(self._circuits):
            self._circuits.append(circuit)
        return Row(number, bool(outputs[0, 0, -1] >= 0), self._number(following))

    def _number(self, state) -> int:
        """The number of a controller state; a state that has not occurred yet gets a new one."""
        bits = _bits(state)
        if bits not in self._numbers:
            if len(self._states) >= self.max_states:
                raise ValueError(f"more than {self.max_states} controller states")
            self._numbers[bits] = len(self._states)
            self._states.append(state)
        return self._numbers[bits]

    def program(self) -> Program:
        """What has occurred so far, as a program of many controller states."""
        return Program(self.machine.layout, tuple(self._circuits), dict(self._rows), self.task)


def _bits(state) -> bytes:
    return b"".join(part.numpy().tobytes() for part in state)
