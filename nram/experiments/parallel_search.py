"""A search as a list of independent populations, side by side or one after another.

Population k is the search (`nram.experiments.search`) with the seed `config.seed` + k, in its own folder
`population-000k`; it spends the whole budget. Populations share nothing: where, how many at a time and in which
order they run changes only the time. A finished population does not run again; an unfinished one resumes. trials.csv
holds the trials of all.
"""

import json
from pathlib import Path

import pandas as pd

from nram import results
from nram.experiments.board import Board
from nram.experiments.forecast import Expected
from nram.experiments.launch import launch
from nram.experiments.search import load_trials, search
from nram.training.config import TrainConfig

__all__ = ["merge_trials", "run_population", "search_in_parallel"]

FORMER = "trial"  # folders of earlier versions are named trial-000k


def search_in_parallel(
    config: TrainConfig,
    folder: str | Path,
    populations: int,
    *,
    resume: bool = False,
    board: Board | None = None,
    **launcher,
) -> pd.DataFrame:
    """Run the populations 0 to `populations` - 1, or the rest of them; return the frame of all their trials.

    board: shows the populations at work. launcher: where they run (see `nram.experiments.launch.launch`). Raises
    ValueError if the folder holds a search and `resume` is not set, or one of other settings.
    """
    folder = Path(folder)
    if (folder / "config.json").exists():
        raise ValueError(f"{folder} holds a search that is not a list of populations: name another folder")
    if not resume and _population_folders(folder):
        raise ValueError(f"{folder} holds a search already: resume it, or name another folder")
    calls = [(config.replace(seed=config.seed + k), _population_folder(folder, k)) for k in range(populations)]
    takes = Expected(config.budget.seconds, config.budget.seconds)
    names, board = {f"seed {each.seed}": takes for each, _ in calls}, board or Board()
    launched = launch(run_population, calls, logs=folder / "slurm", names=names, board=board, **launcher)
    for done, text in enumerate(launched, start=1):
        board.say(f"{done} of {populations}: {text}")
    merged = merge_trials(folder)
    results.write_text(folder / "trials.csv", merged.to_csv(index=False))
    return merged


def run_population(config: TrainConfig, folder: Path) -> str:
    """Search with one population for what is left of its budget; return the outcome in words."""
    mark = folder / "finished.json"
    if not (mark.exists() and json.loads(mark.read_text(encoding="utf-8"))["budget_seconds"] >= config.budget.seconds):
        search(config, folder, resume=(folder / "config.json").exists(), in_all=True, progress=False)
        results.write_text(mark, json.dumps({"budget_seconds": config.budget.seconds}) + "\n")
    rows = load_trials(folder)
    return f"seed {config.seed}: {len(rows)} started, {int(rows['solved'].sum())} solved"


def merge_trials(folder: str | Path) -> pd.DataFrame:
    """The trials of all populations in a folder, finished or not. Raises FileNotFoundError if there are none."""
    folders = [each for each in _population_folders(Path(folder)) if (each / "trials.csv").exists()]
    if not folders:
        raise FileNotFoundError(f"{folder} holds no populations of a search")
    frames = [load_trials(each).assign(folder=each.name) for each in folders]
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def _population_folder(folder: Path, number: int) -> Path:
    former = folder / f"{FORMER}-{number:04d}"
    return former if former.is_dir() else folder / f"population-{number:04d}"


def _population_folders(folder: Path) -> list[Path]:
    """The folders of the populations that have started, by number."""
    found = [*folder.glob("population-*"), *folder.glob(f"{FORMER}-*")]
    return sorted(found, key=lambda path: path.name.partition("-")[2])
