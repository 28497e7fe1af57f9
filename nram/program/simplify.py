"""Smaller circuits and smaller programs that leave the same memory, for every M >= 3."""

from nram.program.abstract import NONZERO, UNKNOWN, abstract_output
from nram.program.notation import Circuit
from nram.program.program import Program
from nram.program.reach import reachable
from nram.program.table import Key
from nram.program.tree import Row

__all__ = ["simplified", "small"]

ROUNDS = 10  # one round can enable the next
_SYMMETRIC = ("ADD", "EQUALITY-TEST", "MIN", "MAX")


def small(program: Program) -> Program:
    """A program that leaves the same memory, with fewer circuits, modules, registers and tests."""
    for _ in range(ROUNDS):
        smaller = reachable(_merged(_without_dead_registers(_merged(program))))
        if smaller == program:
            break
        program = smaller
    return program


def _merged(program: Program) -> Program:
    """Rows that do the same share one circuit, simplified by what all their patterns have in common."""
    groups: dict[Row, list[Key]] = {}
    for key, row in program.rows.items():
        groups.setdefault(row, []).append(key)

    def meaning(row: Row, keys: list[Key]) -> Circuit:
        return simplified(program.circuits[row.circuit], *_in_common(keys), row.stop)

    # Replace a row by another one that does the same on its patterns; rows with the fewest patterns come first.
    for row in sorted(groups, key=lambda row: len(groups[row])):
        own = meaning(row, groups[row])
        for other in sorted(groups, key=lambda row: -len(groups[row])):
            same_way = other != row and other.stop == row.stop and (row.stop or other.next_state == row.next_state)
            if same_way and meaning(other, groups[row]) == own:
                groups[other] += groups.pop(row)
                break
    rows: dict[Key, Row] = {}
    numbers: dict[Circuit, int] = {}
    for row, keys in groups.items():
        number = numbers.setdefault(meaning(row, keys), len(numbers))
        rows |= {key: row._replace(circuit=number) for key in keys}
    return Program(program.layout, tuple(numbers), rows, program.task).with_rows(rows)


def _in_common(keys: list[Key]) -> tuple[int, int]:
    """Bit masks of the registers that are zero in all patterns, and of those that are zero in none."""
    zero = nonzero = -1
    for _, pattern in keys:
        zero &= pattern
        nonzero &= ~pattern
    return zero, nonzero


def _without_dead_registers(program: Program) -> Program:
    """The same program, but a register stays zero if neither the choice of a row nor a written cell depends on it."""
    layout = program.layout
    live = set().union(*(program.state_tree(state).tested() for state in program.states))

    def without_dead(circuit: Circuit) -> Circuit:
        registers = tuple(source if r in live else r for r, source in enumerate(circuit.registers))
        return Circuit(layout, circuit.inputs, registers).pruned()

    before = -1
    while len(live) != before:
        before = len(live)
        for circuit in program.circuits:
            needed = without_dead(circuit)
            sources = [source for found in needed.inputs if found for source in found]
            sources += [source for r, source in enumerate(circuit.registers) if r in live]
            live.update(source for source in sources if source < layout.num_registers)
    dead = sum(1 << r for r in range(layout.num_registers) if r not in live)
    circuits = tuple(without_dead(circuit) for circuit in program.circuits)
    rows = {(state, pattern | dead): row for (state, pattern), row in program.rows.items()}
    return Program(layout, circuits, rows, program.task).with_rows(rows)


def simplified(circuit: Circuit, zero: int = 0, nonzero: int = 0, ends: bool = False) -> Circuit:
    """A circuit with fewer modules that does the same if some registers are known to be zero or nonzero.

    zero, nonzero: bit masks of the registers known to be zero, and of those known to be nonzero. ends: the machine
    stops after this timestep, so the registers' new values do not matter.
    """
    layout = circuit.layout
    num_registers = layout.num_registers
    constant = {value: num_registers + 1 + value for value in (0, 1, 2)}  # ZERO, ONE, TWO follow READ
    first_zero = min((r for r in range(num_registers) if zero >> r & 1), default=None)
    # For every source: its abstract value, and the earliest source of the same value.
    known = [0 if zero >> r & 1 else NONZERO if nonzero >> r & 1 else UNKNOWN for r in range(num_registers)]
    alias = list(range(num_registers))
    inputs: list[tuple[int, ...] | None] = []
    seen: dict[tuple, int] = {}  # module and inputs -> source
    terms: dict[int, tuple[int, ...]] = {}  # an ADD -> what it adds

    def resolve(source: int, owner: int) -> int:
        """The simplest source of the same value that comes before `owner`."""
        value = known[source]
        if isinstance(value, int) and constant[value] < owner:
            return constant[value]
        if value == 0 and source < num_registers:
            return first_zero
        return alias[source]

    for index, (module, found) in enumerate(zip(layout.modules, circuit.inputs, strict=True)):
        owner = num_registers + index
        if found is None and module.arity:
            inputs.append(None)
            known.append(UNKNOWN)
            alias.append(owner)
            continue
        found = tuple(resolve(source, owner) for source in found or ())
        if module.name in _SYMMETRIC:
            found = tuple(sorted(found))
        a, b = [known[source] for source in found] + [UNKNOWN] * (2 - len(found))
        same = len(found) == 2 and found[0] == found[1]
        known.append(abstract_output(module.name, a, b, same))
        inputs.append(found)
        if module.name == "ADD":
            terms[owner] = found
        earlier = owner
        if (module.name in ("ADD", "SUB", "MAX") and b == 0) or (module.name in ("MIN", "MAX") and same):
            earlier = found[0]
        elif module.name in ("ADD", "MAX") and a == 0:
            earlier = found[1]
        elif module.name == "SUB" and found[1] in terms.get(found[0], ()):
            earlier = sum(terms[found[0]]) - found[1]  # (x + y) - x
        elif module.name in ("INC", "DEC"):
            earlier = seen.get(("DEC" if module.name == "INC" else "INC", "undo", found), owner)
            seen.setdefault((module.name, "undo", (owner,)), found[0])
        if module.name not in ("READ", "WRITE") and earlier == owner:
            earlier = seen.setdefault((module.name, found), owner)
        alias.append(earlier)
    sources = range(num_registers) if ends else circuit.registers
    registers = tuple(
        register if source == register or known[source] == known[register] == 0 else resolve(source, layout.num_sources)
        for register, source in enumerate(sources)
    )
    return Circuit(layout, tuple(inputs), registers).pruned()
