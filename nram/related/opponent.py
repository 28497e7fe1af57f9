"""The machine under the clock of the other systems: its own recipe, on elements of 1..8."""

from nram.related.systems import MACHINE
from nram.related.tokens import TRAIN_LENGTH, few_values
from nram.training.config import TrainConfig
from nram.training.loop import train
from nram.training.result import TrainResult

__all__ = ["MACHINE", "config_of", "train_machine"]


def config_of(key: str, seed: int, seconds: float) -> TrainConfig:
    """The recipe of `make reproduce` for a task, up to 15 elements of 1..8 in memories that are large enough for 8.

    Training ends when a machine is solved, or after `seconds` of the clock.
    """
    task = few_values(key)
    return TrainConfig.for_task(
        key,
        seed=seed,
        budget_seconds=seconds,
        train_difficulty=TRAIN_LENGTH,
        num_cells=task.smallest_memory(TRAIN_LENGTH),
    )


def train_machine(key: str, seed: int, seconds: float) -> TrainResult:
    """Train a population of machines on a task with few values."""
    return train(config_of(key, seed, seconds), progress=False, task=few_values(key))
