"""A program as JSON: circuits in the notation; a zero-pattern as one mark per register, 0 if it is zero, else +."""

import json

from nram.machine.circuit import Layout
from nram.program.notation import Circuit
from nram.program.table import Table
from nram.program.tree import Row

__all__ = ["from_json", "to_json"]

FORMAT = 1


def to_json(table: Table) -> str:
    """The text of the file."""
    rows = [
        {"state": state, "registers": _marks(pattern, table.layout.num_registers), **row._asdict()}
        for (state, pattern), row in table.rows.items()
    ]
    content = {
        "format": FORMAT,
        "task": table.task,
        "num_registers": table.layout.num_registers,
        "repetitions": table.layout.repetitions,
        "circuits": [circuit.statements() for circuit in table.circuits],
        "rows": rows,
    }
    return json.dumps(content, indent=1) + "\n"


def from_json(text: str) -> Table:
    """The table that `to_json` wrote. Raises ValueError, KeyError or TypeError for any other text."""
    content = json.loads(text)
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']}, not {FORMAT}")
    layout = Layout(content["num_registers"], content["repetitions"])
    circuits = tuple(Circuit.parse("\n".join(lines), layout) for lines in content["circuits"])
    rows = {
        (row["state"], _pattern(row["registers"])): Row(row["circuit"], row["stop"], row["next_state"])
        for row in content["rows"]
    }
    return Table(layout, circuits, rows, content["task"])


def _marks(pattern: int, num_registers: int) -> str:
    return "".join("0" if pattern >> r & 1 else "+" for r in range(num_registers))


def _pattern(marks: str) -> int:
    return sum((mark == "0") << r for r, mark in enumerate(marks))
