"""What a program does: how far it is right, how fast it runs, what it looks like on valid examples."""

import time
from collections import Counter

import numpy as np
import pandas as pd
import torch

from nram import tasks
from nram.program.extract import Tabulator, from_machine
from nram.program.program import Program
from nram.program.python_text import statements
from nram.program.simplify import small

__all__ = ["LENGTHS", "describe", "first_failure", "readable", "seen_program", "timesteps_per_second", "try_lengths"]

LENGTHS = (100, 1_000, 10_000, 100_000)
LONG = 10_000  # lengths from here on have fewer cases
LONGEST = {"walkbst": 1_000}  # its generator compares all pairs of nodes


def try_lengths(
    program: Program | Tabulator, task: tasks.Task | None = None, lengths=LENGTHS, cases: int = 10, seed: int = 0
) -> pd.DataFrame:
    """A program, or a tabulated LSTM, compared with its task's solver: one row per length (the difficulty).

    Columns: task, length, num_cells (M), limit (timesteps), cases, wrong_cases, error (wrong / output cells), seconds
    (of the program alone). Lengths at which the task has no examples, or takes too long to draw them, are left out.
    Lengths from 10,000 on have a tenth of the cases.
    """
    task = task or tasks.get(program.task)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for length in lengths:
        longest = min(task.max_difficulty or length, LONGEST.get(task.key, length))
        if not task.min_difficulty <= length <= longest:
            continue
        count = cases if length < LONG else max(1, cases // 10)
        num_cells = task.smallest_memory(length)
        wrong_cases, wrong, outputs, seconds = 0, 0, 0, 0.0
        for _ in range(count):
            batch = task.sample(torch.tensor([length]), num_cells, generator)
            cells = batch.memory[0].tolist()
            memory, mask = np.array(cells), batch.mask[0].numpy()
            start = time.perf_counter()
            produced = program.run(memory, int(batch.limit[0]))
            seconds += time.perf_counter() - start
            expected = np.array(task.solve(cells, length))
            missed = int(((produced != expected) & mask).sum())
            wrong_cases += missed > 0
            wrong += missed
            outputs += int(mask.sum())
        row = {"task": task.key, "length": length, "num_cells": num_cells, "limit": int(task.limit(length))}
        row |= {"cases": count, "wrong_cases": wrong_cases, "error": wrong / outputs, "seconds": seconds}
        rows.append(row)
    return pd.DataFrame(rows)


def first_failure(frame: pd.DataFrame) -> int | None:
    """The smallest length at which a case was wrong, in a frame of `try_lengths`; None if all were right."""
    failed = frame.loc[frame["wrong_cases"] > 0, "length"]
    return int(failed.min()) if len(failed) else None


def seen_program(program: Program, task: tasks.Task | None = None, cases: int = 300, longest: int = 20) -> Program:
    """The rows of a program that `cases` valid examples of its task use; on other inputs `run` may raise ValueError.

    The difficulties go up to `longest`; a memory has the smallest size, or a random one up to twice that.
    """
    task = task or tasks.get(program.task)
    generator = torch.Generator().manual_seed(0)
    longest = max(longest, task.min_difficulty)
    seen = {}
    for case in range(cases):
        difficulty = task.min_difficulty + case % (longest - task.min_difficulty + 1)
        smallest = task.smallest_memory(difficulty)
        num_cells = smallest + (0 if case % 3 == 0 else int(torch.randint(smallest, (1,), generator=generator)))
        batch = task.sample(torch.tensor([difficulty]), num_cells, generator)
        for key in program.visited(batch.memory[0].tolist(), int(batch.limit[0])):
            seen[key] = program.rows[key]
    return Program(program.layout, program.circuits, seen, program.task)


def readable(machine, task: tasks.Task, batches: list[tasks.Batch], longest: int = 20) -> Program:
    """A machine (`nram.Machine`) as a short program that does the same on the first example of each batch.

    The program of an MLP also has the rows that valid examples up to the length `longest` use.
    """
    runs = [(batch.memory[0].tolist(), int(batch.limit[0])) for batch in batches]
    if machine.controller_kind != "mlp":
        tabulator = Tabulator(machine)
        for cells, limit in runs:
            tabulator.run(cells, limit)
        return small(tabulator.program())
    whole = from_machine(machine)
    rows = seen_program(whole, task, longest=longest).rows
    for cells, limit in runs:
        rows = rows | {key: whole.rows[key] for key in whole.visited(cells, limit)}
    return small(Program(whole.layout, whole.circuits, rows, whole.task))


def describe(program: Program, memory: list[int], limit: int) -> str:
    """What a program does on one memory, in sentences: the circuit that runs most often, and how the run ends."""
    visited = [program.rows[key] for key in program.visited(memory, limit)]
    busiest, times = Counter(row.circuit for row in visited).most_common(1)[0]
    done = "; ".join(f"`{line}`" for line in statements(program.circuits[busiest])) or "nothing"
    ends = "stops by itself" if visited[-1].stop else "goes on until the time limit"
    return (
        f"In {times} of {len(visited)} timesteps of the run below it does {done}. It {ends}, and uses "
        f"{len({row.circuit for row in visited})} of the program's {len(program.circuits)} circuits."
    )


def timesteps_per_second(
    program: Program, num_cells: int = 64, timesteps: int = 1_000_000, seconds: float = 0.5, seed: int = 0
) -> float:
    """Timesteps per second of the interpreter on one core, on random memories of `num_cells` cells.

    Calls with up to 1,000 memories and `timesteps` timesteps in all are repeated for `seconds`; only timesteps that
    were taken count. Copies, checks and compilation are not timed.
    """
    batch = max(1, min(1_000, 1_000_000 // num_cells))
    memory = np.random.default_rng(seed).integers(0, num_cells, (batch, num_cells))
    limit = np.full(batch, max(1, timesteps // batch))
    program.code.run(memory.copy(), np.ones_like(limit))  # compiles
    taken, spent = 0, 0.0
    while spent < seconds:
        cells = memory.copy()
        start = time.perf_counter()
        steps = program.code.run(cells, limit)
        spent += time.perf_counter() - start
        taken += int(np.abs(steps).sum())
    return taken / spent
