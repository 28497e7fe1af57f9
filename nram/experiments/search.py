"""Random search over seeds and hyperparameters: every trial leaves a row, whatever happens to the process.

A search's folder holds config.json; trials.csv (a row per trial, appended as the trial ends); calls.csv (a row per
call: command, commit, versions, device; a trial's `call` is the one in which it ended); machines/<trial>/ (config.json
and weights of every solved trial, which `nram.load` reads); and checkpoint/ (the state of the population, saved every
few seconds). A later call with the same settings resumes the members that were in training when the last call ended or
was killed. It deletes the rows of trials that were cut short ("budget", "interrupt").
"""

import json
import tempfile
from pathlib import Path

import pandas as pd

from nram import kernels, results
from nram.model import Machine
from nram.results.files import append_row, locked, write_bytes, write_text
from nram.results.weights import FORMAT, WEIGHTS, weights_bytes
from nram.training import annealing
from nram.training.checkpoint import Checkpoint
from nram.training.config import TrainConfig
from nram.training.loop import train
from nram.training.trial import Trial

__all__ = ["load_trials", "search", "success_rate"]

COLUMNS = (
    *("trial", "seed", "learning_rate", "output_scale", "stop_bias", "noise_eta", "entropy"),
    *("batches", "level", "rises", "error", "ended", "solved", "fuzzy_error", "discretized_error"),
    *("parent", "seconds", "search_seconds", "call"),
)
PER_CALL = ("budget_seconds", "budget_batches")  # settings that may differ when a search is resumed
CUT_SHORT = ("budget", "interrupt")  # ends of trials that a later call resumes


def search(
    config: TrainConfig, folder: str | Path, *, resume: bool = False, in_all: bool = False, progress: bool = True
) -> pd.DataFrame:
    """Start trial after trial until this call's budget is spent; return the frame of all the search's trials.

    in_all: whether the budget is that of all calls together. Raises ValueError if the folder holds a search and
    `resume` is not set, or one of other settings; `nram.results.files.Busy` if another process searches there.
    """
    folder = Path(folder)
    config = config.replace(keep_going=True)
    settings = config.to_dict()
    if (folder / "config.json").exists() and not resume:
        raise ValueError(f"{folder} holds a search already: resume it, or name another folder")
    with locked(folder, "search"):
        checkpoint = Checkpoint(folder / "checkpoint", {key: settings[key] for key in settings if key not in PER_CALL})
        seconds, batches, first_trial = _open(folder, settings, checkpoint)
        call = _record_call(folder, settings, config)
        known = set(load_trials(folder)["trial"])

        def on_trial(trial: Trial, machine: Machine | None) -> None:
            if trial.number in known:
                return  # the process was killed after this trial ended and before it saved its state
            if machine is not None:
                _save_machine(folder / "machines" / str(trial.number), settings, machine)
            row = trial.row() | {"seed": config.seed, "search_seconds": round(trial.seconds, 1), "call": call}
            with open(folder / "trials.csv", "a", encoding="utf-8") as file:
                append_row(file, COLUMNS, row)

        whole = {"budget_seconds": seconds + config.budget.seconds}
        if config.budget.batches is not None:
            whole["budget_batches"] = batches + config.budget.batches
        train(
            config if in_all else config.replace(**whole),
            progress=progress,
            checkpoint=checkpoint,
            first_trial=first_trial,
            on_trial=on_trial,
        )
        return load_trials(folder)


def _open(folder: Path, settings: dict, checkpoint: Checkpoint) -> tuple[float, int, int]:
    """Make or reopen a search's folder; return (seconds spent so far, batches, number of the first trial)."""
    config_file, trials_file = folder / "config.json", folder / "trials.csv"
    if not config_file.exists():
        write_text(trials_file, ",".join(COLUMNS) + "\n")
        write_text(config_file, json.dumps({"format": FORMAT, **settings}, indent=1) + "\n")
    before = json.loads(config_file.read_text(encoding="utf-8"))
    differing = [name for name in settings if name not in PER_CALL and before.get(name) != settings[name]]
    if differing:
        raise ValueError(f"the search in {folder} has other settings: {', '.join(differing)}")
    results.remove_stale(folder / "machines", older_than=0)
    text = trials_file.read_text(encoding="utf-8")
    if text.partition("\n")[0].split(",") != list(COLUMNS):
        raise ValueError(f"{trials_file} has the columns of another version: start a search in another folder")
    whole, _, torn = text.rpartition("\n")
    if torn:  # the process was killed while it wrote a row: that trial ends again
        write_text(trials_file, whole + "\n")
    trials = load_trials(folder)
    saved = checkpoint.load("training") or checkpoint.load(annealing.NAME)
    if saved is None:  # no state to resume from: skip the numbers of every member that may have been in training
        return 0.0, 0, int(trials["trial"].max()) + 1 + settings["population"] if len(trials) else 0
    _, state = saved
    numbered = state.get("population", state)  # annealing has no population
    running = {row["number"] for row in numbered["trials"] if row["ended"] == "running"}
    cut_short = trials["ended"].isin(CUT_SHORT) & ~trials["solved"].astype(bool) & trials["trial"].isin(running)
    if cut_short.any():
        lines = whole.splitlines()
        kept = [lines[0], *(line for line, drop in zip(lines[1:], cut_short, strict=True) if not drop)]
        write_text(trials_file, "\n".join(kept) + "\n")
    return state["seconds"], state["batches"], numbered["first_trial"]


def _save_machine(folder: Path, settings: dict, machine: Machine) -> None:
    if folder.is_dir():
        return  # the process was killed after it saved this machine and before it wrote the row
    folder.parent.mkdir(exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder.parent))
    write_bytes(staging / WEIGHTS, weights_bytes(machine.params, machine.task))
    write_text(staging / "config.json", json.dumps({"format": FORMAT, **settings}) + "\n")
    staging.rename(folder)


def _record_call(folder: Path, settings: dict, config: TrainConfig) -> int:
    """Add this call to calls.csv; return its number."""
    kernel = kernels.resolve(config.kernel, config.device)
    provenance = results.collect_provenance(settings, seconds=0.0, kernel=kernel)
    row = provenance | provenance["versions"]
    row = {name: value for name, value in row.items() if name not in ("versions", "seconds", "resumed")}
    before = _load_calls(folder)
    number = 0 if before is None else len(before)
    calls = pd.concat([each for each in (before, pd.DataFrame([{"call": number, **row}])) if each is not None])
    write_text(folder / "calls.csv", calls.to_csv(index=False))
    return number


def _load_calls(folder: Path) -> pd.DataFrame | None:
    path = folder / "calls.csv"
    return pd.read_csv(path) if path.exists() else None


def load_trials(folder: str | Path) -> pd.DataFrame:
    """A search's trials, one row per trial that ended, with the folder and the columns of calls.csv for its call."""
    folder = Path(folder)
    trials, calls = pd.read_csv(folder / "trials.csv", dtype={"rises": str}), _load_calls(folder)
    trials["folder"] = str(folder)
    return trials if calls is None or trials.empty else trials.merge(calls, on="call", how="left")


def success_rate(trials: pd.DataFrame) -> dict:
    """How often a started seed is solved: started, solved, rate, its interval, batches to solve (median, quartiles).

    Trials that the end of the search cut short count as started and not solved, so the rate is a lower bound.
    Copies of a member are not separate seeds: a solved copy solves the seed that it descends from, which counts once.
    """
    solved = trials[trials["solved"]]
    search_seeds = trials.get("seed", pd.Series(0, trials.index))  # several populations number their trials alike
    parents = {}
    if "parent" in trials:
        parents = dict(zip(zip(search_seeds, trials["trial"], strict=True), trials["parent"], strict=True))
    seeds = set()
    for search_seed, trial in zip(search_seeds[solved.index], solved["trial"], strict=True):
        while parents.get((search_seed, trial), -1) >= 0:
            trial = parents[search_seed, trial]
        seeds.add((search_seed, trial))
    started = sum(trials["parent"] < 0) if parents else len(trials)
    low, high = results.wilson_interval(len(seeds), started)
    quartiles = solved["batches"].quantile([0.25, 0.5, 0.75]).tolist() if len(solved) else [None] * 3
    return {
        "started": started,
        "solved": len(seeds),
        "rate": len(seeds) / started,
        "rate_low": low,
        "rate_high": high,
        **dict(zip(("batches_quartile1", "batches_median", "batches_quartile3"), quartiles, strict=True)),
    }
