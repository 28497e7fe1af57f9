"""Independent calls of one function, spread over processes."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch

__all__ = ["launch"]


def launch(function: Callable, calls: Sequence[tuple], jobs: int = 1) -> Iterator:
    """What function(*arguments) returns for each of the calls, in the order in which they end.

    jobs: processes at a time, which share out the cores; 1 stands for this process. The function and all arguments
    must be picklable. An exception ends everything; calls that have begun in other processes are finished first.
    """
    if jobs == 1:
        yield from (function(*arguments) for arguments in calls)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (threads,)) as processes:
        waiting = [processes.submit(function, *arguments) for arguments in calls]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            for each in waiting:
                each.cancel()
