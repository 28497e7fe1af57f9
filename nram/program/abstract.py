"""What a circuit does to partly known values; it tells which registers can be zero.

An abstract value is 0, 1 or 2 (exactly that integer), NONZERO or UNKNOWN. Every rule holds for all M >= 3 and every
memory.
"""

from itertools import product

from nram.program.notation import Circuit

__all__ = ["NONZERO", "UNKNOWN", "abstract_output", "next_patterns"]

NONZERO, UNKNOWN = "nonzero", "unknown"
_CONSTANTS = {"ZERO": 0, "ONE": 1, "TWO": 2, "WRITE": 0}


def abstract_output(name: str, a: int | str, b: int | str, same: bool) -> int | str:
    """The abstract output of a module for abstract inputs a and b; `same`: both come from one source."""
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
    """The zero-patterns that may follow `pattern` when the circuit runs (see `nram.program.table.zero_pattern`).

    Registers with the same source are zero together.
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
