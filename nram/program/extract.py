"""From a trained machine to a program (section 3.4: an MLP's circuits tabulated for all 2^R zero-patterns).

For an MLP the program is exact: the same memory as the discretized machine, for every memory of at least 3 cells and
every limit. What makes it small:
- patterns that cannot occur are left out: starting from all registers zero, the patterns that may follow each circuit
  are enumerated by `nram.program.abstract.next_patterns`, which assumes nothing about the memory and holds for M >= 3;
- modules that reach neither a register nor a cell are removed, and registers that no test and no cell depends on;
- what the zero registers of a pattern make constant or superfluous is simplified;
- circuits that do the same are one.
An LSTM's state is a vector of real numbers: its program is what it did in given runs (`from_runs`), and knows no more.
"""

import numpy as np
import torch

from nram.program.abstract import next_patterns, simplified
from nram.program.notation import Circuit
from nram.program.table import Branch, Program, Row, run_circuit, zero_pattern

__all__ = ["Recorder", "folded", "from_machine", "from_runs", "is_complete", "reachable", "small"]

MAX_REGISTERS = 20
CHUNK = 4096  # patterns at a time


@torch.no_grad()
def from_machine(machine, simplify: bool = True) -> Program:
    """The program of a machine with an MLP controller (`nram.Machine`); see above.

    simplify=False keeps every reachable pattern's own circuit, only without unused modules, and all registers.
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


class Recorder:
    """Runs a machine's discretized form on integers, one memory at a time, and keeps what it did as a program.

    The controller is asked once for every pair of a controller state and a zero-pattern; states that are equal bit by
    bit are one state. Raises ValueError, when it runs, if more than `max_states` states occur.
    """

    def __init__(self, machine, max_states: int = 1_000_000):
        self.machine, self.max_states = machine, max_states
        self.task = machine.task
        self._params = machine.machines.params
        start = machine.controller.initial_state(self._params, 1)
        self._states, self._contents = {_key(start): 0}, [start]
        self._circuits: dict[Circuit, int] = {}
        self._order: list[Circuit] = []
        self._rows: dict[tuple[int, int], Row] = {}

    def run(self, memory, limit: int):
        """As `Program.run`: the memory that is left, a list for a list, else an array."""
        cells, registers, state = [int(cell) for cell in memory], [0] * self.machine.num_registers, 0
        for _ in range(limit):
            key = (state, zero_pattern(registers))
            row = self._rows.get(key) or self._ask(*key)
            registers, _, _ = run_circuit(self._order[row.circuit], registers, cells)
            if row.stop:
                break
            state = row.next_state
        return cells if isinstance(memory, list) else np.array(cells)

    @torch.no_grad()
    def _ask(self, state: int, pattern: int) -> Row:
        machine, layout = self.machine, self.machine.layout
        zeros = torch.tensor([[[float(pattern >> r & 1) for r in range(layout.num_registers)]]])
        zeros = zeros.to(self._params["output_weight"].dtype)
        outputs, following = machine.controller.step(self._params, zeros, self._contents[state])
        circuit = Circuit.from_sources(layout, layout.argmax(outputs[0, 0, :-1])).pruned()
        number = self._circuits.setdefault(circuit, len(self._circuits))
        if number == len(self._order):
            self._order.append(circuit)
        key = _key(following)
        if key not in self._states:
            if len(self._contents) >= self.max_states:
                raise ValueError(f"more than {self.max_states} controller states")
            self._states[key] = len(self._contents)
            self._contents.append(following)
        row = self._rows[state, pattern] = Row(number, bool(outputs[0, 0, -1] >= 0), self._states[key])
        return row

    def program(self) -> Program:
        """What has been seen so far; `Program.rows` are the transitions."""
        return Program(self.machine.layout, tuple(self._order), dict(self._rows), self.task)


def from_runs(machine, memory: torch.Tensor, limit: torch.Tensor) -> Program:
    """What a machine with any controller did on examples: memory LongTensor[B, M], limit LongTensor[B].

    On other examples the program may meet a pattern that it has no row for; `run` then raises ValueError.
    See `Recorder`.
    """
    recorder = Recorder(machine)
    for cells, steps in zip(memory.tolist(), limit.tolist(), strict=True):
        recorder.run(cells, steps)
    return recorder.program()


def _key(state) -> bytes:
    return b"".join(part.numpy().tobytes() for part in state)


def reachable(program: Program) -> Program:
    """The program without the rows that cannot be reached, whatever the memory holds, for all M >= 3."""
    seen = _reach(program)
    return _renumbered(program, {key: row for key, row in program.rows.items() if key in seen})


def is_complete(program: Program) -> bool:
    """Whether the program has a row for all that it can reach, whatever the memory holds, for all M >= 3."""
    return _reach(program) <= set(program.rows)


def _reach(program: Program) -> set[tuple[int, int]]:
    """The (state, pattern) that may occur."""
    start = (0, 2**program.layout.num_registers - 1)
    seen, waiting = {start}, [start]
    while waiting:
        state, pattern = waiting.pop()
        row = program.rows.get((state, pattern))
        if row is None or row.stop:
            continue
        for new in next_patterns(program.circuits[row.circuit], pattern):
            if (row.next_state, new) not in seen:
                seen.add((row.next_state, new))
                waiting.append((row.next_state, new))
    return seen


def small(program: Program) -> Program:
    """A program that leaves the same memory, with fewer circuits, modules, registers and tests.

    Registers that neither a test nor a written cell depends on stay zero.
    """
    for _ in range(10):  # each round may free something for the next
        smaller = reachable(_merged(_without_dead_registers(_merged(program))))
        if smaller == program:
            break
        program = smaller
    return program


def folded(program: Program, max_states: int = 1000) -> Program:
    """A program of fewer controller states that does the same on all runs that the program knows.

    States are merged greedily, first seen first, wherever no row of one contradicts a row of the other, or of what
    follows from it. On other runs the result is a guess of what the LSTM would do, as good as the runs. Programs of
    more than `max_states` states are left as they are.
    """
    if program.num_states > max_states:
        return program
    leader = list(range(program.num_states))  # the state that each state has been merged into, or itself
    rows: dict[int, dict[int, Row]] = {state: {} for state in leader}
    for (state, pattern), row in program.rows.items():
        rows[state][pattern] = row

    def find(state: int, merges: dict[int, int]) -> int:
        while True:
            following = merges.get(state, leader[state])
            if following == state:
                return state
            state = following

    def try_merge(first: int, second: int) -> bool:
        merges: dict[int, int] = {}
        added: dict[int, dict[int, Row]] = {}
        waiting = [(first, second)]
        while waiting:
            a, b = (find(state, merges) for state in waiting.pop())
            if a == b:
                continue
            a, b = min(a, b), max(a, b)
            merges[b] = a
            known = {**rows[a], **added.get(a, {})}
            for pattern, row in {**rows[b], **added.get(b, {})}.items():
                other = known.get(pattern)
                if other is None:
                    added.setdefault(a, {})[pattern] = row
                elif (other.circuit, other.stop) != (row.circuit, row.stop):
                    return False
                elif not row.stop:
                    waiting.append((other.next_state, row.next_state))
        for state, target in merges.items():
            leader[state] = target
        for state, new in added.items():
            rows[find(state, {})].update(new)
        return True

    kept: list[int] = []
    for state in range(program.num_states):
        if find(state, {}) == state and not any(try_merge(earlier, state) for earlier in kept):
            kept.append(state)
    number = {state: index for index, state in enumerate(kept)}
    merged = {}
    for state in kept:
        for pattern, row in rows[state].items():
            following = 0 if row.stop else number[find(row.next_state, {})]
            merged[number[state], pattern] = row._replace(next_state=following)
    return _renumbered(program, merged)


def _merged(program: Program) -> Program:
    """Rows that do the same share one circuit; then every circuit is simplified by what its patterns have in common."""
    circuits = dict(enumerate(program.circuits))
    rows = dict(program.rows)

    def known(keys):
        patterns = [pattern for _, pattern in keys]
        zero = patterns[0]
        nonzero = ~patterns[0]
        for pattern in patterns:
            zero &= pattern
            nonzero &= ~pattern
        return zero, nonzero

    groups: dict[Row, list[tuple[int, int]]] = {}
    for key, row in rows.items():
        groups.setdefault(row, []).append(key)
    # The row of fewest patterns gives way to one that does the same on them.
    for row in sorted(groups, key=lambda row: len(groups[row])):
        meaning = simplified(circuits[row.circuit], *known(groups[row]), row.stop)
        for other in sorted(groups, key=lambda row: -len(groups[row])):
            same_way = other != row and other.stop == row.stop and (row.stop or other.next_state == row.next_state)
            if same_way and simplified(circuits[other.circuit], *known(groups[row]), row.stop) == meaning:
                groups[other] += groups.pop(row)
                break
    result, numbers = {}, {}
    for row, keys in groups.items():
        circuit = simplified(circuits[row.circuit], *known(keys), row.stop)
        for key in keys:
            result[key] = row._replace(circuit=numbers.setdefault(circuit, len(numbers)))
    return _renumbered(Program(program.layout, tuple(numbers), result, program.task), result)


def _without_dead_registers(program: Program) -> Program:
    """Registers on which neither the choice of a row nor a written cell depends keep their first value, zero."""
    layout = program.layout
    live = set().union(*(_tested(program.state_tree(state)) for state in program.states))
    while True:
        before = len(live)
        for circuit in program.circuits:
            idle = tuple(source if r in live else r for r, source in enumerate(circuit.registers))
            needed = Circuit(layout, circuit.inputs, idle).pruned()
            sources = [source for found in needed.inputs if found for source in found]
            sources += [source for r, source in enumerate(idle) if r in live]
            live.update(source for source in sources if source < layout.num_registers)
        if len(live) == before:
            break
    dead = sum(1 << r for r in range(layout.num_registers) if r not in live)
    circuits = tuple(
        Circuit(
            layout,
            circuit.inputs,
            tuple(source if r in live else r for r, source in enumerate(circuit.registers)),
        ).pruned()
        for circuit in program.circuits
    )
    rows = {(state, pattern | dead): row for (state, pattern), row in program.rows.items()}
    return _renumbered(Program(layout, circuits, rows, program.task), rows)


def _tested(tree) -> set[int]:
    if not isinstance(tree, Branch):
        return set()
    return {tree.register} | _tested(tree.zero) | _tested(tree.nonzero)


def _renumbered(program: Program, rows: dict[tuple[int, int], Row]) -> Program:
    """Only the circuits that `rows` use, equal ones once, numbered in the order of states and patterns."""
    numbers: dict[Circuit, int] = {}
    result = {}
    for key in sorted(rows, key=lambda key: (key[0], -key[1])):
        row = rows[key]
        number = numbers.setdefault(program.circuits[row.circuit], len(numbers))
        result[key] = row._replace(circuit=number, next_state=0 if row.stop else row.next_state)
    return Program(program.layout, tuple(numbers), result, program.task)
