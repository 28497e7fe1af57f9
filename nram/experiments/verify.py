"""Recorded numbers measured again: the recorded weights on fresh cases, each number beside the recorded one.

A number has moved if zero lies outside the interval of the difference (`nram.results.difference_interval`). Of so many
numbers, some would leave their 95% intervals by chance. So the intervals are wider: in a table where nothing is wrong,
any number moves with a probability of at most `FALSE_ALARM`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

import pandas as pd

from nram import results, tasks
from nram.experiments import run as experiment

__all__ = ["FALSE_ALARM", "verify", "verify_markdown"]

FALSE_ALARM = 0.001
KEYS = ["mode", "complexity", "machine"]


@dataclass(frozen=True)
class Number:
    """A recorded number and the same measured again, each with the cases behind it. With 0 cases they must be equal."""

    number: str
    mode: str
    complexity: int
    machine: str
    recorded: float
    recorded_cases: int
    again: float
    cases: int


def verify(
    folder: str | Path, *, cases: int = 1000, max_complexity: int = 50, seed: int = 54321, progress: Callable = iter
) -> pd.DataFrame:
    """Measure a run, or all runs of a folder, again: one row per number, `moved` if it is not what was recorded.

    cases: fresh ones per complexity. Complexities above `max_complexity`, and those that were not recorded, are left
    out. seed: of the cases. progress wraps the list of folders, for instance tqdm.

    Columns: task, folder; number: the mean error, the share of wrong cases or of disagreements over all complexities,
    or a metric that must follow from the run's generalization.csv; mode, complexity, machine (see
    `nram.evaluate.Evaluation`); recorded, recorded_cases, again, cases; low, high: the interval of again - recorded;
    moved; and where the recorded number comes from (see `nram.results.origin`). Raises FileNotFoundError or ValueError
    naming the file for a folder without runs or with a broken one.
    """
    folder = Path(folder)
    folders = [folder] if (folder / "config.json").is_file() else list(results.load_runs(folder)["folder"])
    if not folders:
        raise ValueError(f"{folder} holds no finished run")
    measured = []
    for each in progress(folders):
        run = results.load_run(each)
        for number in (*_metrics(run), *_errors(run, cases, max_complexity, seed)):
            measured.append((run, number))
    counted = sum(number.cases > 0 for _, number in measured)
    z = NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * max(1, counted)))
    rows = []
    for run, number in measured:
        then, now = (number.recorded, number.recorded_cases), (number.again, number.cases)
        low, high = results.difference_interval(then, now, z)
        is_equal = math.isclose(number.recorded, number.again, rel_tol=1e-9)
        is_outside = number.cases == 0 or low > 0 or high < 0
        rows.append(
            {
                "task": run.config["task"],
                "folder": str(run.folder),
                **asdict(number),
                "low": low,
                "high": high,
                "moved": is_outside and not is_equal,
                **results.origin(run),
            }
        )
    return pd.DataFrame(rows)


def _metrics(run: results.Run) -> Iterator[Number]:
    """The recorded metrics, each beside its value according to the run's own generalization.csv."""
    for name, value in run.judge().metrics().items():
        recorded, again = (math.nan if each is None else float(each) for each in (run.metrics.get(name), value))
        if math.isnan(recorded) and math.isnan(again):
            recorded = again = -1.0  # "no failure" on both sides
        yield Number(f"metric {name}", "", 0, "", recorded, 0, again, 0)


def _errors(run: results.Run, cases: int, max_complexity: int, seed: int) -> Iterator[Number]:
    """Every recorded error beside a fresh one, then shares of the cases of all complexities of a mode and machine."""
    recorded = run.generalization
    tried = {mode: sorted(group["complexity"].unique()) for mode, group in recorded.groupby("mode")}
    again = experiment.evaluate_run(
        run.folder,
        progress=False,
        cases=cases,
        seed=seed,
        complexities=[each for each in tried.get("at", []) if each <= max_complexity],
        uniform_complexities=[each for each in tried.get("uniform", []) if each <= max_complexity],
    ).generalization
    both = recorded.merge(again, on=KEYS, suffixes=("_recorded", ""))
    for row in both.itertuples():
        place = row.mode, row.complexity, row.machine
        yield Number("error", *place, row.error_recorded, row.cases_recorded, row.error, row.cases)
    for (mode, machine), group in both.groupby(["mode", "machine"]):
        recorded_cases = len(group) * group["cases_recorded"].min()
        fresh_cases = len(group) * group["cases"].min()
        for counted in ("wrong_cases", "disagreements"):
            then = (group[f"{counted}_recorded"] / group["cases_recorded"]).mean()
            now = (group[counted] / group["cases"]).mean()
            number = f"{counted.replace('_', ' ')}, all complexities"
            yield Number(number, mode, 0, machine, then, recorded_cases, now, fresh_cases)


def verify_markdown(frame: pd.DataFrame) -> str:
    """The frame of `verify` for reading: a row per run, then the numbers that moved."""
    rows = []
    for (task, folder), group in frame.groupby(["task", "folder"], sort=False):
        errors = group[group["number"] == "error"]
        apart = (errors["again"] - errors["recorded"]).abs()
        rows.append(
            {
                "task": task,
                "run": Path(folder).name,
                "numbers": len(group),
                "cases then": int(errors["recorded_cases"].sum()),
                "cases now": int(errors["cases"].sum()),
                "errors of 0 then": int((errors["recorded"] == 0).sum()),
                "errors of 0 now": int((errors["again"] == 0).sum()),
                "largest difference": float(apart.max()),
                "moved": int(group["moved"].sum()),
                "commit": str(group["commit"].iloc[0])[:10],
            }
        )
    order = {task: place for place, task in enumerate(tasks.KEYS)}
    rows.sort(key=lambda row: order.get(row["task"], len(order)))
    text = results.to_markdown(pd.DataFrame(rows))
    moved = frame[frame["moved"]]
    if not len(moved):
        return f"{text}\nNo number moved outside its interval.\n"
    shown = moved.assign(run=[Path(each).name for each in moved["folder"]])
    columns = ["task", "run", "number", *KEYS, "recorded", "recorded_cases", "again", "cases", "low", "high"]
    return f"{text}\nMoved:\n\n{results.to_markdown(shown[columns])}"
