"""What all figures share: width, colors, the look of the axes, and the files they are saved to.

Figures are matplotlib's, drawn by seaborn in its palette for color-blind readers. Every drawing function returns a
Figure and neither shows nor writes it; `save` writes it.
"""

from pathlib import Path

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from nram.results.files import named

__all__ = ["COLORS", "READ_COLOR", "READ_TINT", "WIDTH", "WRITE_COLOR", "WRITE_TINT", "new_figure", "save", "save_svg"]

WIDTH = 9.0  # inches: a notebook's column
COLORS = sns.color_palette("colorblind")
READ_COLOR, WRITE_COLOR = COLORS[0], COLORS[3]
READ_TINT, WRITE_TINT = (sns.light_palette(color, 8)[2] for color in (READ_COLOR, WRITE_COLOR))


def new_figure(
    rows: int, columns: int, height: float, style: str = "whitegrid", **options
) -> tuple[Figure, np.ndarray]:
    """A figure of notebook width and `height` inches, with its axes [rows, columns].

    style: one of seaborn's. options: for `Figure.subplots`.
    """
    with sns.axes_style(style), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write a figure as `folder`/`name`.png and .svg, and return both paths. Creates the folder if it is missing."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{extension}" for extension in ("png", "svg")]
    with named(paths[0]):
        figure.savefig(paths[0], dpi=150)
    save_svg(figure, paths[1])
    return paths


def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure as SVG: the same bytes for the same figure."""
    with named(path), matplotlib.rc_context({"svg.hashsalt": "nram"}):  # names within the file; random ones by default
        figure.savefig(path, dpi=150, metadata={"Date": None})
