"""Table 1: the paper beside ours, as a frame, cell by cell, as Markdown.

Our cells are judged anew from each run's generalization.csv, not read from metrics.json.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nram.results.files import write_text
from nram import tasks
from nram.results.markdown import cell_text, to_markdown
from nram.results.paper import paper_table1
from nram.results.runs import best_runs, load_runs
from nram.results.verdict import PERFECT_UP_TO

__all__ = [
    "MARKS",
    "all_reached",
    "effort_markdown",
    "reached",
    "readme_tables",
    "summary_markdown",
    "table1",
    "table1_markdown",
    "table1_rows",
    "write_table1",
]

JUDGED = ("train_error", "generalization", "discretization")  # the columns in which ours can reach the paper's
WITH_LESSONS = tuple(key for key in tasks.KEYS if tasks.get(key).lessons)
MARKS = {True: "✓", False: "✗", None: "○"}
SAID = {True: "reached", False: "not reached", None: "the paper gives no number"}


# The frame


def table1(runs: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 1 beside ours, one row per task, from the frame that `load_runs` returns.

    The paper's columns begin with paper_. A task's row is its best run (see `best_runs`); `runs` counts its runs.
    beyond_paper: what its training adds to the paper's recipe. Tasks without a run keep the paper's columns only. The
    last columns say where the row comes from.
    """
    paper = paper_table1()
    measured = paper.rename(columns={name: f"paper_{name}" for name in paper.columns[2:]})
    verdicts = ["train_error", "train_cases", "generalization", "generalization_cases"]
    verdicts += ["discretization", "discretization_cases"]
    sources = [name for name in runs.columns if name.startswith("provenance_")]
    rows = []
    for task, best in best_runs(runs).items():
        row = {"task": task, "train_complexity": best["train_difficulty"], **best[verdicts]}
        row["runs"] = int((runs["task"] == task).sum())
        row["beyond_paper"] = _beyond_paper(best)
        for name in ("seed", "config_hash", "folder"):
            row[name] = best[name]
        for name in sources:
            row[name.removeprefix("provenance_")] = best[name]
        rows.append(row)
    ours = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["task", "train_complexity", *verdicts, "runs"])
    joined = measured.merge(ours, on="task", how="left")
    for name in ("train_complexity", "train_cases", "generalization_cases", "discretization_cases", "runs", "seed"):
        if name in joined:
            joined[name] = joined[name].astype("Int64")
    order = ["task", "complexity_measure"]
    for name in ("train_complexity", *JUDGED):
        order += [f"paper_{name}", name]
    return joined[order + [name for name in joined.columns if name not in order]]


def _beyond_paper(settings: pd.Series) -> str:
    """What a run's settings add to the paper's recipe, in words; "" for nothing."""
    lessons = settings.get("lessons") in (True,) and settings["task"] in WITH_LESSONS
    if settings.get("annealing", 0) > 0:
        return "lessons, annealing" if lessons else "annealing"
    additions = {
        "lessons": lessons,
        "copies": settings.get("copies", 0) > 0,
        "rewiring": settings.get("rewiring", 0) > 0,
        "sharpening": settings.get("sharpening", 1) > 1,
        "no curriculum": settings.get("curriculum") in (False,),
    }
    return ", ".join(name for name, is_on in additions.items() if is_on)


# Judged cell by cell


def reached(table: pd.DataFrame) -> pd.DataFrame:
    """Whether ours is as good as the paper's, in every cell of `table1`: True, False, or None if that is open.

    Columns: task, train_error, generalization, discretization. A smaller or equal error reaches the paper's. "Perfect"
    reaches everything, and nothing else reaches "perfect". Where the paper gives other words, not numbers, a run that
    misses its train error misses them too. A run that meets it leaves generalization open, and reaches discretization:
    there the paper's words report discretized machines that fail. None, too, where nothing was run.
    """
    columns = ["task", *JUDGED]
    rows = [[row["task"], *_reached_cells(row)] for row in table.to_dict("records")]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def _reached_cells(row: dict) -> tuple[bool | None, bool | None, bool | None]:
    """Of a row of `table1`, in the order of `JUDGED`."""
    if pd.isna(row["runs"]):
        return None, None, None
    trained = bool(row["train_error"] <= row["paper_train_error"])

    # The paper writes "perfect" or vague words. Only "perfect" reaches "perfect".
    def judged(name: str, if_paper_is_vague: bool | None) -> bool | None:
        if row[name] == "perfect":
            return True
        missed = row[f"paper_{name}"] == "perfect" or not trained
        return False if missed else if_paper_is_vague

    return trained, judged("generalization", None), judged("discretization", True)


def all_reached(table: pd.DataFrame) -> list[str]:
    """The tasks that were run and reach the paper in every column where it gives a number (see `reached`)."""
    judged = reached(table[table["runs"].notna()])
    return judged.loc[~judged.isin([False]).any(axis=1), "task"].tolist()


# For reading


@dataclass(frozen=True)
class Cell:
    """The paper's value and ours in one column: text for reading; reached, mark and said as in `reached`."""

    name: str
    paper: str
    ours: str
    reached: bool | None
    mark: str
    said: str


@dataclass(frozen=True)
class TableRow:
    """A task of Table 1 for reading.

    runs: how many were made; None if none was, and then trained_at and cases are None and our texts "not run".
    beyond_paper: what training adds to the paper's recipe. cases: behind the train error; behind each complexity of
    generalization; compared for discretization.
    """

    task: str
    complexity_measure: str
    paper_trained_at: int
    trained_at: int | None
    cells: tuple[Cell, ...]
    cases: tuple[int, int, int] | None
    runs: int | None
    beyond_paper: str

    @property
    def marked_task(self) -> str:
        return f"{self.task} †" if self.beyond_paper else self.task


def table1_rows(table: pd.DataFrame) -> list[TableRow]:
    """The rows of `table1` for reading: every other form of it, Markdown or HTML, shows these."""
    return [_row_for_reading(row) for row in table.to_dict("records")]


def _row_for_reading(row: dict) -> TableRow:
    run = not pd.isna(row["runs"])
    cells = []
    for name, is_reached in zip(JUDGED, _reached_cells(row), strict=True):
        cell = Cell(
            name=name.replace("_", " "),
            paper=cell_text(row[f"paper_{name}"]),
            ours=cell_text(row[name]) if run else "not run",
            reached=is_reached,
            mark=MARKS[is_reached],
            said=SAID[is_reached] if run else "not run",
        )
        cells.append(cell)
    return TableRow(
        task=row["task"],
        complexity_measure=row["complexity_measure"],
        paper_trained_at=row["paper_train_complexity"],
        trained_at=row["train_complexity"] if run else None,
        cells=tuple(cells),
        cases=(row["train_cases"], row["generalization_cases"], row["discretization_cases"]) if run else None,
        runs=row["runs"] if run else None,
        beyond_paper=row["beyond_paper"] if run else "",
    )


def table1_markdown(table: pd.DataFrame) -> str:
    """Table 1 for reading, without the columns of provenance; a line says how to read it."""
    rows = table1_rows(table)
    shown = []
    for row in rows:
        line = {"task": row.marked_task, "complexity": row.complexity_measure}
        line["train complexity: paper"] = row.paper_trained_at
        line["train complexity: ours"] = row.trained_at
        for cell in row.cells:
            line[f"{cell.name}: paper"] = cell.paper
            line[f"{cell.name}: ours"] = cell.ours if row.runs else None
        line["cases"] = "{}; {} per complexity; {}".format(*row.cases) if row.cases else "not run"
        line["runs"] = row.runs
        shown.append(line)
    note = (
        "Errors are fractions of the cells that should be modified. Cases: behind the train error; behind each "
        "complexity of generalization; compared for discretization. Each of our rows is the best of the task's runs."
    )
    return f"{to_markdown(pd.DataFrame(shown, dtype=object))}\n{note}{_beyond_note(rows)}\n"


def summary_markdown(table: pd.DataFrame) -> str:
    """The short Table 1 of the README: our cells with a mark, up to their first comma, and a line on the cases."""
    rows = table1_rows(table)
    shown = []
    for row in rows:
        line = {"task": row.marked_task}
        for cell in row.cells:
            line[f"{cell.name}: paper"] = cell.paper
            line[f"{cell.name}: ours"] = f"{cell.mark} {cell.ours.partition(', ')[0]}"
        shown.append(line)
    said = f"{len(all_reached(table))} of {len(table)} tasks reach the paper wherever it gives a number."
    cases = [row.cases for row in rows if row.cases]
    if cases:
        train, each, compared = map(min, zip(*cases, strict=True))
        said += (
            f" Each train error is measured on at least {train:,} fresh cases, generalization on {each:,} at every "
            f"complexity up to {PERFECT_UP_TO}, discretization on {compared:,}."
        )
    return f"{to_markdown(pd.DataFrame(shown))}\n{said}{_beyond_note(rows)}\n"


def _beyond_note(rows: list[TableRow]) -> str:
    told = [f"{row.task} ({row.beyond_paper})" for row in rows if row.beyond_paper]
    return f" †: trained with more than the paper's recipe: {'; '.join(told)}." if told else ""


def effort_markdown(runs: pd.DataFrame) -> str:
    """What each run took to train, for reading, from the frame that `load_runs` returns."""
    headings = {
        "task": "task",
        "seed": "seed",
        "training_seconds": "seconds of training",
        "batches": "batches",
        "members_started": "seeds started",
        "members_solved": "trials solved",
        "provenance_threads": "threads",
        "provenance_command": "command",
    }
    order = {task: place for place, task in enumerate(paper_table1()["task"])}
    shown = runs.sort_values("task", key=lambda task: task.map(order))[list(headings)].rename(columns=headings)
    return to_markdown(shown.assign(command="`" + shown["command"] + "`"))


def readme_tables(runs: pd.DataFrame) -> dict[str, str]:
    """The README's tables by the names of their marks, from the frame that `load_runs` returns."""
    return {"table1": summary_markdown(table1(runs)), "effort": effort_markdown(runs)}


def write_table1(results: str | Path) -> pd.DataFrame:
    """Write `results`/tables/table1.csv and table1.md from the runs in `results`/runs, and return the table."""
    results = Path(results)
    table = table1(load_runs(results / "runs"))
    for name, text in (("table1.csv", table.to_csv(index=False)), ("table1.md", table1_markdown(table))):
        write_text(results / "tables" / name, text)
    return table
