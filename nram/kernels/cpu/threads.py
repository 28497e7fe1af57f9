"""The threads that share out the blocks of a pass.

A thread that waits stays awake for a moment, in compiled code and without the interpreter's lock, and yields the
processor to others. Waking a sleeping thread, or handing the lock over, takes about 40 microseconds; a small pass
takes 500.
"""

import ctypes
import os
import threading

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from nram.kernels.cache import CACHED
from nram.kernels.cpu.simd import at, pointer

num_threads = None  # of a pass; None: as many as PyTorch's own operations use


def count(blocks: int) -> int:
    """The number of threads of a pass over that many blocks."""
    return max(1, min(num_threads or torch.get_num_threads(), blocks))


# --- compiled -------------------------------------------------------------------------------------------------------

GLANCES = 4000  # times that a thread looks for work before it sleeps: about a millisecond

JOB = types.void(types.int64, types.int64, types.int64)  # a compiled function of (table's address, thread, threads)

# A worker's box, whole numbers: STATE and the job in one cache line, DONE in another, nothing else near.
STATE, FUNCTION, TABLE, THREAD, THREADS, DONE, BOX = 16, 17, 18, 19, 20, 40, 64
AWAKE, POSTED, ASLEEP = 0, 1, 2

_yield = ctypes.windll.kernel32.SwitchToThread if os.name == "nt" else ctypes.CDLL(None).sched_yield
YIELD = ctypes.cast(_yield, ctypes.c_void_p).value


@intrinsic
def _look(typing_context, place):
    """Read the whole number at a pointer; whatever was written before it is visible then (acquire)."""

    def emit(context, builder, sig, args):
        return builder.load_atomic(args[0], "acquire", 8, typ=ir.IntType(64))

    return types.int64(place), emit


@intrinsic
def _tell(typing_context, place, number):
    """Write a whole number at a pointer, after everything written before (release)."""

    def emit(context, builder, sig, args):
        builder.store_atomic(args[1], args[0], "release", 8)
        return context.get_dummy_value()

    return types.void(place, types.int64), emit


@intrinsic
def _exchange(typing_context, place, number):
    """Write a whole number at a pointer; return the old one."""

    def emit(context, builder, sig, args):
        return builder.atomic_rmw("xchg", args[0], args[1], "seq_cst")

    return types.int64(place, types.int64), emit


@intrinsic
def _replace(typing_context, place, old, new):
    """Write `new` at a pointer if `old` is there; return whether it was."""

    def emit(context, builder, sig, args):
        return builder.extract_value(builder.cmpxchg(args[0], args[1], args[2], "seq_cst", "seq_cst"), 1)

    return types.boolean(place, types.int64, types.int64), emit


@intrinsic
def _call(typing_context, function, table, thread, threads):
    """Call the function at an address, with three whole numbers."""

    def emit(context, builder, sig, args):
        number = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [number] * 3)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), emit


@intrinsic
def _let_others(typing_context, function):
    """Call the function at an address, YIELD."""

    def emit(context, builder, sig, args):
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), emit


def _compiled(*arguments):
    return njit(types.int64(*arguments), cache=CACHED, nogil=True)


@_compiled(types.int64)
def _wake(box):
    """Mark a worker as awake; return whether it was asleep and must be woken."""
    return _replace(at(pointer(box, np.int64), STATE), ASLEEP, AWAKE)


@_compiled(*[types.int64] * 3)
def _serve(box, glances, others):
    """Do the jobs that come into a box. Return, with the state ASLEEP, when `glances` looks found none."""
    box, idle = pointer(box, np.int64), 0
    while True:
        if _look(at(box, STATE)) == POSTED:
            box[STATE] = AWAKE
            _call(box[FUNCTION], box[TABLE], box[THREAD], box[THREADS])
            _tell(at(box, DONE), 1)
            idle = 0
        elif idle < glances:
            _let_others(others)
            idle += 1
        elif _replace(at(box, STATE), AWAKE, ASLEEP):
            return 0


@_compiled(types.int64, types.int64, types.int64, types.int64[::1], types.int64)
def _lead(function, table, threads, boxes, others):
    """Give the boxes' workers their parts of a job, do the first part, and return when all are done."""
    for thread in range(1, threads):
        box = pointer(boxes[thread - 1], np.int64)
        box[FUNCTION], box[TABLE], box[THREAD], box[THREADS], box[DONE] = function, table, thread, threads, 0
        if _exchange(at(box, STATE), POSTED) == ASLEEP:  # it fell asleep again: its part is done here
            _tell(at(box, STATE), ASLEEP)
            _call(function, table, thread, threads)
            box[DONE] = 1
    _call(function, table, 0, threads)
    for thread in range(1, threads):
        while _look(at(pointer(boxes[thread - 1], np.int64), DONE)) == 0:
            _let_others(others)
    return 0


# --- teams ----------------------------------------------------------------------------------------------------------


class _Worker(threading.Thread):
    """A thread that does one job after another. box: the address of its box."""

    def __init__(self):
        super().__init__(name="nram", daemon=True)
        self._numbers = np.zeros(BOX, np.int64)
        self._work = threading.Lock()  # held while there is no work
        self._work.acquire()
        self.box = self._numbers.ctypes.data
        self.start()

    def run(self):
        torch.set_flush_denormal(True)
        while True:
            _serve(self.box, GLANCES, YIELD)
            self._work.acquire()

    def wake(self):
        if _wake(self.box):
            self._work.release()


class _Team:
    """Workers for one pass at a time."""

    def __init__(self):
        self._workers, self._boxes = [], np.zeros(0, np.int64)

    def do(self, function, table, threads):
        while len(self._workers) < threads - 1:
            self._workers.append(_Worker())
            self._boxes = np.array([worker.box for worker in self._workers])
        woken = False
        try:
            for worker in self._workers[: threads - 1]:
                worker.wake()
            woken = True
            # One compiled call: no exception (Ctrl-C) can leave workers at work on freed buffers.
            _lead(function, table, threads, self._boxes, YIELD)
        finally:
            if woken:  # else a worker may count as awake and still sleep
                _idle.append(self)


_idle = []  # teams

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a forked process has none of its parent's threads


def _idle_team() -> _Team:
    try:
        return _idle.pop()
    except IndexError:  # none yet, or other Python threads have them all
        return _Team()


def in_threads(function: int, table: int, threads: int) -> None:
    """Call the compiled function at an address, a JOB, on every thread, this one included.

    Meanwhile numbers below the smallest normal one (1.2e-38) count as 0, because each costs 150 cycles. A CPU without
    that mode (torch.set_flush_denormal returns False) computes them.
    """
    smallest = np.finfo(np.float32).tiny
    already = bool(smallest * np.float32(0.5) == 0)
    torch.set_flush_denormal(True)
    try:
        _idle_team().do(function, table, threads)
    finally:
        torch.set_flush_denormal(already)
