"""Rewiring: the modules that a copy or a graduate does not use draw new sources, and each input prefers one.

What is missing is often a module of which both inputs, and what follows from it, must be right at once. Where every
weight is about 1 / 45 its output says nothing, so nothing has a gradient. With preferred sources the output of such a
module is a value, now and then the right one, and the first register or module that takes it up is better for it.
Modules in use keep their sources, so a copy does at first what its parent does.
Deviation: the paper's seeds are independent and begin with nearly uniform circuits.
"""

import torch

from nram.machine.controller import init_member
from nram.program import from_runs
from nram.training.population import Population

__all__ = ["rewire", "used_modules"]

CASES = 12  # examples that tell which modules are in use
ELSEWHERE = 0.2  # share of inputs that may prefer any source; the others prefer one in use


@torch.no_grad()
def rewire(population: Population, member: int) -> None:
    """Draw the inputs anew of all modules that a member does not use.

    In a fresh machine's logits, one source of each input is preferred by the member's strength, uniform up to the
    setting `rewiring`.
    """
    bound = population.config.population.rewiring
    if not bound:
        return
    layout, params = population.layout, population.machines.params
    generator = torch.Generator().manual_seed(population.seed_of(member))
    used = used_modules(population, member)
    outputs = [module for module in sorted(used) if layout.modules[module].name != "WRITE"]
    in_use = [*range(layout.num_registers), *(layout.num_registers + module for module in outputs)]
    strength = bound * torch.rand((), generator=generator).item()
    fresh = init_member(population.controller, generator)
    for slot in layout.slots:
        if slot.module is None or slot.module in used:
            continue
        sources = [source for source in in_use if source < slot.width]
        if torch.rand((), generator=generator) < ELSEWHERE:
            sources = range(slot.width)
        preferred = sources[int(torch.randint(len(sources), (), generator=generator))]
        fresh["output_bias"][slot.start + preferred] += strength
        logits = slice(slot.start, slot.start + slot.width)
        for name in ("output_weight", "output_bias"):
            params[name][member][..., logits] = fresh[name][..., logits].to(params[name].device)


def used_modules(population: Population, member: int) -> set[int]:
    """The indices of the modules that reach a register or a cell when a discretized member runs at its level."""
    members, generator = population.members, torch.Generator().manual_seed(population.seed_of(member))
    stage = population.stages[int(members.lesson[member])]
    difficulty = members.level[member].cpu().expand(CASES)
    cases = stage.sample(difficulty, stage.smallest_memory(int(difficulty[0])), generator)
    circuits = from_runs(population.machine(member), cases.memory, cases.limit).circuits
    return {index for circuit in circuits for index, inputs in enumerate(circuit.inputs) if inputs is not None}
