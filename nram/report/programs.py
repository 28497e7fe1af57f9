"""What `60_programs.ipynb` shows: published executions, learned programs, their reach, proofs, how discrete they are.

Functions return frames, texts in Markdown and `Picture`s; the notebook shows and saves them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from matplotlib.figure import Figure

from nram import results, tasks
from nram.experiments.run import task_of_run
from nram.model import Machine, load
from nram.program import (
    PROVABLE,
    PUBLISHED,
    Circuit,
    Program,
    Proof,
    Step,
    Tabulator,
    describe,
    first_failure,
    folded,
    from_machine,
    from_runs,
    prove,
    published,
    seen_program,
    small,
    timesteps_per_second,
    try_lengths,
)
from nram.report import circuits, fuzzy_run, tapes

__all__ = [
    "Learned", "Picture", "Reenacted", "entropies", "entropies_picture", "entropy_table", "first_runs", "lengths_table",
    "lstm_runs", "proof_text", "proofs", "published_executions", "read_programs", "runs_line", "tried_lengths",
    "verdict_lines",
]  # fmt: skip

MOST_LINES = 120  # lines of a program that are shown
MOST_CIRCUITS = 4  # circuits of a program that are drawn
MOST_REASONS = 6  # reasons that are shown for a failed proof
SPEED_CELLS = 1_000  # memory on which the interpreter's speed is measured


class Picture(NamedTuple):
    """A figure, the name of its files without ending, and its alternative text."""

    figure: Figure
    name: str
    text: str


def _execution_picture(steps: Sequence[Step], title: str, name: str, text: str) -> Picture:
    return Picture(tapes.execution(steps, title), name, text)


def _circuits_picture(title: str, numbered: dict[int, Circuit], name: str, text: str) -> Picture:
    titles = {f"{title}: circuit {number + 1}": circuit for number, circuit in numbered.items()}
    return Picture(circuits.circuits(titles), name, text)


# The runs


def first_runs(folders: Iterable[str | Path]) -> pd.DataFrame:
    """The runs of the first folder that is not empty, as by `results.load_runs`; an empty frame if there is none."""
    for folder in map(Path, folders):
        if folder.is_dir() and any(folder.iterdir()):
            return results.load_runs(folder)
    return pd.DataFrame({"task": [], "controller": []})


def lstm_runs(folder: str | Path) -> pd.DataFrame:
    """The runs of a folder whose controller is an LSTM, as `first_runs`."""
    runs = first_runs([folder])
    return runs[runs["controller"] == "lstm"]


def runs_line(runs: pd.DataFrame) -> str:
    """How many runs there are, and which tasks have none."""
    missing = [key for key in tasks.KEYS if key not in set(runs["task"])]
    return f"{len(runs)} runs." + (f" **No run of: {', '.join(missing)}.**" if missing else "")


# The published executions (Tables 2 to 6)


@dataclass(frozen=True)
class Reenacted:
    """A published execution: the paper's table (see `results.paper_execution`), and what our program does."""

    task: str
    program: Program
    paper: pd.DataFrame
    steps: list[Step]

    @property
    def title(self) -> str:
        return tasks.get(self.task).title

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """The table's columns of cells, and of registers."""
        cells, registers = ([name for name in self.paper if name[0] == kind and name[1:].isdigit()] for kind in "mr")
        return cells, registers

    @property
    def equal(self) -> bool:
        """Whether every number of the table is re-enacted."""
        columns = sum(self.names, [])
        ours = pd.DataFrame([[*step.memory, *step.registers] for step in self.steps], columns=columns)
        equal = bool((ours == self.paper[columns]).all(axis=None))
        if "read_p" in self.paper:
            arguments = [[step.reads[0][0], *step.writes[0]] for step in self.steps]
            equal &= arguments == self.paper[["read_p", "write_p", "write_a"]].to_numpy().tolist()
        return equal

    @property
    def row(self) -> dict:
        """The execution in a table: task, timesteps, cells, registers, equal."""
        cells, registers = self.names
        size = {"timesteps": len(self.paper), "cells": len(cells), "registers": len(registers)}
        return {"task": self.task, **size, "equal": self.equal}

    def text(self) -> str:
        """The program as rules."""
        return f"### {self.title}\n```\n{self.program}```"

    def pictures(self) -> list[Picture]:
        """The circuits and the execution."""
        text = f"The circuits behind the published execution of {self.title}, as in the text above."
        numbered = dict(enumerate(self.program.circuits))
        drawn = _circuits_picture(self.title, numbered, f"published_circuits_{self.task}", text)
        text = f"The published execution of {self.title}, step by step."
        name = f"published_execution_{self.task}"
        return [drawn, _execution_picture(self.steps, f"{self.title}, as published", name, text)]


def published_executions() -> list[Reenacted]:
    """Every published execution, re-enacted by `nram.program.published`."""
    executions = []
    for key in PUBLISHED:
        program, paper = published(key), results.paper_execution(key)
        memory = paper.loc[0, [name for name in paper if name[0] == "m" and name[1:].isdigit()]].tolist()
        executions.append(Reenacted(key, program, paper, list(program.trace(memory, len(paper)))[: len(paper)]))
    return executions


# The learned programs


@dataclass(frozen=True)
class Learned:
    """A task's best run, read as a program.

    task: with the run's time limit. run: its row of `results.load_runs`. whole: all that is known of the program.
    runs: what runs on any memory, `whole` for an MLP, a Tabulator for an LSTM. shown: a short program for valid
    examples. steps: its execution of one example, empty if it meets a pattern without a row. said: what it does there,
    in words.
    """

    task: tasks.Task
    run: pd.Series
    machine: Machine
    whole: Program
    runs: Program | Tabulator
    shown: Program
    steps: list[Step]
    said: str

    @property
    def name(self) -> str:
        """The task's key, with the controller's kind if it is an LSTM. Files are named after it."""
        return self.task.key if self.machine.controller_kind == "mlp" else f"{self.task.key}-lstm"

    def save(self, folder: str | Path) -> None:
        """Write the whole program as Python and as JSON."""
        folder = Path(folder)
        results.write_text(folder / f"{self.name}.py", self.whole.to_python())
        self.whole.save(folder / f"{self.name}.json")

    def text(self) -> str:
        """The machine and its program in words, then the program in Python."""
        kind, modules = self.machine.controller_kind.upper(), len(self.machine.layout.modules)
        longest = int(self.run["train_difficulty"])
        solved = f"error {self.run['discretized_train_error']:.3g} when discretized, at complexity {longest}"
        lines = self.shown.to_python().splitlines()
        if len(lines) > MOST_LINES:
            lines = [*lines[:MOST_LINES], "# ... the rest is in the file"]
        heading = f"### {self.task.title}\n\n{kind}, {modules} modules; {solved}. {self.said}"
        return heading + "\n\n```python\n" + "\n".join(lines) + "\n```"

    def pictures(self) -> list[Picture]:
        """The execution and the first circuits that it uses."""
        if not self.steps:
            return []
        name, title = self.name, self.task.title
        text = f"{title}: memory and registers of the learned machine at every timestep of one run."
        used = list(dict.fromkeys(step.row.circuit for step in self.steps if step.row is not None))[:MOST_CIRCUITS]
        execution = _execution_picture(self.steps, title, f"execution_{name}", text)
        numbered = {number: self.shown.circuits[number] for number in used}
        text = f"{title}: the first circuits that the run above uses."
        return [execution, _circuits_picture(title, numbered, f"circuits_{name}", text)]


def read_programs(
    runs: pd.DataFrame, generator: torch.Generator, example_difficulty: int, lstm_examples: int
) -> dict[str, Learned]:
    """The best run of every task as a program, by key, in the order of Table 1.

    The program of an LSTM is read from `lstm_examples` random examples; the execution is of the first.
    """
    best = results.best_runs(runs)
    return {key: _read(best[key], generator, example_difficulty, lstm_examples) for key in tasks.KEYS if key in best}


def _read(run: pd.Series, generator: torch.Generator, example_difficulty: int, lstm_examples: int) -> Learned:
    machine, task = load(run["folder"]), task_of_run(run)
    longest = int(run["train_difficulty"])
    if machine.controller_kind == "mlp":
        whole = runs = from_machine(machine)
        shown = small(seen_program(whole, task, longest=longest))
        batch = _example(task, min(example_difficulty, longest), generator)
    else:
        runs = Tabulator(machine)
        difficulty = torch.randint(task.min_difficulty, longest + 1, (lstm_examples,), generator=generator)
        batch = task.sample(difficulty, task.min_cells(longest), generator)
        whole = small(from_runs(machine, batch.memory, batch.limit))
        shown = small(folded(whole))
    memory, limit = batch.memory[0].tolist(), int(batch.limit[0])
    try:
        steps, said = list(shown.trace(memory, limit)), describe(shown, memory, limit)
    except ValueError as error:
        steps, said = [], f"It cannot be traced on the example: {error}."
    return Learned(task, run, machine, whole, runs, shown, steps, said)


def _example(task: tasks.Task, difficulty: int, generator: torch.Generator) -> tasks.Batch:
    """One example in the smallest memory for it."""
    difficulty = max(task.min_difficulty, difficulty)
    return task.sample(torch.tensor([difficulty]), task.smallest_memory(difficulty), generator)


# How far they go


def tried_lengths(learned: dict[str, Learned], lengths: list[int], lstm_longest: int, seed: int) -> pd.DataFrame:
    """Every program against its task's solver: the rows of `nram.program.try_lengths`.

    LSTMs are tried up to the length `lstm_longest`.
    """
    frames = []
    for each in learned.values():
        mine = [length for length in lengths if isinstance(each.runs, Program) or length <= lstm_longest]
        frames.append(try_lengths(each.runs, each.task, mine, seed=seed))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["task", "wrong_cases"])


def lengths_table(learned: dict[str, Learned], tried: pd.DataFrame, lengths: list[int]) -> pd.DataFrame:
    """One row per task, one column per length with its wrong cases; first failure; speed, measured here."""
    rows = []
    for key, each in learned.items():
        mine = tried[tried["task"] == key]
        row = {"task": key, **dict.fromkeys(map(str, lengths), "–")}
        row |= {str(cell.length): f"{cell.wrong_cases} of {cell.cases}" for cell in mine.itertuples()}
        row["first failure"] = first_failure(mine) or "–"
        is_table = isinstance(each.runs, Program)
        speed = round(timesteps_per_second(each.runs, SPEED_CELLS) / 1e6, 1) if is_table else "–"
        rows.append(row | {"million timesteps per second": speed})
    return pd.DataFrame(rows)


def proofs(learned: dict[str, Learned]) -> dict[str, Proof]:
    """Proofs for every length, or failed attempts, where the task is provable and the program has one state."""
    mine = {key: learned[key] for key in PROVABLE if key in learned}
    return {key: prove(each.runs, each.task) for key, each in mine.items() if isinstance(each.runs, Program)}


def proof_text(proof: Proof) -> str:
    """A proof for reading; for a failed one, its first reasons."""
    lines = proof.lines if proof.proved else proof.lines[:MOST_REASONS]
    return f"### {tasks.get(proof.task).title}\n```\n" + "\n".join(lines) + "\n```"


# How discrete they are


def entropies(learned: dict[str, Learned], generator: torch.Generator, difficulty: int) -> pd.DataFrame:
    """Mean entropies over one execution of each fuzzy machine: task, run (the task's title), timestep, of, bits."""
    frames = []
    for key, each in learned.items():
        batch = _example(each.task, difficulty, generator)
        frame = fuzzy_run.run_fuzzy(each.machine, batch.memory[0], int(batch.limit[0])).entropy()
        frames.append(frame.assign(task=key, run=each.task.title))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def entropy_table(learned: dict[str, Learned], bits: pd.DataFrame) -> pd.DataFrame:
    """One row per task: mean entropies at the end of the execution; discretization, ours and the paper's."""
    paper = results.paper_table1().set_index("task")["discretization"]
    rows = []
    for key, each in learned.items():
        frame = bits[bits["task"] == key]
        ends = frame[frame["timestep"] == frame["timestep"].max()].set_index("of")["bits"].round(3)
        ours, theirs = each.run["discretization"], paper[key]
        rows.append({"task": key, **ends, "outputs that differ": ours, "the paper says": theirs})
    return pd.DataFrame(rows)


def entropies_picture(bits: pd.DataFrame) -> Picture:
    """The entropies over time, a panel per machine."""
    return Picture(fuzzy_run.entropies(bits), "entropy", "Mean entropies over a run of each task's machine.")


def verdict_lines(
    executions: list[Reenacted], learned: dict[str, Learned], tried: pd.DataFrame, proved: dict[str, Proof]
) -> list[str]:
    """The verdict: a line on the published executions, one per task, and one on what the paper found."""
    equal = sum(each.equal for each in executions)
    lines = [f"{equal} of {len(executions)} published executions are re-enacted number by number."]
    for key in tasks.KEYS:
        title = tasks.get(key).title
        if key not in learned:
            lines.append(f"**{title}**: not run.")
            continue
        mine = tried[tried["task"] == key]
        failed = first_failure(mine)
        text = f"first error at length {failed}" if failed else f"no error up to length {mine['length'].max()}"
        if key in proved:
            claim = proved[key].lines[0].partition(": ")[2]
            text += f"; proved: {claim}" if proved[key].proved else "; not proved for every length"
        lines.append(f"**{title}**: {text}")
    return [*lines, "The paper checked Copy and Increment by hand and found that they work at every length."]
