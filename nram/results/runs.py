"""What a run leaves behind, and frames of many runs with the paper's numbers beside ours.

A run's folder holds config.json, metrics.json, generalization.csv, history.csv, trials.csv, weights.safetensors and
provenance.json, and notebook.ipynb if a notebook made the run. It is complete or absent: written aside, then renamed.
Nothing in it is executed when it is read.
"""

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from nram.model import FORMAT, WEIGHTS, load_weights, weights_bytes
from nram.results.files import force_to_disk, named, write_text

__all__ = [
    "Run",
    "all_reached",
    "best_runs",
    "collect_provenance",
    "config_hash",
    "effort_markdown",
    "find_run",
    "load_generalization",
    "load_run",
    "load_runs",
    "origin",
    "paper_execution",
    "paper_gradient_noise",
    "paper_table1",
    "reached",
    "readme_tables",
    "run_name",
    "save_run",
    "summary_markdown",
    "table1",
    "table1_markdown",
    "to_markdown",
    "write_table1",
]

FRAMES = ("generalization", "history", "trials")
FILES = ("config.json", "metrics.json", *(f"{name}.csv" for name in FRAMES), WEIGHTS, "provenance.json")
FAILED = "failed"  # in a folder of runs: what failed notebooks left, for debugging
STUDIES = "studies"  # in the folder of recorded runs (see `nram.experiments.studies`)
NO_RUNS = (FAILED, "notebooks", STUDIES)  # folders in a folder of runs that hold something else
STALE_SECONDS = 3600.0  # a staging folder of this age is what a killed process left
CHECKOUT = Path(__file__).resolve().parent.parent.parent
CODE = ("nram", "notebooks", "pyproject.toml", "requirements.lock")  # what makes the results; the dirty flag is theirs
VERDICT_COLUMNS = {"complexity", "mode", "machine", "error", "cases", "disagreements"}  # what a verdict needs
PERFECT_UP_TO = 50  # the paper calls generalization perfect when the error is 0 at every complexity up to this


@dataclass(frozen=True)
class Run:
    """A finished run, as its folder tells it; the weights are loaded by `nram.load`.

    generalization: one row per complexity, mode and machine (see `nram.evaluate.Evaluation`). history: one row per
    progress update. trials: one row per started seed.
    """

    folder: Path
    config: dict
    metrics: dict
    provenance: dict
    generalization: pd.DataFrame
    history: pd.DataFrame
    trials: pd.DataFrame


# The configuration's hash


def config_hash(config: dict) -> str:
    """64 hexadecimal digits of SHA-256 over all settings, as JSON with sorted names.

    The output folder is no setting. "format" is left out, and a device counts by its kind, cuda:1 as cuda. Equal
    numbers count as equal (120 and 120.0), and so do tuples and lists. Raises ValueError for NaN and infinity,
    TypeError for what is no JSON value.
    """
    settings = {name: value for name, value in config.items() if name != "format"}
    if isinstance(settings.get("device"), str):
        settings["device"] = settings["device"].partition(":")[0]
    text = json.dumps(_canonical(settings), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value):
    if isinstance(value, dict):
        return {name: _canonical(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def run_name(config: dict) -> str:
    """The name of a run's folder: <task>-<first 10 digits of the configuration's hash>."""
    return f"{config['task']}-{config_hash(config)[:10]}"


def check_name(name: str) -> None:
    """Raise ValueError unless a run's folder can have this name."""
    if not re.fullmatch(r"\w[\w.-]*", name) or name == FAILED:
        raise ValueError(f"a run cannot be named {name!r}: letters, digits, dots, dashes; not {FAILED!r}")


# Where the numbers come from


def collect_provenance(
    config: dict,
    *,
    seconds: float,
    kernel: str,
    device: str | None = None,
    command: str | None = None,
    started_at: float | None = None,
    resumed: int = 0,
) -> dict:
    """What a number can be traced by: to be called when the run has ended.

    seconds: how long the run took, training and evaluation. kernel: the implementation that ran. device: "cpu" or
    "cuda", by default the configuration's. command: by default the environment's NRAM_COMMAND, which the runner of
    the notebooks sets, else this process's command line. started_at: Unix time, by default so many seconds ago.
    resumed: how often the training was interrupted and taken up again.
    """
    device = device or config.get("device", "cpu")
    started = datetime.fromtimestamp(time.time() - seconds if started_at is None else started_at, UTC)
    return {
        "config_hash": config_hash(config),
        "command": command or os.environ.get("NRAM_COMMAND") or _command_line(),
        **_commit(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,  # with the build, such as +cpu, which the package's metadata can lack
            **{name: importlib.metadata.version(name) for name in ("numpy", "numba", "pandas")},
        },
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor(),
        "kernel": kernel,
        "threads": torch.get_num_threads(),
        "started_at": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "resumed": resumed,
    }


def _command_line() -> str:
    """This process's command line, without the folder of the interpreter or of an installed script."""
    arguments = sys.orig_argv[1:]
    if "ipykernel_launcher" in arguments:
        return "a notebook, by hand"
    if arguments and "bin" in Path(arguments[0]).parts:
        return shlex.join([Path(arguments[0]).name, *arguments[1:]])
    return shlex.join(["python", *arguments])


def _commit() -> dict:
    """commit: of the checkout that this package lies in, None elsewhere. dirty: whether its code differs from it."""

    def git(*arguments):
        command = ["git", "-C", str(CHECKOUT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != CHECKOUT:
            return {"commit": None, "dirty": None}
        commit = git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--", *CODE))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _processor() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()


# Writing a run


def save_run(
    folder: str | Path,
    *,
    config: dict,
    metrics: dict,
    generalization: pd.DataFrame,
    history: pd.DataFrame,
    trials: pd.DataFrame,
    weights: dict[str, Tensor],
    provenance: dict,
    name: str | None = None,
) -> Path:
    """Write a run into `folder`/<task>-<hash10>, or `folder`/`name`, and return that path.

    Everything is written into a staging folder beside it, forced to disk, then renamed, so that a killed process
    leaves no half of a run; an earlier run of the same name is replaced. metrics: flat, finite numbers, words,
    booleans or None. Raises ValueError for other metrics, for one that contradicts a setting of the same name, for a
    frame without columns, and for provenance of another configuration; OSError if the folder cannot be written.
    """
    metrics = {key: _plain(key, value) for key, value in metrics.items()}
    for key in metrics.keys() & config.keys():
        if _canonical(metrics[key]) != _canonical(config[key]):
            raise ValueError(f"metric {key} is {metrics[key]!r}, the setting of that name {config[key]!r}")
    if provenance["config_hash"] != config_hash(config):
        raise ValueError("the provenance belongs to another configuration: its config_hash differs")
    frames = {"generalization": generalization, "history": history, "trials": trials}
    for key, frame in frames.items():
        if not len(frame.columns):
            raise ValueError(f"frame {key} has no columns")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    final = folder / (name or run_name(config))
    staging = Path(tempfile.mkdtemp(prefix=f".staging-{final.name}-", dir=folder))
    try:
        with named(final):
            staging.chmod(0o755)
            _write_json(staging / "config.json", {"format": FORMAT, **config})
            _write_json(staging / "metrics.json", metrics)
            _write_json(staging / "provenance.json", provenance)
            for key, frame in frames.items():
                frame.to_csv(staging / f"{key}.csv", index=False)
            (staging / WEIGHTS).write_bytes(weights_bytes(weights, config["task"]))
            for path in [*staging.iterdir(), staging]:
                force_to_disk(path)
        _replace_folder(staging, final)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return final


def _replace_folder(staging: Path, final: Path) -> None:
    """Rename a staging folder to its final name; what had that name is moved aside first, then removed."""
    while True:
        try:
            os.rename(staging, final)
            break
        except OSError:
            if not final.is_dir():
                raise
        aside = Path(tempfile.mkdtemp(prefix=f".staging-{final.name}-", dir=final.parent))
        os.rename(final, aside)
        shutil.rmtree(aside, ignore_errors=True)
    force_to_disk(final.parent)


def remove_stale(folder: Path, older_than: float = STALE_SECONDS) -> None:
    """Remove the staging folders in a folder of runs that killed processes left, if older than so many seconds."""
    for staging in folder.glob(".staging-*"):
        try:
            if time.time() - staging.stat().st_mtime > older_than:
                shutil.rmtree(staging, ignore_errors=True)
        except FileNotFoundError:
            continue


def _plain(key: str, value):
    """A metric as a JSON value."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"metric {key} is {value}")
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"metric {key} is no number, word or boolean: {value!r}")
    return value


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


# Reading runs


def load_run(folder: str | Path) -> Run:
    """Read a finished run.

    Raises FileNotFoundError if the folder is no run, ValueError naming the file that is missing, damaged, of a newer
    format, or of another configuration.
    """
    folder = Path(folder)
    if not _is_run(folder):
        raise FileNotFoundError(f"{folder} is no run's folder: it has neither config.json nor provenance.json")
    for name in FILES:
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing: the run is broken")
    config = _read_json(folder / "config.json")
    version = config.pop("format", None)
    if version != FORMAT:
        raise ValueError(f"{folder / 'config.json'} has format {version}; this version of nram reads format {FORMAT}")
    provenance = _read_json(folder / "provenance.json")
    if provenance.get("config_hash") != config_hash(config):
        raise ValueError(f"{folder / 'config.json'} is not the configuration that provenance.json was written for")
    _, task = load_weights(folder)
    if task not in (None, config["task"]):
        raise ValueError(f"{folder / WEIGHTS} holds a machine for {task!r}, not for {config['task']!r}")
    return Run(
        folder,
        config,
        _read_json(folder / "metrics.json"),
        provenance,
        **{name: _read_csv(folder / f"{name}.csv") for name in FRAMES},
    )


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run's, whole or broken."""
    return any((folder / name).is_file() for name in ("config.json", "provenance.json"))


def _read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return value


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def find_run(folder: str | Path, config: dict) -> Path | None:
    """The finished run of this configuration in a folder of runs, or None. Raises ValueError if it is broken.

    A run whose training was interrupted by hand is not finished.
    """
    path = Path(folder) / run_name(config)
    if not path.is_dir():
        return None
    run = load_run(path)
    same = run.provenance["config_hash"] == config_hash(config)
    return path if same and run.metrics.get("stopped_by") != "interrupt" else None


def _each_run(folder: str | Path):
    """The finished runs in a folder of runs, by name, or the one that the folder is.

    What is no run is skipped with a warning.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder of runs")
    if _is_run(folder):
        yield load_run(folder)
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in NO_RUNS or not path.is_dir():
            continue
        try:
            yield load_run(path)
        except FileNotFoundError as error:
            warnings.warn(f"skipped: {error}", stacklevel=3)


def load_runs(folder: str | Path) -> pd.DataFrame:
    """One row per finished run in a folder of runs: settings, metrics, verdicts (see `verdict`), provenance, folder.

    A run's own folder gives one row. Columns of the provenance begin with provenance_. Subfolders that are no runs are
    skipped with a warning. Raises FileNotFoundError if the folder is missing, ValueError naming the file if a run is
    broken.
    """
    rows = []
    for run in _each_run(folder):
        provenance = dict(run.provenance)
        provenance |= provenance.pop("versions", {})
        provenance.pop("config_hash")
        try:
            judged = verdict(run.generalization, run.config["train_difficulty"])
        except ValueError as error:
            raise ValueError(f"{run.folder / 'generalization.csv'}: {error}") from error
        rows.append(
            {
                "folder": str(run.folder),
                "config_hash": config_hash(run.config),
                **run.config,
                **run.metrics,
                **judged,
                **{f"provenance_{name}": value for name, value in provenance.items()},
            }
        )
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["folder", "config_hash", "task", "seed"])


def origin(run: Run) -> dict:
    """Where a run's numbers come from, for a row of a table.

    folder, config_hash, command, commit, dirty, device, kernel, threads, seconds (the run's), versions by package.
    """
    names = ("config_hash", "command", "commit", "dirty", "device", "kernel", "threads", "seconds")
    return {"folder": str(run.folder), **{name: run.provenance[name] for name in names}, **run.provenance["versions"]}


def load_generalization(folder: str | Path) -> pd.DataFrame:
    """The generalization rows of all finished runs in a folder of runs, with task, seed, run and where they come from.

    Columns: task, seed, run (the folder's name), config_hash, complexity, mode, machine, error, cases, wrong_cases,
    disagreements, num_cells (see `nram.evaluate.Evaluation`), then those of `origin`. Errors as `load_runs`.
    """
    frames = []
    for run in _each_run(folder):
        frame = run.generalization.copy()
        keys = {"task": run.config["task"], "seed": run.config["seed"], "run": run.folder.name}
        for place, (name, value) in enumerate({**keys, "config_hash": config_hash(run.config)}.items()):
            frame.insert(place, name, value)
        frames.append(frame.assign(**origin(run)))
    columns = ["task", "seed", "run", "config_hash", "complexity", "mode", "machine", "error", "cases"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


# Table 1


def verdict(generalization: pd.DataFrame, train_complexity: int) -> dict:
    """What Table 1 says of a run, judged from its generalization frame.

    train_error, train_cases: of the fuzzy machine at the train complexity. generalization: "perfect" if the fuzzy
    machine's error is 0 at every complexity up to 50, else where it first fails; error_free_up_to: the complexity
    before that; generalization_cases: the fewest behind one complexity. discretization: "perfect" if the discretized
    machine's output equals the fuzzy one's on every case, else on how many it does not and its error at the train
    complexity; discretization_cases: all that were compared. Raises ValueError without the columns and rows it needs.
    """
    if not VERDICT_COLUMNS <= set(generalization.columns):
        raise ValueError(f"generalization lacks the columns {sorted(VERDICT_COLUMNS - set(generalization.columns))}")
    at = generalization[generalization["mode"] == "at"].sort_values("complexity")
    fuzzy, discretized = (at[at["machine"] == name].set_index("complexity") for name in ("fuzzy", "discretized"))
    if train_complexity not in fuzzy.index or train_complexity not in discretized.index:
        raise ValueError(f"generalization has no rows of either machine at the train complexity {train_complexity}")
    tried = fuzzy.index
    wrong = tried[fuzzy["error"] > 0]
    covered = set(range(int(tried.min()), PERFECT_UP_TO + 1)) <= set(tried) and tried.min() <= 2
    before = tried[tried < wrong.min()] if len(wrong) else tried
    largest = f"{fuzzy['error'].iloc[-1]:.2g} at {tried.max()}"
    if len(wrong):
        first = int(wrong.min())
        text = f"first error at {first} ({fuzzy['error'][first]:.2g})" + (f", {largest}" if first < tried.max() else "")
    else:
        text = "perfect" if covered else f"no error at the {len(tried)} complexities tried, up to {tried.max()}"
    compared = generalization[generalization["machine"] == "discretized"]
    differ, cases = int(compared["disagreements"].sum()), int(compared["cases"].sum())
    error = discretized["error"][train_complexity]
    return {
        "train_error": float(fuzzy["error"][train_complexity]),
        "train_cases": int(fuzzy["cases"][train_complexity]),
        "generalization": text,
        "error_free_up_to": int(before.max()) if len(before) else 0,
        "generalization_cases": int(fuzzy["cases"].min()),
        "discretization": f"{differ} of {cases} outputs differ, error {error:.2g} at {train_complexity}"
        if differ
        else "perfect",
        "discretized_train_error": float(error),
        "discretization_cases": cases,
    }


def best_runs(runs: pd.DataFrame) -> dict[str, pd.Series]:
    """Every task's best run, a row of what `load_runs` gives.

    That is the smallest error at the train complexity, then the furthest without an error, then the smallest error when
    discretized.
    """
    best = {}
    for task, group in runs.groupby("task"):
        order = group.assign(reach=-group["error_free_up_to"])
        best[task] = order.sort_values(["train_error", "reach", "discretized_train_error"], kind="stable").iloc[0]
    return best


def table1(runs: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 1 beside ours, one row per task: `runs` is what `load_runs` gives.

    Paper's columns begin with paper_. A task's row is its best run (see `best_runs`); `runs` says of how many.
    beyond_paper: what of its recipe is more than the paper's. Tasks without a run keep the paper's columns only. The
    last columns say where the row comes from.
    """
    paper = paper_table1()
    measured = paper.rename(columns={name: f"paper_{name}" for name in paper.columns[2:]})
    verdicts = ["train_error", "train_cases", "generalization", "generalization_cases"]
    verdicts += ["discretization", "discretization_cases"]
    sources = [name for name in runs.columns if name.startswith("provenance_")]
    rows = []
    for task, best in best_runs(runs).items():
        row = {"task": task, "train_complexity": best["train_difficulty"], **best[verdicts]}
        row["runs"] = int((runs["task"] == task).sum())
        row["beyond_paper"] = beyond_paper(best)
        row |= {"seed": best["seed"], "config_hash": best["config_hash"], "folder": best["folder"]}
        rows.append(row | {name.removeprefix("provenance_"): best[name] for name in sources})
    ours = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["task", "train_complexity", *verdicts, "runs"])
    joined = measured.merge(ours, on="task", how="left")
    for name in ("train_complexity", "train_cases", "generalization_cases", "discretization_cases", "runs", "seed"):
        if name in joined:
            joined[name] = joined[name].astype("Int64")
    order = ["task", "complexity_measure"]
    for name in ("train_complexity", "train_error", "generalization", "discretization"):
        order += [f"paper_{name}", name]
    return joined[order + [name for name in joined.columns if name not in order]]


def beyond_paper(settings) -> str:
    """What a run's settings ask for that the paper's training has not, in words; "" for nothing."""
    parts = {
        "copies": settings.get("copies", 0) > 0,
        "sharpening": settings.get("sharpening", 1) > 1,
        "no curriculum": settings.get("curriculum") in (False,),
    }
    return ", ".join(name for name, is_on in parts.items() if is_on)


def effort_markdown(runs: pd.DataFrame) -> str:
    """What each of the runs that `load_runs` gives took to train, as a table for reading."""
    columns = {
        "task": "task",
        "seed": "seed",
        "training_seconds": "seconds of training",
        "batches": "batches",
        "members_started": "seeds started",
        "members_solved": "seeds solved",
        "provenance_threads": "threads",
        "provenance_command": "command",
    }
    order = {task: place for place, task in enumerate(paper_table1()["task"])}
    shown = runs.sort_values("task", key=lambda task: task.map(order))[list(columns)].rename(columns=columns)
    return to_markdown(shown.assign(command="`" + shown["command"] + "`"))


def table1_markdown(table: pd.DataFrame) -> str:
    """Table 1 for reading: what `table1` gives, without the columns of provenance, with a line on how to read it."""
    shown = pd.DataFrame({"task": _marked(table), "complexity": table["complexity_measure"]})
    headings = {"train_complexity": "train complexity", "train_error": "train error"}
    for name in ("train_complexity", "train_error", "generalization", "discretization"):
        heading = headings.get(name, name)
        shown[f"{heading}: paper"] = table[f"paper_{name}"]
        shown[f"{heading}: ours"] = table[name]
    shown["cases"] = [
        f"{train}; {each} per complexity; {compared}" if not pd.isna(train) else "not run"
        for train, each, compared in zip(
            table["train_cases"], table["generalization_cases"], table["discretization_cases"], strict=True
        )
    ]
    shown["runs"] = table["runs"]
    note = (
        "Errors are fractions of the cells that should be modified. Cases: behind the train error; behind each "
        "complexity of generalization; compared for discretization. Each of our rows is the best of the task's runs."
    ) + _beyond_note(table)
    return f"{to_markdown(shown)}\n{note}\n"


def reached(table: pd.DataFrame) -> pd.DataFrame:
    """Whether ours is as good as the paper's, in every cell of `table1`: True, False, or None where that is not known.

    Columns: task, train_error, generalization, discretization. An error reaches the paper's if it is not larger.
    "Perfect" reaches everything, and nothing else reaches it. The paper's other words are no numbers: what has not its
    train error does not reach them either; with it, generalization stays open, and a discretized machine that differs
    from the fuzzy one is what the paper reports. None too where nothing was run.
    """
    rows = []
    for row in table.itertuples():
        if pd.isna(row.runs):
            rows.append({"task": row.task, "train_error": None, "generalization": None, "discretization": None})
            continue
        trained = bool(row.train_error <= row.paper_train_error)
        judged = {"task": row.task, "train_error": trained}
        for name, with_train_error in (("generalization", None), ("discretization", True)):
            ours, paper = getattr(row, name), getattr(row, f"paper_{name}")
            failed = paper == "perfect" or not trained
            judged[name] = True if ours == "perfect" else False if failed else with_train_error
        rows.append(judged)
    return pd.DataFrame(rows, dtype=object)


def _beyond(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The tasks of `table1`, and what `beyond_paper` says of each; a table without runs lacks that column."""
    beyond = table.get("beyond_paper", pd.Series("", table.index)).fillna("")
    return list(zip(table["task"], beyond, strict=True))


def _marked(table: pd.DataFrame) -> list[str]:
    """The tasks of `table1`, with a † where training was more than the paper's."""
    return [f"{task} †" if more else task for task, more in _beyond(table)]


def _beyond_note(table: pd.DataFrame) -> str:
    told = [f"{task} ({more})" for task, more in _beyond(table) if more]
    return f" †: trained with more than the paper's recipe: {'; '.join(told)}." if told else ""


MARKS = {True: "✓", False: "✗", None: "○"}


def summary_markdown(table: pd.DataFrame) -> str:
    """Table 1 in few words: what `table1` gives, each of our cells with a mark (see `reached`)."""
    names = ("train_error", "generalization", "discretization")
    judged = reached(table).set_index("task")
    rows = []
    for (_, row), task in zip(table.iterrows(), _marked(table), strict=True):
        shown = {"task": task}
        for name in names:
            heading = name.replace("_", " ")
            ours = "not run" if pd.isna(row["runs"]) else row[name]
            ours = f"{ours:.4g}" if isinstance(ours, float) else ours.partition(", ")[0]
            shown[f"{heading}: paper"] = row[f"paper_{name}"]
            shown[f"{heading}: ours"] = f"{MARKS[judged.loc[row['task'], name]]} {ours}"
        rows.append(shown)
    done = table[table["runs"].notna()]
    said = f"{len(all_reached(table))} of {len(table)} tasks reach the paper wherever it gives a number."
    if len(done):
        train, each, compared = (done[f"{name}_cases"].min() for name in ("train", "generalization", "discretization"))
        said += (
            f" Behind our errors are at least {train:,} fresh cases, for generalization {each:,} at each complexity "
            f"up to {PERFECT_UP_TO}, for discretization {compared:,}."
        )
    return f"{to_markdown(pd.DataFrame(rows))}\n{said}{_beyond_note(table)}\n"


def all_reached(table: pd.DataFrame) -> list[str]:
    """The tasks that were run and fall short of the paper in no column of `table1` (see `reached`)."""
    judged = reached(table[table["runs"].notna()])
    return judged.loc[~judged.isin([False]).any(axis=1), "task"].tolist() if len(judged) else []


def readme_tables(runs: pd.DataFrame) -> dict[str, str]:
    """The README's tables by the names of their marks: `runs` is what `load_runs` gives."""
    return {"table1": summary_markdown(table1(runs)), "effort": effort_markdown(runs)}


def write_table1(results: str | Path) -> pd.DataFrame:
    """Write `results`/tables/table1.csv and table1.md from the runs in `results`/runs, and return the table."""
    results = Path(results)
    table = table1(load_runs(results / "runs"))
    for name, text in (("table1.csv", table.to_csv(index=False)), ("table1.md", table1_markdown(table))):
        write_text(results / "tables" / name, text)
    return table


def to_markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table, without its index: numbers to four digits, a dash where there is none."""

    def cell(value) -> str:
        if pd.isna(value):
            return "–"
        if isinstance(value, float):
            return f"{value:.4g}"
        return str(value).replace("|", "\\|").replace("\n", " ")

    rows = [[str(name) for name in frame.columns], ["---"] * len(frame.columns)]
    rows += [[cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


# The paper's numbers


def _paper(name: str) -> pd.DataFrame:
    path = CHECKOUT / "results" / "paper" / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the paper's numbers are read from a checkout of the replication")
    return pd.read_csv(path)


def paper_table1() -> pd.DataFrame:
    """Table 1 as published: task, complexity_measure, train_complexity, train_error, generalization, discretization."""
    return _paper("table1_results.csv")


def paper_gradient_noise() -> pd.DataFrame:
    """Share of seeds that converged on ListK with and without gradient noise, for three settings and on average."""
    return _paper("gradient_noise_listk.csv")


PAPER_EXECUTIONS = {"copy": 2, "access": 3, "increment": 4, "reverse": 5, "swap": 6}


def paper_execution(task: str) -> pd.DataFrame:
    """The published execution of a task (Tables 2 to 6): step, m0.., r1..; for copy also read_p, write_p, write_a.

    Memory cells and registers at the start of every step. Raises ValueError for a task that has none.
    """
    if task not in PAPER_EXECUTIONS:
        raise ValueError(f"the paper has no execution of {task!r}; it has {', '.join(PAPER_EXECUTIONS)}")
    return _paper(f"table{PAPER_EXECUTIONS[task]}_{task}.csv")
