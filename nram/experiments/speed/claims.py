"""The measurements of `nram.experiments.speed.benchmark` as tables, and beside the targets of the fused machine."""

import json
import math
from pathlib import Path

import pandas as pd

from nram import tasks

__all__ = ["claims", "load", "memory_growth", "tables"]

SOLVE_SECONDS = {"access": 5, "increment": 20, "copy": 60, "reverse": 60}
LARGEST_MEMORY = {"population": 8, "batch": 32, "timesteps": 64, "num_cells": 128}


def load(path: str | Path, gpu: str | Path | None = None) -> dict:
    """The measurements that `python -m nram benchmark --json` wrote; ValueError if the file holds something else.

    gpu: what `benchmark --gpu --json` wrote. Its rows join the others; "gpu" is where they were measured.
    """
    measurements = _read(path, {"rows", "growth", "limits", "memory", "discretized", "solve", "machine"})
    if gpu:
        on_gpu = _read(gpu, {"rows", "machine"})
        measurements["rows"] += on_gpu["rows"]
        measurements["gpu"] = on_gpu["machine"]
    return measurements


def _read(path: str | Path, sections: set[str]) -> dict:
    measurements = json.loads(Path(path).read_text(encoding="utf-8"))
    missing = sections - set(measurements)
    if missing:
        raise ValueError(f"{path} holds no measurements of the benchmark: it lacks {', '.join(sorted(missing))}")
    return measurements


def _fused(rows: pd.DataFrame, **wanted) -> pd.Series | None:
    """The row of the fused implementation with these values, on the CPU unless they say else; None if there is none."""
    wanted = {"implementation": "fused", "device": "cpu", **wanted}
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    return rows.iloc[0] if len(rows) else None


def memory_growth(memory: pd.DataFrame) -> dict[str, float]:
    """How training's memory grows along timesteps, batch and population: d log(MiB) / d log(axis); 1 is linear."""
    fused = memory[memory["implementation"] == "fused"]
    middle = fused.iloc[0] if len(fused) else None
    axes = ("timesteps", "batch", "population", "num_cells")
    found = {}
    for axis in axes[:3]:
        others = [each for each in axes if each != axis]
        along = fused[(fused[others] == middle[others]).all(axis=1)].sort_values(axis)
        if len(along) > 1:
            low, high = along.iloc[0], along.iloc[-1]
            found[axis] = math.log(high["training_mib"] / low["training_mib"]) / math.log(high[axis] / low[axis])
    return found


def claims(measurements: dict) -> pd.DataFrame:
    """The targets beside what was measured: what, target, measured, spread, met (None where nothing was measured)."""
    rows = pd.DataFrame(measurements["rows"])
    lines = []

    def claim(what, target, measured, met, spread=""):
        lines.append({"what": what, "target": target, "measured": measured, "spread": spread, "met": met})

    for scope, population, target in (("step", 1, 30), ("step", 8, 15), ("kernel", 1, 60)):
        found = _fused(rows, case="copy", population=population, batch=32, scope=scope)
        what = "whole training step" if scope == "step" else "kernel, forward and backward"
        what += f", copy, batch 32, population {population}: times faster than the reference"
        if found is None:
            claim(what, f"≥ {target}", None, None)
        else:
            spread = f"{found['ratio_low']:.3g} to {found['ratio_high']:.3g}"
            claim(what, f"≥ {target}", found["ratio"], bool(found["ratio"] >= target), spread)
    found = _fused(rows, case="copy", population=1, batch=32, scope="kernel")
    what = "kernel, population 1: time over that of its operations in a matrix product"
    if found is None:
        claim(what, "≤ 6", None, None)
    else:
        limit = found["arithmetic_microseconds"]
        spread = f"{found['microseconds_low'] / limit:.3g} to {found['microseconds_high'] / limit:.3g}"
        claim(what, "≤ 6", found["times_arithmetic"], bool(found["times_arithmetic"] <= 6), spread)

    found = _fused(rows, case="copy", population=256, batch=32, scope="step", device="cuda")
    what = "H100, whole training step, copy, population 256, batch 32: million sample-timesteps per second"
    if found is None:
        claim(what, "≥ 10", None, None)
    else:
        rate, slow, fast = (1 / found[f"microseconds{each}"] for each in ("", "_high", "_low"))
        claim(what, "≥ 10", rate, bool(rate >= 10), f"{slow:.3g} to {fast:.3g}")

    memory = pd.DataFrame(measurements["memory"])
    wanted = pd.Series(LARGEST_MEMORY)
    largest = memory[(memory["implementation"] == "fused") & (memory[wanted.index] == wanted).all(axis=1)]
    peak = largest["peak_mib"].max() / 1024 if len(largest) else None
    what = "peak memory, GiB, population 8, batch 32, 64 timesteps, 128 cells"
    claim(what, "< 2", peak, None if peak is None else bool(peak < 2))
    for axis, exponent in memory_growth(memory).items():
        what = f"memory of training grows linearly with {axis}: exponent"
        claim(what, "≤ 1.1", exponent, exponent <= 1.1)

    speeds = pd.DataFrame(measurements["discretized"])["timesteps_per_second"] / 1e6
    what = "machines on integers, slowest program and memory: million timesteps per second on a core"
    claim(what, "≥ 5", speeds.min(), bool(speeds.min() >= 5), f"{speeds.min():.3g} to {speeds.max():.3g}")

    searches = pd.DataFrame(measurements["solve"], columns=["task", "seconds", "solved"])
    for task, target in SOLVE_SECONDS.items():
        own = searches[searches["task"] == task]
        what = f"{tasks.get(task).title} solved from scratch: seconds, median of {len(own) or 5} seeds"
        if not len(own):
            claim(what, f"≤ {target}", None, None)
            continue
        seconds = own["seconds"].where(own["solved"].astype(bool), math.inf)
        spread = f"{seconds.min():.3g} to {seconds.max():.3g}"
        claim(what, f"≤ {target}", seconds.median(), bool(seconds.median() <= target), spread)
    return pd.DataFrame(lines)


def tables(measurements: dict) -> dict[str, pd.DataFrame]:
    """The measurements as frames to print, by title; those of a GPU alone have one."""
    rows = pd.DataFrame(measurements["rows"])
    short = ["case", "population", "batch", "device", "scope", "implementation", "microseconds"]
    short += ["microseconds_low", "microseconds_high", "ratio", "times_arithmetic", "busy", "processor_ratio"]
    found = {"Microseconds per sample-timestep": rows[short]}
    if "growth" not in measurements:
        return found
    growth = pd.DataFrame(measurements["growth"])
    columns = ["axis", "num_cells", "timesteps", "population", "scope", "implementation", "microseconds", "ratio"]
    growth = growth[columns]
    speeds = pd.DataFrame(measurements["discretized"])
    speeds["million_timesteps_per_second"] = speeds["timesteps_per_second"] / 1e6
    speeds = speeds.pivot(index="program", columns="num_cells", values="million_timesteps_per_second").reset_index()
    found |= {
        "Growth": growth,
        "Limits of this computer": pd.DataFrame([measurements["limits"]]),
        "Peak memory of training": pd.DataFrame(measurements["memory"]),
        "Machines on integers, million timesteps per second": speeds,
    }
    if measurements["solve"]:
        found["Whole searches"] = pd.DataFrame(measurements["solve"])
    return found | {"Targets": claims(measurements)}
