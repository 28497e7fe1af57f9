"""Whole runs of P machines, each on its batch: differentiable for training, or the produced memory alone.

Axes: P population, B batch, T timesteps, R registers, Q modules, M memory cells = integer range, L circuit logits.
In each timestep the controller reads P(r_i = 0) of every register and emits a circuit, which then runs (section 3).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nram.machine.circuit import Layout, circuit_entropy
from nram.machine.controller import LSTM, MLP
from nram.machine.stopping import median_stop
from nram.machine.timestep import initial_registers, one_hot_memory, timestep
from nram.tasks import Batch

__all__ = ["Machines", "Outcome", "RunOptions", "produce", "unroll"]


@dataclass(frozen=True)
class Machines:
    """P machines of one shape.

    params: the controllers' parameters by name, each with a leading axis P (see `nram.machine.controller`).
    own_timestep: that of a variant of the machine, in plain PyTorch; None for `nram.machine.timestep`.
    """

    layout: Layout
    controller: MLP | LSTM
    params: dict[str, Tensor]
    own_timestep: Callable | None = None


@dataclass(frozen=True)
class RunOptions:
    """How a run is differentiated and what it measures.

    clip: bound C1 on the gradients of the activations (appendix B); None for no bound.
    want_entropy: whether the outcome holds the entropy of the circuits.
    log_floor: logarithms are taken of max(x, log_floor).
    """

    clip: float | None = None
    want_entropy: bool = False
    log_floor: float = 1e-6


DEFAULTS = RunOptions()


class Outcome(NamedTuple):
    """What a run of every machine on its batch gives to a training step.

    log_likelihood: [T, P, B], sum over the output cells i of log max(Mem^(t)[i, y_i], log_floor); 0 from `limit` on.
    stop_logits: [T, P, B], before the sigmoid; meaningless from `limit` on.
    entropy: [T, P, B], summed over all distributions of the circuit, in nats; 0 from `limit` on; or None.
    wrong_cells: LongTensor[P, B], output cells of the produced memory whose argmax differs from the target.
    stop_step: LongTensor[P, B], the timestep (from 0) after which the memory is the produced one.
    """

    log_likelihood: Tensor
    stop_logits: Tensor
    entropy: Tensor | None
    wrong_cells: Tensor
    stop_step: Tensor


def unroll(machines: Machines, batch: Batch, options: RunOptions = DEFAULTS) -> Outcome:
    """Run every machine on its examples for T = max(limit) timesteps; differentiable with respect to the parameters.

    batch: memory, target LongTensor[P, B, M]; mask BoolTensor[P, B, M]; limit LongTensor[P, B] (see `Batch.split`).
    """
    layout, controller, params = machines.layout, machines.controller, machines.params
    step = machines.own_timestep or timestep
    memory, target, mask, limit, _ = batch
    dtype = params["output_weight"].dtype
    registers = initial_registers(layout, limit.shape, memory.shape[-1], dtype, memory.device)
    tape = one_hot_memory(memory, dtype)
    state = controller.initial_state(params, limit.shape[1])
    likelihoods, stops, entropies, wrongs = [], [], [], []
    for t in range(int(limit.max())):
        running = t < limit
        outputs, state = controller.step(params, registers[..., 0], state, options.clip)
        weights = layout.softmax(outputs[..., :-1])
        registers, tape = step(layout, weights, registers, tape, options.clip)
        at_target = tape.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        log_probs = at_target.clamp(min=options.log_floor).log().masked_fill(~mask, 0)
        likelihoods.append(log_probs.sum(-1).masked_fill(~running, 0))
        stops.append(outputs[..., -1])
        if options.want_entropy:
            entropies.append(circuit_entropy(layout, outputs[..., :-1]).masked_fill(~running, 0))
        wrongs.append(((tape.argmax(-1) != target) & mask).sum(-1))
    stop_logits = torch.stack(stops)
    stop_step = median_stop(stop_logits.detach(), limit)
    return Outcome(
        torch.stack(likelihoods),
        stop_logits,
        torch.stack(entropies) if options.want_entropy else None,
        torch.stack(wrongs).gather(0, stop_step.unsqueeze(0)).squeeze(0),
        stop_step,
    )


@torch.no_grad()
def produce(machines: Machines, memory: Tensor, limit: Tensor) -> Tensor:
    """The produced memory: memory LongTensor[P, B, M], limit LongTensor[P, B] -> LongTensor[P, B, M].

    Every cell's argmax at the median stopping time, the first t with p_0 + ... + p_t >= 1/2 (see `median_stop`).
    """
    layout, controller, params = machines.layout, machines.controller, machines.params
    step = machines.own_timestep or timestep
    dtype = params["output_weight"].dtype
    registers = initial_registers(layout, limit.shape, memory.shape[-1], dtype, memory.device)
    tape = one_hot_memory(memory, dtype)
    state = controller.initial_state(params, limit.shape[1])
    produced = memory.clone()
    log_alive = torch.zeros(limit.shape, dtype=dtype, device=memory.device)
    stopped = torch.zeros(limit.shape, dtype=torch.bool, device=memory.device)
    for t in range(int(limit.max())):
        outputs, state = controller.step(params, registers[..., 0], state)
        registers, tape = step(layout, layout.softmax(outputs[..., :-1]), registers, tape)
        log_alive = log_alive + torch.nn.functional.logsigmoid(-outputs[..., -1])
        stops_now = ~stopped & ((log_alive.exp() <= 0.5) | (t == limit - 1))
        produced = torch.where(stops_now.unsqueeze(-1), tape.argmax(-1), produced)
        stopped |= stops_now
        if stopped.all():
            break
    return produced
