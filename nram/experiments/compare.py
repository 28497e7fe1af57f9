"""Two runs, or two folders of runs, side by side: errors, their difference with its interval, settings that differ."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nram import results, tasks

__all__ = ["MEASURES", "compare", "compare_markdown"]

TRAIN, FAR, DISCRETIZED = "train error", f"error at {results.PERFECT_UP_TO}", "discretized error"
MEASURES = (TRAIN, FAR, DISCRETIZED)
UNKNOWN = (math.nan, 0)
WORDS = {"recorded": results.RECORDED, "mine": results.MINE}  # folders that a source may name by a word


@dataclass(frozen=True)
class Side:
    """What one source says about a task, by measure.

    errors: (error, cases behind it; 0 if only the error was published). words: Table 1's verdict, if it is not a
    number. settings: those that are known.
    """

    errors: dict[str, tuple[float, int]]
    words: dict[str, str]
    settings: dict


def compare(first: str | Path, second: str | Path, beside: str | Path | None = None) -> pd.DataFrame:
    """One frame for two sources of results: a row for each measure and each task that both have.

    A source is a run's folder, a folder of runs (each task's best counts, see `results.best_runs`) or a word:
    "paper", "recorded" (this repository's reference runs), "mine" (results/runs). Columns: task; measure, one of
    `MEASURES`; the error of each source under its name; difference, second minus first; low and high, its 95% interval
    (see `results.difference_interval`); settings that differ; note, what Table 1 says in words other than "perfect".
    The source `beside` only adds its column of errors and its notes.

    The paper does not publish how many cases are behind its errors: they count as exact. Its "perfect" counts as an
    error of 0. Errors of the discretized machine are those at the train complexity. Raises ValueError for a source
    without runs and for the same source twice, FileNotFoundError for a source that is not a folder; each names the
    source.
    """
    sources = [str(each) for each in (first, second, beside) if each is not None]
    if len(set(sources)) < len(sources):
        raise ValueError(f"{sources[0]} cannot be compared with itself")
    by_source = {source: _load(source) for source in sources}
    first, second, *_ = sources
    rows = []
    for task in _in_order(by_source[first].keys() & by_source[second].keys()):
        sides = {source: by_task[task] for source, by_task in by_source.items() if task in by_task}
        differing = _differing(sides[first].settings, sides[second].settings)
        for measure in MEASURES:
            errors = {source: side.errors.get(measure, UNKNOWN) for source, side in sides.items()}
            words = {source: side.words.get(measure, "perfect") for source, side in sides.items()}
            row = {"task": task, "measure": measure}
            for source, (error, _) in errors.items():
                row[source] = error
            row["difference"] = row[second] - row[first]
            row["low"], row["high"] = results.difference_interval(errors[first], errors[second])
            row["settings that differ"] = differing
            row["note"] = "; ".join(f"{source}: {word}" for source, word in words.items() if word != "perfect")
            rows.append(row)
    columns = ["task", "measure", *sources, "difference", "low", "high", "settings that differ", "note"]
    return pd.DataFrame(rows, columns=columns)


def _in_order(keys: set[str]) -> list[str]:
    """The paper's tasks in its order, then others by name."""
    return sorted(keys, key=lambda key: (tasks.KEYS.index(key) if key in tasks.KEYS else len(tasks.KEYS), key))


def _differing(first: dict, second: dict) -> str:
    """The settings that both sides know and that differ, each with both values."""
    shared = [name for name in second if name in first]
    return ", ".join(f"{name} {first[name]} → {second[name]}" for name in shared if first[name] != second[name])


# What a source knows


def _load(source: str) -> dict[str, Side]:
    """A source's side of each task."""
    if source == "paper":
        return {row.task: _published(row) for row in results.paper_table1().itertuples()}
    folder = WORDS.get(source, Path(source))
    if not folder.is_dir():
        hint = (
            ": there are no runs of yours yet" if source == "mine" else ", nor one of the words paper, recorded, mine"
        )
        raise FileNotFoundError(f"{folder} is no folder of runs{hint}")
    best = results.best_runs(results.load_runs(folder))
    if not best:
        raise ValueError(f"{folder} holds no finished run")
    return {task: _measured(row) for task, row in best.items()}


def _published(row) -> Side:
    """The paper's side, from a row of its Table 1."""
    errors = {TRAIN: (row.train_error, 0)}
    if row.generalization == "perfect":
        errors[FAR] = (0.0, 0)
    if row.discretization == "perfect":  # the discretized output is the fuzzy one in every case
        errors[DISCRETIZED] = errors[TRAIN]
    words = {FAR: row.generalization, DISCRETIZED: row.discretization}
    return Side(errors, words, {"train_difficulty": row.train_complexity})


def _measured(row: pd.Series) -> Side:
    """A run's side, from a row of `results.load_runs`."""
    run = results.load_run(row["folder"])
    at = run.generalization[run.generalization["mode"] == "at"].set_index(["machine", "complexity"])
    trained_at = run.config["train_difficulty"]
    errors = {}
    for measure, place in (
        (TRAIN, ("fuzzy", trained_at)),
        (FAR, ("fuzzy", results.PERFECT_UP_TO)),
        (DISCRETIZED, ("discretized", trained_at)),
    ):
        if place in at.index:
            errors[measure] = float(at.loc[place, "error"]), int(at.loc[place, "cases"])
    words = {FAR: row["generalization"], DISCRETIZED: row["discretization"]}
    return Side(errors, words, run.config)


# For reading


def compare_markdown(frame: pd.DataFrame) -> str:
    """The frame of `compare` for reading; a task's first row names the settings that differ."""
    bounds = zip(frame["low"], frame["high"], strict=True)
    interval = ["–" if math.isnan(low) else f"{low:+.3f} to {high:+.3f}" for low, high in bounds]
    shown = frame.assign(low=interval).rename(columns={"low": "95% interval"}).drop(columns="high")
    shown["settings that differ"] = shown["settings that differ"].mask(shown["task"].duplicated(), "")
    return results.to_markdown(shown)
