"""Studies: how often a seed is solved, under settings and variants of them that differ in one thing each.

A study (`nram.experiments.study_plans`) is a list of independent trials: every setting with every variant, for the same
seeds. A trial trains one member until it is solved or has used its batches; no other member replaces it. Trials run
side by side, 25 to a population. Trials do not depend on each other. A trial's number decides its first parameters and
its place in its population, and thereby the random numbers behind its examples and its noise. The trials of a
population share the sequence of memory sizes and one pool of noise, which each enters at its own place.

Under two variants the same seeds have the same random numbers behind their examples and, if their machines have the
same shape, the same first parameters. Their examples differ once their levels do.

A study's folder holds config.json (all settings), trials.csv (a row per trial) and provenance.json. While it runs,
blocks/ holds a file per population, to which each trial adds its row as it ends. A killed study resumes there and ends
as an undisturbed one does. `nram.experiments.study_tables` makes tables of its trials.
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch

from nram import kernels, results, tasks
from nram.experiments.board import Board
from nram.experiments.launch import launch
from nram.experiments.study_plans import STUDIES, configurations, seeds_of
from nram.related.attention import AttentionMachine, choices
from nram.results.files import append_row, hold, mend_rows
from nram.results.weights import FORMAT
from nram.training.config import TrainConfig
from nram.training.loop import train
from nram.training.population import Population
from nram.training.trial import Trial

__all__ = ["load_studies", "load_study", "run_block", "run_study"]

COLUMNS = (
    *("setting", "variant", "trial", "seed", "learning_rate", "output_scale", "stop_bias", "noise_eta", "entropy"),
    *("batches", "level", "rises", "error", "ended", "solved", "fuzzy_error", "discretized_error"),
    *("cpu_seconds", "commit", "choices"),
)
Plan = dict[tuple[str, str], TrainConfig]  # by (setting, variant)


def run_study(
    name: str,
    folder: str | Path,
    *,
    seeds: int | None = None,
    batches: int | None = None,
    only: Sequence[str] | None = None,
    board: Board | None = None,
    **launcher,
) -> pd.DataFrame:
    """Run a study, or what is left of it, in `folder`/<name>; return the frame of its trials.

    only: run only these settings of the plan, in addition to those that the folder holds. Another call may add
    the rest. board: shows the populations at work. launcher: where they run (see `nram.experiments.launch.launch`). A
    call on a finished study adds what its plan has gained, and more seeds. Raises ValueError if the folder holds
    another study, or this one with other settings.
    """
    folder = Path(folder) / name
    config_file, trials_file = folder / "config.json", folder / "trials.csv"
    before = json.loads(config_file.read_text(encoding="utf-8")) if config_file.exists() else None
    plan = _chosen(configurations(name, seeds, batches), name, only, before)
    number = seeds or seeds_of(name)
    described = [{"setting": key[0], "variant": key[1], **config.to_dict()} for key, config in plan.items()]
    settings = {"study": name, "about": STUDIES[name]["about"], "seeds": number, "configurations": described}
    differing = _differing(before, settings) if before else ""
    if differing:
        raise ValueError(f"the study in {folder} has other settings: {differing}")
    done = _read_trials(trials_file) if trials_file.exists() else None
    ended = set() if done is None else set(zip(done["setting"], done["variant"], done["trial"], strict=True))
    wanted = {(*key, trial) for key in plan for trial in range(number)}
    if wanted <= ended and (folder / "provenance.json").exists():
        return done
    if before is None or before["seeds"] < number or len(before["configurations"]) < len(plan):
        results.write_text(config_file, json.dumps({"format": FORMAT, **settings}, indent=1) + "\n")
    populations = STUDIES[name].get("populations", {})
    calls = _calls(folder / "blocks", plan, number, ended, populations)
    board, names = board or Board(), [_block_name(*call[1:3], *call[4:6]) for call in calls]
    launched = launch(run_block, calls, logs=folder / "slurm", names=names, board=board, **launcher)
    for count, text in enumerate(launched, start=1):
        board.say(f"{count} of {len(calls)}: {text}")
    fresh = [_read_trials(_block_file(*call[:3], call[4]), COLUMNS) for call in calls]
    trials = _in_order(pd.concat([done, *fresh]), plan)
    results.write_text(trials_file, trials.to_csv(index=False))
    seconds = time.time() - config_file.stat().st_mtime  # since this study, or its latest addition, began
    config = next(iter(plan.values()))
    kernel = kernels.resolve(config.kernel, config.device)
    provenance = results.collect_provenance(settings, seconds=seconds, kernel=kernel, device=config.device)
    provenance |= {
        "commit": " ".join(sorted(set(trials["commit"]))),
        "dirty": any("dirty" in each for each in trials["commit"]),
    }
    results.write_text(folder / "provenance.json", json.dumps(provenance, indent=1) + "\n")
    shutil.rmtree(folder / "blocks", ignore_errors=True)
    return load_study(folder)


def load_study(folder: str | Path) -> pd.DataFrame:
    """A finished study's trials, one row per seed. Raises FileNotFoundError if the folder holds none."""
    folder = Path(folder)
    if not (folder / "provenance.json").is_file():
        raise FileNotFoundError(f"{folder} is not a finished study: it has no provenance.json")
    return _read_trials(folder / "trials.csv")


def load_studies(folder: str | Path, names: Sequence[str] = tuple(STUDIES)) -> dict[str, pd.DataFrame]:
    """The trials of those studies that a folder holds, by name. Raises FileNotFoundError for an unfinished one."""
    return {name: load_study(Path(folder) / name) for name in names if (Path(folder) / name).is_dir()}


# What is left to run


def _chosen(plan: Plan, name: str, only: Sequence[str] | None, before: dict | None) -> Plan:
    """The part of a plan that `only` names or the study's folder holds."""
    if only is None:
        return plan
    unknown = set(only) - {setting for setting, _ in plan}
    if unknown:
        valid = ", ".join(dict.fromkeys(setting for setting, _ in plan))
        raise ValueError(f"{name} has no setting {', '.join(sorted(unknown))}; valid: {valid}")
    held = {each["setting"] for each in before["configurations"]} if before else set()
    return {key: config for key, config in plan.items() if key[0] in held.union(only)}


def _differing(before: dict, settings: dict) -> str:
    """How a study's settings differ from the requested ones, in words; empty if settings were only added.

    A setting that did not exist when the study began had its default then.
    """
    if before["study"] != settings["study"]:
        return f"study {before['study']} instead of {settings['study']}"
    if before["seeds"] > settings["seeds"]:
        return f"{before['seeds']} seeds, no fewer"
    asked = {(each["setting"], each["variant"]): each for each in settings["configurations"]}
    for held in before["configurations"]:
        key = held["setting"], held["variant"]
        if key not in asked:
            return f"{', '.join(key)} is no longer in its plan"
        known = {name: value for name, value in held.items() if name not in ("setting", "variant")}
        for name, value in TrainConfig.from_dict(known).to_dict().items():
            if value != asked[key][name]:
                return f"{name} {value} instead of {asked[key][name]} in {', '.join(key)}"
    return ""


def _calls(blocks: Path, plan: Plan, number: int, ended: set[tuple[str, str, int]], populations: dict) -> list[tuple]:
    """The arguments of `run_block` for every population with a trial that has not ended."""
    commit = results.short_commit()  # of the code that runs now
    size = next(iter(plan.values())).population.size
    return [
        (blocks, *key, config, first, min(first + size, number), commit, populations.get(key[1], Population))
        for first in range(0, number, size)
        for key, config in plan.items()
        if not {(*key, trial) for trial in range(first, min(first + size, number))} <= ended
    ]


def _in_order(trials: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Each trial once, in the order of the plan."""
    trials = trials.drop_duplicates(["setting", "variant", "trial"])
    order = {key: place for place, key in enumerate(plan)}
    place = pd.Series([order[key] for key in zip(trials["setting"], trials["variant"], strict=True)], trials.index)
    return trials.assign(place=place.to_numpy()).sort_values(["place", "trial"]).drop(columns="place")


# A population's trials


def run_block(
    folder: Path,
    setting: str,
    variant: str,
    config: TrainConfig,
    first: int,
    end: int,
    commit: str,
    make_population: Callable[..., Population] = Population,
) -> str:
    """Run, in one population, the trials first..end-1 that have no row yet; return the outcome in words.

    commit: of the code, for the rows. make_population: that of a variant of the machine.
    """
    path = _block_file(folder, setting, variant, first)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        if not hold(file):
            raise ValueError(f"another process is at work on {path}")
        mend_rows(path)
        done = _read_trials(path, COLUMNS)
        places = range(first, first + config.population.size)
        left_out = set(done["trial"]) | set(range(end, places.stop))
        if len(left_out) < config.population.size:
            origin = {"setting": setting, "variant": variant, "seed": config.seed, "commit": commit}
            _run_trials(file, origin, config, first, left_out, make_population)
    rows = _read_trials(path, COLUMNS)
    return f"{_block_name(setting, variant, first, end)}: {rows['solved'].sum()} solved"


def _block_name(setting: str, variant: str, first: int, end: int) -> str:
    return f"{setting}, {variant}, seeds {first} to {end - 1}"


def _run_trials(file, origin: dict, config: TrainConfig, first: int, left_out: set[int], make_population) -> None:
    """Append each trial's row to an open file as the trial ends; origin: columns that all rows share.

    A trial that an interrupt ends has no row.
    """
    kernels.warm_up(config.kernel, config.device)
    size = config.population.size - len(left_out)
    spent, then = 0.0, time.process_time()  # CPU seconds of each trial that is still running

    def spend() -> float:
        nonlocal spent, then
        now = time.process_time()
        spent, then = spent + (now - then) / size, now
        return round(spent, 3)

    def on_trial(trial: Trial, machine) -> None:
        if trial.ended == "interrupt":
            return
        row = {**trial.row(), **origin, "rises": trial.rises.strip(), "cpu_seconds": spend()}
        if isinstance(machine, AttentionMachine):
            row["choices"] = _choices(machine, config.seed)
        append_row(file, COLUMNS, row)

    def on_check(population, seconds: float) -> None:
        nonlocal size
        spend()
        size = len(population)

    population = {"first_trial": first, "left_out": left_out, "make_population": make_population}
    result = train(config, progress=False, **population, on_check=on_check, on_trial=on_trial)
    if result.stopped_by == "interrupt":
        raise KeyboardInterrupt


def _choices(machine: AttentionMachine, seed: int) -> str:
    """The modules that a machine chooses in an example of difficulty 5: words, with ";" between timesteps."""
    task = tasks.get(machine.task)
    batch = task.sample(torch.tensor([5]), task.smallest_memory(5), torch.Generator().manual_seed(seed))
    chosen = choices(machine, batch.memory[0], int(batch.limit[0]))
    return "; ".join(" ".join(modules) for modules in chosen)


def _block_file(folder: Path, setting: str, variant: str, first: int) -> Path:
    return folder / f"{setting}-{variant}-{first:04d}.csv".replace(" ", "_")


def _read_trials(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of a file; `columns` names its columns if it has no header."""
    return pd.read_csv(path, names=columns, dtype={"rises": str, "commit": str, "choices": str})
