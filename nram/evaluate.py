"""Error, generalization and discretization of a trained machine (sections 3.4 and 4.3, Table 1, Figure 3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from nram import tasks
from nram.model import Machine

__all__ = ["Evaluation", "error_per_case", "evaluate", "run_cases"]

UNIFORM_COMPLEXITIES = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50)


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


def error_per_case(produced: Tensor, batch: tasks.Batch) -> Tensor:
    """Wrong output cells / output cells of every case: produced LongTensor[B, M] -> [B] (section 4.2).

    Deviation: the paper's sentence counts the correct cells; that is a slip, since it calls the ratio the error.
    """
    wrong = ((produced != batch.target) & batch.mask).sum(-1)
    return wrong / batch.mask.sum(-1)


class Comparison(NamedTuple):
    """A batch run by a machine, fuzzy and discretized: wrong output cells of each case, and whether the two differ."""

    fuzzy_wrong: Tensor
    discretized_wrong: Tensor
    disagrees: Tensor


def compare_forms(machine: Machine, batch: tasks.Batch) -> Comparison:
    fuzzy = machine.run(batch.memory, batch.limit)
    discretized = machine.discretize().run(batch.memory, batch.limit)
    fuzzy_wrong, discretized_wrong = (
        ((produced != batch.target) & batch.mask).sum(-1) for produced in (fuzzy, discretized)
    )
    return Comparison(fuzzy_wrong, discretized_wrong, ((fuzzy != discretized) & batch.mask).any(-1))


def run_cases(machine: Machine, task: tasks.Task, difficulty: Tensor, num_cells: int, generator) -> list[dict]:
    """Run fresh cases of the given difficulties LongTensor[B], fuzzy and discretized; a row for either."""
    batch = task.sample(difficulty, num_cells, generator)
    fuzzy = machine.run(batch.memory, batch.limit)
    discretized = machine.discretize().run(batch.memory, batch.limit)
    disagreements = ((fuzzy != discretized) & batch.mask).any(-1).sum().item()
    rows = []
    for name, produced in (("fuzzy", fuzzy), ("discretized", discretized)):
        error = error_per_case(produced, batch)
        rows.append(
            {
                "machine": name,
                "error": error.mean().item(),
                "cases": len(error),
                "wrong_cases": (error > 0).sum().item(),
                "disagreements": disagreements,
                "num_cells": num_cells,
            }
        )
    return rows


def evaluate(
    machine: Machine,
    task: tasks.Task | None = None,
    *,
    train_difficulty: int | None = None,
    num_cells: int = 0,
    cases: int = 1000,
    seed: int = 1,
    complexities: Iterable[int] | None = None,
    uniform_complexities: Iterable[int] | None = None,
    progress=None,
) -> Evaluation:
    """Measure a machine on fresh cases, in the smallest memory that each complexity and the training need.

    task: with the time limit to use; the machine's own task with its default limit if None.
    complexities: those of mode "at", by default every one up to 50; uniform_complexities: those of mode "uniform".
    num_cells: M in training, by default what the train difficulty needs. cases: per complexity.
    progress: wraps the list of complexities, for instance tqdm.
    """
    task = task or tasks.get(machine.task)
    train_difficulty = train_difficulty or task.train_difficulty
    num_cells = num_cells or task.min_cells(train_difficulty)
    generator = torch.Generator().manual_seed(seed)
    low = task.min_difficulty
    high = min(50, task.max_difficulty or 50)
    at = list(complexities) if complexities is not None else list(range(low, high + 1))
    uniform = [each for each in UNIFORM_COMPLEXITIES if each <= high]
    uniform = list(uniform_complexities) if uniform_complexities is not None else uniform
    plan = [("at", train_difficulty)] * (train_difficulty not in at)
    plan += [("at", complexity) for complexity in at] + [("uniform", complexity) for complexity in uniform]
    rows = []
    for mode, complexity in plan if progress is None else progress(plan):
        if mode == "at":
            difficulty = torch.full((cases,), complexity)
        else:
            difficulty = torch.randint(low, max(complexity, low) + 1, (cases,), generator=generator)
        cells = max(num_cells, task.min_cells(max(complexity, low)))
        for row in run_cases(machine, task, difficulty, cells, generator):
            rows.append({"complexity": complexity, "mode": mode, **row})
    frame = pd.DataFrame(rows)
    return Evaluation(summarize(frame, train_difficulty), frame)


def summarize(frame: pd.DataFrame, train_difficulty: int) -> dict:
    """The flat metrics of a generalization frame (see `Evaluation`)."""
    at = frame[frame["mode"] == "at"]
    metrics = {"train_difficulty": train_difficulty, "cases": int(frame["cases"].min())}
    for name, rows in at.groupby("machine"):
        train = rows[rows["complexity"] == train_difficulty].iloc[0]
        metrics[f"{name}_train_error"] = float(train["error"])
        metrics[f"{name}_train_cases"] = int(train["cases"])
        wrong = rows.loc[rows["error"] > 0, "complexity"]
        metrics[f"{name}_max_error"] = float(rows["error"].max())
        metrics[f"{name}_first_failure"] = int(wrong.min()) if len(wrong) else None
    metrics["max_complexity"] = int(at["complexity"].max())
    fuzzy = frame[frame["machine"] == "fuzzy"]
    metrics["disagreements"] = int(fuzzy["disagreements"].sum())
    metrics["compared_cases"] = int(fuzzy["cases"].sum())
    return metrics
