"""Error, generalization and discretization of a trained machine (sections 3.4 and 4.3, Table 1, Figure 3)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from nram import results, tasks
from nram.model import DiscreteMachine, Machine

__all__ = [
    "UNIFORM_COMPLEXITIES",
    "Comparison",
    "Evaluation",
    "compare_forms",
    "error_of",
    "error_per_case",
    "evaluate",
    "run_cases",
]

UNIFORM_COMPLEXITIES = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50)  # of Figure 3


# One batch


@dataclass(frozen=True)
class Comparison:
    """A machine's two forms, fuzzy and discretized, on the same B cases.

    output_cells: LongTensor[B], the cells of each case that should be modified.
    fuzzy_wrong, discretized_wrong: LongTensor[B], how many of them are wrong.
    differs: BoolTensor[B], whether the two forms disagree on any of them.
    """

    output_cells: Tensor
    fuzzy_wrong: Tensor
    discretized_wrong: Tensor
    differs: Tensor


def compare_forms(machine: Machine, batch: tasks.Batch) -> Comparison:
    """Run a machine and its discretized form on a batch (section 3.4)."""
    fuzzy = machine.run(batch.memory, batch.limit)
    discretized = machine.discretize().run(batch.memory, batch.limit)
    return Comparison(
        output_cells=batch.mask.sum(-1),
        fuzzy_wrong=_wrong_cells(fuzzy, batch),
        discretized_wrong=_wrong_cells(discretized, batch),
        differs=((fuzzy != discretized) & batch.mask).any(-1),
    )


def error_of(machine: Machine | DiscreteMachine, batch: tasks.Batch) -> float:
    """The share of wrong output cells of a machine, or of a discretized one, on a batch."""
    produced = machine.run(batch.memory, batch.limit)
    return (_wrong_cells(produced, batch).sum() / batch.mask.sum()).item()


def _wrong_cells(produced: Tensor, batch: tasks.Batch) -> Tensor:
    return ((produced != batch.target) & batch.mask).sum(-1)


def error_per_case(wrong_cells: Tensor, output_cells: Tensor) -> Tensor:
    """The error of each case: wrong output cells / output cells, [B] (section 4.2).

    Deviation: the paper's sentence counts the correct cells; that is a slip, since it calls the ratio the error.
    """
    return wrong_cells / output_cells


def run_cases(machine: Machine, task: tasks.Task, difficulty: Tensor, num_cells: int, generator) -> list[dict]:
    """Run both forms on fresh cases of the given difficulties LongTensor[B]: a row for each form."""
    compared = compare_forms(machine, task.sample(difficulty, num_cells, generator))
    rows = []
    for form, wrong in (("fuzzy", compared.fuzzy_wrong), ("discretized", compared.discretized_wrong)):
        row = {
            "machine": form,
            "error": error_per_case(wrong, compared.output_cells).mean().item(),
            "cases": len(wrong),
            "wrong_cases": (wrong > 0).sum().item(),
            "disagreements": compared.differs.sum().item(),
            "num_cells": num_cells,
        }
        rows.append(row)
    return rows


# Many complexities


@dataclass(frozen=True)
class Evaluation:
    """What evaluation measured.

    metrics: flat numbers at the train complexity and over the sweep. generalization: one row per complexity, mode and
    machine: complexity, mode ("at": every case of that complexity; "uniform": complexity uniform up to it, as in Figure
    3), machine ("fuzzy" or "discretized"), error (mean over cases of wrong / output cells), cases, wrong_cases,
    disagreements (cases whose fuzzy and discretized outputs differ), num_cells (M).
    """

    metrics: dict
    generalization: pd.DataFrame


def evaluate(
    machine: Machine,
    task: tasks.Task | None = None,
    *,
    train_difficulty: int | None = None,
    num_cells: int | None = None,
    cases: int = 1000,
    seed: int = 1,
    complexities: Iterable[int] | None = None,
    uniform_complexities: Iterable[int] | None = None,
    progress: Callable | None = None,
) -> Evaluation:
    """Measure a machine on fresh cases, each complexity in its smallest memory, but never smaller than in training.

    task: with the time limit to use; by default the machine's own task with its default limit.
    complexities: those of mode "at", by default each one up to 50. The train difficulty is always measured.
    uniform_complexities: those of mode "uniform". num_cells: M in training, by default what the train difficulty needs.
    cases: per complexity. progress wraps the list of complexities, for instance tqdm.
    """
    task = task or tasks.get(machine.task)
    train_difficulty = train_difficulty or task.train_difficulty
    num_cells = num_cells or task.min_cells(train_difficulty)
    low, high = task.min_difficulty, min(results.PERFECT_UP_TO, task.max_difficulty or results.PERFECT_UP_TO)
    if complexities is None:
        complexities = range(low, high + 1)
    if uniform_complexities is None:
        uniform_complexities = [complexity for complexity in UNIFORM_COMPLEXITIES if complexity <= high]
    at = list(complexities)
    if train_difficulty not in at:
        at.insert(0, train_difficulty)
    plan = [("at", complexity) for complexity in at] + [("uniform", complexity) for complexity in uniform_complexities]
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for mode, complexity in progress(plan) if progress else plan:
        if mode == "at":
            difficulty = torch.full((cases,), complexity)
        else:
            difficulty = torch.randint(low, max(complexity, low) + 1, (cases,), generator=generator)
        cells = max(num_cells, task.min_cells(max(complexity, low)))
        for row in run_cases(machine, task, difficulty, cells, generator):
            rows.append({"complexity": complexity, "mode": mode, **row})
    generalization = pd.DataFrame(rows)
    return Evaluation(results.judge(generalization, train_difficulty).metrics(), generalization)
