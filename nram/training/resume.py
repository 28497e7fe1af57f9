"""The state of a loop of training as a checkpoint holds it: a population, its random numbers and one machine."""

import torch

from nram.model import Machine
from nram.training.checkpoint import Checkpoint
from nram.training.population import Population

__all__ = ["resume_loop", "save_loop"]

OF_MACHINE = "machine."  # begins the names of the machine's parameters


def save_loop(
    checkpoint: Checkpoint,
    name: str,
    population: Population,
    generator: torch.Generator,
    machine: Machine | None,
    state: dict,
) -> None:
    """Save a loop under its name. machine: the best one so far. state: everything else, as JSON values."""
    tensors, rest = population.state()
    tensors["generator"] = generator.get_state()
    if machine is not None:
        tensors |= {OF_MACHINE + key: value for key, value in machine.params.items()}
    checkpoint.save(name, tensors, {"population": rest, **state})


def resume_loop(
    checkpoint: Checkpoint, name: str, population: Population, generator: torch.Generator
) -> tuple[Machine | None, dict] | None:
    """Put a saved loop's state back into its population and generator: (machine, state), or None if nothing is saved.

    Raises ValueError for a state of other settings or of another version.
    """
    saved = checkpoint.load(name)
    if saved is None:
        return None
    tensors, state = saved
    generator.set_state(tensors.pop("generator"))
    params = {key: tensors.pop(key) for key in list(tensors) if key.startswith(OF_MACHINE)}
    params = {key.removeprefix(OF_MACHINE): value for key, value in params.items()}
    try:
        population.restore(tensors, state["population"])
    except ValueError as error:
        raise checkpoint.refusal(str(error)) from error
    return (population.make_machine(params) if params else None), state
