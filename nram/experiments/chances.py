"""How often `make reproduce` succeeds: each task's default training from scratch, seed after seed, on one thread.

`python -m nram study reproduce` runs it. A run counts as a perfect row if all three of Table 1's columns are: no error
at the train complexity, none at any complexity up to 50, and the same outputs when discretized. The study's folder
holds runs.csv, a row per run, to which each adds its row as it ends. Another call runs what is missing.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from nram import kernels, results, tasks
from nram.experiments.board import Board
from nram.experiments.forecast import Expected
from nram.experiments.launch import launch, one_thread
from nram.experiments.run import evaluate_result
from nram.experiments.study_plans import EASY
from nram.results.files import append_row, locked, mend_rows
from nram.training.config import TrainConfig
from nram.training.loop import train

__all__ = [
    *("NAME", "chances_in_words", "chances_markdown", "chances_table", "expected_of_tasks", "load_chances"),
    *("readme_tables", "run_chances", "shown_chances"),
]

NAME = "reproduce"
FIRST_SEED = 6000  # no search and no recorded run has used these seeds; README says what this study itself changed
SEEDS = dict.fromkeys(EASY, 20)
HARD_SEEDS = 12  # of every other task
COLUMNS = (
    *("task", "seed", "config_hash", "perfect", "solved", "train_error", "fuzzy_to", "discretized_to", "cases"),
    *("batches", "members", "seconds", "largest_cost", "commit", "processor"),
)


def run_chances(
    folder: str | Path,
    *,
    seeds: int | None = None,
    only: Sequence[str] | None = None,
    cases: int = 1000,
    board: Board | None = None,
    **launcher,
) -> pd.DataFrame:
    """Run what is missing in `folder`/reproduce; return the frame of its runs.

    seeds: how many of every task, instead of the plan's. only: keys of tasks. cases: fresh cases behind every error.
    board: shows the runs at work. launcher: where they take place (see `nram.experiments.launch.launch`). Runs whose
    settings are not the recipe's of today are run again, and so are unsolved ones that had less time than today's
    budget. Raises `nram.results.files.Busy` if another process runs this study there.
    """
    folder = Path(folder) / NAME
    path = folder / "runs.csv"
    unknown = set(only or ()) - set(tasks.KEYS)
    if unknown:
        raise ValueError(f"{NAME} has no setting {', '.join(sorted(unknown))}; valid: {', '.join(tasks.KEYS)}")
    folder.mkdir(parents=True, exist_ok=True)
    commit = results.short_commit()
    with locked(folder, "study"):
        if not path.exists():
            results.write_text(path, ",".join(COLUMNS) + "\n")
        mend_rows(path)
        before = _read(path)
        kept = before[_of_today(before) | ~before["task"].isin(only or tasks.KEYS)]
        results.write_text(path, kept.to_csv(index=False))
        done = set(zip(kept["task"], kept["seed"], strict=True))
        calls = [
            (key, FIRST_SEED + index, cases, commit)
            for index in range(max([*SEEDS.values(), HARD_SEEDS, seeds or 0]))
            for key in only or tasks.KEYS
            if index < (seeds or SEEDS.get(key, HARD_SEEDS)) and (key, FIRST_SEED + index) not in done
        ]
        takes = expected_of_tasks({key: TrainConfig.for_task(key).budget.seconds for key in tasks.KEYS})
        names, board = {f"{key}, seed {seed}": takes[key] for key, seed, *_ in calls}, board or Board()
        launched = launch(run_once, calls, logs=folder / "slurm", names=names, board=board, **launcher)
        with open(path, "a", encoding="utf-8") as file:
            for count, row in enumerate(launched, start=1):
                append_row(file, COLUMNS, row)
                verdict = "perfect" if row["perfect"] else "solved, not perfect" if row["solved"] else "not solved"
                board.say(
                    f"{count} of {len(calls)}: {row['task']}, seed {row['seed']}: {verdict}, {row['seconds']:.0f} s"
                )
    return load_chances(folder)


@one_thread()
def run_once(key: str, seed: int, cases: int, commit: str) -> dict:
    """Train a machine as `make reproduce` does, on one thread, and measure it: a row of runs.csv."""
    config = TrainConfig.for_task(key, seed=seed)
    kernels.warm_up(config.kernel, config.device)
    result = train(config, progress=False)
    if result.stopped_by == "interrupt":
        raise KeyboardInterrupt
    row = {
        "task": key,
        "seed": seed,
        "config_hash": _hash(config),
        "perfect": False,
        "solved": result.solved,
        "cases": cases,
        "batches": result.batches,
        "members": len(result.trials),
        "seconds": round(result.seconds, 1),
        "commit": commit,
        "processor": results.processor(),
    }
    if result.machine is None:
        return row
    evaluation = evaluate_result(result, cases=cases, progress=False)
    verdict = results.judge(evaluation.generalization, config.examples.train_difficulty)
    return row | {
        "perfect": not verdict.shortfall(),
        "train_error": verdict.fuzzy.train_error,
        "fuzzy_to": verdict.fuzzy.error_free_up_to,
        "discretized_to": verdict.discretized.error_free_up_to,
        "largest_cost": result.verification.largest_cost,
    }


def load_chances(folder: str | Path) -> pd.DataFrame:
    """The runs of the study in a folder, one row each, task after task. Raises FileNotFoundError if there is none."""
    frame = _read(Path(folder) / "runs.csv")
    place = frame["task"].map({key: index for index, key in enumerate(tasks.KEYS)})
    return frame.assign(place=place).sort_values(["place", "seed"], ignore_index=True).drop(columns="place")


def expected_of_tasks(budgets: Mapping[str, float]) -> dict[str, Expected]:
    """What the trainings of tasks take, by task. budgets: seconds at most, by task.

    They usually take the mean of the recorded study's solved runs, and all of their budget where it has none.
    """
    try:
        frame = load_chances(results.RECORDED / "studies" / NAME)
        usual = frame[frame["solved"].astype(bool)].groupby("task")["seconds"].mean()
    except (OSError, ValueError):
        usual = {}
    return {task: Expected(min(budget, usual.get(task, budget)), budget) for task, budget in budgets.items()}


def _hash(config: TrainConfig) -> str:
    """The hash of a configuration but for its budget, which a solved run does not wait for."""
    return results.config_hash(config.to_dict() | {"budget_seconds": None})


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"commit": str, "config_hash": str})


def _of_today(frame: pd.DataFrame) -> pd.Series:
    """Which runs have the settings of today's recipes and were solved within today's budget, or not for as long."""
    pairs = zip(frame["task"], frame["seed"], strict=True)
    today = [TrainConfig.for_task(key, seed=int(seed)) for key, seed in pairs]
    in_time = frame["seconds"] < [config.budget.seconds for config in today]
    same = frame["config_hash"] == [_hash(config) for config in today]
    return same & (frame["solved"].astype(bool) == in_time)


def chances_table(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per task: runs, perfect, rate, its 95% interval by Wilson (low, high), seconds to solved.

    The seconds are those of the solved runs: their median, and their 90th percentile (slow_seconds).
    """
    rows = []
    for key, group in frame.groupby("task", sort=False):
        runs, perfect = len(group), int(group["perfect"].sum())
        low, high = results.wilson_interval(perfect, runs)
        seconds = group.loc[group["solved"].astype(bool), "seconds"]
        row = {"task": key, "runs": runs, "perfect": perfect, "rate": perfect / runs, "low": low, "high": high}
        rows.append(row | {"median_seconds": seconds.median(), "slow_seconds": seconds.quantile(0.9)})
    return pd.DataFrame(rows)


def readme_tables(folder: str | Path) -> dict[str, str]:
    """The README's table of the study in `folder`/reproduce, by the name of its mark; empty if there is none."""
    if not (Path(folder) / NAME / "runs.csv").is_file():
        return {}
    return {"chances": chances_markdown(chances_table(load_chances(Path(folder) / NAME)))}


def chances_markdown(table: pd.DataFrame) -> str:
    """`chances_table` as Markdown, and in words what it means."""
    words = chances_in_words(table)
    return results.to_markdown(shown_chances(table)) + (f"\n{words}\n" if words else "")


def shown_chances(table: pd.DataFrame) -> pd.DataFrame:
    """`chances_table` as text, with the columns' titles."""
    shown = pd.DataFrame({"task": table["task"], "runs": table["runs"], "perfect rows": table["perfect"]}).astype(str)
    bounds = zip(table["low"], table["high"], strict=True)
    shown["95% interval"] = [f"{100 * low:.0f} to {100 * high:.0f}%" for low, high in bounds]
    for title, name in (("median", "median_seconds"), ("90th percentile", "slow_seconds")):
        shown[f"seconds to solved: {title}"] = ["–" if math.isnan(each) else f"{each:.0f}" for each in table[name]]
    return shown


def chances_in_words(table: pd.DataFrame) -> str:
    """What `chances_table` means for all ten rows of one `make reproduce`; empty unless it has all tasks."""
    if len(table) < len(tasks.KEYS):
        return ""
    perfect, runs = int(table["perfect"].sum()), int(table["runs"].sum())
    low, high = results.wilson_interval(perfect, runs)
    return (
        f"{perfect} of {runs} rows are perfect (95% interval {100 * low:.0f} to {100 * high:.0f}%). "
        f"By the tasks' rates all ten rows of one `make reproduce` are perfect with a chance of "
        f"{100 * table['rate'].prod():.0f}%, and of {100 * low ** len(table):.0f}% if each task's rate were the lower "
        f"end of that interval; {table['rate'].sum():.1f} are to be expected."
    )
