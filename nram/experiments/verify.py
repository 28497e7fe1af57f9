"""Recorded numbers measured again: the recorded weights on fresh cases, every number beside what was recorded.

A number has moved if zero lies outside the interval of the difference, `nram.experiments.compare.difference_interval`. So many
numbers are compared that some would leave their 95% intervals by chance: the level is such that in a table of which
nothing is wrong, one number or more moves with a probability of at most `FALSE_ALARM`.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist

import pandas as pd

from nram import results, tasks
from nram.evaluate import summarize
from nram.experiments import run as experiment
from nram.experiments.compare import difference_interval

__all__ = ["FALSE_ALARM", "verify", "verify_markdown"]

FALSE_ALARM = 0.001
SHARES = {"wrong cases": "wrong_cases", "disagreements": "disagreements"}  # counted per case
KEYS = ["mode", "complexity", "machine"]


def verify(
    folder: str | Path, *, cases: int = 1000, max_complexity: int = 50, seed: int = 54321, progress: Callable = iter
) -> pd.DataFrame:
    """Measure a run, or all runs of a folder, anew: one row per number, `moved` where it is not what was recorded.

    cases: fresh ones per complexity; complexities above `max_complexity`, and those that were not recorded, are left
    out. seed: of the cases. progress wraps the list of folders, for instance tqdm. Columns: task, folder; number, which
    is the mean error, the share of wrong cases or of disagreements over all complexities, or a metric that must follow
    from the run's generalization.csv; mode, complexity, machine (see `nram.evaluate.Evaluation`); recorded,
    recorded_cases, again, cases; low, high, of again - recorded; moved; and where the recorded number comes from, see
    `nram.results.origin`. Raises FileNotFoundError or ValueError naming the file for
    a folder without runs or with a broken one.
    """
    folder = Path(folder)
    folders = [folder] if (folder / "config.json").is_file() else list(results.load_runs(folder)["folder"])
    if not folders:
        raise ValueError(f"{folder} holds no finished run")
    rows = []
    for each in progress(folders):
        run = results.load_run(each)
        what, origin = {"task": run.config["task"], "folder": str(run.folder)}, results.origin(run)
        rows += [what | row | origin for row in (*_metrics(run), *_measured(run, cases, max_complexity, seed))]
    frame = pd.DataFrame(rows)
    counted = frame["cases"] > 0
    z = NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * max(1, counted.sum())))
    bounds = [
        difference_interval((row.recorded, row.recorded_cases), (row.again, row.cases), z) for row in frame.itertuples()
    ]
    low, high = (pd.Series(side) for side in zip(*bounds, strict=True))
    same = pd.Series(
        [math.isclose(*pair, rel_tol=1e-9) for pair in zip(frame["recorded"], frame["again"], strict=True)]
    )
    frame.insert(frame.columns.get_loc("cases") + 1, "low", low)
    frame.insert(frame.columns.get_loc("cases") + 2, "high", high)
    frame.insert(frame.columns.get_loc("cases") + 3, "moved", ~same & (~counted | (low > 0) | (high < 0)))
    return frame


def _metrics(run: results.Run) -> Iterator[dict]:
    """The run's metrics of the evaluation beside what its own generalization.csv says they are."""
    for name, value in summarize(run.generalization, run.config["train_difficulty"]).items():
        recorded, again = (math.nan if each is None else float(each) for each in (run.metrics.get(name), value))
        if math.isnan(recorded) and math.isnan(again):
            recorded = again = -1.0  # "no failure" on both sides
        yield {"number": f"metric {name}", "mode": "", "complexity": 0, "machine": "", "recorded": recorded} | {
            "recorded_cases": 0,
            "again": again,
            "cases": 0,
        }


def _measured(run: results.Run, cases: int, max_complexity: int, seed: int) -> Iterator[dict]:
    """Every recorded error beside a fresh one, then the shares of all cases of a mode and machine together."""
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
        place = {name: getattr(row, name) for name in KEYS}
        yield {"number": "error", **place, "recorded": row.error_recorded, "recorded_cases": row.cases_recorded} | {
            "again": row.error,
            "cases": row.cases,
        }
    for (mode, machine), group in both.groupby(["mode", "machine"]):
        for number, column in SHARES.items():
            place = {"number": f"{number}, all complexities", "mode": mode, "complexity": 0, "machine": machine}
            then, now = (group[f"{column}{side}"] / group[f"cases{side}"] for side in ("_recorded", ""))
            yield (
                place
                | {"recorded": then.mean(), "recorded_cases": len(group) * group["cases_recorded"].min()}
                | {
                    "again": now.mean(),
                    "cases": len(group) * group["cases"].min(),
                }
            )


def verify_markdown(frame: pd.DataFrame) -> str:
    """What `verify` gives, for reading: a row per run, then the numbers that moved."""
    order = {task: place for place, task in enumerate(tasks.KEYS)}
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
    rows.sort(key=lambda row: order.get(row["task"], len(order)))
    text = results.to_markdown(pd.DataFrame(rows))
    moved = frame[frame["moved"]]
    if not len(moved):
        return f"{text}\nNo number moved outside its interval.\n"
    shown = moved.assign(run=[Path(each).name for each in moved["folder"]])
    columns = ["task", "run", "number", *KEYS, "recorded", "recorded_cases", "again", "cases", "low", "high"]
    return f"{text}\nMoved:\n\n{results.to_markdown(shown[columns])}"
