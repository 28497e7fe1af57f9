"""The threads of the fused CPU kernel: each part of each job is done once, whether its thread waits asleep or awake."""

import multiprocessing
import os
import random
import signal
import threading
import time

import numpy as np
import pytest
from numba import carray, cfunc

from nram.kernels.cpu import threads
from nram.kernels.cpu.simd import pointer


@cfunc(threads.JOB)
def count_up(table, thread, number):
    """Add 1 to the thread's entry of the table."""
    counts = carray(pointer(table, np.int64), number)
    counts[thread] += 1


@cfunc(threads.JOB)
def halve(table, thread, number):
    """Half of the thread's entry of the table, a float64."""
    numbers = carray(pointer(table, np.float64), number)
    numbers[thread] = numbers[thread] * 0.5


def counts_after(jobs, number, pause=0.0):
    counts = np.zeros(number, np.int64)
    for _ in range(jobs):
        threads.in_threads(count_up.address, counts.ctypes.data, number)
        time.sleep(pause)
    return counts.tolist()


@pytest.mark.parametrize("number", [1, 2, 5])
def test_every_thread_does_its_part_once(number):
    assert counts_after(500, number) == [500] * number


@pytest.mark.parametrize("glances", [0, 1, 10**4])
def test_so_they_do_after_a_pause_however_soon_they_go_to_sleep(glances, monkeypatch):
    monkeypatch.setattr(threads, "GLANCES", glances)
    monkeypatch.setattr(threads, "_idle", [])  # new workers
    assert counts_after(200, 3) == [200] * 3
    assert counts_after(20, 3, pause=0.005) == [20] * 3


def test_passes_in_several_threads_of_python():
    found = []
    callers = [threading.Thread(target=lambda: found.append(counts_after(300, 3))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [[300] * 3] * 4


@cfunc(threads.JOB)
def work_long(table, thread, number):
    """Add 1 to the thread's entry of the table after some hundred microseconds."""
    x = 1.0
    for _ in range(100_000 + 10_000 * thread):
        x = x * 0.999 + 1.0
    counts = carray(pointer(table, np.int64), number)
    counts[thread] += x > 0


class Interruption(Exception):
    pass


def _interrupt(*_):
    raise Interruption


# Python's own Thread.start does not survive an exception at every moment: its thread may end with a KeyError.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_an_exception_at_any_moment_leaves_no_thread_at_work():
    counts, moments = np.zeros(3, np.int64), random.Random(0)
    threads.in_threads(work_long.address, counts.ctypes.data, 3)
    before = signal.signal(signal.SIGALRM, _interrupt)
    try:
        for _ in range(100):
            with pytest.raises(Interruption):
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-4, 1e-3))
                while True:
                    threads.in_threads(work_long.address, counts.ctypes.data, 3)
            found = counts.tolist()
            time.sleep(0.001)
            assert counts.tolist() == found == found[:1] * 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _in_child(queue):
    queue.put(counts_after(5, 3))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.slow
def test_a_forked_process_gets_threads_of_its_own():
    counts_after(1, 3)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == [5] * 3
    child.join(60)
    assert child.exitcode == 0


def test_no_thread_computes_denormals_and_the_caller_does_again_afterwards():
    tiny = np.finfo(np.float64).tiny
    numbers = np.full(3, tiny)
    threads.in_threads(halve.address, numbers.ctypes.data, 3)
    if numbers[0] == 0:  # this CPU has such a mode
        assert numbers.tolist() == [0.0] * 3
    assert tiny * 0.5 > 0


def test_a_waiting_thread_goes_to_sleep():
    counts_after(1, 3)
    time.sleep(0.5)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.25  # two that stay awake would take up to a second
