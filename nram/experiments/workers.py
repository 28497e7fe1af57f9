"""Processes that execute jobs side by side and end with the process that started them."""

import gc
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Protocol

from nram import kernels
from nram.experiments.board import Board
from nram.experiments.notebooks import Failure, describe
from nram.training import status

__all__ = ["Job", "run_jobs", "usable_cores"]

GRACE_SECONDS = 10.0  # for a busy worker to shut its kernel down


class Job(Protocol):
    """What a worker executes; it must be picklable."""

    name: str

    def execute(self, threads: int) -> None:
        """Do the job, in a worker's process. Raises whatever goes wrong."""

    def close(self, failure: Failure | None) -> None:
        """Handle the end of the job, in the runner's process."""

    def outcome(self) -> str:
        """What came of a job that did not fail, in words, in the runner's process."""


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# The runner: it hands jobs to workers


def run_jobs(stages: list[list[Job]], parallel: int, threads: int, board: Board) -> dict[str, Failure]:
    """Execute one stage after another, each with `parallel` jobs at a time; return the failures by name.

    No worker outlives this call, however it ends.
    """
    kernels.share_cache()
    failures: dict[str, Failure] = {}
    workers: list[Worker] = []
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
                    board.begin(job.name)
                    idle.pop().give(job, board.file_of(job.name))
                busy = {worker.connection: worker for worker in workers if worker.job}
                for connection in wait(list(busy)):
                    job, failure, seconds = busy[connection].take()
                    failure, said = _outcome(job, failure, seconds)
                    job.close(failure)
                    board.end(job.name, said)
                    if failure is not None:
                        failures[job.name] = failure
    finally:
        busy = [worker.job.name for worker in workers if worker.job]
        if busy:
            board.close()
            board.say(f"stopping {', '.join(busy)}")
        stop(workers)
        shutil.rmtree(scratch, ignore_errors=True)
    return failures


def _outcome(job: Job, failure: Failure | None, seconds: float) -> tuple[Failure | None, str]:
    """(failure, what came of the job in words); a job whose outcome cannot be told has failed."""
    try:
        said = "" if failure else f"{job.outcome()}; {seconds:.0f} s in all"
    except Exception as error:
        failure = describe(error)
    return failure, f"✗ FAILED after {seconds:.0f} s: {failure.error}" if failure else said


@dataclass
class Worker:
    """A worker's process, its job, and when that began."""

    process: multiprocessing.Process
    connection: Connection
    job: Job | None = None
    since: float = 0.0

    def give(self, job: Job, told: Path | None) -> None:
        """Hand over a job. told: the file in which it tells its state."""
        self.job, self.since = job, time.monotonic()
        self.connection.send((job, told))

    def take(self) -> tuple[Job, Failure | None, float]:
        """(job, failure if it failed, its seconds), once the connection is ready."""
        job, self.job = self.job, None
        try:
            failure = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            text = f"the process that executed it died (exit code {self.process.exitcode})"
            failure = Failure(text, text)
        return job, failure, time.monotonic() - self.since


def start_worker(threads: int, scratch: str) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, threads, scratch), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, ours)


def stop(workers: list[Worker]) -> None:
    """End the workers: idle ones at once, busy ones after they have ended their kernel."""
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


# A worker's process


def work(connection: Connection, threads: int, scratch: str) -> None:
    """Take jobs and answer each with None or a Failure, until the connection closes or the runner ends.

    scratch: folder of temporary files, which the runner removes. Ctrl-C is left to the runner.
    """
    tempfile.tempdir = scratch
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_follow_parent, daemon=True).start()
    gc.disable()  # collecting a dead kernel's ZeroMQ context in a cycle can wait forever
    logging.getLogger("papermill").setLevel(logging.CRITICAL + 1)  # `describe` tells each failure once
    while True:
        try:
            job, told = connection.recv()
        except EOFError:
            return
        try:
            with status.telling(told):
                job.execute(threads)
            failure = None
        except Exception as error:
            failure = describe(error)
        connection.send(failure)


def _follow_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
