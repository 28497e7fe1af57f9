"""Time: calls in turns, their medians, and a case's implementations beside each other and beside a matrix product."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch

from nram import kernels, tasks
from nram.experiments.speed.calls import CALLS, KERNEL_HIDDEN, compiled_call
from nram.experiments.speed.cases import Case
from nram.experiments.speed.operations import controller_operations, timestep_bytes, timestep_operations
from nram.training.population import Population

__all__ = ["MATRIX_SIZES", "matrix_product", "quartiles", "take_turns", "time_case"]

MATRIX_SIZES = (256, 384)  # three float32 matrices of these sizes are 0.8 and 1.8 MB
CUDA_MATRIX_SIZES = (2048,)
SAMPLE_SECONDS = 0.03  # shortest time that an implementation is timed at a stretch


def matrix_product(size: int, device: str) -> Callable[[], None]:
    """A float32 matrix product of two matrices [size, size]."""
    a, b, out = torch.rand(3, size, size, device=device)
    return lambda: torch.mm(a, b, out=out)


def timed(call: Callable[[], None], calls: int, device: str) -> tuple[float, float]:
    """(wall seconds, processor seconds of all threads) per call."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(calls):
        call()
    wait()
    return (time.perf_counter() - wall) / calls, (time.process_time() - processor) / calls


def take_turns(calls: dict[str, Callable], rounds: int, device: str = "cpu") -> tuple[dict[str, list], dict[str, int]]:
    """Time calls in turn: {name: [(wall, processor seconds) of each round]}, {name: calls at a stretch}.

    "fused" is called as in training, with PyTorch's own operations on one thread.
    """
    setting = {name: kernels.narrow_pytorch if name == "fused" else nullcontext for name in calls}
    number = {}
    for name, call in calls.items():
        with setting[name]():
            call()
            seconds, _ = timed(call, 1, device)
        number[name] = max(1, math.ceil(SAMPLE_SECONDS / max(seconds, 1e-7)))
    samples = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            with setting[name]():
                call()  # not timed: the call before may have left spinning threads, and its data in the caches
                samples[name].append(timed(call, number[name], device))
    return samples, number


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The lower and upper quartile."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else list(values) * 3
    return low, high


def time_case(case: Case, scope: str, rounds: int, with_compiled: bool = False) -> list[dict]:
    """A row per implementation: its time, the ratio of the reference's time to it, and how both were measured.

    microseconds: median over the rounds; _low, _high: quartiles; _min: smallest. ratio: of the medians; ratio_low,
    ratio_high: quartiles of the rounds' own ratios. busy: processor time of this process / (wall time * threads).
    operations, bytes: per sample-timestep, see `nram.experiments.speed.operations`. arithmetic_microseconds: the time
    of the operations at the speed of the matrix product in the same rounds; times_arithmetic: measured time / that.
    compile_seconds: of the first call; next to nothing if another scope had the same shapes.
    processor_*: the same for the processor time of all threads. Other processes hardly change it, but threads that
    wait for each other may spend it too: it means most with one thread.
    """
    fused = kernels.resolve("auto", case.device)
    sizes = CUDA_MATRIX_SIZES if case.device.startswith("cuda") else MATRIX_SIZES
    calls = {f"matrix {size}": matrix_product(size, case.device) for size in sizes}
    calls["reference"] = CALLS[scope](case, "reference")
    compile_seconds = None
    if with_compiled:
        calls["compiled"] = compiled_call(CALLS[scope](case, "reference"))
        compile_seconds, _ = timed(calls["compiled"], 1, case.device)
    if scope != "timestep" and fused != "reference":
        kernels.warm_up(fused, case.device)
        calls["fused"] = CALLS[scope](case, fused)
    samples, number = take_turns(calls, rounds, case.device)
    walls = {name: [wall for wall, _ in pairs] for name, pairs in samples.items()}
    spent = {name: statistics.median(processor for _, processor in pairs) for name, pairs in samples.items()}
    rate = max(2 * size**3 / statistics.median(walls[f"matrix {size}"]) for size in sizes)
    processor_rate = max(2 * size**3 / spent[f"matrix {size}"] for size in sizes)

    config = case.config("reference", **({"hidden": KERNEL_HIDDEN} if scope == "kernel" else {}))
    population = Population(config.replace(population=1), tasks.get(case.task))
    layout = population.layout
    operations = sum(map(sum, timestep_operations(layout, case.num_cells).values()))
    if scope != "timestep":
        operations += sum(controller_operations(population.controller.shapes()))
    unit = case.population * case.batch * (1 if scope == "timestep" else case.timesteps) / 1e6
    rows = []
    for name in ("reference", "compiled", "fused"):
        if name not in calls:
            continue
        median = statistics.median(walls[name])
        low, high = quartiles(walls[name])
        ratios = quartiles([ref / own for ref, own in zip(walls["reference"], walls[name], strict=True)])
        busy = statistics.median(processor / wall for wall, processor in samples[name]) / torch.get_num_threads()
        rows.append(
            {
                "case": case.task,
                "population": case.population,
                "batch": case.batch,
                "timesteps": case.timesteps,
                "num_cells": case.num_cells,
                "device": case.device,
                "implementation": name,
                "scope": scope,
                "microseconds": median / unit,
                "ratio": statistics.median(walls["reference"]) / median,
                "microseconds_low": low / unit,
                "microseconds_high": high / unit,
                "microseconds_min": min(walls[name]) / unit,
                "ratio_low": ratios[0],
                "ratio_high": ratios[1],
                "rounds": rounds,
                "calls": number[name],
                "busy": busy,
                "processor_microseconds": spent[name] / unit,
                "processor_ratio": spent["reference"] / spent[name],
                "processor_times_arithmetic": spent[name] / unit / (operations / processor_rate * 1e6),
                "registers": config.machine.num_registers,
                "modules": len(layout.modules),
                "hidden": None if scope == "timestep" else config.machine.hidden,
                "operations": operations,
                "bytes": timestep_bytes(layout, case.num_cells),
                "arithmetic_microseconds": operations / rate * 1e6,
                "times_arithmetic": median / unit / (operations / rate * 1e6),
                "compile_seconds": compile_seconds if name == "compiled" else None,
            }
        )
    return rows
