"""The discretized machine: every softmax is one-hot, so registers and cells are integers (section 3.4).

The controller still computes in floating point, but it sees only zeros and ones.
Deviation: the decision to stop, in effect a softmax of two, is discretized as well: the machine stops at the first
timestep with f_t >= 1/2, or at its limit.
"""

import torch
from torch import Tensor

from nram.machine.circuit import Layout
from nram.machine.run import Machines

__all__ = ["discrete_timestep", "produce_discrete"]


def discrete_timestep(layout: Layout, sources: Tensor, registers: Tensor, memory: Tensor, running: Tensor, trace=None):
    """Run one integer circuit per example; WRITE changes `memory` in place, only where `running`.

    sources LongTensor[N, slots] (see `Layout.argmax`), registers LongTensor[N, R], memory LongTensor[N, M],
    running BoolTensor[N] -> the new registers [N, R]. trace: a list to which (module name, inputs, output) is appended.
    """
    num_cells = memory.shape[-1]
    values = torch.empty(len(registers), layout.num_sources, dtype=torch.long, device=memory.device)
    values[:, : layout.num_registers] = registers
    slot = 0
    for index, module in enumerate(layout.modules):
        inputs = [values.gather(1, sources[:, slot + k, None]).squeeze(1) for k in range(module.arity)]
        slot += module.arity
        if module.name == "READ":
            output = memory.gather(1, inputs[0][:, None]).squeeze(1)
        elif module.name == "WRITE":
            pointer, value = inputs
            kept = memory.gather(1, pointer[:, None]).squeeze(1)
            memory.scatter_(1, pointer[:, None], torch.where(running, value, kept)[:, None])
            output = torch.zeros_like(pointer)
        else:
            ignored = registers[:, 0]
            output = module.integer(*inputs, *[ignored] * (2 - module.arity), num_cells)
        values[:, layout.num_registers + index] = output
        if trace is not None:
            trace.append((module.name, inputs, output))
    return values.gather(1, sources[:, slot:])


@torch.no_grad()
def produce_discrete(machines: Machines, memory: Tensor, limit: Tensor, timestep=discrete_timestep) -> Tensor:
    """The memory that discretized machines leave: memory LongTensor[P, B, M], limit LongTensor[P, B] -> [P, B, M].

    timestep: what an integer circuit does; variants of the machine have another.
    """
    layout, controller, params = machines.layout, machines.controller, machines.params
    population, batch, num_cells = memory.shape
    memory, limit = memory.reshape(-1, num_cells).clone(), limit.reshape(-1)
    registers = memory.new_zeros(len(memory), layout.num_registers)
    state = controller.initial_state(params, batch)
    running = torch.ones(len(memory), dtype=torch.bool, device=memory.device)
    for t in range(int(limit.max())):
        zeros = (registers == 0).to(params["output_weight"].dtype)
        outputs, state = controller.step(params, zeros.view(population, batch, -1), state)
        outputs = outputs.flatten(0, 1)
        registers = timestep(layout, layout.argmax(outputs[:, :-1]), registers, memory, running)
        running &= (outputs[:, -1] < 0) & (t < limit - 1)
        if not running.any():
            break
    return memory.view(population, batch, num_cells)
