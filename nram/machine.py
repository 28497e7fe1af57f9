"""The Neural Random-Access Machine in plain PyTorch: the definition that everything faster is tested against.

Axes: P population, B batch, T timesteps, R registers, Q modules, M memory cells = integer range, L circuit logits.
One timestep: the controller reads P(r_i = 0) of every register and emits a circuit; the circuit's modules run in order;
all registers are overwritten at once (section 3; Eqs. 1 to 3).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nram.circuit import Layout
from nram.controller import LSTM, MLP, clip_gradient
from nram.modules import read, write

__all__ = [
    "Outcome",
    "initial_registers",
    "log_stop_probs",
    "median_stop",
    "one_hot_memory",
    "produce",
    "stop_probs",
    "timestep",
    "unroll",
]


class Outcome(NamedTuple):
    """What a training step needs of a run of every machine on its batch.

    log_likelihood: [T, P, B], sum over the output cells i of log max(Mem^(t)[i, y_i], log_floor); 0 from `limit` on.
    stop_logits: [T, P, B], before the sigmoid; meaningless from `limit` on.
    entropy: [T, P, B], summed over all distributions of the circuit, in nats; 0 from `limit` on; None if not wanted.
    wrong_cells: LongTensor[P, B], output cells of the produced memory whose argmax differs from the target.
    stop_step: LongTensor[P, B], the timestep (from 0) after which the memory is the produced one.
    """

    log_likelihood: Tensor
    stop_logits: Tensor
    entropy: Tensor | None
    wrong_cells: Tensor
    stop_step: Tensor


class _Rescale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, probs):
        return probs / probs.sum(-1, keepdim=True)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def rescale(probs: Tensor) -> Tensor:
    """probs [..., M] divided by their sum; the identity in backprop (appendix B, distribution constraints)."""
    return _Rescale.apply(probs)


def average(weights: Tensor, values: list[Tensor]) -> Tensor:
    """Weighted average of distributions: weights [..., n], n values [..., M] -> [..., M] (Eqs. 1 and 3)."""
    return (weights.unsqueeze(-1) * torch.stack(values, dim=-2)).sum(-2)


def timestep(layout: Layout, weights, registers: Tensor, memory: Tensor, clip: float | None = None, trace=None):
    """Run one fuzzy circuit.

    weights: one [..., width] tensor per slot of the layout, each a distribution (see `Layout.softmax`).
    registers [..., R, M], memory [..., M, M] -> the new registers and memory.
    clip: bound on the gradient of every module output, new register and written memory; None for no bound.
    trace: if a list, (module name, its inputs, its output) of every module is appended to it.
    """
    values = list(registers.unbind(-2))
    slots = iter(weights)
    for module in layout.modules:
        inputs = [average(next(slots), values) for _ in range(module.arity)]
        if module.name == "READ":
            output = read(memory, *inputs)
        elif module.name == "WRITE":
            memory = clip_gradient(write(memory, *inputs), clip)
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
    return clip_gradient(new_registers, clip), memory


def initial_registers(layout: Layout, batch_shape, num_cells: int, dtype, device=None) -> Tensor:
    """All registers the integer 0: [*batch_shape, R, M]."""
    registers = torch.zeros(*batch_shape, layout.num_registers, num_cells, dtype=dtype, device=device)
    registers[..., 0] = 1
    return registers


def one_hot_memory(memory_ints: Tensor, dtype) -> Tensor:
    """LongTensor[..., M] of integers below M -> the tape [..., M, M]."""
    return torch.nn.functional.one_hot(memory_ints, memory_ints.shape[-1]).to(dtype)


def stop_probs(stop_logits: Tensor, limit: Tensor) -> Tensor:
    """p_t = f_t * prod_{i<t} (1 - f_i): stop_logits [T, ...], limit [...] -> [T, ...].

    The machine is forced to stop after its `limit`-th timestep; p is 0 from then on.
    """
    steps, log_alive = _steps(stop_logits, limit), _log_alive(stop_logits)
    probs = torch.where(steps == limit - 1, log_alive.exp(), (log_alive.exp() * stop_logits.sigmoid()))
    return probs.masked_fill(steps >= limit, 0)


def log_stop_probs(stop_logits: Tensor, limit: Tensor) -> Tensor:
    """The logarithms of `stop_probs`, without its underflow: stop_logits [T, ...], limit [...] -> [T, ...]."""
    steps, log_alive = _steps(stop_logits, limit), _log_alive(stop_logits)
    log_probs = torch.where(steps == limit - 1, log_alive, log_alive + torch.nn.functional.logsigmoid(stop_logits))
    return log_probs.masked_fill(steps >= limit, -torch.inf)


def _steps(stop_logits: Tensor, limit: Tensor) -> Tensor:
    return torch.arange(stop_logits.shape[0], device=limit.device).view(-1, *[1] * limit.dim())


def _log_alive(stop_logits: Tensor) -> Tensor:
    """log prod_{i<t} (1 - f_i), that the machine has not stopped before timestep t."""
    log_go_on = torch.nn.functional.logsigmoid(-stop_logits)
    return torch.cat([torch.zeros_like(log_go_on[:1]), log_go_on[:-1].cumsum(0)])


def median_stop(stop_logits: Tensor, limit: Tensor) -> Tensor:
    """The first timestep t, from 0, with p_0 + ... + p_t >= 1/2: stop_logits [T, ...], limit [...] -> [...], long."""
    alive = torch.nn.functional.logsigmoid(-stop_logits).cumsum(0).exp()  # after timestep t: 1 - (p_0 + ... + p_t)
    return torch.minimum((alive > 0.5).sum(0), limit - 1)


def circuit_entropy(layout: Layout, packed_logits: Tensor) -> Tensor:
    """Sum of the entropies of a circuit's distributions, in nats: packed_logits [..., L] -> [...]."""
    log_weights = [logits.log_softmax(-1) for logits in layout.split(packed_logits)]
    return -sum((each.exp() * each).sum(-1) for each in log_weights)


def unroll(
    layout: Layout,
    controller: MLP | LSTM,
    params: dict[str, Tensor],
    memory: Tensor,
    target: Tensor,
    mask: Tensor,
    limit: Tensor,
    *,
    clip: float | None = None,
    want_entropy: bool = False,
    log_floor: float = 1e-6,
) -> Outcome:
    """Run every machine on its batch for T = max(limit) timesteps; differentiable with respect to `params`.

    memory, target LongTensor[P, B, M]; mask BoolTensor[P, B, M] of the output cells; limit LongTensor[P, B].
    clip: bound C1 on the activations' gradients. log_floor: logarithms are taken of max(x, log_floor).
    """
    population, batch, num_cells = memory.shape
    dtype = params["output_weight"].dtype
    registers = initial_registers(layout, (population, batch), num_cells, dtype, memory.device)
    tape = one_hot_memory(memory, dtype)
    state = controller.initial_state(params, batch)
    likelihoods, stops, entropies, wrongs = [], [], [], []
    for t in range(int(limit.max())):
        running = t < limit
        outputs, state = controller.step(params, registers[..., 0], state, clip)
        weights = layout.softmax(outputs[..., :-1])
        registers, tape = timestep(layout, weights, registers, tape, clip)
        at_target = tape.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        log_probs = at_target.clamp(min=log_floor).log().masked_fill(~mask, 0)
        likelihoods.append(log_probs.sum(-1).masked_fill(~running, 0))
        stops.append(outputs[..., -1])
        if want_entropy:
            entropies.append(circuit_entropy(layout, outputs[..., :-1]).masked_fill(~running, 0))
        wrongs.append(((tape.argmax(-1) != target) & mask).sum(-1))
    stop_logits = torch.stack(stops)
    stop_step = median_stop(stop_logits.detach(), limit)
    return Outcome(
        torch.stack(likelihoods),
        stop_logits,
        torch.stack(entropies) if want_entropy else None,
        torch.stack(wrongs).gather(0, stop_step.unsqueeze(0)).squeeze(0),
        stop_step,
    )


@torch.no_grad()
def produce(layout: Layout, controller: MLP | LSTM, params: dict[str, Tensor], memory: Tensor, limit: Tensor) -> Tensor:
    """The produced memory: memory LongTensor[P, B, M], limit LongTensor[P, B] -> LongTensor[P, B, M].

    It is the argmax of every cell at the median stopping time, the first t at which p_0 + ... + p_t >= 1/2.
    """
    population, batch, num_cells = memory.shape
    dtype = params["output_weight"].dtype
    registers = initial_registers(layout, (population, batch), num_cells, dtype, memory.device)
    tape = one_hot_memory(memory, dtype)
    state = controller.initial_state(params, batch)
    produced = memory.clone()
    alive = torch.zeros(population, batch, dtype=dtype, device=memory.device)  # log prod (1 - f)
    stopped = torch.zeros(population, batch, dtype=torch.bool, device=memory.device)
    for t in range(int(limit.max())):
        outputs, state = controller.step(params, registers[..., 0], state)
        registers, tape = timestep(layout, layout.softmax(outputs[..., :-1]), registers, tape)
        alive = alive + torch.nn.functional.logsigmoid(-outputs[..., -1])
        stops_now = ~stopped & ((alive.exp() <= 0.5) | (t == limit - 1))
        produced = torch.where(stops_now.unsqueeze(-1), tape.argmax(-1), produced)
        stopped |= stops_now
        if stopped.all():
            break
    return produced
