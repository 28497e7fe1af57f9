"""What `make reproduce` runs: each task's notebook, then the summaries, then Table 1.

One process hands notebooks to one or two workers; a worker executes them one after another with papermill, each in a
fresh kernel. Whether a task is done is told by a complete run's folder of the same configuration, never by a notebook:
papermill leaves one that looks executed when a kernel dies.
"""

import argparse
import contextlib
import difflib
import gc
import json
import logging
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from nram import results, tasks
from nram.arguments import Parser, positive, report, seed
from nram.results.files import Busy, locked

__all__ = ["Job", "main", "reproduce"]

NOTEBOOKS = results.NOTEBOOKS
TASK_NOTEBOOK = "10_task"
SUMMARIES = {  # the notebooks that follow the tasks, and the parameters each is given
    "00_machine": (),
    "20_table1": ("results_folder", "figures_folder"),
    "30_generalization": ("results_folder", "figures_folder"),
    "60_programs": ("results_folder", "figures_folder"),
}
THOROUGHNESS = ("cases", "max_complexity")  # of the evaluation: parameters of a task's notebook, metrics of its run
MAX_JOBS = 2
SOCKET_PATH = 100  # characters at most; Linux allows 107, macOS 103
GRACE_SECONDS = 10.0  # for a worker to shut its kernel down when the runner is interrupted
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Job:
    """A notebook to execute once.

    name: what it is called in messages and under runs/failed. aside: where it is written while it runs. target: where
    the executed notebook belongs; None for a task's, which goes into the run's folder. config: the configuration of
    the run that it must leave in `runs`, None for a summary. command: what alone would do the same.
    """

    name: str
    notebook: Path
    parameters: dict
    aside: Path
    target: Path | None
    runs: Path
    config: dict | None
    command: str


@dataclass(frozen=True)
class Failure:
    """Why a job failed: one line, and all there is to say."""

    error: str
    detail: str


# In a worker: one notebook after another, each in a fresh kernel


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Raise ValueError, naming the valid ones, if a parameter is not in the notebook's parameters cell."""
    import papermill

    valid = list(papermill.inspect_notebook(str(notebook)))
    for name in parameters:
        if name not in valid:
            near = difflib.get_close_matches(name, valid, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"{notebook.name} has no parameter {name!r}{hint} It has: {', '.join(valid) or 'none'}")


def kernel_environment(threads: int, folder: str, command: str) -> dict[str, str]:
    """Environment of a kernel: its threads, its own folder for sockets and settings, the command for the provenance."""
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {
        **{name: str(threads) for name in counts},
        "OMP_WAIT_POLICY": "PASSIVE",  # Numba's threads and PyTorch's fight when both spin
        "NRAM_COMMAND": command,
        "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, not one that the user has installed
        "JUPYTER_RUNTIME_DIR": folder,
        "IPYTHONDIR": folder,  # no start-up files of the user
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # no debugger's message at each start
    }


def execute(notebook: Path, aside: Path, parameters: dict, *, threads: int, command: str):
    """Execute a notebook in its own folder with papermill; returns the executed notebook, which `aside` holds too.

    A kernel that does not start is tried once more. Raises what papermill raises, RuntimeError for a kernel that died
    and for a notebook that ended before its last cell, ValueError for an unknown parameter.
    """
    check_parameters(notebook, parameters)
    for attempt in (1, 2):
        seen = {"started": False, "cell": None}
        try:
            nb = _execute_once(notebook, aside, parameters, threads, command, seen)
            break
        except Exception:
            if seen["started"] or attempt == 2:
                raise
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            raise RuntimeError(f"{notebook.name} ended before its cell {number}")
    return nb


def socket_folder() -> str:
    """A fresh folder for a kernel's sockets: in /tmp where the usual place is deeper than the system's bound."""
    folder = tempfile.mkdtemp(prefix="nram-")
    if len(os.path.join(folder, "kernel-10")) <= SOCKET_PATH or os.name == "nt":
        return folder
    os.rmdir(folder)
    return tempfile.mkdtemp(prefix="nram-", dir="/tmp")


def _execute_once(notebook: Path, aside: Path, parameters: dict, threads: int, command: str, seen: dict):
    """One attempt; `seen` is told whether the kernel started, and the number of the last cell that did."""
    import papermill
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError

    # A port can be taken by another kernel between its choice and its use; a fresh folder of sockets, which Windows has
    # not, cannot.
    folder = socket_folder()
    transport = {} if os.name == "nt" else {"transport": "ipc", "ip": os.path.join(folder, "kernel")}

    class PrivateKernelManager(AsyncKernelManager):
        def __init__(self, **options):
            super().__init__(**transport, **options)

    os.environ.pop("MPLBACKEND", None)  # figures belong in the notebook, whatever the user's own backend is
    os.environ.update(kernel_environment(threads, folder, command))
    try:
        with contextlib.chdir(notebook.parent):  # relative paths in it mean what they mean in JupyterLab
            return papermill.execute_notebook(
                notebook.name,
                os.path.relpath(aside),
                parameters,
                progress_bar=False,
                kernel_manager_class=PrivateKernelManager,
                iopub_timeout=60,
                coalesce_streams=True,
                shutdown_kernel="immediate",
                on_notebook_start=lambda **_: seen.update(started=True),
                on_cell_execute=lambda cell_index, **_: seen.update(cell=cell_index),
            )
    except DeadKernelError as error:
        raise RuntimeError(f"the kernel died in cell {seen['cell']}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def finish(job: Job, threads: int) -> None:
    """Do a job; afterwards the executed notebook is where it belongs. Raises whatever is wrong."""
    import nbformat

    nb = execute(job.notebook, job.aside, job.parameters, threads=threads, command=job.command)
    target = job.target
    if target is None:
        folder = results.find_run(job.runs, job.config)
        if folder is None:
            raise RuntimeError(f"{job.notebook.name} left no run {results.run_name(job.config)} in {job.runs}")
        target = folder / "notebook.ipynb"
    nb.metadata.papermill.pop("output_path", None)
    results.write_text(target, nbformat.writes(nb))


def describe(error: BaseException) -> Failure:
    """A failure from an exception: for an error in a cell, the cell's."""
    if type(error).__name__ == "PapermillExecutionError":
        detail = COLOURS.sub("", "\n".join(error.traceback))
        return Failure(f"cell {error.cell_index}: {error.ename}: {error.evalue}".splitlines()[0], detail)
    text = str(error) or type(error).__name__
    expected = isinstance(error, ValueError | RuntimeError | OSError)
    return Failure((text if expected else f"{type(error).__name__}: {text}").splitlines()[0], text)


def work(connection: Connection, threads: int, scratch: str) -> None:
    """A worker's life: take jobs, answer each with None or a Failure, end when the connection closes.

    scratch: a folder for temporary files, which the runner removes. Ctrl-C is the runner's to handle. The end of the
    runner, however it ends, is the worker's too.
    """
    tempfile.tempdir = scratch
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_follow_parent, daemon=True).start()
    gc.disable()  # a dead kernel's ZeroMQ context, found by the collector in a cycle, was seen to wait for ever
    logging.getLogger("papermill").setLevel(logging.CRITICAL + 1)  # failures are described here, once
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            finish(job, threads)
            outcome = None
        except Exception as error:
            outcome = describe(error)
        connection.send(outcome)


def _follow_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


# In the runner: jobs handed to workers


@dataclass
class Worker:
    """A worker process and what it is doing."""

    process: multiprocessing.Process
    connection: Connection
    job: Job | None = None
    since: float = 0.0

    def give(self, job: Job) -> None:
        self.job, self.since = job, time.monotonic()
        self.connection.send(job)

    def take(self) -> tuple[Job, Failure | None, float]:
        """(job, failure if it failed, its seconds), once the connection is ready."""
        job, self.job = self.job, None
        try:
            outcome = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            text = f"the process that executed it died (exit code {self.process.exitcode})"
            outcome = Failure(text, text)
        return job, outcome, time.monotonic() - self.since


def start_worker(threads: int, scratch: str) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, threads, scratch), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, ours)


def run_jobs(stages: list[list[Job]], parallel: int, threads: int, say: Callable[[str], None]) -> dict[str, Failure]:
    """Execute the jobs of each stage, `parallel` at a time, then those of the next; the failures by name.

    However it is left, no worker stays behind.
    """
    failures: dict[str, Failure] = {}
    workers: list[Worker] = []
    width = max((len(job.name) for stage in stages for job in stage), default=0)
    scratch = tempfile.mkdtemp(prefix="nram-")
    try:
        for waiting in map(deque, stages):
            while waiting or any(worker.job for worker in workers):
                workers = [worker for worker in workers if worker.job or worker.process.is_alive()]
                idle = [worker for worker in workers if worker.job is None]
                while waiting and (idle or len(workers) < parallel):
                    if not idle:
                        idle.append(start_worker(threads, scratch))
                        workers.append(idle[0])
                    job = waiting.popleft()
                    job.aside.parent.mkdir(parents=True, exist_ok=True)
                    say(f"{job.name:{width}}  started")
                    idle.pop().give(job)
                busy = {worker.connection: worker for worker in workers if worker.job}
                for connection in wait(list(busy)):
                    job, failure, seconds = busy[connection].take()
                    if failure is None:
                        forget_failure(job)
                        say(f"{job.name:{width}}  done in {seconds:.0f} s")
                    else:
                        failures[job.name] = failure
                        keep_failure(job, failure)
                        say(f"{job.name:{width}}  FAILED after {seconds:.0f} s: {failure.error}")
    finally:
        stop(workers)
        shutil.rmtree(scratch, ignore_errors=True)
    return failures


def stop(workers: list[Worker]) -> None:
    """End the workers and with them their kernels: idle ones at once, busy ones after they ended their kernel."""
    for worker in workers:
        if worker.job is None:
            worker.process.kill()
        else:
            worker.process.terminate()
        worker.connection.close()
    deadline = time.monotonic() + GRACE_SECONDS
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def failed_folder(job: Job) -> Path:
    return job.runs / results.FAILED / job.aside.stem


def keep_failure(job: Job, failure: Failure) -> None:
    """Keep what a failed notebook left, and its error, under runs/failed."""
    folder = failed_folder(job)
    results.write_text(folder / "error.txt", f"{job.command}\n{failure.error}\n\n{failure.detail}\n")
    if job.aside.is_file():
        os.replace(job.aside, folder / "notebook.ipynb")


def forget_failure(job: Job) -> None:
    job.aside.unlink(missing_ok=True)
    shutil.rmtree(failed_folder(job), ignore_errors=True)


# The whole


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_jobs(
    configs: dict[str, dict], parameters: dict, commands: dict[str, str], folder: Path, notebooks: Path
) -> tuple[list[Job], list[Job]]:
    """(a job per task, a job per summary); folders reach the notebooks as paths from their own folder."""
    runs, aside = folder / "runs", folder / ".executing"
    folders = {
        "results_folder": os.path.relpath(runs, notebooks),
        "figures_folder": os.path.relpath(folder / "figures", notebooks),
    }
    of_tasks = [
        Job(
            name=task,
            notebook=notebooks / f"{TASK_NOTEBOOK}.ipynb",
            parameters={"task": task, **parameters, "results_folder": folders["results_folder"]},
            aside=aside / f"{results.run_name(config)}.ipynb",
            target=None,
            runs=runs,
            config=config,
            command=commands[task],
        )
        for task, config in configs.items()
    ]
    summaries = [
        Job(
            name=name,
            notebook=notebooks / f"{name}.ipynb",
            parameters={each: folders[each] for each in given},
            aside=aside / f"{name}.ipynb",
            target=folder / "notebooks" / f"{name}.ipynb",
            runs=runs,
            config=None,
            command=commands[name],
        )
        for name, given in SUMMARIES.items()
    ]
    return of_tasks, summaries


def is_done(job: Job) -> bool:
    """Whether the run of a task's job is complete, with its notebook, and evaluated as thoroughly as the job asks.

    Raises ValueError if the run is broken.
    """
    folder = results.find_run(job.runs, job.config)
    if folder is None or not (folder / "notebook.ipynb").is_file():
        return False
    metrics = results.load_run(folder).metrics
    return all(metrics.get(name, 0) >= job.parameters.get(name, 0) for name in THOROUGHNESS)


def reproduce(
    configs: dict[str, dict],
    parameters: dict,
    folder: str | Path,
    *,
    parallel: int = MAX_JOBS,
    threads: int = 1,
    commands: dict[str, str] | None = None,
    notebooks: Path = NOTEBOOKS,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Execute what is not done yet, then the summaries; write Table 1. Returns what failed, by name, with its error.

    configs: per task, the configuration that its notebook computes from `parameters`, which lack only task and
    results_folder. folder: gets runs, notebooks, tables and figures. parallel: notebooks at a time; threads: of each.
    Raises Busy if another process works in that folder, KeyboardInterrupt or SystemExit when interrupted.
    """
    folder, notebooks = Path(folder).resolve(), Path(notebooks).resolve()
    runs = folder / "runs"
    commands = commands or {name: "nram.experiments.reproduce" for name in [*configs, *SUMMARIES]}
    of_tasks, summaries = make_jobs(configs, parameters, commands, folder, notebooks)
    failures: dict[str, str] = {}
    with locked(folder, "reproduction"):
        runs.mkdir(exist_ok=True)
        shutil.rmtree(folder / ".executing", ignore_errors=True)  # what a killed runner left
        results.remove_stale(runs)
        waiting = []
        for job in of_tasks:
            try:
                if is_done(job):
                    say(f"{job.name}  finished before: {results.run_name(job.config)}")
                else:
                    waiting.append(job)
            except ValueError as error:
                failures[job.name] = f"{error}; remove the run's folder to run it again"
                say(f"{job.name}  FAILED: {failures[job.name]}")
        for name, failure in run_jobs([waiting, summaries], parallel, threads, say).items():
            failures[name] = f"{failure.error} ({runs / results.FAILED})"
        shutil.rmtree(folder / ".executing", ignore_errors=True)
        try:
            table = results.write_table1(folder)
            say(f"\nTable 1, also in {folder / 'tables'}:\n\n{results.table1_markdown(table)}")
        except ValueError as error:
            failures["table 1"] = str(error)
    return failures


def parse_tasks(text: str) -> list[str]:
    """Task keys separated by spaces or commas, or "all". Raises ValueError naming the valid ones."""
    keys = list(dict.fromkeys(text.replace(",", " ").split()))
    return list(tasks.KEYS) if keys in ([], ["all"]) else [tasks.get(key).key for key in keys]


def parse_overrides(text: str) -> dict:
    """Settings of `nram.TrainConfig` as a JSON object. Raises ValueError for anything else."""
    try:
        overrides = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"overrides are no JSON: {error}") from error
    if not isinstance(overrides, dict):
        raise ValueError(f"overrides must be a JSON object of settings, not {' '.join(text.split())}")
    for name in {"task", "seed", "budget_seconds", "device"} & set(overrides):
        raise ValueError(f"{name} is an option of its own, no override")
    return overrides


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m nram.experiments.reproduce", description="Execute the notebooks, once per task")
    parser.add_argument("--tasks", default="all", metavar="KEYS", help="keys of the tasks, or all (all)")
    parser.add_argument("--budget", type=float, default=120.0, metavar="SECONDS", help="of training per task (120)")
    parser.add_argument("--seed", type=seed, default=0, help="of everything random (0)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--overrides", default="{}", metavar="JSON", help="other settings of training, for all tasks")
    parser.add_argument("--cases", type=positive, default=1000, help="fresh cases behind every measured error (1000)")
    parser.add_argument("--max-complexity", type=positive, default=50, help="measured up to; Table 1 needs 50 (50)")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="folder (results)")
    parser.add_argument(
        "--jobs", type=int, choices=range(1, MAX_JOBS + 1), default=MAX_JOBS, help="tasks at a time (2)"
    )
    parser.add_argument("--threads", type=positive, help="of each task; by default the cores are shared out")
    parser.add_argument(
        "--notebooks", type=Path, default=NOTEBOOKS, metavar="DIR", help="other notebooks of these names"
    )
    parser.add_argument("--table-only", action="store_true", help="only write and print Table 1")
    return parser


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks; the exit code: 0, or 1 if a notebook failed."""
    if options.table_only:
        print(results.table1_markdown(results.write_table1(options.results)))
        return 0
    from nram.training.config import TrainConfig

    overrides = parse_overrides(options.overrides)
    parameters = {"seed": options.seed, "budget_seconds": options.budget, "device": options.device}
    keys = parse_tasks(options.tasks)
    configs = {key: TrainConfig.for_task(key, **parameters, **overrides).to_dict() for key in keys}
    threads = options.threads or max(1, usable_cores() // options.jobs)
    started = time.monotonic()

    def say(text: str) -> None:
        seconds = int(time.monotonic() - started)
        print(text if "\n" in text else f"{seconds // 60:3d}:{seconds % 60:02d}  {text}", flush=True)

    say(
        f"{len(keys)} tasks, {options.jobs} at a time, {threads} threads each; "
        f"at most {options.budget:g} s of training per task, then its evaluation"
    )
    given = ["--budget", f"{options.budget:g}", "--seed", str(options.seed), "--device", options.device]
    given += ["--cases", str(options.cases), "--max-complexity", str(options.max_complexity)]
    given += ["--overrides", options.overrides] if overrides else []
    commands = {key: shlex.join(["python", "-m", "nram.experiments.reproduce", "--tasks", key, *given]) for key in keys}
    commands |= {name: "python -m nram.experiments.reproduce" for name in SUMMARIES}
    failures = reproduce(
        configs,
        {**parameters, "overrides": overrides, "cases": options.cases, "max_complexity": options.max_complexity},
        options.results,
        parallel=options.jobs,
        threads=threads,
        commands=commands,
        notebooks=options.notebooks,
        say=say,
    )
    for name, error in failures.items():
        print(f"FAILED {name}: {error}", file=sys.stderr)
    return 1 if failures else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line. Exit codes: 0, 1 if a notebook failed, 2 for a wrong request, 128 + signal if interrupted."""
    options = make_parser().parse_args(arguments)
    hangup = getattr(signal, "SIGHUP", signal.SIGTERM)  # Windows has none
    for number in {signal.SIGTERM, hangup}:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP, and means it
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return run(options)
    except (ValueError, OSError, Busy) as error:
        report("nram.experiments.reproduce", error)
        return 2
    except KeyboardInterrupt:
        print("\nnram.reproduce: interrupted; finished runs stay, the same command goes on from them", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
