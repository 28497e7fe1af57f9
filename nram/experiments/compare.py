"""Two runs, or two folders of runs, side by side: errors, their difference with its interval, settings that differ."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nram import results, tasks
from nram.experiments.search import wilson_interval

__all__ = ["MEASURES", "compare", "compare_markdown", "difference_interval"]

FAR = results.PERFECT_UP_TO
MEASURES = ("train error", f"error at {FAR}", "discretized error")
UNKNOWN = (float("nan"), 0)
MINE = Path("results/runs")
PLACES = {"recorded": results.CHECKOUT / "results" / "recorded", "mine": MINE}


@dataclass(frozen=True)
class Side:
    """What one side knows of a task.

    errors: measure -> (error, cases behind it; 0 where the error is all that was published). words: measure -> what
    Table 1 says, where that is words. settings: those that are known.
    """

    errors: dict[str, tuple[float, int]]
    words: dict[str, str]
    settings: dict


def compare(first: str | Path, second: str | Path, beside: str | Path | None = None) -> pd.DataFrame:
    """One frame for two sources of results: a row per task that both have, and measure.

    A source is a run's folder; or a folder of runs, of which every task's best counts (see `results.best_runs`); or a
    word: "paper", "recorded" (this repository's reference runs), "mine" (results/runs). Columns: task; measure, one of
    `MEASURES`; either source's error under its name; difference, second minus first; low and high, its 95% interval
    (see `difference_interval`); settings that differ; note, what Table 1 says in words other than "perfect". The errors
    of a source `beside` the two are shown, no more.

    How many cases are behind the paper's errors is not published, so they count as exact; its "perfect" is an error of
    0. Errors of the discretized machine are those at the train complexity. Raises ValueError for a source without runs
    and for the same one twice, FileNotFoundError for one that is no folder, each naming it.
    """
    sources = [str(each) for each in (first, second, beside) if each is not None]
    if len(set(sources)) < len(sources):
        raise ValueError(f"{sources[0]} cannot be compared with itself")
    sides = dict(zip(sources, map(_load, sources), strict=True))
    rows = []
    for key in _in_order(sides[sources[0]].keys() & sides[sources[1]].keys()):
        known = {name: tasks_of[key] for name, tasks_of in sides.items() if key in tasks_of}
        ours, theirs = known[sources[0]], known[sources[1]]
        for measure in MEASURES:
            errors = {name: side.errors.get(measure, UNKNOWN) for name, side in known.items()}
            low, high = difference_interval(errors[sources[0]], errors[sources[1]])
            words = {name: side.words.get(measure, "perfect") for name, side in known.items()}
            rows.append(
                {
                    "task": key,
                    "measure": measure,
                    **{name: error for name, (error, _) in errors.items()},
                    "difference": errors[sources[1]][0] - errors[sources[0]][0],
                    "low": low,
                    "high": high,
                    "settings that differ": _differing(ours.settings, theirs.settings),
                    "note": "; ".join(f"{name}: {word}" for name, word in words.items() if word != "perfect"),
                }
            )
    columns = ["task", "measure", *sources, "difference", "low", "high", "settings that differ", "note"]
    return pd.DataFrame(rows, columns=columns)


def difference_interval(
    first: tuple[float, int], second: tuple[float, int], z: float = 1.959964
) -> tuple[float, float]:
    """The 95% interval of second - first, each (error, cases), by Newcombe's method from two Wilson intervals.

    z: how many standard deviations of a normal distribution the interval holds, for another level than 95%.

    An error is a mean over cases of numbers in 0..1, whose variance is at most that of a share with the same mean: the
    interval is, if anything, too wide. An error of 0 cases counts as exact; one that is not known gives (nan, nan).
    """
    bounds = []
    for error, cases in (first, second):
        known = cases > 0 and error == error
        bounds.append(wilson_interval(error * cases, cases, z) if known else (error, error))
    (a, _), (b, _) = first, second
    (low_a, high_a), (low_b, high_b) = bounds
    below = ((b - low_b) ** 2 + (high_a - a) ** 2) ** 0.5
    above = ((high_b - b) ** 2 + (a - low_a) ** 2) ** 0.5
    return b - a - below, b - a + above


def compare_markdown(frame: pd.DataFrame) -> str:
    """What `compare` gives, as a table for reading: settings that differ stand in a task's first row."""
    shown = frame.rename(columns={"low": "95% interval"})
    bounds = zip(frame["low"], frame["high"], strict=True)
    shown["95% interval"] = [f"{low:+.3f} to {high:+.3f}" if low == low else "–" for low, high in bounds]
    shown["settings that differ"] = shown["settings that differ"].mask(shown["task"].duplicated(), "")
    return results.to_markdown(shown.drop(columns="high"))


def _load(source: str | Path) -> dict[str, Side]:
    """What a source knows, by task."""
    if str(source) == "paper":
        return {row.task: _published(row) for row in results.paper_table1().itertuples()}
    folder = PLACES.get(str(source), Path(source))
    if not folder.is_dir():
        mine = str(source) == "mine"
        hint = ": there are no runs of yours yet" if mine else ", nor one of the words paper, recorded, mine"
        raise FileNotFoundError(f"{folder} is no folder of runs{hint}")
    best = results.best_runs(results.load_runs(folder))
    if not best:
        raise ValueError(f"{folder} holds no finished run")
    return {task: _measured(row) for task, row in best.items()}


def _published(row) -> Side:
    """A row of the paper's Table 1; "perfect" is a number, other words are not."""
    errors = {"train error": (row.train_error, 0)}
    words = {f"error at {FAR}": row.generalization, "discretized error": row.discretization}
    errors |= {measure: (0.0, 0) for measure, word in words.items() if word == "perfect"}
    if "discretized error" in errors:  # the same output as the fuzzy machine's in every case
        errors["discretized error"] = errors["train error"]
    return Side(errors, words, {"train_difficulty": row.train_complexity})


def _measured(row: pd.Series) -> Side:
    """A row of `results.load_runs`."""
    run = results.load_run(row["folder"])
    frame = run.generalization[run.generalization["mode"] == "at"].set_index(["machine", "complexity"])
    places = {
        "train error": ("fuzzy", run.config["train_difficulty"]),
        f"error at {FAR}": ("fuzzy", FAR),
        "discretized error": ("discretized", run.config["train_difficulty"]),
    }
    errors = {
        measure: (float(frame.loc[place, "error"]), int(frame.loc[place, "cases"]))
        for measure, place in places.items()
        if place in frame.index
    }
    words = {f"error at {FAR}": row["generalization"], "discretized error": row["discretization"]}
    return Side(errors, words, run.config)


def _differing(first: dict, second: dict) -> str:
    """The settings that both sides know and that differ, each with both values."""
    shared = [name for name in second if name in first]
    return ", ".join(f"{name} {first[name]} → {second[name]}" for name in shared if first[name] != second[name])


def _in_order(keys: set[str]) -> list[str]:
    """The paper's tasks in its order, then others by name."""
    return sorted(keys, key=lambda key: (tasks.KEYS.index(key) if key in tasks.KEYS else len(tasks.KEYS), key))
