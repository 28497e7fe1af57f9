"""What the compiled loops are given, and where a block of examples finds its part of it.

A block is up to G examples of one member that go through the controller together; there are N = P B examples. Buffers
are flat: tensors, and pointers to their first elements within the loops. Where no backward pass follows only the latest
timesteps are kept, and their buffers used in turns.

The loops get one table of whole numbers, all sizes and every buffer's address (`table`), and take it apart (`run_of`
and the like). What passes of the same sizes have in common, a `Frame`, comes first; a pass writes its own addresses and
real numbers behind it (`write`). The caller keeps the buffers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import carray
from numba.np.unsafe.ndarray import to_fixed_tuple
from torch import Tensor

from nram.kernels.cpu.rows import inline
from nram.kernels.cpu.simd import at, pointer


class Circuit(NamedTuple):
    """How circuits are wired.

    kinds [Q]: the modules' numbers. first_slot [Q + 1]: number of the slots before a module's, then before the
    registers'. starts [K + 1]: where slots start in the packed logits, then L.
    """

    kinds: Tensor
    first_slot: Tensor
    starts: Tensor


class Sizes(NamedTuple):
    """Whole numbers. A stride or a padded size is a multiple of 16."""

    population: int  # P
    batch: int  # B
    group: int  # G, examples of a block
    blocks: int  # of one member
    steps: int  # T
    kept: int  # values, tapes and cells of so many timesteps are kept: T + 1, or 2 where no backward follows
    registers: int  # R
    cells: int  # M
    stride: int  # S, M padded
    writes: int  # WRITE modules
    sources: int  # R + Q
    slots: int  # K
    logits: int  # L
    outputs: int  # L + 1 padded: the controller's outputs
    logits_stride: int  # `outputs` and a vector
    hidden: int  # H, padded
    is_lstm: int
    x_size: int  # R padded
    x_stride: int  # R + 1 padded
    middle_size: int  # inputs of the middle layer: H, or 2 H for an LSTM
    middle_stride: int
    gates_size: int  # outputs of the middle layer: H, or 4 H for an LSTM
    top_stride: int  # H and a vector


class Matrices(NamedTuple):
    """The controller's three layers, or their gradients: [inputs + 1, outputs], the biases in the last row.

    Those of all members (or of all blocks) in a run, and of one of them. Where the layers are
    transposed, [outputs, inputs], there are no biases.
    """

    first: Tensor
    middle: Tensor
    output: Tensor


class Rows(NamedTuple):
    """What the controller reads and writes: a row per example. In a run: per block, kept timestep and example.

    x [x_stride]: P(r = 0) of the registers, then 1. middle [middle_stride]: the middle layer's input, i.e. the first
    hidden layer, for an LSTM then h, then 1. gates [gates_size]: an LSTM's gates; backward, the gradient of the middle
    layer's output. top [top_stride]: the output layer's input, i.e. the last hidden layer, then 1. logits, weights
    [logits_stride]; backward, weights turn into the logits' gradients.
    """

    x: Tensor
    middle: Tensor
    gates: Tensor
    top: Tensor
    logits: Tensor
    weights: Tensor


class Data(NamedTuple):
    """The instances: memory, target, mask (0 or 1) [N, M], limit [N]."""

    memory: Tensor
    target: Tensor
    mask: Tensor
    limit: Tensor


class Results(NamedTuple):
    """What comes out: the first three [T, N], produced [N, M], the last two [N]."""

    log_likelihood: Tensor
    stop_logits: Tensor
    entropy: Tensor
    produced: Tensor
    wrong_cells: Tensor
    stop_step: Tensor


class Run(NamedTuple):
    """Everything that the loops read and write forward, as they see it.

    values [N, kept, R + Q, S], tapes [N, kept, M, S]; cells [P, blocks, kept, G, H]: an LSTM's. `want_entropy`,
    `stop_early` (at the median stop, and note what was produced): 0 or 1. floor: of likelihoods. bound: of gradients.
    """

    sizes: Sizes
    want_entropy: int
    stop_early: int
    circuit: Circuit
    data: Data
    matrices: Matrices
    rows: Rows
    cells: Tensor
    values: Tensor
    tapes: Tensor
    results: Results
    floor: float
    bound: float


class Gradients(NamedTuple):
    """What the backward pass reads, gradients of the outcome [T, N], and writes.

    first_out: gradients of the first hidden layer, H per block, timestep and example. matrices: a share per block.
    """

    log_likelihood: Tensor
    stop_logits: Tensor
    entropy: Tensor
    first_out: Tensor
    matrices: Matrices


class Progress(NamedTuple):
    """One thread's notes on the block it is at, per example; before the loops take their share, those of all threads.

    cells [G, M]: the output cells, see `outcome.list_cells`; cell_count [G]; alive [G]: the probability of not having
    stopped yet; stopped [G]: 1 once the median stopping time has come. scratch [scratch_size].
    """

    cells: Tensor
    cell_count: Tensor
    alive: Tensor
    stopped: Tensor
    scratch: Tensor
    scratch_size: int


class Block(NamedTuple):
    """A block's part of a run, at timestep 0; its examples are first..first + count - 1."""

    first: int
    count: int
    matrices: Matrices
    rows: Rows
    cells: np.ndarray


class Frame(NamedTuple):
    """What passes of the same sizes have in common: sizes, options, and the workspace's buffers. The table's beginning.

    matrices: the parameters. progress: all threads' notes. Unused without a backward pass: first_out, shares (of the
    matrices' gradients).
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


# --- parts of a run -------------------------------------------------------------------------------------------------


@inline
def share(sizes, thread, threads):
    """(first, behind the last) block of a thread: consecutive ones, lest threads write to the same cache lines."""
    total = sizes.population * sizes.blocks
    return total * thread // threads, total * (thread + 1) // threads


@inline
def matrices_at(matrices, sizes, number):
    """Matrices `number` (a member's, or a block's share)."""
    R, H, middle_size, gates_size = sizes.registers, sizes.hidden, sizes.middle_size, sizes.gates_size
    return Matrices(
        at(matrices.first, number * (R + 1) * H),
        at(matrices.middle, number * (middle_size + 1) * gates_size),
        at(matrices.output, number * (H + 1) * sizes.outputs),
    )


@inline
def rows_at(rows, sizes, number):
    """The rows from row `number` on."""
    return Rows(
        at(rows.x, number * sizes.x_stride),
        at(rows.middle, number * sizes.middle_stride),
        at(rows.gates, number * sizes.gates_size),
        at(rows.top, number * sizes.top_stride),
        at(rows.logits, number * sizes.logits_stride),
        at(rows.weights, number * sizes.logits_stride),
    )


@inline
def block_at(run, index):
    """Block `index` of the run; those of a member follow each other."""
    sizes = run.sizes
    member, before = index // sizes.blocks, (index % sizes.blocks) * sizes.group
    return Block(
        member * sizes.batch + before,
        min(sizes.group, sizes.batch - before),
        matrices_at(run.matrices, sizes, member),
        rows_at(run.rows, sizes, index * (sizes.kept - 1) * sizes.group),
        at(run.cells, index * sizes.kept * sizes.group * sizes.hidden),
    )


@inline
def values_at(run, n, t):
    """Example n's values [R + Q, S] of kept timestep t."""
    sizes = run.sizes
    return at(run.values, (n * sizes.kept + t) * sizes.sources * sizes.stride)


@inline
def tape_at(run, n, t):
    """Example n's tape [M, S] before kept timestep t."""
    sizes = run.sizes
    return at(run.tapes, (n * sizes.kept + t) * sizes.cells * sizes.stride)
