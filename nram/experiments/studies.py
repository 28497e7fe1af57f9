"""Studies: how often a seed is solved, under settings and variants of them that differ in one thing each.

A study (`nram.experiments.study_plans`) is a list of independent trials: every setting with every variant, for the same seeds. A
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

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nram import kernels, results
from nram.experiments.launch import launch
from nram.experiments.search import success_rate
from nram.experiments.study_plans import BASE_SEED, SEEDS, STUDIES
from nram.results.files import append_row, hold
from nram.results.weights import FORMAT
from nram.training.config import TrainConfig
from nram.training.loop import train
from nram.training.population import Trial

__all__ = [
    "configurations",
    "load_study",
    "noise_markdown",
    "noise_table",
    "paired",
    "readme_tables",
    "run_study",
    "scaling_markdown",
    "settings_table",
    "study_markdown",
    "study_table",
]

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
        run = results.load_run(results.RECORDED / settings.pop("recorded"))
        solved = run.trials[run.trials["solved"]].iloc[0]
        drawn = {column: [float(solved[column])] * 2 for column in DRAWN}
        config = TrainConfig.from_dict({**run.config, **drawn, **settings})
    loose = [column for column in DRAWN if getattr(config.draws, column)[0] != getattr(config.draws, column)[1]]
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
    only: Sequence[str] | None = None,
    say=lambda text: None,
    **launcher,
) -> pd.DataFrame:
    """Run a study, or what is left of it, in `folder`/<name>: the frame of its trials.

    only: some of the plan's settings, beside those that are there already; another call may add the rest.
    say(text) is told of every population that has ended. launcher: how populations are run (see `nram.experiments.launch.launch`).
    What the plan has gained since the study was finished, and more seeds, are run and added. Raises ValueError if the
    folder holds another study, or this one with other settings.
    """
    folder, number = Path(folder) / name, seeds or SEEDS
    config_file, trials_file = folder / "config.json", folder / "trials.csv"
    before = json.loads(config_file.read_text()) if config_file.exists() else None
    plan = configurations(name, seeds, batches)
    if only is not None:
        unknown = set(only) - {setting for setting, _ in plan}
        if unknown:
            valid = ", ".join(dict.fromkeys(setting for setting, _ in plan))
            raise ValueError(f"{name} has no setting {', '.join(sorted(unknown))}; valid: {valid}")
        held = {each["setting"] for each in before["configurations"]} if before else set()
        plan = {key: config for key, config in plan.items() if key[0] in held.union(only)}
    settings = [{"setting": key[0], "variant": key[1], **config.to_dict()} for key, config in plan.items()]
    settings = {"study": name, "about": STUDIES[name]["about"], "seeds": number, "configurations": settings}
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
    origin = results.collect_provenance({}, seconds=0.0, kernel="")  # of the code that runs now
    commit = (origin["commit"] or "unknown")[:10] + ("-dirty" if origin["dirty"] else "")
    calls = [
        (folder / "blocks", *key, config, first, min(first + BLOCK, number), commit)
        for first in range(0, number, BLOCK)
        for key, config in plan.items()
        if not {(*key, trial) for trial in range(first, min(first + BLOCK, number))} <= ended
    ]
    for count, text in enumerate(launch(run_block, calls, logs=folder / "slurm", **launcher), start=1):
        say(f"{count} of {len(calls)}: {text}")
    trials = pd.concat([done, *(_read_trials(_block_file(*call[:3], call[4]), COLUMNS) for call in calls)])
    trials = trials.drop_duplicates(["setting", "variant", "trial"])
    order = {key: place for place, key in enumerate(plan)}
    place = pd.Series([order[key] for key in zip(trials["setting"], trials["variant"], strict=True)], trials.index)
    trials = trials.assign(place=place.to_numpy()).sort_values(["place", "trial"]).drop(columns="place")
    results.write_text(trials_file, trials.to_csv(index=False))
    seconds = time.time() - config_file.stat().st_mtime  # since the study, or what was added to it, was begun
    kernel = kernels.resolve(*((config := next(iter(plan.values()))).kernel, config.device))
    provenance = results.collect_provenance(settings, seconds=seconds, kernel=kernel, device=config.device)
    provenance |= {
        "commit": " ".join(sorted(set(trials["commit"]))),
        "dirty": any("dirty" in each for each in trials["commit"]),
    }
    results.write_text(folder / "provenance.json", json.dumps(provenance, indent=1) + "\n")
    shutil.rmtree(folder / "blocks", ignore_errors=True)
    return load_study(folder)


def _differing(before: dict, settings: dict) -> str:
    """In what a study's settings differ from those that are asked for, in words; empty if no more than new ones come.

    A setting that was unknown when the study was begun had its default then.
    """
    if before["study"] != settings["study"]:
        return f"study {before['study']} instead of {settings['study']}"
    if before["seeds"] > settings["seeds"]:
        return f"{before['seeds']} seeds, no less"
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


def run_block(folder: Path, setting: str, variant: str, config: TrainConfig, first: int, end: int, commit: str) -> str:
    """Run those of the trials first..end-1 that have no row yet, in one population; what became of them, in words.

    commit: of the code, for the rows.
    """
    path = _block_file(folder, setting, variant, first)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        if not hold(file):
            raise ValueError(f"another process is at work on {path}")
        _mend(path)
        done = _read_trials(path, COLUMNS)
        places = range(first, first + config.population.size)
        left_out = set(done["trial"]) | set(range(end, places.stop))
        if len(left_out) < config.population.size:
            origin = {"setting": setting, "variant": variant, "seed": config.seed, "commit": commit}
            _run_trials(file, origin, config, first, left_out)
    rows = _read_trials(path, COLUMNS)
    return f"{setting}, {variant}, seeds {first} to {end - 1}: {rows['solved'].sum()} solved"


def _run_trials(file, origin: dict, config: TrainConfig, first: int, left_out: set[int]) -> None:
    """Append the row of each trial as it ends to an open file; origin: columns that are the same in all of them."""
    kernels.warm_up(config.kernel, config.device)
    size = config.population.size - len(left_out)
    spent, then = 0.0, time.process_time()  # CPU seconds of each trial that is still running

    def spend() -> float:
        nonlocal spent, then
        now = time.process_time()
        spent, then = spent + (now - then) / size, now
        return round(spent, 3)

    def on_trial(trial: Trial, machine) -> None:
        row = {**trial.row(), **origin, "rises": trial.rises.strip(), "cpu_seconds": spend()}
        append_row(file, COLUMNS, row)

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


def _read_trials(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """The rows of a file that has a header, or else these columns."""
    return pd.read_csv(path, names=columns, dtype={"rises": str, "commit": str})


# What came of it


def load_study(folder: str | Path) -> pd.DataFrame:
    """A finished study's trials, one row per seed. Raises FileNotFoundError if the folder holds none."""
    folder = Path(folder)
    if not (folder / "provenance.json").is_file():
        raise FileNotFoundError(f"{folder} is no finished study: it has no provenance.json")
    return _read_trials(folder / "trials.csv")


def study_table(trials: pd.DataFrame) -> pd.DataFrame:
    """How often seeds were solved, one row per setting and variant, in the order of the trials.

    started, solved, rate, its 95% interval by Wilson (rate_low, rate_high), batches to solve (median and quartiles,
    over the solved); fuzzy_only: seeds that were not solved though their fuzzy machine made no error when it was last
    verified, on 100 cases or more; all batches of all trials, CPU hours, and solved seeds per CPU hour.
    """
    rows = []
    for (setting, variant), group in trials.groupby(["setting", "variant"], sort=False):
        hours = group["cpu_seconds"].sum() / 3600
        rate = success_rate(group)
        fuzzy_only = int((~group["solved"] & (group["fuzzy_error"] == 0)).sum())
        effort = {
            "fuzzy_only": fuzzy_only,
            "batches": int(group["batches"].sum()),
            "cpu_hours": hours,
            "per_cpu_hour": rate["solved"] / hours,
        }
        rows.append({"setting": setting, "variant": variant, **rate, **effort})
    return pd.DataFrame(rows)


def noise_table(trials: pd.DataFrame) -> pd.DataFrame:
    """The paper's study of gradient noise beside ours: share of seeds solved, a row per variant, a column per setting.

    trials: of the study gradient_noise. The paper's three settings are not published: its setting 1 is not ours.
    average: over all seeds, with its 95% interval by Wilson (low, high), the paper's from its 300 seeds.
    """
    rows = []
    for _, row in results.paper_gradient_noise().iterrows():
        shares = [float(row[f"hyperparameters_{number}"]) for number in (1, 2, 3)]
        rows.append(("paper", row["setting"], shares, round(100 * sum(shares)), 300))
    names = list(dict.fromkeys(trials["setting"]))
    for variant, group in trials.groupby("variant"):
        shares = [group.loc[group["setting"] == name, "solved"].mean() for name in names]
        rows.append(("ours", variant, shares, int(group["solved"].sum()), len(group)))
    table = []
    for source, variant, shares, solved, started in rows:
        low, high = results.wilson_interval(solved, started)
        each = {f"setting {number}": share for number, share in enumerate(shares, start=1)}
        table.append(
            {"whose": source, "variant": variant, **each, "average": solved / started} | {"low": low, "high": high}
        )
    return pd.DataFrame(table)


def noise_markdown(table: pd.DataFrame) -> str:
    """`noise_table` for reading."""
    shares = ["setting 1", "setting 2", "setting 3", "average"]
    shown = table.assign(**{name: [f"{100 * share:.1f}%" for share in table[name]] for name in shares})
    bounds = zip(table["low"], table["high"], strict=True)
    shown["95% interval"] = [f"{100 * low:.1f} to {100 * high:.1f}%" for low, high in bounds]
    return results.to_markdown(shown.drop(columns=["low", "high"]))


def paired(trials: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Two variants on the same seeds, a row per setting: seeds solved by both, by one alone, by the other, by neither.

    p_value: of McNemar's exact test (see `nram.results.mcnemar_p`).
    """
    rows = []
    for setting, group in trials.groupby("setting", sort=False):
        solved = group.pivot(index="trial", columns="variant", values="solved")[[one, other]].astype(bool)
        a, b = solved[one], solved[other]
        only_one, only_other = int((a & ~b).sum()), int((b & ~a).sum())
        row = {"setting": setting, "both": int((a & b).sum()), f"only {one}": only_one, f"only {other}": only_other}
        rows.append({**row, "neither": int((~a & ~b).sum()), "p_value": results.mcnemar_p(only_one, only_other)})
    return pd.DataFrame(rows)


def readme_tables(folder: str | Path) -> dict[str, str]:
    """The tables of the README that come from the finished studies in `folder`, as Markdown by the name of their place.

    rates: how often seeds are solved; scaling: what that means on many cores.
    """
    if not (Path(folder) / "rates" / "provenance.json").is_file():
        return {}
    table = study_table(load_study(Path(folder) / "rates"))
    return {"rates": study_markdown(table), "scaling": scaling_markdown(table)}


def scaling_markdown(table: pd.DataFrame, cores: int = 64) -> str:
    """What the rates of `study_table` mean for a search on many cores, for reading: an estimate, not a measurement.

    Trials need nothing from each other, so that what is solved in an hour grows as the cores do.
    """
    per_hour = table["started"] / table["cpu_hours"]
    shown = pd.DataFrame({"task": table["setting"], "seeds per core and hour": per_hour.round().astype(int)})
    shown["solved per core and hour"] = table["per_cpu_hour"].round().astype(int)
    shown[f"solved per hour on {cores} cores"] = (cores * table["per_cpu_hour"]).round().astype(int)
    return results.to_markdown(shown)


def settings_table(folder: str | Path) -> pd.DataFrame:
    """A finished study's settings, a row per setting: what differs between them, in the first variant of each."""
    held = json.loads((Path(folder) / "config.json").read_text())["configurations"]
    first = {each["setting"]: each for each in reversed(held)}
    frame = pd.DataFrame([first[name] for name in dict.fromkeys(each["setting"] for each in held)])
    frame = frame.map(lambda value: value[0] if isinstance(value, list) and value[0] == value[1] else value)
    differing = [name for name in frame.columns if len({json.dumps(value) for value in frame[name]}) > 1]
    return frame[differing]


def study_markdown(table: pd.DataFrame) -> str:
    """`study_table` for reading, without the variants if there is but one."""
    shown = table[["setting", "variant", "started", "solved"]].copy()
    if table["variant"].nunique() == 1:
        shown = shown.drop(columns="variant")
    shown["rate"] = [f"{100 * rate:.0f}%" for rate in table["rate"]]
    low, high = table["rate_low"], table["rate_high"]
    shown["95% interval"] = [f"{100 * a:.1f} to {100 * b:.1f}%" for a, b in zip(low, high, strict=True)]
    shown["more, fuzzy only"] = table["fuzzy_only"]
    quartiles = [table[f"batches_{name}"] for name in ("quartile1", "median", "quartile3")]
    shown["batches to solve: median (quartiles)"] = [
        "–" if pd.isna(median) else f"{median:.0f} ({first:.0f} to {third:.0f})"
        for first, median, third in zip(*quartiles, strict=True)
    ]
    shown["CPU minutes"] = (60 * table["cpu_hours"]).round(1)
    shown["solved per CPU hour"] = table["per_cpu_hour"].round().astype(int)
    return results.to_markdown(shown)
