"""One training step: a batch for every member, its cost, its gradient, new parameters and levels (section 4.1)."""

from dataclasses import replace

import torch

from nram import kernels
from nram.machine.cost import loss_per_example
from nram.machine.run import Machines, RunOptions
from nram.training.curriculum import draw_batch, update_levels
from nram.training.optimizer import update_parameters
from nram.training.population import Population

__all__ = ["sharpened", "train_step"]

ENTROPY_HALF_LIFE = 1500.0  # batches in which the coefficient of the entropy bonus halves


def train_step(population: Population, generator: torch.Generator, sharpening: float | None = None) -> None:
    """One batch for every member: sample, run, differentiate, update parameters and curriculum.

    sharpening: the bound of `sharpened`; None: the setting's.
    """
    config, members = population.config, population.members
    sharpening = config.optimizer.sharpening if sharpening is None else sharpening
    batch, stage = draw_batch(population, generator)
    batch = batch.split(len(population))
    coefficient = entropy_coefficient(population)
    options = RunOptions(config.optimizer.activation_clip, coefficient is not None, config.optimizer.log_floor)
    machines = sharpened(population, sharpening, generator) if sharpening > 1 else population.machines
    outcome = kernels.unroll(machines, batch, options, kernel=config.kernel)
    # Summed over examples, so that C1 bounds one example's gradients; `update_parameters` takes the mean.
    loss = loss_per_example(outcome, batch.limit, coefficient, config.optimizer.loss).sum()
    gradients = torch.autograd.grad(loss, list(population.machines.params.values()))
    with torch.no_grad():
        update_parameters(members, config, torch.cat([each.flatten(1) for each in gradients], 1), generator)
        update_levels(population, batch.difficulty, stage, outcome.wrong_cells / batch.mask.sum(-1))
        members.age += 1


def entropy_coefficient(population: Population) -> torch.Tensor | None:
    """The coefficient [P] of the entropy bonus, which decays with a member's age (appendix B); None for no bonus."""
    if population.config.draws.entropy[1] == 0:
        return None
    members = population.members
    return members.entropy * 0.5 ** (members.age.to(members.theta.dtype) / ENTROPY_HALF_LIFE)


def sharpened(population: Population, bound: float, generator: torch.Generator) -> Machines:
    """The machines with their output layers multiplied by a factor, log-uniform in [1, bound], of each member.

    With the setting sharpening_error, the bound is smaller for a member with a larger moving error: a machine that
    has much to learn needs soft circuits for it.

    Deviation: the paper does not mention this. Sharpening breaks computations that rely on soft circuits, so machines
    learn to do without them. The paper's hard tasks were solved by machines that could not be discretized.
    """
    size, members = len(population), population.members
    device = members.theta.device
    exponent = torch.rand(population.config.population.size, generator=generator, device=device)[members.place]
    begins = population.config.optimizer.sharpening_error
    if begins is not None:
        exponent = exponent * (1 - members.level_error() / begins).clamp(min=0)
    factor = bound**exponent
    params = {
        name: value * factor.view(size, *(1,) * (value.ndim - 1)) if name.startswith("output_") else value
        for name, value in population.machines.params.items()
    }
    return replace(population.machines, params=params)
