"""What the compiled loops are given, and where a block of examples finds its part of it.

A block is up to G examples of one member that go through the controller together; there are N = P B examples. Buffers
are flat: tensors, and within the loops pointers to their first elements (see `nram.kernels.cpu.table`). Without a
backward pass only the latest timesteps are kept: their buffers take turns.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from nram.kernels.cpu.rows import inline
from nram.kernels.cpu.simd import at


class Circuit(NamedTuple):
    """How circuits are wired.

    kinds [Q]: the modules' numbers. first_slot [Q + 1]: the first slot of every module, then of the registers.
    starts [K + 1]: where slots start in the packed logits, then L.
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
    kept: int  # timesteps whose values, tapes and cells are kept: T + 1, or 2 without a backward pass
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

    In a run: of all members, or of all blocks. Transposed layers, [outputs, inputs], have no biases.
    """

    first: Tensor
    middle: Tensor
    output: Tensor


class Rows(NamedTuple):
    """What the controller reads and writes: a row per example. In a run: per block, kept timestep and example.

    x [x_stride]: P(r = 0) of the registers, then 1. middle [middle_stride]: the middle layer's input, that is the first
    hidden layer, for an LSTM then h, then 1. gates [gates_size]: an LSTM's gates; backward, the gradient of the middle
    layer's output. top [top_stride]: the output layer's input, that is the last hidden layer, then 1. logits, weights
    [logits_stride]: the circuit's; backward, weights turn into the gradients of the logits.
    """

    x: Tensor
    middle: Tensor
    gates: Tensor
    top: Tensor
    logits: Tensor
    weights: Tensor


class Data(NamedTuple):
    """The examples: memory, target, mask (0 or 1) [N, M], limit [N]."""

    memory: Tensor
    target: Tensor
    mask: Tensor
    limit: Tensor


class Results(NamedTuple):
    """The outcome: the first three [T, N], produced [N, M], the last two [N]."""

    log_likelihood: Tensor
    stop_logits: Tensor
    entropy: Tensor
    produced: Tensor
    wrong_cells: Tensor
    stop_step: Tensor


class Run(NamedTuple):
    """Everything that the loops read and write forward, as they see it.

    values [N, kept, R + Q, S], tapes [N, kept, M, S]; cells [P, blocks, kept, G, H]: an LSTM's. want_entropy: 0 or 1.
    stop_early: 1 to end at the median stop and note what was produced, else 0. floor: of likelihoods. bound: of
    gradients.
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
    """One thread's notes on the examples of its block; in a frame, the notes of all threads.

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


# --- parts of a run -------------------------------------------------------------------------------------------------


@inline
def share(sizes, thread, threads):
    """A thread's blocks, range(first, last): consecutive ones, so threads hardly write to the same cache lines."""
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
