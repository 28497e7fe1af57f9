"""Polishing: one machine continues training alone, to make it sharp."""

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
VERIFY_EVERY = 200  # batches between two verifications


def polish(
    machine: Machine,
    config: TrainConfig,
    task: tasks.Task | None = None,
    *,
    checkpoint: Checkpoint | None = None,
    name: str = "polish",
) -> tuple[Machine, Verification]:
    """Continue training one machine alone: (machine, its verification).

    The errors of a soft machine add up over an execution. Polishing takes `polish_batches` batches of
    `polish_batch_size` examples at the train difficulty. The learning rate falls to 0; there is neither noise nor
    entropy bonus. While the machine fails when discretized, but for half of the batches at most, its logits are
    multiplied by up to `SHARPENING` (see `step.sharpened`). Returns the last state that was verified without an error,
    or the machine as given.
    Deviation: the paper does not say how long it trained machines that made no more errors.

    task: the task itself, if it is not one of the ten. checkpoint: where the state is saved as it goes, under `name`;
    polishing resumes from a state that is saved there.
    """
    task, batches = task_of(config, task), config.polish.batches
    alone = config.replace(population=1, batch_size=config.polish.batch_size, noise_scale=0.0, entropy=(0.0, 0.0))
    with kernels.narrow_pytorch():
        population = Population(alone, task)
        generator = torch.Generator(device=config.device).manual_seed(config.seed)
        loop = SavedLoop(checkpoint, name, population, generator)
        saved = loop.resume()
        if saved:
            polished, state = saved
            verification, first = Verification(**state["verification"]), state["batch"]
        else:
            population.adopt(0, machine)
            polished, first = machine, 0
            verification = verify(machine, task, config, config.verification.cases, seed=config.seed + 1)
        for batch in range(first, batches):
            too_soft = 2 * batch < batches and not verification.solved
            population.members.learning_rate.fill_(LEARNING_RATE * (1 - batch / batches))
            train_step(population, generator, sharpening=SHARPENING if too_soft else 1.0)
            if (batch + 1) % VERIFY_EVERY == 0 and population.members.finite().all():
                seed = config.seed + 2 + batch
                found = verify(population.machine(0), task, config, config.verification.cases, seed)
                if found.solved:
                    polished, verification = population.machine(0), found
            if loop.is_due() or batch + 1 == batches:
                loop.save(polished, {"verification": asdict(verification), "batch": batch + 1})
    return polished, verification
