"""A program as rules in the notation, for people to write and to read; the first rule that fits applies.

    when r1 = 0 and r3 > 0:
        READ r4; WRITE ADD READ
        stop
    otherwise:
        ADD r2 r4

`r3 > 0` says that register 3 is not zero. The statements of a rule are `stop` and those of a circuit (see
`nram.program.notation`).
"""

import re

from nram.machine.circuit import Layout
from nram.program.notation import Circuit
from nram.program.table import Key, Table
from nram.program.tree import Row

__all__ = ["read_rules", "rules_text"]


def read_rules(text: str, layout: Layout) -> tuple[tuple[Circuit, ...], dict[Key, Row]]:
    """The circuits and rows that rules describe, for one controller state; patterns that no rule fits get no row.

    Raises ValueError naming the line that cannot be read.
    """
    rules: list[tuple[str, list[str]]] = []
    for line in (line.split("#")[0].strip() for line in text.splitlines()):
        if line.endswith(":"):
            rules.append((line[:-1], []))
        elif line and not rules:
            raise ValueError(f"{line!r} comes before the first rule ('when ...:' or 'otherwise:')")
        elif line:
            rules[-1][1].extend(part.strip() for part in line.split(";"))
    circuits: list[Circuit] = []
    rows: dict[Key, Row] = {}
    for head, statements in rules:
        zero, nonzero = _condition(head, layout.num_registers)
        circuit = Circuit.parse("\n".join(part for part in statements if part != "stop"), layout)
        row = Row(len(circuits), "stop" in statements)
        circuits.append(circuit)
        for pattern in range(2**layout.num_registers):
            if pattern & zero == zero and not pattern & nonzero:
                rows.setdefault((0, pattern), row)
    return tuple(circuits), rows


def _condition(head: str, num_registers: int) -> tuple[int, int]:
    """Bit masks of the registers that must be zero, and of those that must not, by the head of a rule."""
    masks = {"=": 0, ">": 0}
    if head.strip() == "otherwise":
        return 0, 0
    for part in re.sub(r"^when\s+", "", head.strip()).split(" and "):
        match = re.fullmatch(r"\s*r(\d+)\s*([=>])\s*0\s*", part)
        if not match or not 1 <= int(match[1]) <= num_registers:
            raise ValueError(f"{head!r} is not a rule; write 'when r1 = 0 and r2 > 0:' or 'otherwise:'")
        masks[match[2]] |= 1 << int(match[1]) - 1
    return masks["="], masks[">"]


def rules_text(table: Table) -> str:
    """The rules of a table. `read_rules` reads them if there is one controller state; else they name the states."""
    several = table.num_states > 1
    lines = []
    for state in table.states:
        for conditions, row in table.state_tree(state).leaves():
            head = " and ".join(f"r{register + 1} {'=' if zero else '>'} 0" for register, zero in conditions)
            lines.append((f"state {state}: " if several else "") + (f"when {head}:" if head else "otherwise:"))
            lines += [f"    {statement}" for statement in table.circuits[row.circuit].statements()]
            if several and not row.stop:
                lines.append(f"    # then state {row.next_state}")
            if row.stop:
                lines.append("    stop")
    return "\n".join(lines) + "\n"
