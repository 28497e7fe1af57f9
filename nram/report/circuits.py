"""Pictures of programs: a circuit as in Figures 4 to 9 of the paper, an execution as in its Tables 2 to 6, entropies.

Every function returns a matplotlib Figure and shows or writes nothing: see `nram.report.curves.save` (PNG and SVG). For tapes
as heat maps see `nram.report.curves.distribution_heatmap` and `memory_over_time`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from nram.machine.circuit import Layout
from nram.program import Circuit, Step

__all__ = ["circuit", "circuits", "entropies", "execution", "fuzzy_circuit", "places", "wires"]

COLORS = sns.color_palette("colorblind")
READ_COLOR, WRITE_COLOR = COLORS[0], COLORS[3]
FAINT = 0.03  # weights below this are not drawn
HALF = 0.36  # of a box's width, in columns
SHORT = {"LESS-THAN": "<", "LESS-OR-EQUAL-THAN": "≤", "EQUALITY-TEST": "="}

Edge = tuple[int, int | None, int, float]  # source, module (None: register), position, weight


def circuit(wired: Circuit, title: str = "") -> Figure:
    """A circuit of one-hot choices without unused modules: registers left, modules in order, new registers right."""
    return circuits({title: wired})


def circuits(by_title: dict[str, Circuit]) -> Figure:
    """Several circuits, one below the other, each drawn as by `circuit`."""
    return _draw({title: (wired.layout, wires(wired.pruned())) for title, wired in by_title.items()})


def fuzzy_circuit(layout: Layout, logits: Tensor, title: str = "") -> Figure:
    """A fuzzy circuit from its packed logits [L]: a wire's width is its weight; weights below 3% are left out.

    Modules are left out that reach no register and no WRITE by wires that are drawn.
    """
    edges = []
    for slot, weights in zip(layout.slots, layout.softmax(logits), strict=True):
        for source, weight in enumerate(weights.tolist()):
            if weight >= FAINT:
                edges.append((source, slot.module, slot.position, weight))
    return _draw({title: (layout, _used(layout, edges))})


def wires(wired: Circuit) -> list[Edge]:
    """A circuit's connections: (source, module or None, number of the input or of the register, weight 1)."""
    edges = [
        (source, index, position, 1.0)
        for index, found in enumerate(wired.inputs)
        for position, source in enumerate(found or ())
    ]
    return edges + [(source, None, register, 1.0) for register, source in enumerate(wired.registers)]


def _used(layout: Layout, edges: list[Edge]) -> list[Edge]:
    """The edges that lead to a register or a WRITE."""
    used = {index for index, module in enumerate(layout.modules) if module.name == "WRITE"}
    for index in reversed(range(-1, len(layout.modules))):
        for source, module, _, _ in edges:
            if (module is None and index == -1) or (module == index and index in used):
                used.add(source - layout.num_registers)
    for index in reversed(range(len(layout.modules))):  # what modules use, last to first
        if index in used:
            used |= {source - layout.num_registers for source, module, _, _ in edges if module == index}
    return [edge for edge in edges if edge[1] is None or edge[1] in used]


def _draw(panels: dict[str, tuple[Layout, list[Edge]]]) -> Figure:
    sizes = []
    for layout, edges in panels.values():
        _, lanes = places(layout, edges)
        sizes.append(0.9 + 0.33 * (max(lanes.values(), default=0) - min(lanes.values(), default=0) + 2))
    with sns.axes_style("white"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(9.0, sum(sizes)), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=sizes)[:, 0]
    for panel, (title, (layout, edges)) in zip(axes, panels.items(), strict=True):
        _draw_circuit(panel, layout, edges)
        panel.set_title(title, fontsize=11)
    figure.supxlabel("left to right: registers, modules in the order in which they run, new registers", fontsize=8)
    return figure


def places(layout: Layout, edges: list[Edge]) -> tuple[dict[int, float], dict[int, float]]:
    """Where sources stand: column and lane by source number; new register r is number num_sources + r.

    Lanes are chosen, one module after the other and again, so that wires are short and pass beside the boxes.
    """
    num_registers, num_sources = layout.num_registers, layout.num_sources
    nodes = sorted({source for source, *_ in edges} | {num_registers + m for _, m, _, _ in edges if m is not None})
    modules = [node for node in nodes if node >= num_registers]
    column = dict.fromkeys(range(num_registers), 0.0)
    column |= {node: 1.0 + number for number, node in enumerate(modules)}
    lane = {register: -2.0 * register for register in range(num_registers)}
    for register in range(num_registers):
        column[num_sources + register] = 1.0 + len(modules)
        lane[num_sources + register] = -2.0 * register
    wires = [(source, num_sources + place if m is None else num_registers + m) for source, m, place, _ in edges]
    lowest = -2.0 * num_registers + 1
    choices = [lowest - 1 + step for step in range(2 * num_registers + 2)]
    for node in modules:
        near = [lane[source] for source, target in wires if target == node and source in lane]
        lane[node] = min(choices, key=lambda place: abs(place - (np.mean(near) if near else lowest - 1)))

    def cost() -> float:
        total = 0.0
        for source, target in wires:
            rise, run = lane[target] - lane[source], column[target] - column[source]
            total += abs(rise) * 0.25
            for node in modules:
                if column[source] < column[node] < column[target]:
                    for beside in (-HALF, 0.0, HALF):
                        share = (column[node] + beside - column[source]) / run
                        distance = abs(lane[source] + _ease(share) * rise - lane[node])
                        total += max(0.0, 0.8 - distance) * 2
        for first, second in zip(modules, modules[1:], strict=False):
            total += 0.2 * (lane[first] == lane[second] and (first, second) not in wires)
        return total

    for _ in range(3):
        for node in modules:
            costs = {}
            for place in choices:
                lane[node] = place
                costs[place] = cost()
            lane[node] = min(choices, key=costs.get)
    return column, lane


def _ease(share: float) -> float:
    """How far a wire has risen after a share of its way; a wire is a cubic curve that is level at both ends."""
    return share * share * (3 - 2 * share)


def _draw_circuit(axes, layout: Layout, edges: list[Edge]) -> None:
    num_registers, num_sources = layout.num_registers, layout.num_sources
    column, lane = places(layout, edges)
    arity = {num_registers + index: module.arity for index, module in enumerate(layout.modules)}
    for source, module, position, weight in sorted(edges, key=lambda edge: edge[3]):
        target = num_sources + position if module is None else num_registers + module
        shift = 0.0
        if module is not None and arity[target] == 2:
            shift = 0.17 - 0.34 * position
        x0, y0 = column[source] + (HALF if source >= num_registers else 0.22), lane[source]
        x1, y1 = column[target] - (HALF if module is not None else 0.25), lane[target] + shift
        reach = (x1 - x0) / 3
        curve = Path([(x0, y0), (x0 + reach, y0), (x1 - reach, y1), (x1, y1)], [1, 4, 4, 4])
        is_wire_of_write = module is not None and layout.modules[module].name == "WRITE"
        color = WRITE_COLOR if is_wire_of_write else "0.25"
        axes.add_patch(
            PathPatch(curve, fill=False, edgecolor=color, linewidth=0.3 + 1.5 * weight, alpha=0.35 + 0.65 * weight)
        )
        axes.plot([x1], [y1], marker=">", markersize=3.5, color=color, alpha=0.35 + 0.65 * weight)
    names = layout.source_names
    for node, x in column.items():
        y = lane[node]
        if node < num_registers or node >= num_sources:
            register = node if node < num_registers else node - num_sources
            text = f"r{register + 1}" + ("" if node < num_registers else "′")
            axes.text(x, y, text, ha="center", va="center", fontsize=11, fontweight="bold")
            continue
        module = layout.modules[node - num_registers].name
        name = names[node]
        label = SHORT.get(module, module) + name[len(module) :]
        face = {"READ": sns.light_palette(READ_COLOR, 8)[2], "WRITE": sns.light_palette(WRITE_COLOR, 8)[2]}.get(
            module, "0.95"
        )
        box = FancyBboxPatch((x - HALF, y - 0.32), 2 * HALF, 0.64, boxstyle="round,pad=0,rounding_size=0.12",
                             facecolor=face, edgecolor="0.2", linewidth=0.9, zorder=3)  # fmt: skip
        axes.add_patch(box)
        axes.text(x, y, label, ha="center", va="center", fontsize=8.5 if len(label) > 4 else 9.5, zorder=4)
    axes.set_xlim(-0.5, max(column.values()) + 0.5)
    axes.set_ylim(min(lane.values()) - 0.7, max(lane.values()) + 0.7)
    axes.set(xticks=[], yticks=[])
    sns.despine(ax=axes, left=True, bottom=True)


def execution(steps: Sequence[Step], title: str = "", most_steps: int = 40, most_cells: int = 40) -> Figure:
    """A run as a table (see `Program.trace`): memory and registers at the start of every timestep.

    Cells that the timestep reads have a blue frame, cells that it writes a tinted ground; what has changed since the
    row above is bold. Long runs and memories are cut at `most_steps` and `most_cells`, which the axis label then says.
    """
    steps = list(steps)
    shown = steps[:most_steps]
    num_cells, num_registers = len(steps[0].memory), len(steps[0].registers)
    columns = min(num_cells, most_cells)
    width = columns + num_registers + 0.5
    wide, high = max(5.0, min(0.34 * width + 0.8, 16.0)), 0.27 * len(shown) + 1.5  # inches
    with sns.axes_style("white"):
        figure = Figure(figsize=(wide, high))
        axes = figure.subplots()
    figure.subplots_adjust(left=0.65 / wide, right=1 - 0.15 / wide, top=1 - 0.65 / high, bottom=0.85 / high)
    size = 8.5 if width < 30 else 6.5
    for row, step in enumerate(shown):
        before = shown[row - 1] if row else step
        read, written = {pointer for pointer, _ in step.reads}, {pointer for pointer, _ in step.writes}
        values = [(x, value, before.memory[x]) for x, value in enumerate(step.memory[:columns])]
        values += [(columns + 0.5 + r, value, before.registers[r]) for r, value in enumerate(step.registers)]
        for x, value, old in values:
            cell = x if x < columns else None
            if cell in written:
                axes.add_patch(
                    Rectangle((x, row), 1, 1, facecolor=sns.light_palette(WRITE_COLOR, 8)[2], edgecolor="none")
                )
            if cell in read:
                inner = Rectangle(
                    (x + 0.07, row + 0.09), 0.86, 0.82, fill=False, edgecolor=READ_COLOR, linewidth=1.6, zorder=3
                )
                axes.add_patch(inner)
            weight = "bold" if value != old else "normal"
            color = "black" if value or value != old else "0.55"
            axes.text(
                x + 0.5, row + 0.5, str(value), ha="center", va="center", fontsize=size, fontweight=weight, color=color
            )
    rows = len(shown)
    grid = [((0, row), (columns, row)) for row in range(rows + 1)]
    grid += [((columns + 0.5, row), (width, row)) for row in range(rows + 1)]
    grid += [((x, 0), (x, rows)) for x in range(columns + 1)]
    grid += [((columns + 0.5 + r, 0), (columns + 0.5 + r, rows)) for r in range(num_registers + 1)]
    axes.add_collection(LineCollection(grid, colors="0.8", linewidths=0.5))
    every = 1 if columns <= 24 else 2
    ticks = [x + 0.5 for x in range(0, columns, every)] + [columns + 1 + r for r in range(num_registers)]
    axes.set_xticks(ticks, [str(x) for x in range(0, columns, every)] + [f"r{r + 1}" for r in range(num_registers)])
    last = ["end" if step.row is None else str(number + 1) for number, step in enumerate(shown)]
    axes.set_yticks([row + 0.5 for row in range(len(shown))], last)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=8.5)
    axes.set(xlim=(-0.05, width + 0.05), ylim=(len(shown) + 0.05, -0.05), ylabel="timestep")
    cuts = [f"the first {columns} of {num_cells} cells"] * (columns < num_cells)
    cuts += [f"the first {len(shown)} of {len(steps)} rows"] * (len(shown) < len(steps))
    axes.set_xlabel("memory cells, then registers, before each timestep" + (f" ({', '.join(cuts)})" if cuts else ""))
    axes.set_title(title, fontsize=11)
    handles = [
        Patch(facecolor="white", edgecolor=READ_COLOR, linewidth=1.6, label="read in this timestep"),
        Patch(facecolor=sns.light_palette(WRITE_COLOR, 8)[2], label="written in this timestep"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=2, fontsize=8, frameon=False)
    sns.despine(ax=axes, left=True, bottom=True)
    return figure


def entropies(frame: pd.DataFrame) -> Figure:
    """How discrete runs are: mean entropies over time (see `nram.report.fuzzy_run.History.entropy`), a panel for each `run`."""
    runs = frame["run"].unique()
    columns = min(len(runs), 2)
    rows = -(-len(runs) // columns)
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(9.0, 0.8 + 2.1 * rows), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in axes[len(runs) :]:
        panel.set_axis_off()
    for panel, run in zip(axes, runs, strict=False):
        of_run = frame[frame["run"] == run]
        sns.lineplot(of_run, x="timestep", y="bits", hue="of", style="of", markers=True, palette="colorblind", ax=panel)
        panel.set(title=run, xlabel="timestep", ylabel="", ylim=(min(-0.02, -0.03 * of_run["bits"].max()), None))
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        labels = panel.get_legend_handles_labels()
        panel.get_legend().remove()
    figure.supylabel("mean entropy (bits)", fontsize="medium")
    figure.legend(*labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure
