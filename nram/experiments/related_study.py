"""What else could have learned it: other systems and the machine on the same tasks, for the same seconds.

`python -m nram study related` runs it, each run on one thread. The study's folder holds runs.csv, a row per run, to
which each adds its row as it ends; another call runs what is missing. No run is left out of it. `nram.related` has the
systems and the protocol.
"""

from collections.abc import Sequence
from dataclasses import fields
from itertools import product
from pathlib import Path

import pandas as pd

from nram import kernels, results
from nram.experiments.board import Board
from nram.experiments.forecast import Expected
from nram.experiments.launch import launch, one_thread
from nram.related.measure import Reach, machine_answers, measure, model_answers, no_answers
from nram.related.opponent import MACHINE, config_of, train_machine
from nram.related.systems import SYSTEMS
from nram.related.tokens import KEYS, OPTIONAL
from nram.related.training import train
from nram.results.files import append_row, locked, mend_rows
from nram.training import status

__all__ = ["NAME", "SECONDS", "load_related", "numbers", "run_related", "settings_of"]

NAME = "related"
FIRST_SEED = 7000  # no search, no recorded run and no choice of settings has used these seeds
SEEDS = 5
SECONDS = 300.0  # of a run's training
FORMS = ("soft", "hard")
MEASURES = ("fit", "reach", "error", "exact", "structured")
COLUMNS = (
    *("system", "task", "seed", "settings", "budget_seconds"),
    *(f"{form}_{measure}" for form in FORMS for measure in MEASURES),
    *("held_out", "sequences", "updates", "maximum", "seconds", "commit", "processor"),
)


def run_related(
    folder: str | Path,
    *,
    seeds: int | None = None,
    only: Sequence[str] | None = None,
    seconds: float = SECONDS,
    board: Board | None = None,
    **launcher,
) -> pd.DataFrame:
    """Run what is missing in `folder`/related; return the frame of its runs.

    seeds: how many of every system and task. only: keys of systems, of tasks, or of both; without any task, Copy,
    Reverse and Increment. seconds: of a run's training. board: shows the runs at work. launcher: where they take place
    (see `nram.experiments.launch.launch`). Raises ValueError if the folder holds runs of other settings, and
    `nram.results.files.Busy` if another process runs this study there.
    """
    plan = _plan(only)
    folder = Path(folder) / NAME
    path = folder / "runs.csv"
    folder.mkdir(parents=True, exist_ok=True)
    commit = results.short_commit()
    with locked(folder, "study"):
        if not path.exists():
            results.write_text(path, ",".join(COLUMNS) + "\n")
        mend_rows(path)
        done = _checked(_read(path), seconds)
        calls = [
            (system, task, FIRST_SEED + index, seconds, commit)
            for index in range(seeds or SEEDS)
            for system, task in plan
            if (system, task, FIRST_SEED + index) not in done
        ]
        board = board or Board()
        names = {f"{task}, {system}, seed {seed}": Expected(seconds, seconds) for system, task, seed, *_ in calls}
        launched = launch(run_once, calls, logs=folder / "slurm", names=names, board=board, **launcher)
        with open(path, "a", encoding="utf-8") as file:
            for count, row in enumerate(launched, start=1):
                append_row(file, COLUMNS, row)
                verdict = f"exact up to {row['soft_reach']}" if row["soft_fit"] else "no fit"
                board.say(f"{count} of {len(calls)}: {row['task']}, {row['system']}, seed {row['seed']}: {verdict}")
    return load_related(folder)


def _plan(only: Sequence[str] | None) -> list[tuple[str, str]]:
    """(system, task) of every setting that is asked for."""
    systems, keys = [*SYSTEMS, MACHINE], [*KEYS, *OPTIONAL]
    unknown = set(only or ()) - {*systems, *keys}
    if unknown:
        raise ValueError(f"{NAME} has no setting {', '.join(sorted(unknown))}; valid: {', '.join([*systems, *keys])}")
    chosen = [key for key in keys if key in (only or ())] or list(KEYS)
    pairs = product([each for each in systems if each in (only or ())] or systems, chosen)
    plan = [pair for pair in pairs if pair != (MACHINE, "merge")]
    if not plan:
        raise ValueError(
            "the machine has no row for merge: annealing learns it, and with few values it would be another task"
        )
    return plan


def settings_of(system: str, task: str, seed: int, seconds: float) -> str:
    """What decides a run besides the code: a hash of all its settings."""
    if system == MACHINE:
        settings = config_of(task, seed, seconds).to_dict()
    else:
        settings = {each.name: getattr(SYSTEMS[system], each.name) for each in fields(SYSTEMS[system])}
        settings |= {"title": None, "model": settings["model"].__name__, "seconds": seconds}
    return results.config_hash(settings)[:10]


def _checked(frame: pd.DataFrame, seconds: float) -> set[tuple[str, str, int]]:
    """The runs that a study holds. Raises ValueError if one has other settings than a run of today."""
    for row in frame.itertuples():
        if row.budget_seconds != seconds:
            raise ValueError(f"the study's runs take {row.budget_seconds:g} s, not {seconds:g}: use another folder")
        run = row.system, row.task, row.seed
        if row.system not in (*SYSTEMS, MACHINE) or row.settings != settings_of(*run, seconds):
            name = f"{row.system}, {row.task}, seed {row.seed}"
            raise ValueError(f"the study holds a run of other settings: {name}; remove its row, or use another folder")
    return set(zip(frame["system"], frame["task"], frame["seed"], strict=True))


# A run


@one_thread()
def run_once(system: str, task: str, seed: int, seconds: float, commit: str, count: int = 200) -> dict:
    """Train one system on one task, on one thread, and measure it: a row of runs.csv. count: sequences per length."""
    row = {"system": system, "task": task, "seed": seed, "settings": settings_of(system, task, seed, seconds)}
    row |= {"budget_seconds": seconds, "commit": commit, "processor": results.processor()}
    run = _run_machine if system == MACHINE else _run_system
    return row | run(system, task, seed, seconds, count)


def _run_system(name: str, task: str, seed: int, seconds: float, count: int) -> dict:
    def on_check(updates: int, spent: float, maximum: int) -> None:
        if status.is_due():
            status.tell("training, second", done=round(spent), total=round(seconds))

    system = SYSTEMS[name]
    learned = train(system, task, seed, seconds, on_check)
    status.tell("measuring")
    row = _measured("soft", measure(task, model_answers(task, system, learned.model), count))
    if system.hard:
        row |= _measured("hard", measure(task, model_answers(task, system, learned.model, hard=True), count))
    facts = {"held_out": learned.exact, "sequences": learned.sequences, "updates": learned.updates}
    return row | facts | {"maximum": learned.maximum, "seconds": round(learned.cpu_seconds, 1)}


def _run_machine(name: str, task: str, seed: int, seconds: float, count: int) -> dict:
    config = config_of(task, seed, seconds)
    kernels.warm_up(config.kernel, config.device)
    result = train_machine(task, seed, seconds)
    if result.stopped_by == "interrupt":
        raise KeyboardInterrupt
    row = {"sequences": result.batches * config.population.size * config.examples.batch_size}
    row |= {
        "updates": result.batches,
        "maximum": int(result.trials["level"].max()),
        "seconds": round(result.seconds, 1),
    }
    status.tell("measuring")
    for form in FORMS:
        answers = machine_answers(result.machine, discretized=form == "hard") if result.machine else no_answers
        row |= _measured(form, measure(task, answers, count))
    return row


def _measured(form: str, reach: Reach) -> dict:
    """The columns of one form of a system, soft or hard. A list of numbers is one cell."""
    row = {"fit": reach.fit, "reach": reach.reach}
    for name in ("error", "exact", "structured"):
        row[name] = " ".join(f"{each:.4g}" for each in getattr(reach, name))
    return {f"{form}_{name}": value for name, value in row.items()}


# What it left


def load_related(folder: str | Path) -> pd.DataFrame:
    """The runs of the study in a folder, one row each, task after task. Raises FileNotFoundError if there is none."""
    frame = _read(Path(folder) / "runs.csv")
    order = {name: place for place, name in enumerate([*KEYS, *OPTIONAL, *SYSTEMS, MACHINE])}
    places = {f"{name}_place": frame[name].map(order) for name in ("task", "system")}
    ordered = frame.assign(**places).sort_values(["task_place", "system_place", "seed"], ignore_index=True)
    return ordered.drop(columns=list(places))


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"commit": str, "settings": str})


def numbers(cell: str | float) -> list[float]:
    """The numbers of a cell of runs.csv; none for an empty one."""
    return [float(each) for each in cell.split()] if isinstance(cell, str) else []
