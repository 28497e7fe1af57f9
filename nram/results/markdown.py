"""Frames as Markdown tables."""

import pandas as pd

__all__ = ["cell_text", "to_markdown"]


def to_markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table without its index; cells as in `cell_text`."""
    rows = [[str(name) for name in frame.columns], ["---"] * len(frame.columns)]
    for row in frame.itertuples(index=False):
        rows.append([cell_text(value).replace("|", "\\|").replace("\n", " ") for value in row])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def cell_text(value) -> str:
    """A value for reading: floats to four digits, a dash where there is none."""
    if pd.isna(value):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
