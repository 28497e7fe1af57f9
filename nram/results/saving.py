"""Writing a run: its folder is whole or absent, whenever the process is killed."""

import contextlib
import json
import math
import os
import shutil
import tempfile
import time
from pathlib import Path

import pandas as pd
from torch import Tensor

from nram.results.digests import write_sums
from nram.results.files import force_to_disk, named
from nram.results.identity import canonical, config_hash, run_name
from nram.results.weights import FORMAT, WEIGHTS, weights_bytes

__all__ = ["remove_stale", "save_run"]

STALE_SECONDS = 3600.0  # a staging folder older than this was left by a killed process


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

    The files are written into a staging folder beside it and forced to disk; then the folder is renamed. It replaces an
    earlier run of the same name. metrics: flat, finite numbers, words, booleans or None. Raises ValueError for other
    metrics, for a metric that contradicts the setting of the same name, for a frame without columns, and for provenance
    of another configuration; OSError if the folder cannot be written.
    """
    metrics = {key: _plain(key, value) for key, value in metrics.items()}
    for key in metrics.keys() & config.keys():
        if canonical(metrics[key]) != canonical(config[key]):
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
            with contextlib.suppress(OSError):  # some file systems have no permissions
                staging.chmod(0o755)
            _write_json(staging / "config.json", {"format": FORMAT, **config})
            _write_json(staging / "metrics.json", metrics)
            _write_json(staging / "provenance.json", provenance)
            for key, frame in frames.items():
                (staging / f"{key}.csv").write_bytes(frame.to_csv(index=False).encode())
            (staging / WEIGHTS).write_bytes(weights_bytes(weights, config["task"]))
            write_sums(staging)
            for path in [*staging.iterdir(), staging]:
                force_to_disk(path)
        replace_folder(staging, final)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return final


def _plain(key: str, value):
    """A metric as a JSON value."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"metric {key} is {value}")
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"metric {key} is not a number, word or boolean: {value!r}")
    return value


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def replace_folder(staging: Path, final: Path) -> None:
    """Rename a staging folder to its final name. A folder of that name moves aside first, then it is removed."""
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
    with named(final):
        force_to_disk(final.parent)


def remove_stale(folder: Path, older_than: float = STALE_SECONDS) -> None:
    """Remove the staging folders that killed processes left in a folder of runs, if older than so many seconds."""
    for staging in folder.glob(".staging-*"):
        try:
            if time.time() - staging.stat().st_mtime > older_than:
                shutil.rmtree(staging, ignore_errors=True)
        except FileNotFoundError:
            continue
