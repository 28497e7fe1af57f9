"""What a task is: sizes, a time limit, a generator of examples, and a plain solver to check it against.

Your own task needs only a function that draws examples. `train(TrainConfig.for_task(total), task=total)` trains a
machine on it; `nram.experiments.run.run(config, folder, task=total)` also measures and saves the machine.
`notebooks/70_your_own_task.ipynb` shows all of it. This task is the sum of an array that ends in NULL:

    def draw_sum(difficulty, num_cells, generator):
        cell = torch.arange(num_cells, device=difficulty.device)
        in_array = (cell >= 1) & (cell <= difficulty[:, None])
        elements = torch.randint(1, num_cells, in_array.shape, generator=generator, device=difficulty.device)
        memory = elements * in_array
        target = memory.clone()
        target[:, 0] = memory.sum(1) % num_cells
        return memory, target, (cell == 0).expand_as(memory)

    total = Task(
        key="sum", title="Sum", min_difficulty=1, train_difficulty=8,
        cells_slope=1, cells_offset=2, limit_slope=1, limit_offset=2, generate=draw_sum,
    )
    batch = total.sample(torch.tensor([1, 8, 3]), num_cells=total.min_cells(8))
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor

from nram.tasks.generators import Generate
from nram.tasks.lessons import Lesson

__all__ = ["Batch", "Generate", "Solver", "Task"]

MACHINE_CELLS = 3  # the fewest cells of a machine's memory: it has a module TWO
Solver = Callable[[list[int]], object]


class Batch(NamedTuple):
    """B examples of one task, in memories of M cells.

    memory: LongTensor[B, M], the memory at the start, integers of 0..M-1.
    target: LongTensor[B, M], what the output cells must hold at the end; `memory` everywhere else.
    mask: BoolTensor[B, M], the output cells. Loss and error ignore all others.
    limit: LongTensor[B], the timesteps a machine may take.
    difficulty: LongTensor[B], as given to `Task.sample`.
    """

    memory: Tensor
    target: Tensor
    mask: Tensor
    limit: Tensor
    difficulty: Tensor

    def split(self, population: int) -> "Batch":
        """P * B examples as B for each of P machines: every tensor [P * B, ...] as [P, B, ...]."""
        return Batch(*(each.unflatten(0, (population, -1)) for each in self))


@dataclass(frozen=True)
class Task:
    """A task (appendix A of the paper).

    Memory size and time limit are straight lines in the difficulty: a limit that knew the instance would tell the
    machine when to stop.

    key: its name in code, folders, parameters and tables.
    title: its name in the paper.
    min_difficulty, max_difficulty: the range of difficulties; None means no maximum.
    train_difficulty: the largest difficulty in training (Table 1).
    cells_slope, cells_offset: the smallest memory is slope * difficulty + offset cells.
    limit_slope, limit_offset: the time limit is slope * difficulty + offset timesteps.
    generate: (difficulty LongTensor[B], num_cells M, generator) -> (memory LongTensor[B, M], target LongTensor[B, M],
        mask BoolTensor[B, M]) as in `Batch`, on the difficulty's device. A batch may mix difficulties.
    solver: changes a memory, a list of M integers, in place into what a perfect machine leaves. It knows nothing else.
        Without one, `solve` raises.
    lessons: easier distributions over the task's instances, in the order in which training goes through them.
    own_limit: slope and offset of the task's own time limit where `with_limit` has replaced it.
    Raises ValueError for memories or limits that shrink or vanish, or a train_difficulty out of range.
    """

    key: str
    title: str
    min_difficulty: int
    train_difficulty: int
    cells_slope: int
    cells_offset: int
    limit_slope: int
    limit_offset: int
    generate: Generate
    solver: Solver | None = None
    max_difficulty: int | None = None
    lessons: tuple[Lesson, ...] = ()
    own_limit: tuple[int, int] | None = None

    def __post_init__(self):
        if self.cells_slope < 0 or self.limit_slope < 0:
            raise ValueError(f"task {self.key!r}: memory and time limit must not shrink as the difficulty grows")
        if self.min_cells(self.min_difficulty) < 1 or self.limit(self.min_difficulty) < 1:
            raise ValueError(f"task {self.key!r}: every difficulty needs at least one cell and one timestep")
        self._check(self.train_difficulty)

    def min_cells(self, difficulty: int) -> int:
        """The number of cells that are enough for every example of this difficulty or a smaller one."""
        return self.cells_slope * difficulty + self.cells_offset

    def smallest_memory(self, difficulty: int) -> int:
        """`min_cells`, and at least `MACHINE_CELLS`: the smallest memory in which a machine can run these examples."""
        return max(MACHINE_CELLS, self.min_cells(difficulty))

    def limit(self, difficulty: int | Tensor) -> int | Tensor:
        """The time limit in timesteps: an int for an int, a LongTensor for a LongTensor."""
        return self.limit_slope * difficulty + self.limit_offset

    def with_limit(self, slope: int, offset: int) -> "Task":
        """The same task with the time limit slope * difficulty + offset; its own is kept for `relaxed`.

        Raises ValueError as `Task` does.
        """
        own = self.own_limit or (self.limit_slope, self.limit_offset)
        return replace(self, limit_slope=slope, limit_offset=offset, own_limit=own)

    def relaxed(self, batch: Batch) -> Batch:
        """The batch with the task's own time limits wherever those are longer than the ones of `with_limit`."""
        slope, offset = self.own_limit or (self.limit_slope, self.limit_offset)
        return batch._replace(limit=torch.maximum(batch.limit, slope * batch.difficulty + offset))

    @property
    def stages(self) -> tuple["Task", ...]:
        """The task under each of its lessons, and last the task itself."""
        of_lessons = (replace(self, generate=lesson.generate, lessons=()) for lesson in self.lessons)
        return (*of_lessons, replace(self, lessons=()))

    def sample(self, difficulty: Tensor, num_cells: int, generator: torch.Generator | None = None) -> Batch:
        """Draws one example of each difficulty of LongTensor[B], in memories of `num_cells` cells, on the same device.

        generator: on that device; None stands for PyTorch's own. A seed's examples depend on the device and on all
        difficulties of the batch.
        Raises ValueError if difficulty is not a LongTensor[B] with B > 0 or leaves the task's range, or if num_cells is
        not an integer or too small.
        """
        if not isinstance(difficulty, Tensor) or difficulty.dtype != torch.long:
            kind = difficulty.dtype if isinstance(difficulty, Tensor) else type(difficulty).__name__
            raise ValueError(f"difficulty must be a tensor of torch.int64, not {kind}")
        if difficulty.ndim != 1 or len(difficulty) == 0:
            raise ValueError(f"difficulty must have the shape [B] with B > 0, not {list(difficulty.shape)}")
        if not isinstance(num_cells, Integral) or isinstance(num_cells, bool):
            raise ValueError(f"num_cells must be an integer, not {num_cells!r}")
        easiest, hardest = (int(bound) for bound in difficulty.aminmax())
        self._check(easiest)
        self._check(hardest, num_cells)
        memory, target, mask = self.generate(difficulty, num_cells, generator)
        self._check_generated("memory", memory, torch.long, (len(difficulty), num_cells))
        self._check_generated("target", target, torch.long, (len(difficulty), num_cells))
        self._check_generated("mask", mask, torch.bool, (len(difficulty), num_cells))
        return Batch(memory, target, mask.contiguous(), self.limit(difficulty), difficulty)

    def solve(self, memory: list[int], difficulty: int) -> list[int]:
        """The memory that a perfect machine leaves, found in plain Python from the memory alone.

        Only the checks use the difficulty.
        Raises ValueError if the task has no solver, or if difficulty or memory size is out of range.
        """
        if self.solver is None:
            raise ValueError(f"task {self.key!r} was defined without a solver")
        self._check(difficulty, len(memory))
        final = list(memory)
        self.solver(final)
        return final

    def _check(self, difficulty: int, num_cells: int | None = None) -> None:
        if difficulty < self.min_difficulty:
            raise ValueError(f"task {self.key!r} starts at difficulty {self.min_difficulty}, not {difficulty}")
        if self.max_difficulty is not None and difficulty > self.max_difficulty:
            raise ValueError(f"task {self.key!r} ends at difficulty {self.max_difficulty}, not {difficulty}")
        needed = self.min_cells(difficulty)
        if num_cells is not None and num_cells < needed:
            raise ValueError(
                f"task {self.key!r} at difficulty {difficulty} needs at least {needed} cells, not {num_cells}"
            )

    def _check_generated(self, name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int, int]) -> None:
        if tensor.dtype != dtype or tensor.shape != shape:
            found = f"{tensor.dtype} {list(tensor.shape)}"
            raise ValueError(f"task {self.key!r} generated a {name} of {found}, not {dtype} {list(shape)}")
