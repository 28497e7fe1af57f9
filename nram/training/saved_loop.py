"""The state of one loop of training in a checkpoint: a population, its random numbers and one machine."""

import time

import torch

from nram.model import Machine
from nram.training.checkpoint import Checkpoint
from nram.training.population import Population

__all__ = ["SavedLoop"]

SAVE_SECONDS = 10.0  # between two saves of the same loop
MACHINE_PREFIX = "machine."  # of the machine's parameters in a checkpoint


class SavedLoop:
    """Where a loop saves its state as it goes. Without a checkpoint nothing is saved, and nothing is ever due."""

    def __init__(self, checkpoint: Checkpoint | None, name: str, population: Population, generator: torch.Generator):
        self.checkpoint, self.name, self.population, self.generator = checkpoint, name, population, generator
        self._next = time.monotonic() + SAVE_SECONDS

    def is_due(self) -> bool:
        """Whether the last save is long enough ago."""
        return self.checkpoint is not None and time.monotonic() >= self._next

    def save(self, machine: Machine | None, state: dict) -> None:
        """Save the loop. machine: the best one so far. state: everything else, as JSON values."""
        if self.checkpoint is None:
            return
        tensors, rest = self.population.state()
        tensors["generator"] = self.generator.get_state()
        if machine is not None:
            tensors |= {MACHINE_PREFIX + key: value for key, value in machine.params.items()}
        self.checkpoint.save(self.name, tensors, {"population": rest, **state})
        self._next = time.monotonic() + SAVE_SECONDS

    def resume(self) -> tuple[Machine | None, dict] | None:
        """Put the saved state back into the population and the generator: (machine, state), or None if none is saved.

        Raises ValueError for a state of other settings or of another version.
        """
        saved = self.checkpoint.load(self.name) if self.checkpoint else None
        if saved is None:
            return None
        tensors, state = saved
        self.generator.set_state(tensors.pop("generator"))
        params = {key: tensors.pop(key) for key in list(tensors) if key.startswith(MACHINE_PREFIX)}
        params = {key.removeprefix(MACHINE_PREFIX): value for key, value in params.items()}
        try:
            self.population.restore(tensors, state["population"])
        except ValueError as error:
            raise self.checkpoint.refusal(str(error)) from error
        return (self.population.make_machine(params) if params else None), state
