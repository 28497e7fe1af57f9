"""The whole benchmark: the fused machine beside the reference in one run, on the same inputs, and the machine's limits.

Times are microseconds per sample-timestep: one example through one timestep, forward and backward. Every example runs
for exactly T timesteps. In each round all implementations are timed one after the other, and so is a matrix product;
medians over the rounds are compared. Other work of the computer therefore affects all of them alike.
"""

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch

from nram import kernels, results
from nram.experiments.speed.calls import check_compiler
from nram.experiments.speed.cases import FULL, Case, Plan, cuda_cases
from nram.experiments.speed.limits import limits
from nram.experiments.speed.memory import peak_memory
from nram.experiments.speed.timing import time_case
from nram.program import PUBLISHED, published, timesteps_per_second
from nram.training.config import TrainConfig
from nram.training.loop import train

__all__ = ["benchmark", "benchmark_gpu", "discretized", "solve", "to_json"]

GPU_ROUNDS = 5


def benchmark(
    plan: Plan = FULL, *, with_compiled: bool = False, seeds: Sequence[int] = (), say: Callable[[str], None] = print
) -> dict:
    """Measure everything; the measurements are plain JSON values.

    rows: of `time_case`. growth: the same with `axis`. limits, memory, discretized, solve: from the functions of these
    names; memory also for the reference; solve is empty without `seeds`. machine: where this was measured, with the
    mean number of busy processes in the last minute before and after. say(text): called before each measurement.
    Raises ValueError if `with_compiled` is set where torch.compile does not work.
    """
    started, load = time.monotonic(), os.getloadavg()[0]
    if with_compiled:
        check_compiler()
    kernels.warm_up()
    say("limits")
    measurements = {"growth": [], "limits": limits(plan.rounds, plan.copied_mib)}
    measurements["rows"] = _rows(plan.cases, plan.rounds, say, with_compiled)
    say("timestep of the reference")
    measurements["rows"] += time_case(plan.cases[0], "timestep", plan.rounds, with_compiled)
    for axis, scope, along in plan.growth:
        for case in along:
            say(f"growth, {scope}: {case}")
            measurements["growth"] += [{"axis": axis, **row} for row in time_case(case, scope, plan.growth_rounds)]
    say("memory")
    fused = kernels.resolve()
    measurements["memory"] = [peak_memory(case, fused) for case in plan.memory]
    measurements["memory"].append(peak_memory(plan.memory[0], "reference"))
    say("machines on integers")
    measurements["discretized"] = discretized(plan.discretized_cells, plan.discretized_seconds)
    measurements["solve"] = []
    for task in plan.solve_tasks if seeds else ():
        for seed in seeds:
            measurements["solve"].append(solve(task, seed, plan.solve_budget))
            say(f"solve: {measurements['solve'][-1]}")
    settings = {"plan": asdict(plan), "with_compiled": with_compiled, "seeds": list(seeds)}
    measurements["machine"] = _machine(settings, time.monotonic() - started, load, fused, "cpu")
    return measurements


def benchmark_gpu(say: Callable[[str], None] = print) -> dict:
    """Measure the training step and the machine alone on a GPU: rows and machine, as in `benchmark`.

    Raises ValueError if there is none.
    """
    if not torch.cuda.is_available():
        raise ValueError("there is no CUDA device here")
    started, load = time.monotonic(), os.getloadavg()[0]
    rows = _rows(cuda_cases(), GPU_ROUNDS, say)
    settings = {"cases": [asdict(case) for case in cuda_cases()], "rounds": GPU_ROUNDS}
    kernel = kernels.resolve("auto", "cuda")
    return {"rows": rows, "machine": _machine(settings, time.monotonic() - started, load, kernel, "cuda")}


def _rows(cases: Sequence[Case], rounds: int, say: Callable[[str], None], with_compiled: bool = False) -> list[dict]:
    """The rows of every case, for its training step and for the machine alone."""
    rows = []
    for case in cases:
        for scope in ("step", "kernel"):
            say(f"{scope}: {case}")
            rows += time_case(case, scope, rounds, with_compiled)
    return rows


def _machine(settings: dict, seconds: float, load: float, kernel: str, device: str) -> dict:
    """Where and when this was measured. load: before it."""
    return {
        **results.collect_provenance(settings, seconds=seconds, kernel=kernel, device=device),
        "cores": os.cpu_count(),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if re.match("(OMP|GOMP|MKL)_", name)},
        "load_before": load,
        "load_after": os.getloadavg()[0],
    }


def discretized(num_cells: Sequence[int], seconds: float) -> list[dict]:
    """Timesteps per second of the published programs on one core, for memories of several sizes; median of three."""
    rows = []
    for task in PUBLISHED:
        program = published(task)
        for cells in num_cells:
            rates = sorted(timesteps_per_second(program, cells, seconds=seconds / 3) for _ in range(3))
            row = {"program": task, "num_cells": cells, "timesteps_per_second": rates[1]}
            rows.append(row | {"timesteps_per_second_low": rates[0], "timesteps_per_second_high": rates[2]})
    return rows


def solve(task: str, seed: int, budget: float, **settings) -> dict:
    """A whole search from scratch with the recommended settings: seconds until a machine is verified as solved."""
    result = train(TrainConfig.for_task(task, seed=seed, budget_seconds=budget, **settings), progress=False)
    return {
        "task": task,
        "seed": seed,
        "solved": result.solved,
        "seconds": result.seconds,
        "batches": result.batches,
        "members_started": result.seeds_started,
    }


def to_json(measurements: dict) -> str:
    """The measurements as text: a row per line, numbers to six digits."""

    def rounded(value):
        if isinstance(value, dict):
            return {name: rounded(each) for name, each in value.items()}
        return float(f"{value:.6g}") if isinstance(value, float) else value

    parts = []
    for name, section in measurements.items():
        if isinstance(section, list):
            text = "[" + ",".join("\n  " + json.dumps(rounded(row)) for row in section) + "\n ]"
        else:
            text = json.dumps(rounded(section), indent=2).replace("\n}", "\n }")
        parts.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
