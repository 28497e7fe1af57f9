"""Spread independent calls of one function over processes of this computer or over a SLURM array."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from nram import kernels
from nram.experiments.board import Board
from nram.experiments.forecast import Expected
from nram.experiments.workers import usable_cores
from nram.training import status

__all__ = ["LAUNCHERS", "launch", "one_thread"]

LAUNCHERS = ("local", "slurm")
POLL_SECONDS = 5.0  # between two checks of SLURM's jobs


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch and our kernels on one thread; what was set before holds afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def launch(
    function: Callable,
    calls: Sequence[tuple],
    *,
    launcher: str = "local",
    jobs: int | None = None,
    logs: str | Path | None = None,
    slurm: dict | None = None,
    names: Mapping[str, Expected] | Sequence[str] = (),
    board: Board | None = None,
) -> Iterator:
    """Yield what function(*arguments) returns for each call, in the order in which the calls end.

    launcher: "local", processes of this computer that share its cores, or "slurm", one array of jobs. jobs: how many at
    a time; None means 1 for "local" and as many as the cluster allows for "slurm". A single local job runs in this
    process. logs: the folder for SLURM's logs, which all nodes must see. slurm: options of sbatch, as submitit names
    them (time in minutes, partition, cpus_per_task, gpus_per_node, ...). board: shows the calls while they are at
    work, those of SLURM as they end; by their names, or numbers, perhaps with what each takes.

    The function and its arguments must be picklable, and a second call with the same arguments must be harmless: if one
    call fails, or this process is killed, the others continue, and all can be launched again. Raises what the function
    raises; ValueError for an unknown launcher or option, or if submitit or SLURM is missing; OSError for a SLURM job
    that failed, naming its log.
    """
    if launcher not in LAUNCHERS:
        raise ValueError(f"unknown launcher {launcher!r}; valid: {', '.join(LAUNCHERS)}")
    board, names = board or Board(), names or [str(number) for number in range(len(calls))]
    board.expect(names, jobs or (1 if launcher == "local" else max(1, len(calls))))
    names = list(names)
    if launcher == "slurm":
        return _on_slurm(function, calls, jobs, Path(logs), slurm or {}, names, board)
    if slurm:
        raise ValueError("options of SLURM are given, but the launcher is local")
    return _local(function, calls, jobs or 1, names, board)


def _local(function, calls, jobs, names, board) -> Iterator:
    if jobs == 1:
        for name, arguments in zip(names, calls, strict=True):
            with board.job(name):
                outcome = function(*arguments)
            yield outcome
        return
    kernels.share_cache()
    threads = max(1, usable_cores() // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (threads,)) as processes:
        waiting = {
            processes.submit(_telling, board.file_of(name), function, arguments): name
            for name, arguments in zip(names, calls, strict=True)
        }
        try:
            for done in as_completed(waiting):
                board.end(waiting[done])
                yield done.result()
        finally:
            for each in waiting:
                each.cancel()


def _telling(told: Path | None, function: Callable, arguments: tuple):
    with status.telling(told):
        return function(*arguments)


def _on_slurm(function, calls, jobs, logs, options, names, board) -> Iterator:
    try:
        import submitit
    except ImportError as error:
        raise ValueError("the launcher slurm needs submitit: pip install 'nram[slurm]'") from error
    options = {"job_name": "nram", "cpus_per_task": 1, **options}
    if jobs is not None:
        options["array_parallelism"] = jobs
    try:
        executor = submitit.SlurmExecutor(folder=logs.resolve() / "%A")
        executor.update_parameters(**options)
    except RuntimeError as error:
        raise ValueError(f"the launcher slurm needs SLURM's commands: {error}") from error
    with executor.batch():
        submitted = [
            executor.submit(_with_threads, options["cpus_per_task"], function, arguments) for arguments in calls
        ]
    for job in submitit.helpers.as_completed(submitted, poll_frequency=POLL_SECONDS):
        board.end(names[submitted.index(job)])
        try:
            yield job.result()
        except submitit.core.utils.UncompletedJobError as error:
            raise OSError(f"job {job.job_id} of SLURM failed ({job.state}); its log is {job.paths.stderr}") from error


def _with_threads(threads: int, function: Callable, arguments: tuple):
    torch.set_num_threads(threads)
    return function(*arguments)
