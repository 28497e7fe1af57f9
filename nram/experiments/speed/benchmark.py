"""How fast it is: the fused machine beside the reference in one run, on the same inputs, and the machine's own limits.

Times are microseconds per sample-timestep: one example through one timestep, forward and backward. Three scopes:

    "step"      a whole training step: sampling, run, loss, backward, Adam, curriculum (`nram.training.population.train_step`)
    "kernel"    a run of T timesteps and its backward, by `nram.kernels.unroll`: the machine with the smallest
                controller that fills a vector (16 units), no entropy, no loss. Both implementations do this same work
    "timestep"  one timestep and its backward, from given logits: softmaxes and `nram.machine.timestep`; reference alone

Every example runs for exactly T timesteps. In each round all implementations are timed one after the other, and so is a
matrix product; medians over the rounds are compared, so that what else the computer does meanwhile hits all of them.
"""

import functools
import json
import math
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch

from nram import kernels, machine, results, tasks
from nram.experiments.speed.operations import controller_operations, timestep_bytes, timestep_operations
from nram.machine.circuit import Layout
from nram.machine.run import RunOptions
from nram.program import PUBLISHED, published, timesteps_per_second
from nram.training.config import TrainConfig
from nram.training.loop import train
from nram.training.population import Population
from nram.training.step import train_step

__all__ = ["FULL", "LARGEST", "QUICK", "Case", "Plan", "benchmark", "to_json"]

KERNEL_HIDDEN = 16
MATRIX_SIZES = (256, 384)  # three float32 matrices of these sizes are 0.8 and 1.8 MB
CUDA_MATRIX_SIZES = (2048,)
SAMPLE_SECONDS = 0.03  # at least so long is an implementation timed at a stretch


@dataclass(frozen=True)
class Case:
    """What is timed: a task's machines, P and B of them, for T timesteps on M cells."""

    task: str
    population: int = 1
    batch: int = 32
    timesteps: int = 18
    num_cells: int = 32
    device: str = "cpu"

    def config(self, kernel: str, **settings) -> TrainConfig:
        """Training settings under which every example takes T timesteps in M cells."""
        task = tasks.get(self.task)
        fitting = (self.num_cells - task.cells_offset) // task.cells_slope
        return TrainConfig.for_task(
            self.task,
            population=self.population,
            batch_size=self.batch,
            num_cells=self.num_cells,
            extra_cells=0,
            train_difficulty=min(task.train_difficulty, fitting),
            limit_slope=0,
            limit_offset=self.timesteps,
            curriculum=False,
            device=self.device,
            kernel=kernel,
            **settings,
        )


@dataclass(frozen=True)
class Plan:
    """What a benchmark measures.

    cases: timed in the scopes "kernel" and "step". growth: (which axis, scope, cases) with one axis varied.
    memory: cases whose peak memory is measured. rounds, growth_rounds: how often each time is taken.
    discretized_cells, discretized_seconds: memory sizes of the integer machine, and how long each is timed.
    solve_tasks, solve_budget: tasks of --solve, and the seconds after which a search is given up.
    """

    cases: tuple[Case, ...]
    growth: tuple[tuple[str, str, tuple[Case, ...]], ...]
    memory: tuple[Case, ...]
    rounds: int
    growth_rounds: int
    discretized_cells: tuple[int, ...]
    discretized_seconds: float
    copied_mib: int
    solve_tasks: tuple[str, ...] = ("access", "increment", "copy", "reverse")
    solve_budget: float = 300.0


COPY, PERMUTATION = Case("copy"), Case("permutation", timesteps=10, num_cells=16)
BASE = Case("copy", 4, 16, 32, 64)  # the middle of memory's growth
LARGEST = Case("copy", 8, 32, 64, 128)
FULL = Plan(
    cases=(COPY, replace(COPY, population=8), PERMUTATION, replace(PERMUTATION, population=8)),
    growth=(
        ("num_cells", "kernel", tuple(replace(COPY, num_cells=M, timesteps=6) for M in (16, 32, 64, 128, 256))),
        ("timesteps", "kernel", tuple(replace(COPY, timesteps=T) for T in (4, 8, 16, 32, 64))),
        ("population", "step", tuple(replace(COPY, population=P) for P in (1, 2, 4, 8, 16))),
    ),
    memory=(
        BASE,
        *(replace(BASE, timesteps=T) for T in (16, 64)),
        *(replace(BASE, batch=B) for B in (8, 32)),
        *(replace(BASE, population=P) for P in (2, 8)),
        LARGEST,
    ),
    rounds=9,
    growth_rounds=5,
    discretized_cells=(64, 1_000, 10_000, 100_000, 1_000_000),
    discretized_seconds=0.5,
    copied_mib=256,
)
TINY = Case("copy", batch=2, timesteps=2, num_cells=5)
QUICK = Plan(
    cases=(TINY, replace(TINY, task="permutation")),
    growth=(("num_cells", "kernel", (TINY, replace(TINY, num_cells=9))),),
    memory=(TINY,),
    rounds=3,
    growth_rounds=2,
    discretized_cells=(64, 1_000),
    discretized_seconds=0.05,
    copied_mib=16,
    solve_tasks=("access",),
)


# What is timed


def step_call(case: Case, kernel: str) -> Callable[[], None]:
    """A whole training step."""
    config = case.config(kernel)
    population = Population(config, tasks.get(case.task).with_limit(0, case.timesteps))
    generator = torch.Generator(device=case.device).manual_seed(0)
    return lambda: train_step(population, generator)


def kernel_call(case: Case, kernel: str) -> Callable[[], None]:
    """A run and its backward, with the smallest controller."""
    config = case.config(kernel, hidden=KERNEL_HIDDEN)
    task = tasks.get(case.task).with_limit(0, case.timesteps)
    population = Population(config, task)
    generator = torch.Generator(device=case.device).manual_seed(0)
    difficulty = torch.full((case.population * case.batch,), config.examples.train_difficulty, device=case.device)
    batch = task.sample(difficulty, case.num_cells, generator).split(case.population)
    machines = population.machines
    options = RunOptions(config.optimizer.activation_clip, log_floor=config.optimizer.log_floor)
    parameters = list(machines.params.values())
    upstream = torch.rand(2, case.timesteps, *batch.limit.shape, generator=generator, device=case.device)

    def call():
        outcome = kernels.unroll(machines, batch, options, kernel)
        torch.autograd.grad((outcome.log_likelihood, outcome.stop_logits), parameters, tuple(upstream))

    return call


def timestep_call(case: Case, kernel: str) -> Callable[[], None]:
    """One timestep of the reference and its backward, from given logits."""
    config = case.config(kernel)
    layout = Layout(config.machine.num_registers, config.machine.repetitions)
    generator = torch.Generator(device=case.device).manual_seed(0)

    def random(*sizes):
        shape = (case.population, case.batch, *sizes)
        return torch.randn(shape, generator=generator, device=case.device).requires_grad_()

    logits = random(layout.num_logits)
    states = random(layout.num_registers, case.num_cells), random(case.num_cells, case.num_cells)
    states = [state.detach().softmax(-1).requires_grad_() for state in states]
    upstream = [random(*state.shape[2:]).detach() for state in states]

    def call():
        after = machine.timestep(layout, layout.softmax(logits), *states, clip=config.optimizer.activation_clip)
        torch.autograd.grad(after, [logits, *states], upstream)

    return call


CALLS = {"step": step_call, "kernel": kernel_call, "timestep": timestep_call}


@functools.cache
def compiled_parts() -> tuple[Callable, Callable, Callable]:
    """The reference's timestep, a circuit's entropy and its softmaxes, compiled at their first call with each shape."""
    return tuple(
        torch.compile(part, dynamic=False) for part in (machine.timestep, machine.circuit_entropy, Layout.softmax)
    )


def compiled_call(call: Callable[[], None]) -> Callable[[], None]:
    """A call of the reference with its parts under torch.compile."""
    parts = compiled_parts()

    @contextmanager
    def replaced():
        before = machine.timestep, machine.circuit_entropy, Layout.softmax
        machine.timestep, machine.circuit_entropy, Layout.softmax = parts
        try:
            yield
        finally:
            machine.timestep, machine.circuit_entropy, Layout.softmax = before

    def run():
        with replaced():
            call()

    return run


def check_compiler() -> None:
    """Raises ValueError if torch.compile does not work here, before minutes have gone into other measurements."""
    try:
        torch.compile(lambda x: x * x + 1)(torch.ones(2))
    except torch._dynamo.exc.TorchDynamoException as error:
        raise ValueError(f"torch.compile does not work here: {str(error).strip().splitlines()[0]}") from error


def matrix_product(size: int, device: str) -> Callable[[], None]:
    """A float32 matrix product of two matrices [size, size]."""
    a, b, out = torch.rand(3, size, size, device=device)
    return lambda: torch.mm(a, b, out=out)


# Timing


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
                call()  # not timed: what was timed before may have left spinning threads, and its data in the caches
                samples[name].append(timed(call, number[name], device))
    return samples, number


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The lower and upper quartile."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else list(values) * 3
    return low, high


def fused_kernel(device: str) -> str:
    """The fused kernel for a device, also where it must be named; "reference" if there is none."""
    try:
        return kernels.resolve("gpu" if device.startswith("cuda") else "auto", device)
    except ValueError:
        return "reference"


def time_case(case: Case, scope: str, rounds: int, with_compiled: bool = False) -> list[dict]:
    """A row per implementation: its time, the ratio of the reference's time to it, and how both were measured.

    microseconds: median over the rounds; _low, _high: quartiles; _min: smallest. ratio: of the medians; ratio_low,
    ratio_high: quartiles of the rounds' own ratios. busy: processor time of this process / (wall time * threads).
    operations, bytes: per sample-timestep, see `nram.experiments.speed.operations`. arithmetic_microseconds: what the operations would
    take at the speed of the matrix product in the same rounds; times_arithmetic: measured time / that.
    compile_seconds: of the first call; next to nothing if another scope's had the same shapes.
    processor_*: the same of the processor time of all threads, which other processes hardly change; but threads that
    wait for each other may spend it too, so that it means most with one thread.
    """
    fused = fused_kernel(case.device)
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


def limits(rounds: int, copied_mib: int) -> dict:
    """What this computer can do with torch's threads: float32 matrix products and a copy larger than its caches.

    gflops: operations per second / 1e9, of the faster of the sizes. copy_gigabytes_per_second: bytes read and written.
    Medians, with the best and all of the rounds.
    """
    source = torch.zeros(copied_mib * 2**18)
    target = torch.empty_like(source)
    calls = {f"matrix {size}": matrix_product(size, "cpu") for size in MATRIX_SIZES}
    calls["copy"] = lambda: target.copy_(source)
    samples, _ = take_turns(calls, rounds)
    rates = {size: sorted(2 * size**3 / wall / 1e9 for wall, _ in samples[f"matrix {size}"]) for size in MATRIX_SIZES}
    size = max(rates, key=lambda size: statistics.median(rates[size]))
    copies = sorted(2 * source.nbytes / wall / 1e9 for wall, _ in samples["copy"])
    return {
        "matrix_size": size,
        "gflops": statistics.median(rates[size]),
        "gflops_best": rates[size][-1],
        "copied_mib": copied_mib,
        "copy_gigabytes_per_second": statistics.median(copies),
        "copy_gigabytes_per_second_best": copies[-1],
        "rounds": rounds,
    }


# Memory


def _resident_mib() -> tuple[float, float]:
    """(now, at most so far): this process's resident memory."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory at the time of the fork
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    return peak, peak


def _train_a_little(case: Case, kernel: str, threads: int) -> tuple[float, float]:
    """In a process of its own: resident MiB before training, and at most during three steps of it."""
    torch.set_num_threads(threads)
    kernels.warm_up(kernel, case.device)
    before, _ = _resident_mib()
    step = step_call(case, kernel)
    for _ in range(3):
        step()
    return before, _resident_mib()[1]


def peak_memory(case: Case, kernel: str) -> dict:
    """Peak resident memory of training, in a fresh process: of the whole process, and above what it had before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        before, peak = process.submit(_train_a_little, case, kernel, torch.get_num_threads()).result()
    name = "reference" if kernel == "reference" else "fused"
    return {**asdict(case), "implementation": name, "peak_mib": peak, "training_mib": peak - before}


# Machines on integers, whole searches


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
        "members_started": result.members_started,
    }


# All of it


def cuda_cases() -> tuple[Case, ...]:
    return tuple(replace(COPY, population=P, device="cuda") for P in (1, 8, 64, 256, 1024))


def benchmark(
    plan: Plan = FULL, *, with_compiled: bool = False, seeds: Sequence[int] = (), say: Callable[[str], None] = print
) -> dict:
    """Measure everything; the report, of plain JSON values.

    rows: as `time_case`. growth: the same with `axis`. limits, memory, discretized, solve: as the functions of these
    names give them, memory also for the reference; solve is empty without `seeds`. machine: where this was measured,
    with the mean number of busy processes of the last minute before and after. say: told what is measured next.
    Raises ValueError if `with_compiled` is wanted where torch.compile does not work.
    """
    started, load = time.monotonic(), os.getloadavg()[0]
    if with_compiled:
        check_compiler()
    kernels.warm_up()
    say("limits")
    report = {"rows": [], "growth": [], "limits": limits(plan.rounds, plan.copied_mib)}
    cases = plan.cases + (cuda_cases() if plan is FULL and torch.cuda.is_available() else ())
    for case in cases:
        for scope in ("step", "kernel"):
            say(f"{scope}: {case}")
            report["rows"] += time_case(case, scope, plan.rounds, with_compiled)
    say("timestep of the reference")
    report["rows"] += time_case(plan.cases[0], "timestep", plan.rounds, with_compiled)
    for axis, scope, along in plan.growth:
        for case in along:
            say(f"growth, {scope}: {case}")
            report["growth"] += [{"axis": axis, **row} for row in time_case(case, scope, plan.growth_rounds)]
    say("memory")
    fused = kernels.resolve()
    report["memory"] = [peak_memory(case, fused) for case in plan.memory]
    report["memory"].append(peak_memory(plan.memory[0], "reference"))
    say("machines on integers")
    report["discretized"] = discretized(plan.discretized_cells, plan.discretized_seconds)
    report["solve"] = []
    for task in plan.solve_tasks if seeds else ():
        for seed in seeds:
            report["solve"].append(solve(task, seed, plan.solve_budget))
            say(f"solve: {report['solve'][-1]}")
    settings = {"plan": asdict(plan), "with_compiled": with_compiled, "seeds": list(seeds)}
    provenance = results.collect_provenance(settings, seconds=time.monotonic() - started, kernel=fused, device="cpu")
    report["machine"] = {
        **provenance,
        "cores": os.cpu_count(),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if re.match("(OMP|GOMP|MKL)_", name)},
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    return report


def to_json(report: dict) -> str:
    """A report as text, a row per line, numbers to six digits."""

    def rounded(value):
        if isinstance(value, dict):
            return {name: rounded(each) for name, each in value.items()}
        return float(f"{value:.6g}") if isinstance(value, float) else value

    parts = []
    for name, section in report.items():
        if isinstance(section, list):
            text = "[" + ",".join("\n  " + json.dumps(rounded(row)) for row in section) + "\n ]"
        else:
            text = json.dumps(rounded(section), indent=2).replace("\n}", "\n }")
        parts.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
