"""What is measured: cases, the whole plan, and a quick one that only shows that it works."""

from dataclasses import dataclass, replace

from nram import tasks
from nram.training.config import TrainConfig

__all__ = ["FULL", "LARGEST", "PERMUTATION", "QUICK", "TINY", "Case", "Plan", "cuda_cases"]


@dataclass(frozen=True)
class Case:
    """What is timed: a task's machines, P and B of them, for T timesteps on M cells."""

    task: str
    population: int = 1
    batch: int = 32
    timesteps: int = 18
    num_cells: int = 32
    device: str = "cpu"

    def config(self, kernel: str, **settings) -> TrainConfig:
        """Training settings under which every example takes T timesteps in M cells."""
        task = tasks.get(self.task)
        fitting = (self.num_cells - task.cells_offset) // task.cells_slope
        return TrainConfig.for_task(
            self.task,
            population=self.population,
            batch_size=self.batch,
            num_cells=self.num_cells,
            extra_cells=0,
            train_difficulty=min(task.train_difficulty, fitting),
            limit_slope=0,
            limit_offset=self.timesteps,
            curriculum=False,
            device=self.device,
            kernel=kernel,
            **settings,
        )


@dataclass(frozen=True)
class Plan:
    """What a benchmark measures.

    cases: timed in the scopes "kernel" and "step". growth: (axis, scope, cases) with that axis varied.
    memory: cases whose peak memory is measured. rounds, growth_rounds: how often each time is taken.
    discretized_cells, discretized_seconds: memory sizes of the integer machine, and how long each is timed.
    copied_mib: size of the large copy. solve_tasks, solve_budget: tasks of --solve, and the seconds that each may take.
    """

    cases: tuple[Case, ...]
    growth: tuple[tuple[str, str, tuple[Case, ...]], ...]
    memory: tuple[Case, ...]
    rounds: int
    growth_rounds: int
    discretized_cells: tuple[int, ...]
    discretized_seconds: float
    copied_mib: int
    solve_tasks: tuple[str, ...] = ("access", "increment", "copy", "reverse")
    solve_budget: float = 300.0


COPY, PERMUTATION = Case("copy"), Case("permutation", timesteps=10, num_cells=16)
BASE = Case("copy", 4, 16, 32, 64)  # the middle of memory's growth
LARGEST = Case("copy", 8, 32, 64, 128)
FULL = Plan(
    cases=(COPY, replace(COPY, population=8), PERMUTATION, replace(PERMUTATION, population=8)),
    growth=(
        ("num_cells", "kernel", tuple(replace(COPY, num_cells=M, timesteps=6) for M in (16, 32, 64, 128, 256))),
        ("timesteps", "kernel", tuple(replace(COPY, timesteps=T) for T in (4, 8, 16, 32, 64))),
        ("population", "step", tuple(replace(COPY, population=P) for P in (1, 2, 4, 8, 16))),
    ),
    memory=(
        BASE,
        *(replace(BASE, timesteps=T) for T in (16, 64)),
        *(replace(BASE, batch=B) for B in (8, 32)),
        *(replace(BASE, population=P) for P in (2, 8)),
        LARGEST,
    ),
    rounds=9,
    growth_rounds=5,
    discretized_cells=(64, 1_000, 10_000, 100_000, 1_000_000),
    discretized_seconds=0.5,
    copied_mib=256,
)
TINY = Case("copy", batch=2, timesteps=2, num_cells=5)
QUICK = Plan(
    cases=(TINY, replace(TINY, task="permutation")),
    growth=(("num_cells", "kernel", (TINY, replace(TINY, num_cells=9))),),
    memory=(TINY,),
    rounds=3,
    growth_rounds=2,
    discretized_cells=(64, 1_000),
    discretized_seconds=0.05,
    copied_mib=16,
    solve_tasks=("access",),
)


def cuda_cases() -> tuple[Case, ...]:
    """What is timed on a GPU, where large populations pay."""
    populations = ((COPY, (1, 8, 64, 256, 1024)), (PERMUTATION, (64, 256, 1024)))
    return tuple(replace(case, population=P, device="cuda") for case, sizes in populations for P in sizes)
