"""Circuits as in the paper's Figures 4 to 9: registers left, modules in order, new registers right.

A node is a register, a module or a new register. Its number is the source's (registers first, then modules); new
register r has the number num_sources + r.
"""

from typing import NamedTuple

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path
from torch import Tensor

from nram.machine.circuit import Layout
from nram.program import Circuit
from nram.report.style import READ_TINT, WRITE_COLOR, WRITE_TINT, new_figure

__all__ = ["Wire", "circuit", "circuits", "fuzzy_circuit", "places", "wires"]

FAINT = 0.03  # wires of a smaller weight are left out
HALF = 0.36  # half the width of a box, in columns
SHORT = {"LESS-THAN": "<", "LESS-OR-EQUAL-THAN": "≤", "EQUALITY-TEST": "="}
FACES = {"READ": READ_TINT, "WRITE": WRITE_TINT}


class Wire(NamedTuple):
    """A connection from a source to an input of a module, or to a new register (module None).

    position: the number of the module's input, or of the register.
    """

    source: int
    module: int | None
    position: int
    weight: float = 1.0

    def target(self, layout: Layout) -> int:
        """The number of the node that it leads to."""
        return layout.num_sources + self.position if self.module is None else layout.num_registers + self.module


def circuit(wired: Circuit, title: str = "") -> Figure:
    """A circuit of one-hot choices, without the modules that have no effect."""
    return circuits({title: wired})


def circuits(by_title: dict[str, Circuit]) -> Figure:
    """Several circuits, one below the other, each drawn as by `circuit`."""
    return _draw({title: (wired.layout, wires(wired.pruned())) for title, wired in by_title.items()})


def fuzzy_circuit(layout: Layout, logits: Tensor, title: str = "") -> Figure:
    """A fuzzy circuit from its packed logits [L]. A wire's width is its weight; wires below 3% are left out.

    Modules without effect are left out as well: no drawn wires lead from them to a register or a WRITE.
    """
    drawn = []
    for slot, weights in zip(layout.slots, layout.softmax(logits), strict=True):
        for source, weight in enumerate(weights.tolist()):
            if weight >= FAINT:
                drawn.append(Wire(source, slot.module, slot.position, weight))
    return _draw({title: (layout, _with_effect(layout, drawn))})


def wires(wired: Circuit) -> list[Wire]:
    """A circuit's wires, each of weight 1: those into modules first, then those into new registers."""
    into_modules = [
        Wire(source, index, position)
        for index, found in enumerate(wired.inputs)
        for position, source in enumerate(found or ())
    ]
    return into_modules + [Wire(source, None, register) for register, source in enumerate(wired.registers)]


def _with_effect(layout: Layout, drawn: list[Wire]) -> list[Wire]:
    """The wires that lead to a register or into a module in use."""
    used = {index for index, module in enumerate(layout.modules) if module.name == "WRITE"}
    used |= {wire.source - layout.num_registers for wire in drawn if wire.module is None}
    for index in reversed(range(len(layout.modules))):  # a module's inputs come from modules before it
        if index in used:
            used |= {wire.source - layout.num_registers for wire in drawn if wire.module == index}
    return [wire for wire in drawn if wire.module is None or wire.module in used]


def places(layout: Layout, drawn: list[Wire]) -> tuple[dict[int, float], dict[int, float]]:
    """Where the nodes stand: (column, lane) by the node's number.

    Registers take every second lane downwards from lane 0. Each module in turn, three times over, takes the lane that
    keeps wires short and clear of the boxes.
    """
    num_registers, num_sources = layout.num_registers, layout.num_sources
    ends = [(wire.source, wire.target(layout)) for wire in drawn]
    modules = sorted({node for pair in ends for node in pair if num_registers <= node < num_sources})
    column = dict.fromkeys(range(num_registers), 0.0)
    column |= {node: 1.0 + number for number, node in enumerate(modules)}
    lane = {register: -2.0 * register for register in range(num_registers)}
    for register in range(num_registers):
        column[num_sources + register] = 1.0 + len(modules)
        lane[num_sources + register] = -2.0 * register

    lowest = -2.0 * num_registers
    choices = [lowest + step for step in range(2 * num_registers + 2)]
    for node in modules:
        near = [lane[source] for source, target in ends if target == node and source in lane]
        wanted = np.mean(near) if near else lowest
        lane[node] = min(choices, key=lambda place: abs(place - wanted))

    for _ in range(3):
        for node in modules:
            costs = {}
            for place in choices:
                lane[node] = place
                costs[place] = _cost(ends, modules, column, lane)
            lane[node] = min(choices, key=costs.get)
    return column, lane


def _cost(ends: list[tuple[int, int]], modules: list[int], column: dict[int, float], lane: dict[int, float]) -> float:
    """How hard a drawing is to read: long wires, wires across boxes, unconnected neighbors on one lane."""
    total = 0.0
    for source, target in ends:
        rise, run = lane[target] - lane[source], column[target] - column[source]
        total += abs(rise) * 0.25
        for node in modules:
            if column[source] < column[node] < column[target]:
                for beside in (-HALF, 0.0, HALF):
                    share = (column[node] + beside - column[source]) / run
                    distance = abs(lane[source] + _ease(share) * rise - lane[node])
                    total += max(0.0, 0.8 - distance) * 2
    for first, second in zip(modules, modules[1:], strict=False):
        total += 0.2 * (lane[first] == lane[second] and (first, second) not in ends)
    return total


def _ease(share: float) -> float:
    """The part of its rise that a wire has done after a share of its way: a cubic curve, level at both ends."""
    return share * share * (3 - 2 * share)


def _draw(panels: dict[str, tuple[Layout, list[Wire]]]) -> Figure:
    """Draw circuits one below the other, by title."""
    placed = {title: places(layout, drawn) for title, (layout, drawn) in panels.items()}
    heights = []
    for _, lane in placed.values():
        heights.append(0.9 + 0.33 * (max(lane.values(), default=0) - min(lane.values(), default=0) + 2))
    figure, axes = new_figure(len(panels), 1, sum(heights), style="white", height_ratios=heights)
    for panel, (title, (layout, drawn)) in zip(axes[:, 0], panels.items(), strict=True):
        column, lane = placed[title]
        _draw_wires(panel, layout, drawn, column, lane)
        _draw_nodes(panel, layout, column, lane)
        panel.set_xlim(-0.5, max(column.values()) + 0.5)
        panel.set_ylim(min(lane.values()) - 0.7, max(lane.values()) + 0.7)
        panel.set(xticks=[], yticks=[])
        sns.despine(ax=panel, left=True, bottom=True)
        panel.set_title(title, fontsize=11)
    figure.supxlabel("left to right: registers, modules in the order in which they run, new registers", fontsize=8)
    return figure


def _draw_wires(axes, layout: Layout, drawn: list[Wire], column: dict[int, float], lane: dict[int, float]) -> None:
    """Draw the wires, the widest last. The two inputs of a module end a little above and below its middle."""
    for wire in sorted(drawn, key=lambda wire: wire.weight):
        module = None if wire.module is None else layout.modules[wire.module]
        target = wire.target(layout)
        shift = 0.17 - 0.34 * wire.position if module is not None and module.arity == 2 else 0.0
        x0, y0 = column[wire.source] + (HALF if wire.source >= layout.num_registers else 0.22), lane[wire.source]
        x1, y1 = column[target] - (HALF if module is not None else 0.25), lane[target] + shift
        reach = (x1 - x0) / 3
        curve = Path([(x0, y0), (x0 + reach, y0), (x1 - reach, y1), (x1, y1)], [1, 4, 4, 4])
        color = WRITE_COLOR if module is not None and module.name == "WRITE" else "0.25"
        alpha = 0.35 + 0.65 * wire.weight
        axes.add_patch(PathPatch(curve, fill=False, edgecolor=color, linewidth=0.3 + 1.5 * wire.weight, alpha=alpha))
        axes.plot([x1], [y1], marker=">", markersize=3.5, color=color, alpha=alpha)


def _draw_nodes(axes, layout: Layout, column: dict[int, float], lane: dict[int, float]) -> None:
    """Draw registers as names, modules as boxes."""
    first_module, num_sources = layout.num_registers, layout.num_sources
    for node, x in column.items():
        y = lane[node]
        if node < first_module or node >= num_sources:
            text = f"r{node + 1}" if node < first_module else f"r{node - num_sources + 1}′"
            axes.text(x, y, text, ha="center", va="center", fontsize=11, fontweight="bold")
            continue
        module, name = layout.modules[node - first_module].name, layout.source_names[node]
        label = SHORT.get(module, module) + name[len(module) :]
        style = {"facecolor": FACES.get(module, "0.95"), "edgecolor": "0.2", "linewidth": 0.9, "zorder": 3}
        corner, shape = (x - HALF, y - 0.32), "round,pad=0,rounding_size=0.12"
        axes.add_patch(FancyBboxPatch(corner, 2 * HALF, 0.64, boxstyle=shape, **style))
        axes.text(x, y, label, ha="center", va="center", fontsize=8.5 if len(label) > 4 else 9.5, zorder=4)
