"""Pictures of memory: an execution as in the paper's Tables 2 to 6, one case cell by cell, and tapes as heat maps."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from nram.program import Step
from nram.report.style import COLORS, READ_COLOR, WRITE_TINT, new_figure

__all__ = ["case", "distribution_heatmap", "execution", "memory_over_time"]

GAP = 0.5  # between memory and registers in an execution's table, in columns


def execution(steps: Sequence[Step], title: str = "", most_steps: int = 40, most_cells: int = 40) -> Figure:
    """An execution as a table (see `Program.trace`): memory and registers at the start of every timestep.

    A blue frame marks a cell that the timestep reads, a tinted background one that it writes. Bold values differ from
    the row above. The table shows `most_steps` timesteps and `most_cells` cells at most; its label says what it cuts.
    """
    steps = list(steps)
    shown = steps[:most_steps]
    num_cells, num_registers = len(steps[0].memory), len(steps[0].registers)
    columns = min(num_cells, most_cells)
    width = columns + GAP + num_registers
    figure, axes = _table_axes(width, len(shown))
    font_size = 8.5 if width < 30 else 6.5
    for row, step in enumerate(shown):
        _draw_row(axes, row, step, shown[max(row - 1, 0)], columns, font_size)
    _draw_grid(axes, len(shown), columns, num_registers)
    cuts = [f"the first {columns} of {num_cells} cells"] * (columns < num_cells)
    cuts += [f"the first {len(shown)} of {len(steps)} rows"] * (len(shown) < len(steps))
    _label_rows_and_columns(axes, shown, columns, num_registers)
    axes.set_xlabel("memory cells, then registers, before each timestep" + (f" ({', '.join(cuts)})" if cuts else ""))
    axes.set_title(title, fontsize=11)
    handles = [
        Patch(facecolor="white", edgecolor=READ_COLOR, linewidth=1.6, label="read in this timestep"),
        Patch(facecolor=WRITE_TINT, label="written in this timestep"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=2, fontsize=8, frameon=False)
    sns.despine(ax=axes, left=True, bottom=True)
    return figure


def _table_axes(width: float, rows: int):
    """A figure with axes that are `width` columns wide and `rows` rows high, counted from the top."""
    wide, high = max(5.0, min(0.34 * width + 0.8, 16.0)), 0.27 * rows + 1.5  # inches
    with sns.axes_style("white"):
        figure = Figure(figsize=(wide, high))
        axes = figure.subplots()
    figure.subplots_adjust(left=0.65 / wide, right=1 - 0.15 / wide, top=1 - 0.65 / high, bottom=0.85 / high)
    axes.set(xlim=(-0.05, width + 0.05), ylim=(rows + 0.05, -0.05))
    return figure, axes


def _draw_row(axes, row: int, step: Step, before: Step, columns: int, font_size: float) -> None:
    """Draw one timestep: the cells' marks and all values."""
    read, written = {pointer for pointer, _ in step.reads}, {pointer for pointer, _ in step.writes}
    cells = [(x, value, before.memory[x], x) for x, value in enumerate(step.memory[:columns])]
    registers = [(columns + GAP + r, value, before.registers[r], None) for r, value in enumerate(step.registers)]
    for x, value, old, cell in cells + registers:
        if cell in written:
            axes.add_patch(Rectangle((x, row), 1, 1, facecolor=WRITE_TINT, edgecolor="none"))
        if cell in read:
            inside, frame = (x + 0.07, row + 0.09), {"fill": False, "edgecolor": READ_COLOR, "linewidth": 1.6}
            axes.add_patch(Rectangle(inside, 0.86, 0.82, zorder=3, **frame))
        font = {
            "size": font_size,
            "weight": "bold" if value != old else "normal",
            "color": "black" if value or value != old else "0.55",
        }
        axes.text(x + 0.5, row + 0.5, str(value), ha="center", va="center", **font)


def _draw_grid(axes, rows: int, columns: int, num_registers: int) -> None:
    lines = []
    for start, count in ((0, columns), (columns + GAP, num_registers)):
        lines += [((start, row), (start + count, row)) for row in range(rows + 1)]
        lines += [((start + column, 0), (start + column, rows)) for column in range(count + 1)]
    axes.add_collection(LineCollection(lines, colors="0.8", linewidths=0.5))


def _label_rows_and_columns(axes, shown: Sequence[Step], columns: int, num_registers: int) -> None:
    """Number the timesteps down the left side, and cells and registers along the top."""
    cells = range(0, columns, 1 if columns <= 24 else 2)
    registers = range(num_registers)
    places = [cell + 0.5 for cell in cells] + [columns + GAP + register + 0.5 for register in registers]
    axes.set_xticks(places, [str(cell) for cell in cells] + [f"r{register + 1}" for register in registers])
    numbers = ["end" if step.row is None else str(number + 1) for number, step in enumerate(shown)]
    axes.set_yticks([row + 0.5 for row in range(len(shown))], numbers)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=8.5)
    axes.set_ylabel("timestep")


def case(rows: dict[str, Sequence[int]], output_cells: Sequence[bool], target: str = "target") -> Figure:
    """One case, cell by cell: named rows of M integers each. The rows after the row `target` should equal it.

    Output cells are tinted. A mark shows each output cell in which a row after the target differs from it.
    """
    names, values = list(rows), np.asarray(list(rows.values()))
    output, target_row = np.asarray(output_cells, dtype=bool), names.index(target)
    kind = np.where(output, 1, 0) * np.ones_like(values)  # 0: any cell, 1: an output cell, 2: a wrong one
    kind[target_row + 1 :][(values[target_row + 1 :] != values[target_row]) & output] = 2
    figure, ((axes,),) = new_figure(1, 1, 0.9 + 0.36 * len(names))
    colors = ["white", sns.light_palette(COLORS[9], 6)[1], COLORS[1]]
    text = np.where(kind == 2, np.char.add(values.astype(str), "!"), values.astype(str))
    font = {"size": min(10, 320 / values.shape[1]), "color": "black"}
    sns.heatmap(
        kind, vmin=0, vmax=2, cmap=ListedColormap(colors), cbar=False, annot=text, fmt="", annot_kws=font,
        linewidths=0.3, linecolor="0.6", yticklabels=names, ax=axes,
    )  # fmt: skip
    axes.tick_params(axis="y", rotation=0)
    axes.set(xlabel="cell (tinted: output cells; !: wrong)")
    return figure


def distribution_heatmap(
    panels: dict[str, object],
    row_labels: Sequence | None = None,
    row_name: str = "cell",
    column_name: str = "integer",
    column_labels: Sequence | None = None,
    height: float = 3.6,
) -> Figure:
    """Distributions side by side: panels by title, each [rows, columns] of probabilities. Every row is a distribution.

    This draws a tape (a row per cell, a column per integer), registers, module outputs and a circuit's weights.
    """
    figure, (axes,) = new_figure(1, len(panels), height, sharey=True)
    columns = max(np.shape(probs)[1] for probs in panels.values())
    columns_per_number = -(-columns * len(panels) // 30)
    for number, (panel, (title, probs)) in enumerate(zip(axes, panels.items(), strict=True)):
        values = np.asarray(probs, dtype=float)
        sns.heatmap(
            values, vmin=0, vmax=1, cmap="viridis", ax=panel, cbar=number == len(panels) - 1, linewidths=0.3,
            linecolor="0.35", cbar_kws={"label": "probability"},
            xticklabels=columns_per_number if column_labels is None else list(column_labels),
            yticklabels="auto" if row_labels is None else list(row_labels),
        )  # fmt: skip
        panel.set(title=title, xlabel=column_name, ylabel=row_name if number == 0 else "")
        panel.tick_params(axis="y", rotation=0)
        panel.tick_params(axis="x", rotation=90 if column_labels is not None else 0)
    return figure


def memory_over_time(tapes: dict[str, object], steps: dict[str, Sequence[int]] | None = None) -> Figure:
    """One example's tapes over time: panels by title, each [N, M, M].

    A row is a time, a column a cell. The number is the cell's likeliest integer, bold where it differs from the row
    above. The color is its probability; white is certain.
    steps: by title, the number of timesteps taken at each row; 0..N-1 by default.
    """
    arrays = {title: np.asarray(tape, dtype=float) for title, tape in tapes.items()}
    heights = [1.0 + 0.24 * len(tape) for tape in arrays.values()]
    figure, axes = new_figure(len(arrays), 1, sum(heights), height_ratios=heights)
    for panel, (title, tape) in zip(axes.flat, arrays.items(), strict=True):
        likeliest, certainty = tape.argmax(-1), tape.max(-1)
        changed = np.diff(likeliest, axis=0, prepend=likeliest[:1]) != 0
        sns.heatmap(
            certainty, vmin=0, vmax=1, cmap="Blues_r", ax=panel, annot=likeliest, fmt="d", annot_kws={"size": 8},
            linewidths=0.3, linecolor="0.6", cbar_kws={"label": "probability"},
            yticklabels=list(steps[title]) if steps else "auto",
        )  # fmt: skip
        for text, is_new in zip(panel.texts, changed.flat, strict=True):
            if is_new:
                text.set(fontweight="bold", fontsize=9.5)
        panel.set(title=title, xlabel="cell", ylabel="timesteps taken")
        panel.tick_params(axis="y", rotation=0)
    return figure
