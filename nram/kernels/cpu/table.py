"""One table of whole numbers leads the compiled loops to all sizes and buffers.

What passes of the same sizes have in common, a `Frame`, comes first. A pass writes its own addresses (`write`) and real
numbers (`write_real`) behind it. The loops take the table apart (`run_of`, `progress_of`, `gradients_of`). The caller
keeps the buffers alive.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import carray
from numba.np.unsafe.ndarray import to_fixed_tuple
from torch import Tensor

from nram.kernels.cpu.rows import inline
from nram.kernels.cpu.run import Circuit, Data, Gradients, Matrices, Progress, Results, Rows, Run, Sizes
from nram.kernels.cpu.simd import at, pointer


class Frame(NamedTuple):
    """The table's first part, which passes of the same sizes share: sizes, options and the workspace's buffers.

    matrices: the parameters. progress: the notes of all threads. Only the backward pass uses first_out and shares (of
    the matrices' gradients).
    """

    sizes: Sizes
    want_entropy: int
    stop_early: int
    circuit: Circuit
    matrices: Matrices
    rows: Rows
    cells: Tensor
    values: Tensor
    tapes: Tensor
    progress: Progress
    first_out: Tensor
    shares: Matrices


# Where parts of the table begin.
SIZES, OPTIONS = len(Sizes._fields), 2
BUFFERS = SIZES + OPTIONS
PROGRESS = BUFFERS + len(Circuit._fields) + len(Matrices._fields) + len(Rows._fields) + 3
GRADIENTS = PROGRESS + len(Progress._fields)
DATA = GRADIENTS + 1 + len(Matrices._fields)
RESULTS = DATA + len(Data._fields)
UPSTREAM = RESULTS + len(Results._fields)  # gradients of the outcome
REAL = UPSTREAM + 3  # floor and bound, as float64
LENGTH = REAL + 2


def table(frame: Frame) -> np.ndarray:
    """The table with the frame's numbers and addresses; a pass adds its own."""

    def numbers(part):
        if isinstance(part, Tensor):
            return [part.data_ptr()]
        return [number for each in part for number in numbers(each)] if isinstance(part, tuple) else [part]

    in_frame = numbers(frame)
    return np.array(in_frame + [0] * (LENGTH - len(in_frame)), np.int64)


def write(table: np.ndarray, place: int, tensors: Sequence[Tensor]) -> None:
    """Write the addresses of a pass's own tensors: at DATA, RESULTS or UPSTREAM."""
    table[place : place + len(tensors)] = [tensor.data_ptr() for tensor in tensors]


def write_real(table: np.ndarray, floor: float, bound: float) -> None:
    """Write the pass's real numbers."""
    table[REAL:].view(np.float64)[:] = floor, bound


@inline
def run_of(address, real):
    """The run that the table at an address describes; its buffers hold numbers of type `real`."""
    whole, byte = np.int64, np.uint8
    numbers = pointer(address, whole)
    t, own, reals = at(numbers, BUFFERS), at(numbers, DATA), pointer(address + 8 * REAL, np.float64)
    return Run(
        Sizes(*to_fixed_tuple(carray(numbers, SIZES), SIZES)),
        numbers[SIZES],
        numbers[SIZES + 1],
        Circuit(pointer(t[0], whole), pointer(t[1], whole), pointer(t[2], whole)),
        Data(pointer(own[0], whole), pointer(own[1], whole), pointer(own[2], byte), pointer(own[3], whole)),
        Matrices(pointer(t[3], real), pointer(t[4], real), pointer(t[5], real)),
        Rows(
            pointer(t[6], real),
            pointer(t[7], real),
            pointer(t[8], real),
            pointer(t[9], real),
            pointer(t[10], real),
            pointer(t[11], real),
        ),
        pointer(t[12], real),
        pointer(t[13], real),
        pointer(t[14], real),
        Results(
            pointer(own[4], real),
            pointer(own[5], real),
            pointer(own[6], real),
            pointer(own[7], whole),
            pointer(own[8], whole),
            pointer(own[9], whole),
        ),
        reals[0],
        real(reals[1]),
    )


@inline
def progress_of(address, real, sizes, thread):
    """A thread's notes."""
    whole, G, t = np.int64, sizes.group, at(pointer(address, np.int64), PROGRESS)
    return Progress(
        at(pointer(t[0], whole), thread * G * sizes.cells),
        at(pointer(t[1], whole), thread * G),
        at(pointer(t[2], np.float64), thread * G),
        at(pointer(t[3], whole), thread * G),
        at(pointer(t[4], real), thread * t[5]),
        t[5],
    )


@inline
def gradients_of(address, real):
    """The gradients of the outcome, and where those of the matrices go."""
    numbers = pointer(address, np.int64)
    t, upstream = at(numbers, GRADIENTS), at(numbers, UPSTREAM)
    return Gradients(
        pointer(upstream[0], real),
        pointer(upstream[1], real),
        pointer(upstream[2], real),
        pointer(t[0], real),
        Matrices(pointer(t[1], real), pointer(t[2], real), pointer(t[3], real)),
    )
