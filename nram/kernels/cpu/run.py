"""What the compiled loops are given, and where a block of examples finds its part of it.

A block is up to G examples of one member that go through the controller together; there are N = P B examples. Buffers
are flat: tensors, and pointers to their first elements within the loops. Where no backward pass follows only the latest
timesteps are kept, and their buffers used in turns.

The loops get one array of whole numbers, all sizes and every buffer's address (`table`), and take it apart (`run_of`
and the like): Numba unpacks tuples of arrays field by field at each call, which took longer than eight timesteps of 32
examples. The caller keeps the buffers.
"""

from typing import NamedTuple

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple
from torch import Tensor

from nram.kernels.cpu.rows import inline
from nram.kernels.simd import at, pointer


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
    """Everything that the loops read and write forward.

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


NUM_SIZES = len(Sizes._fields)
RUN, GRADIENTS, PROGRESS = 27, 7, 6  # numbers behind the sizes: options and addresses of a run, then what else there is


def table(run: Run, progress: Progress, gradients: Gradients | None = None) -> np.ndarray:
    """A run's whole numbers and addresses, those of the threads' notes, and of the gradients if there are any."""
    numbers = list(run.sizes)

    def add(parts):
        for part in parts:
            if isinstance(part, Tensor):
                numbers.append(part.data_ptr())
            elif isinstance(part, tuple):
                add(part)
            else:
                numbers.append(part)

    add(run[1:-2])  # without the two real numbers
    add(progress)
    if gradients is not None:
        add(gradients)
    return np.array(numbers, np.int64)


@inline
def run_of(table, floor, bound):
    """The run. bound: an array of one number, of the type that all real numbers in the buffers have."""
    real, whole, byte = bound.dtype, np.int64, np.uint8
    sizes = Sizes(*to_fixed_tuple(table, NUM_SIZES))
    t = to_fixed_tuple(table[NUM_SIZES:], RUN)
    return Run(
        sizes, t[0], t[1],
        Circuit(pointer(t[2], whole), pointer(t[3], whole), pointer(t[4], whole)),
        Data(pointer(t[5], whole), pointer(t[6], whole), pointer(t[7], byte), pointer(t[8], whole)),
        Matrices(pointer(t[9], real), pointer(t[10], real), pointer(t[11], real)),
        Rows(pointer(t[12], real), pointer(t[13], real), pointer(t[14], real), pointer(t[15], real),
             pointer(t[16], real), pointer(t[17], real)),
        pointer(t[18], real), pointer(t[19], real), pointer(t[20], real),
        Results(pointer(t[21], real), pointer(t[22], real), pointer(t[23], real), pointer(t[24], whole),
                pointer(t[25], whole), pointer(t[26], whole)),
        floor, bound[0],
    )


@inline
def progress_of(table, bound, sizes, thread):
    """A thread's notes."""
    real, whole = bound.dtype, np.int64
    t = to_fixed_tuple(table[NUM_SIZES + RUN :], PROGRESS)
    G = sizes.group
    return Progress(
        at(pointer(t[0], whole), thread * G * sizes.cells), at(pointer(t[1], whole), thread * G),
        at(pointer(t[2], np.float64), thread * G), at(pointer(t[3], whole), thread * G),
        at(pointer(t[4], real), thread * t[5]), t[5],
    )


@inline
def gradients_of(table, bound):
    """The gradients of the outcome, and where those of the matrices go."""
    real = bound.dtype
    t = to_fixed_tuple(table[NUM_SIZES + RUN + PROGRESS :], GRADIENTS)
    return Gradients(
        pointer(t[0], real), pointer(t[1], real), pointer(t[2], real), pointer(t[3], real),
        Matrices(pointer(t[4], real), pointer(t[5], real), pointer(t[6], real)),
    )


# --- parts of a run -------------------------------------------------------------------------------------------------


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
