"""What the compiled loops are given, and where a block of examples finds its part of it.

A block is up to G examples of one member that go through the controller together; there are N = P B examples. Buffers
are flat. Where no backward pass follows only the latest timesteps are kept, and their buffers used in turns.
"""

from typing import NamedTuple

import numpy as np

from nram.kernels.cpu.rows import inline
from nram.kernels.simd import at, pointer


class Circuit(NamedTuple):
    """How circuits are wired.

    kinds [Q]: the modules' numbers. first_slot [Q + 1]: number of the slots before a module's, then before the
    registers'. starts [K + 1]: where slots start in the packed logits, then L.
    """

    kinds: np.ndarray
    first_slot: np.ndarray
    starts: np.ndarray


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

    As flat arrays of all members (or of all blocks) in a run, as pointers for one of them. Where the layers are
    transposed, [outputs, inputs], there are no biases.
    """

    first: np.ndarray
    middle: np.ndarray
    output: np.ndarray


class Rows(NamedTuple):
    """What the controller reads and writes: a row per example. In a run: per block, kept timestep and example.

    x [x_stride]: P(r = 0) of the registers, then 1. middle [middle_stride]: the middle layer's input, i.e. the first
    hidden layer, for an LSTM then h, then 1. gates [gates_size]: an LSTM's gates; backward, the gradient of the middle
    layer's output. top [top_stride]: the output layer's input, i.e. the last hidden layer, then 1. logits, weights
    [logits_stride]; backward, weights turn into the logits' gradients.
    """

    x: np.ndarray
    middle: np.ndarray
    gates: np.ndarray
    top: np.ndarray
    logits: np.ndarray
    weights: np.ndarray


class Data(NamedTuple):
    """The instances: memory, target, mask (0 or 1) [N, M], limit [N]."""

    memory: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    limit: np.ndarray


class Results(NamedTuple):
    """What comes out: the first three [T, N], produced [N, M], the last two [N]."""

    log_likelihood: np.ndarray
    stop_logits: np.ndarray
    entropy: np.ndarray
    produced: np.ndarray
    wrong_cells: np.ndarray
    stop_step: np.ndarray


class Run(NamedTuple):
    """Everything that the loops read and write forward.

    values [N, kept, R + Q, S], tapes [N, kept, M, S]; cells [P, blocks, kept, G, H]: an LSTM's. bound [1]: of the
    gradients. `want_entropy`, `stop_early` (at the median stop, and note what was produced): 0 or 1.
    """

    circuit: Circuit
    sizes: Sizes
    want_entropy: int
    stop_early: int
    floor: float
    bound: np.ndarray
    data: Data
    matrices: Matrices
    rows: Rows
    cells: np.ndarray
    values: np.ndarray
    tapes: np.ndarray
    results: Results


class Gradients(NamedTuple):
    """What the backward pass reads, gradients of the outcome [T, N], and writes.

    first_out: gradients of the first hidden layer, H per block, timestep and example. matrices: a share per block.
    """

    log_likelihood: np.ndarray
    stop_logits: np.ndarray
    entropy: np.ndarray
    first_out: np.ndarray
    matrices: Matrices


class Progress(NamedTuple):
    """One thread's notes on the block it is at, per example.

    cells [G, M]: the output cells, see `outcome.list_cells`; cell_count [G]; alive [G]: the probability of not having
    stopped yet; stopped [G]: 1 once the median stopping time has come.
    """

    cells: np.ndarray
    cell_count: np.ndarray
    alive: np.ndarray
    stopped: np.ndarray


class Block(NamedTuple):
    """A block's part of a run, at timestep 0; its examples are first..first + count - 1."""

    first: int
    count: int
    matrices: Matrices
    rows: Rows
    cells: np.ndarray


# Within the loops arrays are pointers: Numba counts references to arrays whenever a tuple that holds them is passed on
# or asked for one of them, which took a quarter of the time. The caller of the loops keeps the arrays.


@inline
def circuit_pointers(circuit):
    """The same with pointers instead of arrays, as in all that follow."""
    return Circuit(pointer(circuit.kinds), pointer(circuit.first_slot), pointer(circuit.starts))


@inline
def matrices_pointers(matrices):
    """All members' matrices, or all blocks' shares."""
    return Matrices(pointer(matrices.first), pointer(matrices.middle), pointer(matrices.output))


@inline
def progress_pointers(progress):
    """One thread's notes."""
    return Progress(
        pointer(progress.cells), pointer(progress.cell_count), pointer(progress.alive), pointer(progress.stopped)
    )


@inline
def run_pointers(run):
    """The whole run."""
    data, rows, results = run.data, run.rows, run.results
    return Run(
        circuit_pointers(run.circuit), run.sizes, run.want_entropy, run.stop_early, run.floor, pointer(run.bound),
        Data(pointer(data.memory), pointer(data.target), pointer(data.mask), pointer(data.limit)),
        matrices_pointers(run.matrices),
        Rows(pointer(rows.x), pointer(rows.middle), pointer(rows.gates), pointer(rows.top), pointer(rows.logits),
             pointer(rows.weights)),
        pointer(run.cells), pointer(run.values), pointer(run.tapes),
        Results(pointer(results.log_likelihood), pointer(results.stop_logits), pointer(results.entropy),
                pointer(results.produced), pointer(results.wrong_cells), pointer(results.stop_step)),
    )


@inline
def gradients_pointers(gradients):
    """The gradients of the outcome, and where those of the matrices go."""
    return Gradients(
        pointer(gradients.log_likelihood), pointer(gradients.stop_logits), pointer(gradients.entropy),
        pointer(gradients.first_out), matrices_pointers(gradients.matrices),
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
