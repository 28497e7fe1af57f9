"""How far a system reaches: its error at every length up to 50, on the same fresh sequences for all systems."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nram import tasks
from nram.model import Machine
from nram.related.systems import System
from nram.related.tokens import KEYS, TRAIN_LENGTH, draw, encode, shortest, structured
from nram.related.training import measured

__all__ = ["LONGEST", "STRUCTURED", "Reach", "machine_answers", "measure", "model_answers", "no_answers"]

LONGEST = 50
STRUCTURED = (15, 30, 50)  # lengths of structured inputs
ENOUGH = 0.99  # share of sequences exactly right
SEED = 31  # of the sequences, with their length
Answers = Callable[[tasks.Batch], Tensor]  # a batch -> which answers are right, BoolTensor[B, A]


@dataclass(frozen=True)
class Reach:
    """What was measured. lengths: from the task's shortest on. error: share of wrong answers at each. exact: share of
    sequences without one. structured: error on structured inputs at `STRUCTURED`; empty where there are none."""

    lengths: list[int]
    error: list[float]
    exact: list[float]
    structured: list[float]

    @property
    def fit(self) -> bool:
        """Whether 99% of the sequences of all training lengths are exactly right."""
        within = [exact for length, exact in zip(self.lengths, self.exact, strict=True) if length <= TRAIN_LENGTH]
        return sum(within) / len(within) >= ENOUGH

    @property
    def reach(self) -> int:
        """The largest length up to which 99% are exactly right at every length; 0 if there is none."""
        reached = 0
        for length, exact in zip(self.lengths, self.exact, strict=True):
            if exact < ENOUGH:
                break
            reached = length
        return reached


def measure(key: str, answers: Answers, count: int = 200, lengths: Iterable[int] | None = None) -> Reach:
    """Measure what answers a task's batches, on `count` fresh sequences per length."""
    lengths = list(lengths or range(shortest(key), LONGEST + 1))
    error, exact = [], []
    for length in lengths:
        right = answers(draw(key, length, count, torch.Generator().manual_seed(SEED * 1000 + length)))
        error.append(1 - right.float().mean().item())
        exact.append(right.all(-1).float().mean().item())
    special = [1 - answers(structured(key, length)).float().mean().item() for length in STRUCTURED if key in KEYS]
    return Reach(lengths, error, exact, special)


def model_answers(key: str, system: System, model: nn.Module, **options) -> Answers:
    """The answers of a system's model. options: of the model, such as hard."""
    return lambda batch: measured(model, encode(key, batch, system.think), **options)[1]


def no_answers(batch: tasks.Batch) -> Tensor:
    """The answers of a training that left no machine: all wrong."""
    return torch.zeros(len(batch.target), int(batch.mask[0].sum()), dtype=torch.bool)


def machine_answers(machine: Machine, discretized: bool = False) -> Answers:
    """The answers of a machine, fuzzy or discretized: its output cells."""
    form = machine.discretize() if discretized else machine

    def answers(batch: tasks.Batch) -> Tensor:
        right = form.run(batch.memory, batch.limit) == batch.target
        return right[batch.mask].view(len(right), -1)

    return answers
