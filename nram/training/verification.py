"""Verification: a candidate runs on fresh cases of all sizes of training. It is solved if it makes no error."""

from dataclasses import dataclass

import torch

from nram import tasks
from nram.evaluate import compare_forms
from nram.model import Machine
from nram.training.config import TrainConfig

__all__ = ["Verification", "verify"]

SMALL_SIZES = 5  # difficulties that are verified in memories as small as they allow


@dataclass(frozen=True)
class Verification:
    """What a machine did on fresh cases.

    fuzzy_error, discretized_error: wrong cells / output cells. disagreements: cases whose outputs differ between the
    two. verify_cases: how many there were.
    """

    fuzzy_error: float
    discretized_error: float
    disagreements: int
    verify_cases: int

    @property
    def solved(self) -> bool:
        """Whether the machine made no error, fuzzy and discretized."""
        return self.fuzzy_error == 0 and self.discretized_error == 0

    @property
    def rank(self) -> tuple[bool, float, float]:
        """What machines are compared by; the smallest is the best."""
        return not self.solved, self.fuzzy_error, self.discretized_error


@torch.no_grad()
def verify(machine: Machine, task: tasks.Task, config: TrainConfig, cases: int, seed: int) -> Verification:
    """Run a machine on fresh cases of the sizes that training uses.

    A third has num_cells cells and a third num_cells + extra_cells. In both, half of the cases are at the train
    difficulty, the others uniform up to it. The last third is at `SMALL_SIZES` difficulties, each in its smallest
    memory.
    """
    generator = torch.Generator().manual_seed(seed)
    examples, low, high = config.examples, task.min_difficulty, config.examples.train_difficulty
    plan = []
    for num_cells in (examples.num_cells, examples.num_cells + examples.extra_cells):
        difficulty = torch.randint(low, high + 1, (cases // 3,), generator=generator)
        difficulty[::2] = high
        plan.append((difficulty, num_cells))
    small = torch.linspace(low, high, SMALL_SIZES).long().unique().tolist()
    for place, each in enumerate(small):
        count = len(range(place, cases - 2 * (cases // 3), len(small)))
        plan.append((torch.full((count,), each), task.smallest_memory(each)))
    cells = wrong_fuzzy = wrong_discretized = disagreements = 0
    for difficulty, num_cells in plan:
        batch = task.sample(difficulty, num_cells, generator)
        found = compare_forms(machine, batch)
        cells += found.output_cells.sum().item()
        wrong_fuzzy += found.fuzzy_wrong.sum().item()
        wrong_discretized += found.discretized_wrong.sum().item()
        disagreements += found.differs.sum().item()
    return Verification(wrong_fuzzy / cells, wrong_discretized / cells, disagreements, cases)
