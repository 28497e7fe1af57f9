"""Table 1 for a terminal: as much of it as fits into the width."""

import re
from itertools import zip_longest

import pandas as pd

from nram.results.table1 import Cell, TableRow, all_reached, table1_rows

__all__ = ["terminal_table1"]


def terminal_table1(table: pd.DataFrame, width: int = 100) -> str:
    """The frame `table1` as lines of at most `width` characters: ours with a mark beside the paper's, and the count.

    Where that is too wide it leaves out the paper's columns, then ours but for their marks.
    """
    rows = table1_rows(table)
    for layout in (_beside_paper, _ours, _marks):
        lines = layout(rows)
        if max(map(len, lines)) <= width:
            break
    run = sum(row.runs is not None for row in rows)
    said = f"{len(all_reached(table))} of {len(rows)} reach the paper"
    if run < len(rows):
        said += f"; {len(rows) - run} not run"
    notes = ["✓ reaches the paper  ✗ does not", "○ the paper gives no number"]
    if any(row.beyond_paper for row in rows):
        notes.append("† beyond the paper's recipe")
    return "\n".join([*lines, "", *_packed(notes, width), "", said, ""])


def _packed(notes: list[str], width: int) -> list[str]:
    """The notes in as few lines as they fit into."""
    lines = [""]
    for note in notes:
        longer = f"{lines[-1]}  {note}".lstrip()
        lines = [*lines[:-1], longer] if len(longer) <= width else [*lines, note]
    return lines


def _beside_paper(rows: list[TableRow]) -> list[str]:
    headings = ["", "train error", "", "generalization", "", "discretization", ""]
    below = ["task", *("ours", "paper") * 3]
    cells = []
    for row in rows:
        line = [row.marked_task.replace(" ", "")]
        for cell in row.cells:
            line += [_short(cell, row), cell.paper]
        cells.append(line)
    return _aligned([headings, below, *cells], spanning=1)


def _ours(rows: list[TableRow]) -> list[str]:
    cells = [[row.marked_task.replace(" ", ""), *(_short(cell, row) for cell in row.cells)] for row in rows]
    return _aligned([["task", "train error", "generalization", "discretization"], *cells])


def _marks(rows: list[TableRow]) -> list[str]:
    cells = [[row.marked_task.replace(" ", ""), *(cell.mark for cell in row.cells if row.runs)] for row in rows]
    return _aligned([["task", "train", "general.", "discr."], *cells])


def _aligned(lines: list[list[str]], spanning: int = 0) -> list[str]:
    """Lines of cells as text with columns of one width. The first `spanning` lines may run on into empty cells."""
    widths = [max(map(len, column)) for column in zip_longest(*lines[spanning:], fillvalue="")]
    aligned = []
    for line in lines:
        text = ""
        for place, cell in enumerate(line):
            if cell:
                text = text.ljust(sum(widths[:place]) + 2 * place) + cell
        aligned.append(text)
    return aligned


def _short(cell: Cell, row: TableRow) -> str:
    """Our cell in few characters, with its mark."""
    if row.runs is None:
        return "not run" if cell.name == "train error" else ""
    text = cell.ours
    if cell.name == "train error":
        text = f"{float(text):.2g}"
    elif failed := re.match(r"first error at (\d+)", text):
        text = f"fails at {failed[1]}"
    elif tried := re.match(r"no error at the \d+ complexities tried, up to (\d+)", text):
        text = f"right up to {tried[1]}"
    elif differ := re.match(r"(\d+) of (\d+) outputs differ", text):
        share = 100 * int(differ[1]) / int(differ[2])
        text = f"{share:.1f}% differ" if share >= 0.1 else "<0.1% differ"
    return f"{cell.mark} {text}"
