"""A search as a list of independent trials: populations with seeds of their own, side by side or one after another.

Trial k is the search (`nram.experiments.search`) with the seed `config.seed` + k, in a folder of its own, `trial-000k`; it spends
the whole budget. Nothing is shared between trials: which launcher runs them, how many at a time and in which order
changes nothing but the time. A finished trial is not run again, a half-done one goes on. trials.csv holds the rows of
all.
"""

import json
from pathlib import Path

import pandas as pd

from nram import results
from nram.experiments.launch import launch
from nram.experiments.search import load_trials, search
from nram.training.config import TrainConfig

__all__ = ["merge_trials", "run_trial", "search_in_parallel"]


def search_in_parallel(
    config: TrainConfig, folder: str | Path, trials: int, *, resume: bool = False, say=lambda text: None, **launcher
) -> pd.DataFrame:
    """Run the trials 0 to `trials` - 1, or what is left of them: the frame of all their seeds.

    say(text) is told of every trial that has ended. launcher: how they are run (see `nram.experiments.launch.launch`). Raises
    ValueError if the folder holds a search and `resume` is not set, or one of other settings.
    """
    folder = Path(folder)
    if (folder / "config.json").exists():
        raise ValueError(f"{folder} holds a search that is no list of trials: name another folder")
    if not resume and any(folder.glob("trial-*")):
        raise ValueError(f"{folder} holds a search already: resume it, or name another folder")
    calls = [(config.replace(seed=config.seed + trial), folder / f"trial-{trial:04d}") for trial in range(trials)]
    for done, text in enumerate(launch(run_trial, calls, logs=folder / "slurm", **launcher), start=1):
        say(f"{done} of {trials}: {text}")
    merged = merge_trials(folder)
    results.write_text(folder / "trials.csv", merged.to_csv(index=False))
    return merged


def run_trial(config: TrainConfig, folder: Path) -> str:
    """Run one trial, or what is left of its budget; what became of it, in words."""
    mark = folder / "finished.json"
    if not (mark.exists() and json.loads(mark.read_text())["budget_seconds"] >= config.budget.seconds):
        begun = (folder / "trials.csv").exists()
        spent = load_trials(folder)["search_seconds"].max() if begun else 0.0
        left = config.budget.seconds - (0.0 if pd.isna(spent) else float(spent))
        search(config.replace(budget_seconds=max(0.0, left)), folder, resume=begun, progress=False)
        results.write_text(mark, json.dumps({"budget_seconds": config.budget.seconds}) + "\n")
    rows = load_trials(folder)
    return f"seed {config.seed}: {len(rows)} started, {int(rows['solved'].sum())} solved"


def merge_trials(folder: str | Path) -> pd.DataFrame:
    """The rows of all trials in a folder, finished or not. Raises FileNotFoundError if there is none."""
    folders = sorted(path for path in Path(folder).glob("trial-*") if (path / "trials.csv").exists())
    if not folders:
        raise FileNotFoundError(f"{folder} holds no trials of a search")
    frames = [load_trials(each).assign(folder=each.name) for each in folders]
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
