"""Reading runs: one, or a folder of them as a frame.

A run's folder holds config.json, metrics.json, generalization.csv, history.csv, trials.csv, weights.safetensors and
provenance.json, notebook.ipynb if a notebook made the run, and SHA256SUMS, the digests of all these. Reading executes
nothing in it.
"""

import io
import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nram.results.digests import SUMS, damages
from nram.results.identity import config_hash, run_name
from nram.results.places import NOT_RUNS
from nram.results.verdict import Verdict, judge
from nram.results.weights import FORMAT, WEIGHTS, load_weights

__all__ = [
    "FILES",
    "BrokenRun",
    "Run",
    "best_runs",
    "check_files",
    "find_run",
    "load_generalization",
    "load_run",
    "load_runs",
    "origin",
]

FRAMES = ("generalization", "history", "trials")
FILES = ("config.json", "metrics.json", *(f"{name}.csv" for name in FRAMES), WEIGHTS, "provenance.json")


class BrokenRun(UserWarning):
    """A run, or a file of it, is damaged: it is left out. On the command line the exit code is 1."""


@dataclass(frozen=True)
class Run:
    """A finished run as its folder tells it, without the weights: `nram.load` reads those.

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

    def judge(self) -> Verdict:
        """The verdict on its machine. Raises ValueError naming the file if rows or columns are missing."""
        try:
            return judge(self.generalization, self.config["train_difficulty"])
        except ValueError as error:
            raise ValueError(f"{self.folder / 'generalization.csv'}: {error}") from error


# One run


def load_run(folder: str | Path) -> Run:
    """Read a finished run.

    Raises FileNotFoundError if the folder is not a run's, ValueError naming the file that is missing, damaged, of a
    newer format, or of another configuration. A damaged notebook is a warning, for the numbers are whole. So is a run of
    an earlier version, which has no digests.
    """
    folder = Path(folder)
    if not _is_run(folder):
        raise FileNotFoundError(f"{folder} is not a run's folder: it has neither config.json nor provenance.json")
    for name in FILES:
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing: the run is broken")
    config = _read_json(folder / "config.json")
    version = config.pop("format", None)
    if version != FORMAT:
        raise ValueError(f"{folder / 'config.json'} has format {version}; this version of nram reads format {FORMAT}")
    check_files(folder)
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


def check_files(folder: Path, names: Iterable[str] = FILES) -> None:
    """Raise ValueError naming the first of a run's files that is not what its digest says; warnings as in `load_run`."""
    if not (folder / SUMS).is_file():
        warnings.warn(f"{folder} has no {SUMS}: damage to its files would not be noticed", stacklevel=3)
        return
    for name, damage in damages(folder, FILES).items():
        if name in (*names, SUMS):
            raise ValueError(f"{folder / name} {damage}")
        if name not in FILES:
            warnings.warn(f"{folder / name} {damage}", BrokenRun, stacklevel=3)


def find_run(folder: str | Path, config: dict) -> Path | None:
    """The run of this configuration in a folder of runs, or None. Raises ValueError if it is broken.

    Also None for a run that Ctrl-C cut short: its training can resume.
    """
    path = Path(folder) / run_name(config)
    if not path.is_dir():
        return None
    run = load_run(path)
    same = run.provenance["config_hash"] == config_hash(config)
    return path if same and run.metrics.get("stopped_by") != "interrupt" else None


def origin(run: Run) -> dict:
    """Where a run's numbers come from, for a row of a table.

    folder, config_hash, command, commit, dirty, device, kernel, threads, seconds (the run's), versions by package.
    """
    names = ("config_hash", "command", "commit", "dirty", "device", "kernel", "threads", "seconds")
    return {"folder": str(run.folder), **{name: run.provenance[name] for name in names}, **run.provenance["versions"]}


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
        return pd.read_csv(io.BytesIO(path.read_bytes()))  # pandas would expand a ~ in the path
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


# A folder of runs


def load_runs(folder: str | Path) -> pd.DataFrame:
    """One row per finished run in a folder of runs, or the one row of a run's own folder.

    Columns: folder, config_hash, the settings, the metrics, Table 1's words (see `Verdict.in_words`), and the
    provenance as provenance_<name>. Subfolders that hold no run are skipped with a warning, and so are broken runs,
    with a `BrokenRun` that names the file. Raises FileNotFoundError if the folder is missing, ValueError naming the file
    if it is a run's own and that is broken.
    """
    rows = []
    for run in _each_run(folder):
        provenance = {**run.provenance, **run.provenance.get("versions", {})}
        for name in ("config_hash", "versions"):
            provenance.pop(name, None)
        rows.append(
            {
                "folder": str(run.folder),
                "config_hash": config_hash(run.config),
                **run.config,
                **run.metrics,
                **run.judge().in_words(),
                **{f"provenance_{name}": value for name, value in provenance.items()},
            }
        )
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["folder", "config_hash", "task", "seed"])


def load_generalization(folder: str | Path) -> pd.DataFrame:
    """The generalization rows of all finished runs in a folder of runs, with task, seed, run and where they come from.

    Columns: task, seed, run (the folder's name), config_hash, complexity, mode, machine, error, cases, wrong_cases,
    disagreements, num_cells (see `nram.evaluate.Evaluation`), then those of `origin`. Errors as `load_runs`.
    """
    frames = []
    for run in _each_run(folder):
        frame = run.generalization.copy()
        frame.insert(0, "task", run.config["task"])
        frame.insert(1, "seed", run.config["seed"])
        frame.insert(2, "run", run.folder.name)
        frame.insert(3, "config_hash", config_hash(run.config))
        frames.append(frame.assign(**origin(run)))
    columns = ["task", "seed", "run", "config_hash", "complexity", "mode", "machine", "error", "cases"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def best_runs(runs: pd.DataFrame) -> dict[str, pd.Series]:
    """Each task's best run: a row of the frame that `load_runs` returns.

    The best has the smallest error at the train complexity, then the furthest reach without an error, then the smallest
    error when discretized.
    """
    best = {}
    for task, group in runs.groupby("task"):
        order = group.assign(reach=-group["error_free_up_to"])
        best[task] = order.sort_values(["train_error", "reach", "discretized_train_error"], kind="stable").iloc[0]
    return best


def _each_run(folder: str | Path) -> Iterator[Run]:
    """The finished runs in a folder of runs, by name, or the run that the folder is."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder of runs")
    if _is_run(folder):
        yield load_run(folder)
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in NOT_RUNS or not path.is_dir():
            continue
        try:
            run = load_run(path)
            run.judge()
        except FileNotFoundError as error:
            warnings.warn(f"skipped: {error}", stacklevel=3)
        except (OSError, ValueError) as error:
            warnings.warn(f"left out: {error}", BrokenRun, stacklevel=3)
        else:
            yield run
