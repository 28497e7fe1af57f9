"""Verification: a candidate runs on fresh cases of the sizes of training. It is solved if it is exact and sharp."""

import math
from dataclasses import dataclass, replace

import torch

from nram import kernels, tasks
from nram.evaluate import compare_forms
from nram.machine.cost import loss_per_example
from nram.model import Machine
from nram.training.config import TrainConfig

__all__ = ["Verification", "run_cases", "softened", "verify"]

QUICK_CASES = 100  # a machine that fails on so few cases is not verified on all of them
SMALL_SIZES = 5  # difficulties that are verified in memories as small as they allow
SOFTENED = 0.5  # factor on the output layer of a machine whose sharpness is measured
SHARP = 0.001  # a sharp machine's largest cost of a case when it is softened, in nats


@dataclass(frozen=True)
class Verification:
    """What a machine did on fresh cases.

    fuzzy_error, discretized_error: wrong cells / output cells. disagreements: cases whose outputs differ between the
    two. verify_cases: how many there were. largest_cost: the cost (section 3) of the case where it is largest, in nats,
    of the machine with its output layer halved.

    The uncertainty of a soft machine adds up over an execution, so that it is right in short ones alone. Its cost may
    not tell: a register can drift for twenty timesteps before the answer does. Halved logits let it drift much faster.
    A sharp machine does not mind them.
    """

    fuzzy_error: float
    discretized_error: float
    disagreements: int
    verify_cases: int
    largest_cost: float = math.nan  # in runs of earlier versions

    @property
    def exact(self) -> bool:
        """Whether the machine made no error, fuzzy and discretized."""
        return self.fuzzy_error == 0 and self.discretized_error == 0

    @property
    def solved(self) -> bool:
        """Whether the machine is exact and sharp."""
        return self.exact and self.largest_cost <= SHARP

    @property
    def rank(self) -> tuple[bool, bool, float, float, float]:
        """What machines are compared by; the smallest is the best."""
        worst = max(self.fuzzy_error, self.discretized_error)
        return not self.solved, not self.exact, min(self.fuzzy_error, self.discretized_error), worst, self.largest_cost


def verify(machine: Machine, task: tasks.Task, config: TrainConfig, seed: int) -> Verification:
    """Run a machine on `QUICK_CASES` fresh cases, and if it is solved there on `verify_cases` others."""
    quick = run_cases(machine, task, config, QUICK_CASES, seed)
    return run_cases(machine, task, config, config.verification.cases, seed + 1) if quick.solved else quick


@torch.no_grad()
def run_cases(machine: Machine, task: tasks.Task, config: TrainConfig, cases: int, seed: int) -> Verification:
    """Run a machine on fresh cases of the task itself, of the sizes that training uses.

    A third has num_cells cells and a third num_cells + extra_cells. In both, half of the cases are at the train
    difficulty, the others uniform up to it. The last third is at `SMALL_SIZES` difficulties, each in its smallest
    memory, with the task's own time limits where these are longer than the recipe's.
    """
    generator = torch.Generator().manual_seed(seed)
    examples, low, high = config.examples, task.min_difficulty, config.examples.train_difficulty
    batches = []
    for num_cells in (examples.num_cells, examples.num_cells + examples.extra_cells):
        difficulty = torch.randint(low, high + 1, (cases // 3,), generator=generator)
        difficulty[::2] = high
        batches.append(task.sample(difficulty, num_cells, generator))
    small = torch.linspace(low, high, SMALL_SIZES).long().unique().tolist()
    for place, each in enumerate(small):
        count = len(range(place, cases - 2 * (cases // 3), len(small)))
        batch = task.sample(torch.full((count,), each), task.smallest_memory(each), generator)
        batches.append(task.relaxed(batch))
    soft = softened(machine, SOFTENED)
    cells = wrong_fuzzy = wrong_discretized = disagreements = 0
    largest_cost = 0.0
    for batch in batches:
        found = compare_forms(machine, batch)
        cells += found.output_cells.sum().item()
        wrong_fuzzy += found.fuzzy_wrong.sum().item()
        wrong_discretized += found.discretized_wrong.sum().item()
        disagreements += found.differs.sum().item()
        largest_cost = max(largest_cost, _cost(soft, batch).max().item())
    return Verification(wrong_fuzzy / cells, wrong_discretized / cells, disagreements, cases, largest_cost)


def softened(machine: Machine, factor: float) -> Machine:
    """The machine with its output layer multiplied by a factor: its discretized form is the same."""
    params = {name: param * factor if name.startswith("output_") else param for name, param in machine.params.items()}
    return replace(machine, params=params)


def _cost(machine: Machine, batch: tasks.Batch) -> torch.Tensor:
    """The cost of every case, [B]: of the paper's kind, whichever the training uses."""
    alone = batch.split(1)
    outcome = kernels.unroll(machine.machines, alone, kernel=machine.kernel)
    return loss_per_example(outcome, alone.limit)[0]
