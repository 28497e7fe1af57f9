"""A variant of the machine that chooses its modules: attention over the fourteen, in every place of a circuit.

The machine uses each module once per timestep, in a fixed order. Here a circuit has Q ordered places instead, each with
two inputs and a distribution c over the modules; f_m is a module's fuzzy form:

    v   = registers and outputs of earlier places
    A_j = sum softmax(a_j) v        B_j = sum softmax(b_j) v        c_j = softmax(14 logits)
    o_j = sum_m c_{j,m} f_m(A_j, B_j)
    WRITE, in every place: M_i <- (1 - c_W A_i) M_i + c_W A_i B

A mixture of distributions is a distribution. Registers, stopping, cost and training are the machine's. `bias` is added
to the first bias of module j's logit in place j: at 0 all modules are equally likely at first; as it grows, the variant
begins as the machine of the paper.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from nram.machine.backprop import clip_gradient, rescale
from nram.machine.circuit import Layout, Slot
from nram.machine.discrete import produce_discrete
from nram.machine.modules import MODULES, constant_probs, read, write
from nram.machine.run import Machines
from nram.machine.timestep import average
from nram.model import Machine
from nram.training.population import Population

__all__ = ["AttentionLayout", "AttentionMachine", "AttentionPopulation", "attentive_timestep", "choices", "place_slots"]

READ, WRITE = (next(index for index, each in enumerate(MODULES) if each.name == name) for name in ("READ", "WRITE"))
CHOICE = 2  # the position of a place's distribution over modules, behind its two inputs


@dataclass(frozen=True)
class AttentionLayout(Layout):
    """A circuit of 14 * `repetitions` places: each has three slots, its inputs and its choice of a module.

    Source j >= R is the output of place j - R.
    """

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        slots, start = [], 0

        def add(module: int | None, position: int, width: int) -> None:
            nonlocal start
            slots.append(Slot(module, position, start, width))
            start += width

        for place in range(len(self.modules)):
            add(place, 0, self.num_registers + place)
            add(place, 1, self.num_registers + place)
            add(place, CHOICE, len(MODULES))
        for register in range(self.num_registers):
            add(None, register, self.num_sources)
        return tuple(slots)

    @cached_property
    def source_names(self) -> tuple[str, ...]:
        """r1..rR, then the places p1..pQ."""
        registers = tuple(f"r{r + 1}" for r in range(self.num_registers))
        return registers + tuple(f"p{place + 1}" for place in range(len(self.modules)))


def place_slots(layout: AttentionLayout) -> list[Slot]:
    """The slots with a choice of a module, place after place."""
    return [slot for slot in layout.slots if slot.module is not None and slot.position == CHOICE]


def attentive_timestep(layout: AttentionLayout, weights, registers: Tensor, tape: Tensor, clip: float | None = None):
    """Run one fuzzy circuit of places; arguments and result as in `nram.machine.timestep`."""
    values = list(registers.unbind(-2))
    slots = iter(weights)
    for _ in layout.modules:
        a, b = average(next(slots), values), average(next(slots), values)
        choice = next(slots)
        output = (choice.unsqueeze(-2) @ module_outputs(a, b, tape)).squeeze(-2)
        tape = clip_gradient(write(tape, choice[..., WRITE, None] * a, b), clip)
        values.append(clip_gradient(output, clip))
    new_registers = torch.stack([rescale(average(next(slots), values)) for _ in range(layout.num_registers)], dim=-2)
    return clip_gradient(new_registers, clip), tape


def module_outputs(a: Tensor, b: Tensor, tape: Tensor) -> Tensor:
    """What every module gives for the inputs a and b [..., M]: [..., 14, M]; for WRITE 0, as in the machine.

    The modules of two inputs share one matrix product (Eq. 2), which is faster than each one's own fuzzy form.
    """
    pairs = (a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2)  # P(A = i) P(B = j)
    binary = iter((pairs @ _table(a.shape[-1], a.dtype, a.device)).unflatten(-1, (-1, a.shape[-1])).unbind(-2))
    outputs = []
    for module in MODULES:
        if module.name == "READ":
            outputs.append(read(tape, a))
        elif module.name == "WRITE":
            outputs.append(constant_probs(0, a))
        else:
            outputs.append(next(binary) if module.arity == 2 else module.fuzzy(a, b))
    return rescale(torch.stack(outputs, -2))


@lru_cache(maxsize=4)
def _table(num_cells: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[m(i, j) = c] of Eq. 2 for the modules m of two inputs but WRITE: [M * M, the modules * M]."""
    cell = torch.arange(num_cells, device=device)
    results = [m.integer(cell[:, None], cell, num_cells) for m in MODULES if m.arity == 2 and m.integer]
    table = torch.nn.functional.one_hot(torch.stack(results, -1), num_cells)
    return table.view(num_cells**2, -1).to(dtype)


def discrete_attentive_timestep(layout, sources: Tensor, registers: Tensor, memory: Tensor, running: Tensor) -> Tensor:
    """Run one integer circuit of places; arguments and result as in `nram.machine.discrete.discrete_timestep`."""
    num_cells, values = memory.shape[-1], registers
    for place in range(len(layout.modules)):
        first, second, choice = sources[:, 3 * place : 3 * place + 3].unbind(1)
        a, b = values.gather(1, first[:, None])[:, 0], values.gather(1, second[:, None])[:, 0]
        held = memory.gather(1, a[:, None])[:, 0]
        outputs = [module.integer(a, b, num_cells) if module.integer else torch.zeros_like(a) for module in MODULES]
        outputs[READ] = held
        output = torch.stack(outputs, 1).gather(1, choice[:, None])
        writes = running & (choice == WRITE)
        memory.scatter_(1, a[:, None], torch.where(writes, b, held)[:, None])
        values = torch.cat([values, output], 1)
    return values.gather(1, sources[:, 3 * len(layout.modules) :])


def check_kernel(kernel: str) -> None:
    """Raise ValueError unless the kernel is the reference."""
    if kernel != "reference":
        raise ValueError(f"attention over modules runs with the kernel 'reference' alone, not with {kernel!r}")


@dataclass(frozen=True)
class AttentionMachine(Machine):
    """A trained machine of the variant. It runs in plain PyTorch: no kernel has its timestep."""

    kernel: str = "reference"

    def __post_init__(self):
        super().__post_init__()
        check_kernel(self.kernel)

    @property
    def layout(self) -> AttentionLayout:
        return AttentionLayout(self.num_registers, self.repetitions)

    @property
    def machines(self) -> Machines:
        params = {name: param.unsqueeze(0) for name, param in self.params.items()}
        return Machines(self.layout, self.controller, params, attentive_timestep)

    def discretize(self) -> "DiscreteAttention":
        """The machine with every softmax, those over modules too, replaced by a one-hot argmax (section 3.4)."""
        return DiscreteAttention(self)


@dataclass(frozen=True)
class DiscreteAttention:
    """The discretized form of a machine of the variant."""

    machine: AttentionMachine

    def run(self, memory: Tensor, limit: Tensor) -> Tensor:
        """The final memory: memory LongTensor[B, M], limit LongTensor[B] -> LongTensor[B, M]."""
        return produce_discrete(self.machine.machines, memory[None], limit[None], discrete_attentive_timestep)[0]


def choices(machine: AttentionMachine, memory: Tensor, limit: int) -> list[list[str]]:
    """The modules that a discretized machine chooses, timestep after timestep, place after place.

    memory: LongTensor[M], one example's.
    """
    chosen = []

    def recording(layout, sources, *state):
        chosen.append(
            [MODULES[index].name for index in sources[0, [3 * j + CHOICE for j in range(len(layout.modules))]]]
        )
        return discrete_attentive_timestep(layout, sources, *state)

    produce_discrete(machine.machines, memory[None, None], torch.tensor([[limit]]), recording)
    return chosen


class AttentionPopulation(Population):
    """A population of machines of the variant. bias: of module j in place j, at the start."""

    layout_type, machine_type = AttentionLayout, AttentionMachine
    own_timestep = staticmethod(attentive_timestep)

    def __init__(self, config, task, first_trial: int = 0, *, bias: float = 0.0):
        check_kernel(config.kernel)
        if config.population.rewiring:
            raise ValueError("attention over modules has no unused modules to rewire: rewiring must be 0")
        self.bias = bias
        super().__init__(config, task, first_trial)

    def fresh_parameters(self, *arguments) -> dict[str, Tensor]:
        params = super().fresh_parameters(*arguments)
        for place, slot in enumerate(place_slots(self.layout)):
            params["output_bias"][slot.start + place % len(MODULES)] += self.bias
        return params
