"""One execution of a fuzzy machine, timestep by timestep, and how far its distributions are from single integers."""

from dataclasses import dataclass

import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from nram.machine.circuit import Layout
from nram.machine.stopping import stop_probs
from nram.machine.timestep import initial_registers, one_hot_memory, timestep
from nram.program import Circuit
from nram.report.style import new_figure

__all__ = ["FuzzyRun", "entropies", "run_fuzzy"]


@dataclass(frozen=True)
class FuzzyRun:
    """T timesteps of a fuzzy machine on one memory of M cells.

    registers: [T + 1, R, M], before the first timestep and after each.
    tapes: [T + 1, M, M], likewise.
    logits: [T, L], each timestep's circuit, packed.
    stop_logits: [T].
    stop_probs: [T], the probability p_t that the machine stops after each timestep.
    """

    registers: Tensor
    tapes: Tensor
    logits: Tensor
    stop_logits: Tensor
    stop_probs: Tensor
    layout: Layout

    def entropy(self) -> pd.DataFrame:
        """Mean entropies over time, in bits. Columns: timestep, of, bits.

        of: "register", "memory cell", "choice of the circuit" (all of the circuit's distributions) and "choice in use"
        (those that feed, through the likeliest sources, a register or a WRITE).
        timestep: 0 is the start. A circuit counts at the timestep that it runs.
        """
        of_slots = torch.stack([_entropy(weights) for weights in self.layout.softmax(self.logits)], dim=-1)
        used = torch.tensor([_slots_in_use(self.layout, sources) for sources in self.layout.argmax(self.logits)])
        parts = {
            "register": _entropy(self.registers).mean(-1),
            "memory cell": _entropy(self.tapes).mean(-1),
            "choice of the circuit": of_slots.mean(-1),
            "choice in use": (of_slots * used).sum(-1) / used.sum(-1),
        }
        frames = []
        for name, bits in parts.items():
            first = len(self.tapes) - len(bits)
            frames.append(pd.DataFrame({"timestep": range(first, len(self.tapes)), "of": name, "bits": bits.tolist()}))
        return pd.concat(frames, ignore_index=True)


@torch.no_grad()
def run_fuzzy(machine, memory, limit: int) -> FuzzyRun:
    """Run a `nram.Machine` for `limit` timesteps on one memory, a list or LongTensor[M], by the reference.

    The median stopping time does not end it.
    """
    layout, controller, params = machine.layout, machine.controller, machine.machines.params
    memory = torch.as_tensor(memory)
    dtype = params["output_weight"].dtype
    registers = initial_registers(layout, (1, 1), len(memory), dtype)
    tape = one_hot_memory(memory, dtype)[None, None]
    state = controller.initial_state(params, 1)
    all_registers, tapes, all_outputs = [registers], [tape], []
    for _ in range(limit):
        outputs, state = controller.step(params, registers[..., 0], state)
        registers, tape = timestep(layout, layout.softmax(outputs[..., :-1]), registers, tape)
        all_registers.append(registers)
        tapes.append(tape)
        all_outputs.append(outputs)
    outputs = torch.cat(all_outputs)[:, 0]
    logits, stop_logits = outputs[:, :-1], outputs[:, -1]
    return FuzzyRun(
        registers=torch.cat(all_registers)[:, 0],
        tapes=torch.cat(tapes)[:, 0],
        logits=logits,
        stop_logits=stop_logits,
        stop_probs=stop_probs(stop_logits, torch.tensor(limit)),
        layout=layout,
    )


def _entropy(probs: Tensor) -> Tensor:
    """Entropy in bits over the last axis."""
    return torch.special.entr(probs.clamp(min=0)).sum(-1) / torch.log(torch.tensor(2.0, dtype=probs.dtype))


def _slots_in_use(layout: Layout, sources: Tensor) -> list[bool]:
    """For each slot, whether it feeds a register or a WRITE if the circuit takes these sources."""
    found = Circuit.from_sources(layout, sources).pruned().inputs
    return [slot.module is None or found[slot.module] is not None for slot in layout.slots]


def entropies(frame: pd.DataFrame) -> Figure:
    """Mean entropies over time, a panel per run: how close fuzzy machines are to discrete ones.

    frame: `FuzzyRun.entropy` of some runs, with the column run, which names the panel.
    """
    runs = frame["run"].unique()
    columns = min(len(runs), 2)
    rows = -(-len(runs) // columns)
    figure, grid = new_figure(rows, columns, 0.8 + 2.1 * rows)
    axes = list(grid.flat)
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
