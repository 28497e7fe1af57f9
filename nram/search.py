"""Random search over seeds and hyperparameters: every started seed leaves a row, whatever happens to the process.

A search's folder holds config.json, trials.csv (one row per ended trial, appended as it ends), running.json (the rows
of the trials under way, renewed every few seconds) and machines/<trial>/ (config.json and weights of every solved
trial, which `nram.load` reads). A later search with the same settings adds to it: trials that were under way when
the process was killed are recorded as lost, and new ones take the next numbers, so that no seed is drawn twice.
"""

import csv
import io
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
from safetensors.torch import save_file

from nram import results
from nram.config import TrainConfig
from nram.model import FORMAT, Machine
from nram.train import train

__all__ = ["load_trials", "search", "success_rate", "wilson_interval"]

COLUMNS = (
    "trial seed learning_rate output_scale stop_bias noise_eta entropy batches level rises error ended solved "
    "fuzzy_error discretized_error parent seconds search_seconds"
).split()
SAVE_SECONDS = 5.0  # between renewals of running.json


def search(config: TrainConfig, folder: str | Path, *, resume: bool = False, progress: bool = True) -> pd.DataFrame:
    """Start seed after seed for `config.budget_seconds`; the frame of all the search's trials so far.

    Raises ValueError if the folder holds a search and `resume` is not set, or one of other settings.
    """
    folder = Path(folder)
    config = replace(config, keep_going=True)
    settings = config.to_dict()
    first_trial, seconds_before = _open(folder, settings, resume)
    started = time.monotonic()
    next_save = 0.0

    def on_trial(row: dict, machine: Machine | None) -> None:
        if machine is not None:
            _save_machine(folder / "machines" / str(row["trial"]), settings, machine)
        seconds = round(seconds_before + time.monotonic() - started, 1)
        _append(folder, [{**row, "seed": config.seed, "search_seconds": seconds}])

    def on_check(population, seconds: float) -> None:
        nonlocal next_save
        if seconds >= next_save:
            next_save = seconds + SAVE_SECONDS
            rows = [population.row(member) for member in range(len(population))]
            total = round(seconds_before + seconds, 1)
            rows = [{**row, "seed": config.seed, "search_seconds": total} for row in rows]
            results.write_text(folder / "running.json", json.dumps(rows))

    train(config, progress=progress, first_trial=first_trial, on_check=on_check, on_trial=on_trial)
    (folder / "running.json").unlink(missing_ok=True)
    return load_trials(folder)


def _open(folder: Path, settings: dict, resume: bool) -> tuple[int, float]:
    """Make or continue a search's folder: (number of its next trial, seconds spent so far)."""
    folder.mkdir(parents=True, exist_ok=True)
    config_file, trials_file = folder / "config.json", folder / "trials.csv"
    if not config_file.exists():
        results.write_text(config_file, json.dumps({"format": FORMAT, **settings}, indent=1) + "\n")
        results.write_text(trials_file, ",".join(COLUMNS) + "\n")
        return 0, 0.0
    if not resume:
        raise ValueError(f"{folder} holds a search already: resume it, or name another folder")
    before = json.loads(config_file.read_text())
    differing = [name for name in settings if name != "budget_seconds" and before.get(name) != settings[name]]
    if differing:
        raise ValueError(f"the search in {folder} has other settings: {', '.join(differing)}")
    text = trials_file.read_text()
    if not text.endswith("\n"):  # killed while a row was being written: its trial is in running.json
        results.write_text(trials_file, text[: text.rfind("\n") + 1])
    running = folder / "running.json"
    if running.exists():
        known = set(load_trials(folder)["trial"])
        lost = [row for row in json.loads(running.read_text()) if row["trial"] not in known]
        _append(folder, [{**row, "ended": "lost"} for row in lost])
        running.unlink()
    trials = load_trials(folder)
    # Trials started after the last renewal of running.json left no row; skip enough numbers to draw none twice.
    first = int(trials["trial"].max()) + 1 + settings["population"] if len(trials) else 0
    return first, float(trials["search_seconds"].max()) if len(trials) else 0.0


def _append(folder: Path, rows: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writerows(rows)
    with open(folder / "trials.csv", "a") as file:
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())


def _save_machine(folder: Path, settings: dict, machine: Machine) -> None:
    folder.parent.mkdir(exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder.parent))
    save_file(machine.params, staging / "weights.safetensors")
    results.write_text(staging / "config.json", json.dumps({"format": FORMAT, **settings}) + "\n")
    staging.rename(folder)


def load_trials(folder: str | Path) -> pd.DataFrame:
    """A search's trials, one row per seed that ended or was lost."""
    return pd.read_csv(Path(folder) / "trials.csv", dtype={"rises": str})


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95% interval of a success rate. Raises ValueError unless 0 <= successes <= trials and trials >= 1."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"no rate of {successes} in {trials}")
    rate, weight = successes / trials, z * z / trials
    centre = (rate + weight / 2) / (1 + weight)
    spread = z * (rate * (1 - rate) / trials + weight / (4 * trials)) ** 0.5 / (1 + weight)
    return (0.0 if successes == 0 else centre - spread), (1.0 if successes == trials else centre + spread)


def success_rate(trials: pd.DataFrame) -> dict:
    """How often a started seed is solved: started, solved, rate, its interval, batches to solve (median, quartiles).

    Trials that the end of the search cut short count as started and not solved: the rate is a lower bound then.
    """
    solved = trials[trials["solved"]]
    low, high = wilson_interval(len(solved), len(trials))
    quartiles = solved["batches"].quantile([0.25, 0.5, 0.75]).tolist() if len(solved) else [None] * 3
    return {
        "started": len(trials),
        "solved": len(solved),
        "rate": len(solved) / len(trials),
        "rate_low": low,
        "rate_high": high,
        **dict(zip(("batches_quartile1", "batches_median", "batches_quartile3"), quartiles, strict=True)),
    }
