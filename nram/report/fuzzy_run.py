"""One fuzzy run, timestep by timestep: what registers, tape and circuit were, and how far they were from integers."""

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from nram.machine.circuit import Layout
from nram.machine.stopping import stop_probs
from nram.machine.timestep import initial_registers, one_hot_memory, timestep
from nram.program import Circuit

__all__ = ["History", "record"]


@dataclass(frozen=True)
class History:
    """A run of T timesteps on one memory of M cells.

    registers [T + 1, R, M], tapes [T + 1, M, M]: before the first timestep and after each. stop_logits [T].
    stop_probs [T]: the probability that the run ends after each timestep. logits [T, L]: the circuits', packed.
    """

    registers: Tensor
    tapes: Tensor
    logits: Tensor
    stop_logits: Tensor
    stop_probs: Tensor
    layout: Layout

    def entropy(self) -> pd.DataFrame:
        """Mean entropy, in bits, of a register, of a memory cell and of the circuit's distributions over time.

        Of the circuit, those distributions are also averaged apart that are in use: that feed, through the likeliest
        sources, a register or a WRITE. Columns: timestep (0 is the start; a circuit's is the one after which it has
        run), of, bits.
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


def _entropy(probs: Tensor) -> Tensor:
    """Entropy in bits over the last axis."""
    return torch.special.entr(probs).sum(-1) / torch.log(torch.tensor(2.0, dtype=probs.dtype))


def _slots_in_use(layout: Layout, sources: Tensor) -> list[bool]:
    found = Circuit.from_sources(layout, sources).pruned().inputs
    return [slot.module is None or found[slot.module] is not None for slot in layout.slots]


@torch.no_grad()
def record(machine, memory, limit: int) -> History:
    """Run a machine (`nram.Machine`) by the reference implementation on one memory, a list or LongTensor[M].

    The run goes on to the limit, wherever the median stopping time lies.
    """
    layout, controller, params = machine.layout, machine.controller, machine.machines.params
    memory = torch.as_tensor(memory)
    dtype = params["output_weight"].dtype
    registers = initial_registers(layout, (1, 1), len(memory), dtype)
    tape = one_hot_memory(memory, dtype)[None, None]
    state = controller.initial_state(params, 1)
    all_registers, tapes, logits = [registers], [tape], []
    for _ in range(limit):
        outputs, state = controller.step(params, registers[..., 0], state)
        registers, tape = timestep(layout, layout.softmax(outputs[..., :-1]), registers, tape)
        all_registers.append(registers)
        tapes.append(tape)
        logits.append(outputs)
    outputs = torch.cat(logits)[:, 0]
    return History(
        torch.cat(all_registers)[:, 0],
        torch.cat(tapes)[:, 0],
        outputs[:, :-1],
        outputs[:, -1],
        stop_probs(outputs[:, -1], torch.tensor(limit)),
        layout,
    )
