"""The cases of annealing: fresh ones of a lesson up to a level, and such as a table that seems right gets wrong."""

from dataclasses import dataclass
from functools import cached_property

import torch

from nram import tasks
from nram.annealing.table import Table, grouped
from nram.tasks import Batch
from nram.training.config import TrainConfig

__all__ = ["Cases"]

GROUPS = 3  # groups of cases, each in memories of one size; the last in small ones
REVIEW = 1 / 3  # share of cases from the lesson before
LEARNED_CASES = 500  # fresh cases, those of the lesson before among them, in which a table must be right to pass one
TASK_DRAWS = 20  # draws of so many, in all of which it must be right to pass the task itself


@dataclass(frozen=True)
class Cases:
    """Where annealing draws the cases of a task, of the sizes of training that the settings name."""

    config: TrainConfig
    task: tasks.Task

    @cached_property
    def stages(self) -> tuple[tasks.Task, ...]:
        """The task under each of its lessons, if the settings use them, and last the task itself."""
        return self.task.stages if self.config.curriculum.lessons else self.task.stages[-1:]

    @property
    def last_stage(self) -> int:
        """The index of the task itself among the stages."""
        return len(self.stages) - 1

    @property
    def highest(self) -> int:
        """The highest level."""
        return self.config.examples.train_difficulty

    def draw(self, count: int, lesson: int, level: int, generator: torch.Generator) -> list[Batch]:
        """Fresh cases of a lesson up to a level, and some of the lesson before, up to the highest level.

        A third lies in memories as small as a random level allows, the others in larger ones. Below the highest level
        cases that are too easy to learn from are left out. At the highest the third in small memories has the task's
        own time limits where these are longer than the recipe's.
        """
        low, at_the_top = self.task.min_difficulty, level == self.highest
        if not at_the_top:
            low = min(max(low, self.config.annealing.easiest or low), level)

        def uniform(low: int, high: int, count: int = 1) -> torch.Tensor:
            return torch.randint(low, high + 1, (count,), generator=generator)

        batches = []
        reviewed = round(count * REVIEW) if lesson > 0 else 0
        for stage, share, top in ((lesson, count - reviewed, level), (lesson - 1, reviewed, self.highest)):
            for group, size in enumerate(_split(share, GROUPS)):
                last = group == GROUPS - 1
                hardest = int(uniform(low, top)) if last else top
                cells = self.task.smallest_memory(hardest)
                if hardest == self.highest and not last:
                    cells = max(cells, self.config.examples.num_cells)
                num_cells = cells + int(uniform(0, self.config.examples.extra_cells))
                if size:
                    batch = self.stages[stage].sample(uniform(low, hardest, size), num_cells, generator)
                    batches.append(self.task.relaxed(batch) if last and at_the_top else batch)
        return batches

    def missed(self, table: Table, lesson: int, generator: torch.Generator) -> list[Batch]:
        """Some cases of all levels that a table gets wrong, before others that it may know; none if it passes."""
        for _ in range(TASK_DRAWS if lesson == self.last_stage else 1):
            batches = self.draw(LEARNED_CASES, lesson, self.highest, generator)
            wrong = table.wrong(grouped(batches))
            if wrong.any():
                count = max(1, self.config.annealing.cases // len(batches))
                parts = torch.from_numpy(wrong).split([len(batch.memory) for batch in batches])
                return [_wrong_first(batch, part, count) for batch, part in zip(batches, parts, strict=True)]
        return []


def _wrong_first(batch: Batch, wrong: torch.Tensor, count: int) -> Batch:
    """`count` cases of a batch: those that are wrong, bool[B], then others."""
    chosen = wrong.int().argsort(descending=True, stable=True)[:count]
    return Batch(*(each[chosen] for each in batch))


def _split(count: int, parts: int) -> list[int]:
    """A count in nearly equal parts."""
    return [count * (part + 1) // parts - count * part // parts for part in range(parts)]
