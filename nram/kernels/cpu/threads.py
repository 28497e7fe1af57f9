"""The threads that share out the blocks of a pass.

A thread that waits stays awake for a moment first, in compiled code and without the interpreter's lock, and yields the
processor to whoever can use it: to wake a sleeping one, or to hand the lock over, takes about 40 microseconds, and a
small pass has 500 for its work.
"""

import ctypes
import os
import threading

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from nram.kernels.cpu.simd import at, pointer

num_threads = None  # of a pass; None stands for as many as PyTorch's own operations have


def count(blocks: int) -> int:
    """How many threads a pass over so many blocks gets."""
    return max(1, min(num_threads or torch.get_num_threads(), blocks))


# --- compiled -------------------------------------------------------------------------------------------------------

GLANCES = 4000  # how often a thread looks for work before it goes to sleep: about a millisecond

JOB = types.void(types.int64, types.int64, types.int64)  # a compiled function of (table's address, thread, threads)

# A worker's box, whole numbers: STATE and the job in one cache line, DONE in another, nothing else near.
STATE, FUNCTION, TABLE, THREAD, THREADS, DONE, BOX = 16, 17, 18, 19, 20, 40, 64
AWAKE, POSTED, ASLEEP = 0, 1, 2

_yield = ctypes.windll.kernel32.SwitchToThread if os.name == "nt" else ctypes.CDLL(None).sched_yield
YIELD = ctypes.cast(_yield, ctypes.c_void_p).value


@intrinsic
def _look(typing_context, place):
    """The whole number at a pointer, and all that was written before it was."""

    def emit(context, builder, sig, args):
        return builder.load_atomic(args[0], "acquire", 8, typ=ir.IntType(64))

    return types.int64(place), emit


@intrinsic
def _tell(typing_context, place, number):
    """Write a whole number at a pointer, after all that was written before."""

    def emit(context, builder, sig, args):
        builder.store_atomic(args[1], args[0], "release", 8)
        return context.get_dummy_value()

    return types.void(place, types.int64), emit


@intrinsic
def _exchange(typing_context, place, number):
    """Write a whole number at a pointer; what was there."""

    def emit(context, builder, sig, args):
        return builder.atomic_rmw("xchg", args[0], args[1], "seq_cst")

    return types.int64(place, types.int64), emit


@intrinsic
def _replace(typing_context, place, old, new):
    """Write `new` at a pointer if `old` is there; whether it was."""

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
    return njit(types.int64(*arguments), cache=True, nogil=True)


@_compiled(types.int64)
def _wake(box):
    """Whether a worker was asleep, which then must be woken."""
    return _replace(at(pointer(box, np.int64), STATE), ASLEEP, AWAKE)


@_compiled(*[types.int64] * 3)
def _serve(box, glances, others):
    """Do the jobs that come into a box; return, the state being ASLEEP, when there were none for so many glances."""
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
    """Give the workers with the boxes their parts of a job, do the first, and return when all are done."""
    for thread in range(1, threads):
        box = pointer(boxes[thread - 1], np.int64)
        box[FUNCTION], box[TABLE], box[THREAD], box[THREADS], box[DONE] = function, table, thread, threads, 0
        if _exchange(at(box, STATE), POSTED) == ASLEEP:  # again, so soon: its part is done here
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
        self._work = threading.Lock()  # held while there is none
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
            # One compiled call: no exception, as of Ctrl-C, leaves workers at work on what is no longer there.
            _lead(function, table, threads, self._boxes, YIELD)
        finally:
            if woken:  # else a worker may count as awake without having been woken
                _idle.append(self)


_idle = []  # teams

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a forked process has none of its parent's threads


def _idle_team() -> _Team:
    try:
        return _idle.pop()
    except IndexError:  # none yet, or other threads of Python have them
        return _Team()


def in_threads(function: int, table: int, threads: int) -> None:
    """Call the compiled function at an address, a JOB, for every thread, this one among them.

    Numbers below the smallest normal one (1.2e-38) are taken as 0 meanwhile: they cost 150 cycles each. Where the CPU
    has no such mode (torch.set_flush_denormal returns False) they are computed.
    """
    smallest = np.finfo(np.float32).tiny
    already = bool(smallest * np.float32(0.5) == 0)
    torch.set_flush_denormal(True)
    try:
        _idle_team().do(function, table, threads)
    finally:
        torch.set_flush_denormal(already)
