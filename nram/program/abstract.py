"""What a circuit does to values of which little is known: enough to tell which registers can be zero.

An abstract value is 0, 1 or 2 (exactly that integer), NONZERO or UNKNOWN. Every rule holds for all M >= 3, whatever the
memory holds.
"""

from itertools import product

from nram.program.notation import Circuit

__all__ = ["NONZERO", "UNKNOWN", "abstract_output", "next_patterns", "simplified"]

NONZERO, UNKNOWN = "nonzero", "unknown"
_CONSTANTS = {"ZERO": 0, "ONE": 1, "TWO": 2, "WRITE": 0}
_SYMMETRIC = ("ADD", "EQUALITY-TEST", "MIN", "MAX")


def abstract_output(name: str, a, b, same: bool):
    """The abstract output of a module from its inputs' abstract values; `same`: both inputs have one source."""
    exact = isinstance(a, int) and isinstance(b, int)
    a_nonzero, b_nonzero = a not in (0, UNKNOWN), b not in (0, UNKNOWN)
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    if name == "INC":
        return a + 1 if a in (0, 1) else UNKNOWN  # 2 + 1 is 0 when M = 3
    if name == "DEC":
        return {0: NONZERO, 1: 0, 2: 1}.get(a, UNKNOWN)
    if name == "ADD":
        if exact and a + b <= 2:
            return a + b
        return b if a == 0 else a if b == 0 else UNKNOWN
    if name == "SUB":
        if same or exact and a >= b:
            return 0 if same else a - b
        if b == 0:
            return a
        return NONZERO if exact or (a == 0 and b_nonzero) else UNKNOWN
    if name == "LESS-THAN":
        if same or b == 0 or (b == 1 and a_nonzero):
            return 0
        return int(a < b) if exact else 1 if a == 0 and b_nonzero else UNKNOWN
    if name == "LESS-OR-EQUAL-THAN":
        if same or a == 0 or (a == 1 and b_nonzero):
            return 1
        return int(a <= b) if exact else 0 if b == 0 and a_nonzero else UNKNOWN
    if name == "EQUALITY-TEST":
        if same or exact:
            return int(same or a == b)
        return 0 if (a == 0 and b_nonzero) or (b == 0 and a_nonzero) else UNKNOWN
    if name == "MIN":
        if same or a == 0 or b == 0:
            return a if same else 0
        if exact or (1 in (a, b) and a_nonzero and b_nonzero):
            return min(a, b) if exact else 1
        return NONZERO if a_nonzero and b_nonzero else UNKNOWN
    if name == "MAX":
        if same or b == 0:
            return a
        if exact or a == 0:
            return max(a, b) if exact else b
        return NONZERO if a_nonzero or b_nonzero else UNKNOWN
    return UNKNOWN  # READ


def next_patterns(circuit: Circuit, pattern: int) -> set[int]:
    """The zero-patterns that may follow: bit r of a pattern is set if register r is zero.

    Registers with one source are zero together.
    """
    layout = circuit.layout
    values = [0 if pattern >> r & 1 else NONZERO for r in range(layout.num_registers)]
    for module, found in zip(layout.modules, circuit.inputs, strict=True):
        a, b = [values[source] for source in (found or ())] + [UNKNOWN] * (2 - len(found or ()))
        values.append(abstract_output(module.name, a, b, len(found or ()) == 2 and found[0] == found[1]))
    bits: dict[int, int] = {}  # source -> the registers it feeds
    for register, source in enumerate(circuit.registers):
        bits[source] = bits.get(source, 0) | 1 << register
    choices = [
        (0, mask) if values[source] == UNKNOWN else (mask,) if values[source] == 0 else (0,)
        for source, mask in bits.items()
    ]
    return {sum(choice) for choice in product(*choices)}


def simplified(circuit: Circuit, zero: int = 0, nonzero: int = 0, ends: bool = False) -> Circuit:
    """A circuit that does the same with fewer modules, for every M >= 3, if the registers are as said.

    zero, nonzero: bit r is set if register r is known to be zero, or not to be. ends: the machine stops after this
    timestep, so that the registers' new values do not matter.
    """
    layout = circuit.layout
    num_registers = layout.num_registers
    constant = {value: num_registers + 1 + value for value in (0, 1, 2)}  # ZERO, ONE, TWO follow READ
    known = [0 if zero >> r & 1 else NONZERO if nonzero >> r & 1 else UNKNOWN for r in range(num_registers)]
    alias = list(range(num_registers))
    first_zero = min((r for r in range(num_registers) if zero >> r & 1), default=None)
    inputs: list[tuple[int, ...] | None] = []
    seen: dict[tuple, int] = {}
    sums: dict[int, tuple[int, ...]] = {}  # what an ADD adds

    def resolve(source: int, owner: int) -> int:
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
            sums[owner] = found
        short = owner  # an earlier source of the same value
        if (module.name in ("ADD", "SUB", "MAX") and b == 0) or (module.name in ("MIN", "MAX") and same):
            short = found[0]
        elif module.name in ("ADD", "MAX") and a == 0:
            short = found[1]
        elif module.name == "SUB" and found[1] in sums.get(found[0], ()):
            short = sum(sums[found[0]]) - found[1]  # (x + y) - x
        elif module.name in ("INC", "DEC"):
            short = seen.get(("DEC" if module.name == "INC" else "INC", "undo", found), owner)
            seen.setdefault((module.name, "undo", (owner,)), found[0])
        if module.name not in ("READ", "WRITE") and short == owner:
            short = seen.setdefault((module.name, found), owner)
        alias.append(short)
    sources = range(num_registers) if ends else circuit.registers
    registers = tuple(
        register if source == register or known[source] == known[register] == 0 else resolve(source, layout.num_sources)
        for register, source in enumerate(sources)
    )
    return Circuit(layout, tuple(inputs), registers).pruned()
