"""One fuzzy timestep: the modules run in order (Eq. 1), then all registers get new values at once (Eq. 3)."""

import torch
from torch import Tensor

from nram.machine.backprop import clip_gradient, rescale
from nram.machine.circuit import Layout
from nram.machine.modules import read, write

__all__ = ["average", "initial_registers", "one_hot_memory", "timestep"]


def average(weights: Tensor, values: list[Tensor]) -> Tensor:
    """Weighted average of distributions: weights [..., n], n values [..., M] -> [..., M] (Eqs. 1 and 3)."""
    return (weights.unsqueeze(-1) * torch.stack(values, dim=-2)).sum(-2)


def timestep(layout: Layout, weights, registers: Tensor, tape: Tensor, clip: float | None = None, trace=None):
    """Run one fuzzy circuit (Eqs. 1 and 3).

    weights: one distribution [..., width] per slot of the layout (see `Layout.softmax`).
    registers [..., R, M], tape [..., M, M] -> the new registers and tape.
    clip: bound C1 on the gradients of module outputs, new registers and the written tape; None for no bound.
    trace: a list to which (module name, its inputs, its output) of every module is appended.
    """
    values = list(registers.unbind(-2))
    slots = iter(weights)
    for module in layout.modules:
        inputs = [average(next(slots), values) for _ in range(module.arity)]
        if module.name == "READ":
            output = read(tape, *inputs)
        elif module.name == "WRITE":
            tape = clip_gradient(write(tape, *inputs), clip)
            output = torch.zeros_like(values[0])
            output[..., 0] = 1
        else:
            ignored = values[0]
            output = module.fuzzy(*inputs, *[ignored] * (2 - module.arity))
        if module.rescaled:
            output = rescale(output)
        values.append(clip_gradient(output, clip))
        if trace is not None:
            trace.append((module.name, inputs, output))
    new_registers = torch.stack([rescale(average(next(slots), values)) for _ in range(layout.num_registers)], dim=-2)
    return clip_gradient(new_registers, clip), tape


def initial_registers(layout: Layout, batch_shape, num_cells: int, dtype, device=None) -> Tensor:
    """All registers the integer 0: [*batch_shape, R, M].

    Deviation: the paper does not state the first registers. In its published executions they are 0.
    """
    registers = torch.zeros(*batch_shape, layout.num_registers, num_cells, dtype=dtype, device=device)
    registers[..., 0] = 1
    return registers


def one_hot_memory(memory: Tensor, dtype) -> Tensor:
    """The tape of a memory, every cell one-hot: LongTensor[..., M] -> [..., M, M]."""
    return torch.nn.functional.one_hot(memory, memory.shape[-1]).to(dtype)
