"""Studies: how often a seed is solved, under settings and variants of them that differ in one thing each.

A study (`nram.study_plans`) is a list of independent trials: every setting with every variant, for the same seeds. A
trial is one seed, trained until it is solved or has used its batches; nothing takes its place. Trials run side by side,
25 to a population. What a trial becomes does not depend on the others: its number decides its first parameters, its
place in its population, and so the random numbers behind its examples and its noise. The trials of a population share
the sequence of memory sizes, and one pool of noise that each enters at a place of its own.

The same seeds under two variants have the same first parameters and the same random numbers behind their examples; what
they are shown differs as soon as their levels do.

A study's folder holds config.json (all settings), trials.csv (a row per trial) and provenance.json. Until all trials
have ended, their rows are in blocks/, one file per population, to which each is added as it ends: a study that was
killed goes on where it was, and ends as it would have.
"""

import csv
import fcntl
import io
import json
import os
import shutil
import time
from pathlib import Path

import pandas as pd

from nram import kernels, results
from nram.config import TrainConfig
from nram.launch import launch
from nram.model import FORMAT
from nram.search import success_rate
from nram.study_plans import BASE_SEED, SEEDS, STUDIES
from nram.train import train

__all__ = ["configurations", "load_study", "run_study", "study_markdown", "study_table"]

BLOCK = 25  # trials in a population
DRAWN = ("learning_rate", "output_scale", "stop_bias", "noise_eta", "entropy")  # what a seed draws from bounds
COLUMNS = (
    "setting variant trial seed learning_rate output_scale stop_bias noise_eta entropy batches level rises error ended "
    "solved fuzzy_error discretized_error cpu_seconds commit"
).split()


# What is to be run


def configurations(
    name: str, seeds: int | None = None, batches: int | None = None
) -> dict[tuple[str, str], TrainConfig]:
    """The configurations of a study by (setting, variant).

    seeds, batches: how many, instead of the plan's. Raises ValueError for an unknown study.
    """
    if name not in STUDIES:
        raise ValueError(f"unknown study {name!r}; valid: {', '.join(STUDIES)}")
    plan = STUDIES[name]
    common = {
        "seed": BASE_SEED,
        "budget_seconds": 1e9,  # batches end a trial, not seconds
        "keep_going": True,
        "replacement": False,
        "trial_batches": batches or plan["batches"],
        "population": min(BLOCK, seeds or SEEDS),
    }
    return {
        (setting, variant): _configuration({**own, **changes, **common})
        for setting, own in plan["settings"].items()
        for variant, changes in plan["variants"].items()
    }


def _configuration(settings: dict) -> TrainConfig:
    settings = dict(settings)
    if "recorded" not in settings:
        config = TrainConfig.for_task(settings.pop("task"), **settings)
    else:
        run = results.load_run(results.CHECKOUT / "results" / "recorded" / settings.pop("recorded"))
        solved = run.trials[run.trials["solved"]].iloc[0]
        drawn = {column: [float(solved[column])] * 2 for column in DRAWN}
        config = TrainConfig.from_dict({**run.config, **drawn, **settings})
    loose = [column for column in DRAWN if getattr(config, column)[0] != getattr(config, column)[1]]
    if loose:
        raise ValueError(f"a study's hyperparameters are fixed, these are not: {', '.join(loose)}")
    return config


# Running it


def run_study(
    name: str,
    folder: str | Path,
    *,
    seeds: int | None = None,
    batches: int | None = None,
    jobs: int = 1,
    progress=lambda text: None,
) -> pd.DataFrame:
    """Run a study, or what is left of it, in `folder`/<name>: the frame of its trials.

    progress(text) is told of every population that has ended. Raises ValueError if the folder holds another study.
    """
    folder, number = Path(folder) / name, seeds or SEEDS
    plan = configurations(name, seeds, batches)
    settings = [{"setting": key[0], "variant": key[1], **config.to_dict()} for key, config in plan.items()]
    settings = {"study": name, "about": STUDIES[name]["about"], "seeds": number, "configurations": settings}
    config_file = folder / "config.json"
    if config_file.exists():
        before = json.loads(config_file.read_text())
        differing = _differing(before, settings)
        if differing:
            raise ValueError(f"the study in {folder} has other settings: {differing}")
    else:
        results.write_text(config_file, json.dumps({"format": FORMAT, **settings}, indent=1) + "\n")
    if (folder / "provenance.json").exists():
        return load_study(folder)
    blocks = [
        (*key, config, first, min(first + BLOCK, number))
        for first in range(0, number, BLOCK)
        for key, config in plan.items()
    ]
    calls = [(folder / "blocks", *block) for block in blocks]
    for done, text in enumerate(launch(run_block, calls, jobs), start=1):
        progress(f"{done} of {len(calls)}: {text}")
    trials = pd.concat([_read_block(_block_file(*call[:3], call[4])) for call in calls])
    order = {key: place for place, key in enumerate(plan)}
    place = pd.Series([order[key] for key in zip(trials["setting"], trials["variant"], strict=True)], trials.index)
    trials = trials.assign(place=place).sort_values(["place", "trial"]).drop(columns="place")
    results.write_text(folder / "trials.csv", trials.to_csv(index=False))
    seconds = time.time() - config_file.stat().st_mtime  # since the study was begun
    kernel = kernels.resolve(*((config := next(iter(plan.values()))).kernel, config.device))
    provenance = results.collect_provenance(settings, seconds=seconds, kernel=kernel, device=config.device)
    results.write_text(folder / "provenance.json", json.dumps(provenance, indent=1) + "\n")
    shutil.rmtree(folder / "blocks")
    return load_study(folder)


def _differing(before: dict, settings: dict) -> str:
    """The first thing in which two studies' settings differ, in words; empty if there is none."""
    for name in ("study", "seeds"):
        if before.get(name) != settings[name]:
            return f"{name} {before.get(name)} instead of {settings[name]}"
    keys = [[(each["setting"], each["variant"]) for each in held["configurations"]] for held in (before, settings)]
    if keys[0] != keys[1]:
        return "other settings or variants"
    for old, new in zip(before["configurations"], settings["configurations"], strict=True):
        for name, value in new.items():
            if old.get(name) != value:
                return f"{name} {old.get(name)} instead of {value} in {new['setting']}, {new['variant']}"
    return ""


def run_block(folder: Path, setting: str, variant: str, config: TrainConfig, first: int, end: int) -> str:
    """Run those of the trials first..end-1 that have no row yet, in one population; what became of them, in words."""
    path = _block_file(folder, setting, variant, first)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with its process
        except BlockingIOError:
            raise ValueError(f"another process is at work on {path}") from None
        _mend(path)
        done = _read_block(path)
        places = range(first, first + config.population)
        left_out = set(done["trial"]) | set(range(end, places.stop))
        if len(left_out) < config.population:
            _run_trials(file, setting, variant, config, first, left_out)
    rows = _read_block(path)
    return f"{setting}, {variant}, seeds {first} to {end - 1}: {rows['solved'].sum()} solved"


def _run_trials(file, setting: str, variant: str, config: TrainConfig, first: int, left_out: set[int]) -> None:
    commit = results.collect_provenance({}, seconds=0.0, kernel="")
    origin = {"setting": setting, "variant": variant, "seed": config.seed}
    origin["commit"] = (commit["commit"] or "unknown")[:10] + ("-dirty" if commit["dirty"] else "")
    kernels.warm_up(config.kernel, config.device)
    size = config.population - len(left_out)
    spent, then = 0.0, time.process_time()  # CPU seconds of each trial that is still running

    def spend() -> float:
        nonlocal spent, then
        now = time.process_time()
        spent, then = spent + (now - then) / size, now
        return round(spent, 3)

    def on_trial(row: dict, machine) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writerow({**row, **origin, "rises": row["rises"].strip(), "cpu_seconds": spend()})
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())

    def on_check(population, seconds: float) -> None:
        nonlocal size
        spend()
        size = len(population)

    train(config, progress=False, first_trial=first, left_out=left_out, on_check=on_check, on_trial=on_trial)


def _block_file(folder: Path, setting: str, variant: str, first: int) -> Path:
    return folder / f"{setting}-{variant}-{first:04d}.csv".replace(" ", "_")


def _mend(path: Path) -> None:
    """Cut off the half of a row that a killed process left."""
    text = path.read_text()
    if not text.endswith("\n"):
        os.truncate(path, len(text[: text.rfind("\n") + 1].encode()))


def _read_block(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, names=COLUMNS, dtype={"rises": str, "commit": str})


# What came of it


def load_study(folder: str | Path) -> pd.DataFrame:
    """A finished study's trials, one row per seed. Raises FileNotFoundError if the folder holds none."""
    folder = Path(folder)
    if not (folder / "provenance.json").is_file():
        raise FileNotFoundError(f"{folder} is no finished study: it has no provenance.json")
    return pd.read_csv(folder / "trials.csv", dtype={"rises": str, "commit": str})


def study_table(trials: pd.DataFrame) -> pd.DataFrame:
    """How often seeds were solved, one row per setting and variant, in the order of the trials.

    started, solved, rate, its 95% interval by Wilson (rate_low, rate_high), batches to solve (median and quartiles,
    over the solved), all batches of all trials, CPU hours, and solved seeds per CPU hour.
    """
    rows = []
    for (setting, variant), group in trials.groupby(["setting", "variant"], sort=False):
        hours = group["cpu_seconds"].sum() / 3600
        rate = success_rate(group)
        effort = {"batches": int(group["batches"].sum()), "cpu_hours": hours, "per_cpu_hour": rate["solved"] / hours}
        rows.append({"setting": setting, "variant": variant, **rate, **effort})
    return pd.DataFrame(rows)


def study_markdown(table: pd.DataFrame) -> str:
    """`study_table` for reading."""
    shown = table[["setting", "variant", "started", "solved"]].copy()
    shown["rate"] = [f"{100 * rate:.0f}%" for rate in table["rate"]]
    low, high = table["rate_low"], table["rate_high"]
    shown["95% interval"] = [f"{100 * a:.1f} to {100 * b:.1f}%" for a, b in zip(low, high, strict=True)]
    quartiles = [table[f"batches_{name}"] for name in ("quartile1", "median", "quartile3")]
    shown["batches to solve: median (quartiles)"] = [
        "–" if pd.isna(median) else f"{median:.0f} ({first:.0f} to {third:.0f})"
        for first, median, third in zip(*quartiles, strict=True)
    ]
    shown["CPU minutes"] = (60 * table["cpu_hours"]).round(1)
    shown["solved per CPU hour"] = table["per_cpu_hour"].round(1)
    return results.to_markdown(shown)
