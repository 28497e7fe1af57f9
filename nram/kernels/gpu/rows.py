"""What a kernel does with rows of S numbers: one-hots, weighted sums of rows, rotations, a new tape."""

import triton
import triton.language as tl

from nram.machine.modules import MODULES

# The two timestep kernels spell out the fourteen modules in this order, with these numbers of inputs.
ORDER = {
    "READ": 1,
    "ZERO": 0,
    "ONE": 0,
    "TWO": 0,
    "INC": 1,
    "ADD": 2,
    "SUB": 2,
    "DEC": 1,
    "LESS-THAN": 2,
    "LESS-OR-EQUAL-THAN": 2,
    "EQUALITY-TEST": 2,
    "MIN": 2,
    "MAX": 2,
    "WRITE": 2,
}
assert [(module.name, module.arity) for module in MODULES] == list(ORDER.items())


@triton.jit
def crop(x, bound):
    """x within [-bound, bound]; NaN stays NaN."""
    return tl.where(x > bound, bound, tl.where(x < -bound, -bound, x))


@triton.jit
def unit(index, M, cell, like):
    """The one-hot row of index mod M."""
    return tl.where(cell == index % M, 1.0, 0.0).to(like.dtype.element_ty)


@triton.jit
def truth(prob, cell):
    """The row 1 - prob, prob, 0, 0, ..."""
    return tl.where(cell == 0, 1 - prob, tl.where(cell == 1, prob, 0))


@triton.jit
def put(row, x, cell, S: tl.constexpr):
    """Write a row that all lanes may read afterwards."""
    tl.debug_barrier()
    tl.store(row + cell, x, mask=cell < S)
    tl.debug_barrier()


@triton.jit
def put_twice(row, x, cell, M):
    """Write a row twice, M apart: an offset into it then wraps around."""
    tl.debug_barrier()
    tl.store(row + cell, x, mask=cell < M)
    tl.store(row + M + cell, x, mask=cell < M)
    tl.debug_barrier()


@triton.jit
def average(weights, count, rows, cell, S: tl.constexpr, BLOCK_M: tl.constexpr, ROWS: tl.constexpr):
    """sum_j weights[j] rows[j], j < count."""
    total = tl.zeros([ROWS, BLOCK_M], rows.dtype.element_ty)
    for first in range(0, count, ROWS):
        j = first + tl.arange(0, ROWS)
        weight = tl.load(weights + j, mask=j < count, other=0)
        row = tl.load(rows + j[:, None] * S + cell[None, :], mask=(j < count)[:, None] & (cell < S)[None, :], other=0)
        total += weight[:, None] * row
    return tl.sum(total, 0)


@triton.jit
def average_pair(weights, count, rows, cell, S: tl.constexpr, BLOCK_M: tl.constexpr, ROWS: tl.constexpr):
    """A module's two inputs: the averages by weights[0 : count] and by weights[count : 2 count]."""
    total_a = tl.zeros([ROWS, BLOCK_M], rows.dtype.element_ty)
    total_b = tl.zeros([ROWS, BLOCK_M], rows.dtype.element_ty)
    for first in range(0, count, ROWS):
        j = first + tl.arange(0, ROWS)
        weight_a = tl.load(weights + j, mask=j < count, other=0)
        weight_b = tl.load(weights + count + j, mask=j < count, other=0)
        row = tl.load(rows + j[:, None] * S + cell[None, :], mask=(j < count)[:, None] & (cell < S)[None, :], other=0)
        total_a += weight_a[:, None] * row
        total_b += weight_b[:, None] * row
    return tl.sum(total_a, 0), tl.sum(total_b, 0)


@triton.jit
def gradient(
    weights, starts, first_slot, K, source, d_inputs, cell, S: tl.constexpr, BLOCK_M: tl.constexpr, ROWS: tl.constexpr
):
    """Gradient of a source: the sum over the slots from first_slot on of its weight times the slot's gradient."""
    tl.debug_barrier()
    total = tl.zeros([ROWS, BLOCK_M], d_inputs.dtype.element_ty)
    for first in range(first_slot, K, ROWS):
        k = first + tl.arange(0, ROWS)
        start = tl.load(starts + k, mask=k < K, other=0)
        weight = tl.load(weights + start + source, mask=k < K, other=0)
        row = tl.load(d_inputs + k[:, None] * S + cell[None, :], mask=(k < K)[:, None] & (cell < S)[None, :], other=0)
        total += weight[:, None] * row
    return tl.sum(total, 0)


@triton.jit
def convolve(factor, twice, M, cell, OUT: tl.constexpr, IN: tl.constexpr, BLOCK_M: tl.constexpr, ROWS: tl.constexpr):
    """out[c] = sum_i factor[i] row[OUT c + IN i mod M]; `twice` holds the row twice. OUT, IN: 1 or -1, not both -1."""
    total = tl.zeros([ROWS, BLOCK_M], factor.dtype.element_ty)
    base = M if OUT + IN == 0 else 0
    for first in range(0, M, ROWS):
        i = first + tl.arange(0, ROWS)
        weight = tl.load(factor + i, mask=i < M, other=0)
        place = base + IN * i[:, None] + OUT * cell[None, :]
        row = tl.load(twice + place, mask=(i < M)[:, None] & (cell < M)[None, :], other=0)
        total += weight[:, None] * row
    return tl.sum(total, 0)


@triton.jit
def write_tape(out, tape, pointer, value, M, cell, S: tl.constexpr, ROWS: tl.constexpr):
    """out[i] = (1 - pointer[i]) tape[i] + pointer[i] value; `out` may be `tape`."""
    for first in range(0, M, ROWS):
        i = first + tl.arange(0, ROWS)
        place = i[:, None] * S + cell[None, :]
        inside = (i < M)[:, None] & (cell < S)[None, :]
        p = tl.load(pointer + i, mask=i < M, other=0)[:, None]
        row = tl.load(tape + place, mask=inside, other=0)
        tl.store(out + place, (1 - p) * row + p * value[None, :], mask=inside)
