"""Polishing: one machine continues training alone, to make it sharp."""

from collections.abc import Callable
from dataclasses import asdict

import torch

from nram import kernels, tasks
from nram.model import Machine
from nram.training.checkpoint import Checkpoint
from nram.training.config import TrainConfig, task_of
from nram.training.population import Population
from nram.training.saved_loop import SavedLoop
from nram.training.step import train_step
from nram.training.verification import Verification, verify

__all__ = ["polish"]

LEARNING_RATE = 0.02  # of Adam in the first batch; it falls to 0
SHARPENING = 8.0  # of a machine that fails when it is discretized
FACTOR = 2.0  # on the output layer of a soft machine whose discretized form makes no error
DOUBLINGS = 6  # of the output layer, at most, before an exact machine trains on
VERIFY_EVERY = 100  # batches between two verifications


def polish(
    machine: Machine,
    config: TrainConfig,
    task: tasks.Task | None = None,
    *,
    checkpoint: Checkpoint | None = None,
    name: str = "polish",
    make_population: Callable[..., Population] = Population,
) -> tuple[Machine, Verification]:
    """Continue training one machine alone until it is solved: (machine, its verification).

    The errors of a soft machine add up over an execution. Polishing takes at most `polish_batches` batches of
    `polish_batch_size` examples at the train difficulty. The learning rate falls to 0; there is neither noise nor
    entropy bonus. While the machine fails when discretized, but for half of the batches at most, its logits are
    multiplied by up to `SHARPENING` (see `step.sharpened`). If it does not fail then, but is soft, its output layer is
    multiplied by `FACTOR` for good, which leaves the discretized form as it is; for an exact machine this may be all
    that it needs. Returns the best state that was verified, the one given included.
    Deviation: the paper does not say how long it trained machines that made no more errors.

    task: the task itself, if it is not one of the ten. checkpoint: where the state is saved as it goes, under `name`;
    polishing resumes from a state that is saved there. make_population: that of a variant of the machine.
    """
    task, batches = task_of(config, task), config.polish.batches
    alone = config.replace(population=1, batch_size=config.polish.batch_size, noise_scale=0.0, entropy=(0.0, 0.0))
    with kernels.narrow_pytorch():
        population = make_population(alone, task)
        generator = torch.Generator(device=config.device).manual_seed(config.seed)
        loop = SavedLoop(checkpoint, name, population, generator)
        saved = loop.resume()
        if saved:
            best, state = saved
            verification, found = Verification(**state["best"]), Verification(**state["last"])
            first = state["batch"]
        else:
            population.adopt(0, machine)
            best, first = machine, 0
            verification = verify(machine, task, config, seed=config.seed + 1)
            found = _doubled(population, verification, task, config, seed=config.seed + 1)
            if found.rank < verification.rank:
                best, verification = population.machine(0), found
        for batch in range(first, batches):
            if verification.solved:
                break
            fails = 2 * batch < batches and found.discretized_error > 0
            population.members.learning_rate.fill_(LEARNING_RATE * (1 - batch / batches))
            train_step(population, generator, sharpening=SHARPENING if fails else 1.0)
            if (batch + 1) % VERIFY_EVERY == 0 and population.members.finite().all():
                found = verify(population.machine(0), task, config, seed=config.seed + 2 + batch)
                found = _doubled(population, found, task, config, seed=config.seed + 2 + batch)
                if found.rank < verification.rank:
                    best, verification = population.machine(0), found
                if found.discretized_error == 0:
                    population.multiply_output_layer(0, FACTOR)
            if loop.is_due() or batch + 1 == batches:
                loop.save(best, {"best": asdict(verification), "last": asdict(found), "batch": batch + 1})
    return best, verification


def _doubled(
    population: Population, found: Verification, task: tasks.Task, config: TrainConfig, seed: int
) -> Verification:
    """Double the output layer of the one member, last verified as `found`, while it is exact but soft.

    Returns its verification as it is then.
    """
    for _ in range(DOUBLINGS):
        if found.solved or not found.exact:
            break
        population.multiply_output_layer(0, FACTOR)
        found = verify(population.machine(0), task, config, seed)
    return found
