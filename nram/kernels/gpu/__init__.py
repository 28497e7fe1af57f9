"""One machine timestep fused for the GPU: circuit softmax, modules, registers and tape, forward and backward (Triton).

One program of one warp is one example through one timestep. The controller runs between the timesteps as batched matrix
products over the population; its parameters' gradients are one product over all timesteps at the end. Nothing is
copied to the host but, once a run, the extremes of the arguments that are checked there.

Kept for the backward pass, per example and timestep: the R + Q value rows, the tape before it, the circuit's weights
(its gradient takes their place) and the controller's activations. A row has S numbers: M rounded up to a multiple of
16; those from M on are zero. What one lane of the warp writes and another reads goes through memory, that is the first
cache, between two barriers, so that no array in registers is indexed at run time, whatever M.

A slot of module i averages n = R + i sources. K: number of slots; L: number of logits; N = P * B examples.
"""

import functools
import logging
import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nram.machine.circuit import Layout
from nram.machine.controller import LSTM, make_controller
from nram.machine.modules import MODULES
from nram.machine.run import Machines, RunOptions
from nram.tasks import Batch

__all__ = ["Pass", "Workspace", "compile_for", "interpreted", "warm_up", "will_compile"]

CUDA_GRAPHS = False  # replay each run's launches as one CUDA graph from the third run of the same shape on
TILE = 512  # numbers of a block of rows that a warp holds at once
CHUNK = 16  # cells at a time in the product that gives the weights' gradient
PRECISION = "tf32x3"  # of that product in float32: on tensor cores, split so that 21 bits of each factor count
MAX_REGISTERS = 128  # per lane: 16 warps fit a multiprocessor; with fewer registers more warps fit, but some spill

# The kernels below spell out the fourteen modules in this order; a module's first slot is the sum of earlier arities.
_ORDER = ("READ ZERO ONE TWO INC ADD SUB DEC LESS-THAN LESS-OR-EQUAL-THAN EQUALITY-TEST MIN MAX WRITE").split()
assert [module.name for module in MODULES] == _ORDER
assert [module.arity for module in MODULES] == [1, 0, 0, 0, 1, 2, 2, 1, 2, 2, 2, 2, 2, 2]
# A repetition has 19 slots; with n sources for its first module they have 19 n + EXTRA_WEIGHTS weights.
EXTRA_WEIGHTS = tl.constexpr(sum(module.arity * index for index, module in enumerate(MODULES)))


# --- rows -----------------------------------------------------------------------------------------------------------


@triton.jit
def _crop(x, bound):
    """x within [-bound, bound]; NaN stays NaN."""
    return tl.where(x > bound, bound, tl.where(x < -bound, -bound, x))


@triton.jit
def _unit(index, M, cell, like):
    """The one-hot row of index mod M."""
    return tl.where(cell == index % M, 1.0, 0.0).to(like.dtype.element_ty)


@triton.jit
def _truth(prob, cell):
    """The row 1 - prob, prob, 0, 0, ..."""
    return tl.where(cell == 0, 1 - prob, tl.where(cell == 1, prob, 0))


@triton.jit
def _put(row, x, cell, S: tl.constexpr):
    """Write a row that all lanes may read afterwards."""
    tl.debug_barrier()
    tl.store(row + cell, x, mask=cell < S)
    tl.debug_barrier()


@triton.jit
def _put_twice(row, x, cell, M):
    """Write a row twice, M apart, so that an offset into it goes round."""
    tl.debug_barrier()
    tl.store(row + cell, x, mask=cell < M)
    tl.store(row + M + cell, x, mask=cell < M)
    tl.debug_barrier()


@triton.jit
def _average(weights, count, rows, cell, S: tl.constexpr, BLOCK_M: tl.constexpr, ROWS: tl.constexpr):
    """sum_j weights[j] rows[j], j < count."""
    total = tl.zeros([ROWS, BLOCK_M], rows.dtype.element_ty)
    for first in range(0, count, ROWS):
        j = first + tl.arange(0, ROWS)
        weight = tl.load(weights + j, mask=j < count, other=0)
        row = tl.load(rows + j[:, None] * S + cell[None, :], mask=(j < count)[:, None] & (cell < S)[None, :], other=0)
        total += weight[:, None] * row
    return tl.sum(total, 0)


@triton.jit
def _average_pair(weights, count, rows, cell, S: tl.constexpr, BLOCK_M: tl.constexpr, ROWS: tl.constexpr):
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
def _gradient(
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
def _convolve(factor, twice, M, cell, OUT: tl.constexpr, IN: tl.constexpr, BLOCK_M: tl.constexpr, ROWS: tl.constexpr):
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
def _write(out, tape, pointer, value, M, cell, S: tl.constexpr, ROWS: tl.constexpr):
    """out[i] = (1 - pointer[i]) tape[i] + pointer[i] value; `out` may be `tape`."""
    for first in range(0, M, ROWS):
        i = first + tl.arange(0, ROWS)
        place = i[:, None] * S + cell[None, :]
        inside = (i < M)[:, None] & (cell < S)[None, :]
        p = tl.load(pointer + i, mask=i < M, other=0)[:, None]
        row = tl.load(tape + place, mask=inside, other=0)
        tl.store(out + place, (1 - p) * row + p * value[None, :], mask=inside)


# --- one timestep ---------------------------------------------------------------------------------------------------


@triton.jit(do_not_specialize=["t", "now", "here", "there", "steps", "batch", "M"])
def _forward_step(
    logits, x, values, tapes, target, mask, limit, alive, stop_step, wrong_cells, produced, log_likelihood,
    stop_logits, entropies, starts, settings, scratch,
    t, now, here, there, steps, kept, batch, M,
    R: tl.constexpr, REPETITIONS: tl.constexpr, K: tl.constexpr, L: tl.constexpr, LOGITS: tl.constexpr,
    INPUTS: tl.constexpr, S: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, ROWS: tl.constexpr,
    ENTROPY: tl.constexpr, PRODUCE: tl.constexpr,
):  # fmt: skip
    """Timestep t of example n: circuit logits -> weights in their place, new registers and tape, the outcome at t.

    logits [P, steps, B, LOGITS] at step `now`; x [P, kept, B, INPUTS], values [kept, N, R + Q, S] and tapes
    [kept, N, M, S] before (`here`) and after (`there`) the timestep; scratch [N, 4 S].
    """
    N = tl.num_programs(0)
    n = tl.program_id(0).to(tl.int64)
    last = tl.load(limit + n)
    if t >= last:
        return
    stopped = tl.load(stop_step + n)
    if PRODUCE:
        if stopped >= 0:
            return
    sources: tl.constexpr = R + 14 * REPETITIONS
    member, example = n // batch, n % batch
    logits += ((member * steps + now) * batch + example) * LOGITS
    values_now, values_next = values + (here * N + n) * sources * S, values + (there * N + n) * sources * S
    tape, tape_next = tapes + (here * N + n) * M * S, tapes + (there * N + n) * M * S
    a_row = scratch + n * 4 * S
    b_row = a_row + 2 * S
    cell = tl.arange(0, BLOCK_M)

    entropy = tl.zeros([1], logits.dtype.element_ty)
    source = tl.arange(0, BLOCK_N)
    for first in range(0, K, 16):
        k = first + tl.arange(0, 16)
        start = tl.load(starts + k, mask=k < K, other=0)
        width = tl.load(starts + k + 1, mask=k < K, other=0) - start
        inside = source[None, :] < width[:, None]
        place = logits + start[:, None] + source[None, :]
        logit = tl.load(place, mask=inside, other=-1e38)
        below_top = logit - tl.max(logit, 1)[:, None]
        power = tl.where(inside, tl.exp(below_top), 0)
        total = tl.where(k < K, tl.sum(power, 1), 1)
        weight = power / total[:, None]
        tl.store(place, weight, mask=inside)
        if ENTROPY:
            each = tl.log(total) - tl.sum(tl.where(inside, weight * below_top, 0), 1)
            entropy += tl.sum(tl.where(k < K, each, 0), 0)
    tl.debug_barrier()

    weights = logits
    for repetition in range(REPETITIONS):
        count = R + 14 * repetition  # sources of this repetition's first module, and the row of its output
        out = values_now + count * S

        pointer = _average(weights, count, values_now, cell, S, BLOCK_M, ROWS)  # READ
        weights += count
        _put(a_row, pointer, cell, S)
        total = tl.zeros([ROWS, BLOCK_M], values.dtype.element_ty)
        for first in range(0, M, ROWS):
            i = first + tl.arange(0, ROWS)
            p = tl.load(a_row + i, mask=i < M, other=0)
            rows = tl.load(tape + i[:, None] * S + cell[None, :], mask=(i < M)[:, None] & (cell < S)[None, :], other=0)
            total += p[:, None] * rows
        row = tl.sum(total, 0)
        tl.store(out + cell, row / tl.sum(row, 0), mask=cell < S)

        tl.store(out + S + cell, _unit(0, M, cell, values), mask=cell < S)  # ZERO, ONE, TWO, and what WRITE returns
        tl.store(out + 2 * S + cell, _unit(1, M, cell, values), mask=cell < S)
        tl.store(out + 3 * S + cell, _unit(2, M, cell, values), mask=cell < S)
        tl.store(out + 13 * S + cell, _unit(0, M, cell, values), mask=cell < S)
        tl.debug_barrier()

        a = _average(weights, count + 4, values_now, cell, S, BLOCK_M, ROWS)  # INC
        weights += count + 4
        _put(a_row, a, cell, S)
        row = tl.load(a_row + (cell + M - 1) % M, mask=cell < M, other=0)
        _put(out + 4 * S, row, cell, S)

        a, b = _average_pair(weights, count + 5, values_now, cell, S, BLOCK_M, ROWS)  # ADD
        weights += 2 * (count + 5)
        _put(a_row, a, cell, S)
        _put_twice(b_row, b, cell, M)
        row = _convolve(a_row, b_row, M, cell, 1, -1, BLOCK_M, ROWS)
        _put(out + 5 * S, row / tl.sum(row, 0), cell, S)

        a, b = _average_pair(weights, count + 6, values_now, cell, S, BLOCK_M, ROWS)  # SUB
        weights += 2 * (count + 6)
        _put(b_row, b, cell, S)
        _put_twice(a_row, a, cell, M)
        row = _convolve(b_row, a_row, M, cell, 1, 1, BLOCK_M, ROWS)
        _put(out + 6 * S, row / tl.sum(row, 0), cell, S)

        a = _average(weights, count + 7, values_now, cell, S, BLOCK_M, ROWS)  # DEC
        weights += count + 7
        _put(a_row, a, cell, S)
        row = tl.load(a_row + (cell + 1) % M, mask=cell < M, other=0)
        _put(out + 7 * S, row, cell, S)

        a, b = _average_pair(weights, count + 8, values_now, cell, S, BLOCK_M, ROWS)  # LESS-THAN
        weights += 2 * (count + 8)
        prob = tl.sum(a * (tl.cumsum(b, 0, reverse=True) - b), 0)
        _put(out + 8 * S, _truth(prob, cell), cell, S)

        a, b = _average_pair(weights, count + 9, values_now, cell, S, BLOCK_M, ROWS)  # LESS-OR-EQUAL-THAN
        weights += 2 * (count + 9)
        prob = tl.sum(a * tl.cumsum(b, 0, reverse=True), 0)
        _put(out + 9 * S, _truth(prob, cell), cell, S)

        a, b = _average_pair(weights, count + 10, values_now, cell, S, BLOCK_M, ROWS)  # EQUALITY-TEST
        weights += 2 * (count + 10)
        _put(out + 10 * S, _truth(tl.sum(a * b, 0), cell), cell, S)

        a, b = _average_pair(weights, count + 11, values_now, cell, S, BLOCK_M, ROWS)  # MIN
        weights += 2 * (count + 11)
        row = a * tl.cumsum(b, 0, reverse=True) + b * (tl.cumsum(a, 0, reverse=True) - a)
        _put(out + 11 * S, row / tl.sum(row, 0), cell, S)

        a, b = _average_pair(weights, count + 12, values_now, cell, S, BLOCK_M, ROWS)  # MAX
        weights += 2 * (count + 12)
        row = a * tl.cumsum(b, 0) + b * (tl.cumsum(a, 0) - a)
        _put(out + 12 * S, row / tl.sum(row, 0), cell, S)

        pointer, value = _average_pair(weights, count + 13, values_now, cell, S, BLOCK_M, ROWS)  # WRITE
        weights += 2 * (count + 13)
        _put(a_row, pointer, cell, S)
        _write(tape_next, tape, a_row, value, M, cell, S, ROWS)
        tape = tape_next
        tl.debug_barrier()

    x += ((member * kept + there) * batch + example) * INPUTS
    for r in range(R):
        row = _average(weights, sources, values_now, cell, S, BLOCK_M, ROWS)
        weights += sources
        row = row / tl.sum(row, 0)
        tl.store(values_next + r * S + cell, row, mask=cell < S)
        if t + 1 < last:  # what the controller sees from then on stays as it was prepared
            tl.store(x + r, tl.sum(tl.where(cell == 0, row, 0), 0))

    floor = tl.load(settings + 1)
    wanted = tl.load(target + n * M + cell, mask=cell < M, other=0)
    counts = (tl.load(mask + n * M + cell, mask=cell < M, other=0) != 0) & (wanted >= 0) & (wanted < M)
    prob = tl.load(tape_next + cell * S + wanted, mask=counts, other=1)
    prob = tl.where(prob < floor, floor, prob)
    tl.store(log_likelihood + t * N + n, tl.sum(tl.where(counts, tl.log(prob), 0), 0))
    if ENTROPY:
        tl.store(entropies + t * N + n, tl.sum(entropy, 0))
    stop = tl.load(logits + L)
    tl.store(stop_logits + t * N + n, stop)
    log_alive = tl.load(alive + n) + tl.minimum(-stop, 0) - tl.log(1 + tl.exp(-tl.abs(stop)))
    tl.store(alive + n, log_alive)
    goes_on = (tl.exp(log_alive) > 0.5) & (t + 1 < last)
    if (stopped < 0) & (goes_on == 0):
        tl.store(stop_step + n, t)
        wrong = tl.zeros([ROWS], tl.int32)
        for first in range(0, M, ROWS):
            i = first + tl.arange(0, ROWS)
            rows = tl.load(
                tape_next + i[:, None] * S + cell[None, :], mask=(i < M)[:, None] & (cell < M)[None, :], other=-1
            )
            found = tl.argmax(rows, 1)
            if PRODUCE:
                tl.store(produced + n * M + i, found, mask=i < M)
            else:
                right = tl.load(target + n * M + i, mask=i < M, other=0) == found
                counted = tl.load(mask + n * M + i, mask=i < M, other=0) != 0
                wrong += tl.where(counted & (right == 0), 1, 0)
        tl.store(wrong_cells + n, tl.sum(wrong, 0))


@triton.jit(do_not_specialize=["t", "steps", "batch", "M"])
def _backward_step(
    logits, x_gradient, values, tapes, target, mask, limit, d_log_likelihood, d_stop_logits, d_entropy, d_registers,
    d_tape, starts, settings, scratch, d_inputs,
    t, steps, batch, M,
    R: tl.constexpr, REPETITIONS: tl.constexpr, K: tl.constexpr, L: tl.constexpr, LOGITS: tl.constexpr,
    S: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr,
    ENTROPY: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Backward of `_forward_step`, with t = now = here = there - 1: the gradient of the logits in place of the weights.

    d_registers [N, R, S], d_tape [N, M, S]: gradients of what the timestep leaves in, of what it finds out;
    x_gradient [P, B, R]: what the next timestep's controller adds to it. scratch [N, 6 S]; d_inputs [N, K, S]: those
    of the slots. Planes of tapes from steps + 1 on: the tape between this timestep's WRITEs, computed again.
    """
    N = tl.num_programs(0)
    n = tl.program_id(0).to(tl.int64)
    member, example = n // batch, n % batch
    logits += ((member * steps + t) * batch + example) * LOGITS
    source = tl.arange(0, BLOCK_N)
    if t >= tl.load(limit + n):
        for first in range(0, L + 1, BLOCK_N):
            tl.store(logits + first + source, tl.zeros([BLOCK_N], logits.dtype.element_ty), mask=first + source < L + 1)
        return
    sources: tl.constexpr = R + 14 * REPETITIONS
    bound = tl.load(settings)
    values += (t * N + n) * sources * S
    tape_next = tapes + ((t + 1) * N + n) * M * S
    d_tape += n * M * S
    d_registers += n * R * S
    d_inputs += n * K * S
    a_row = scratch + n * 6 * S
    b_row, g_row = a_row + 2 * S, a_row + 4 * S
    cell = tl.arange(0, BLOCK_M)
    valid = cell < M

    floor = tl.load(settings + 1)
    d_likelihood = tl.load(d_log_likelihood + t * N + n)
    wanted = tl.load(target + n * M + cell, mask=valid, other=0)
    counts = (tl.load(mask + n * M + cell, mask=valid, other=0) != 0) & (wanted >= 0) & (wanted < M)
    prob = tl.load(tape_next + cell * S + wanted, mask=counts, other=1)
    d_prob = tl.load(d_tape + cell * S + wanted, mask=counts, other=0)
    d_prob += tl.where(prob >= floor, d_likelihood / tl.where(prob >= floor, prob, 1), 0)
    tl.store(d_tape + cell * S + wanted, d_prob, mask=counts)

    for r in range(R):
        d_register = tl.load(d_registers + r * S + cell, mask=cell < S, other=0)
        d_register += tl.where(cell == 0, tl.load(x_gradient + n * R + r), 0)
        tl.store(d_inputs + (K - R + r) * S + cell, _crop(d_register, bound), mask=cell < S)

    weights = logits
    for repetition in range(REPETITIONS - 1):
        count = R + 14 * repetition
        weights += 19 * count + EXTRA_WEIGHTS  # past this repetition's slots
        pointer, value = _average_pair(weights - 2 * (count + 13), count + 13, values, cell, S, BLOCK_M, ROWS)
        plane = tl.where(repetition == 0, t, steps + repetition)
        tape = tapes + (plane * N + n) * M * S
        _put(a_row, pointer, cell, S)
        _write(tapes + ((steps + 1 + repetition) * N + n) * M * S, tape, a_row, value, M, cell, S, ROWS)

    weights = logits + (L - R * sources)
    for turn in range(REPETITIONS):
        repetition = REPETITIONS - 1 - turn
        count = R + 14 * repetition
        slot = 19 * repetition
        d_slot = d_inputs + slot * S
        plane = tl.where(repetition == 0, t, steps + repetition)
        tape = tapes + (plane * N + n) * M * S

        weights -= 2 * (count + 13)  # WRITE
        pointer, value = _average_pair(weights, count + 13, values, cell, S, BLOCK_M, ROWS)
        _put(a_row, pointer, cell, S)
        d_value = tl.zeros([ROWS, BLOCK_M], values.dtype.element_ty)
        for first in range(0, S, ROWS):
            i = first + tl.arange(0, ROWS)
            place = i[:, None] * S + cell[None, :]
            inside = (i < M)[:, None] & valid[None, :]
            p = tl.load(a_row + i, mask=i < M, other=0)[:, None]
            d_rows = _crop(tl.load(d_tape + place, mask=inside, other=0), bound)
            rows = tl.load(tape + place, mask=inside, other=0)
            d_value += p * d_rows
            tl.store(d_slot + 17 * S + i, tl.sum(d_rows * (value[None, :] - rows), 1))
            tl.store(d_tape + place, (1 - p) * d_rows, mask=inside)
        tl.store(d_slot + 18 * S + cell, tl.sum(d_value, 0), mask=cell < S)

        weights -= 2 * (count + 12)  # MAX
        g = _gradient(logits, starts, slot + 17, K, count + 12, d_inputs, cell, S, BLOCK_M, ROWS)
        g = _crop(g, bound)
        a, b = _average_pair(weights, count + 12, values, cell, S, BLOCK_M, ROWS)
        g_b = g * b
        d_a = g * tl.cumsum(b, 0) + (tl.cumsum(g_b, 0, reverse=True) - g_b)
        d_b = g * (tl.cumsum(a, 0) - a) + tl.cumsum(g * a, 0, reverse=True)
        tl.store(d_slot + 15 * S + cell, tl.where(valid, d_a, 0), mask=cell < S)
        tl.store(d_slot + 16 * S + cell, tl.where(valid, d_b, 0), mask=cell < S)

        weights -= 2 * (count + 11)  # MIN
        g = _gradient(logits, starts, slot + 15, K, count + 11, d_inputs, cell, S, BLOCK_M, ROWS)
        g = _crop(g, bound)
        a, b = _average_pair(weights, count + 11, values, cell, S, BLOCK_M, ROWS)
        g_b = g * b
        d_a = g * tl.cumsum(b, 0, reverse=True) + (tl.cumsum(g_b, 0) - g_b)
        d_b = g * (tl.cumsum(a, 0, reverse=True) - a) + tl.cumsum(g * a, 0)
        tl.store(d_slot + 13 * S + cell, tl.where(valid, d_a, 0), mask=cell < S)
        tl.store(d_slot + 14 * S + cell, tl.where(valid, d_b, 0), mask=cell < S)

        weights -= 2 * (count + 10)  # EQUALITY-TEST
        g = _gradient(logits, starts, slot + 13, K, count + 10, d_inputs, cell, S, BLOCK_M, ROWS)
        g = _crop(g, bound)
        slope = tl.sum(tl.where(cell == 1, g, 0) - tl.where(cell == 0, g, 0), 0)
        a, b = _average_pair(weights, count + 10, values, cell, S, BLOCK_M, ROWS)
        tl.store(d_slot + 11 * S + cell, slope * b, mask=cell < S)
        tl.store(d_slot + 12 * S + cell, slope * a, mask=cell < S)

        weights -= 2 * (count + 9)  # LESS-OR-EQUAL-THAN
        g = _gradient(logits, starts, slot + 11, K, count + 9, d_inputs, cell, S, BLOCK_M, ROWS)
        g = _crop(g, bound)
        slope = tl.sum(tl.where(cell == 1, g, 0) - tl.where(cell == 0, g, 0), 0)
        a, b = _average_pair(weights, count + 9, values, cell, S, BLOCK_M, ROWS)
        tl.store(d_slot + 9 * S + cell, slope * tl.cumsum(b, 0, reverse=True), mask=cell < S)
        tl.store(d_slot + 10 * S + cell, tl.where(valid, slope * tl.cumsum(a, 0), 0), mask=cell < S)

        weights -= 2 * (count + 8)  # LESS-THAN
        g = _gradient(logits, starts, slot + 9, K, count + 8, d_inputs, cell, S, BLOCK_M, ROWS)
        g = _crop(g, bound)
        slope = tl.sum(tl.where(cell == 1, g, 0) - tl.where(cell == 0, g, 0), 0)
        a, b = _average_pair(weights, count + 8, values, cell, S, BLOCK_M, ROWS)
        tl.store(d_slot + 7 * S + cell, slope * (tl.cumsum(b, 0, reverse=True) - b), mask=cell < S)
        tl.store(d_slot + 8 * S + cell, tl.where(valid, slope * (tl.cumsum(a, 0) - a), 0), mask=cell < S)

        weights -= count + 7  # DEC
        g = _gradient(logits, starts, slot + 7, K, count + 7, d_inputs, cell, S, BLOCK_M, ROWS)
        _put(g_row, _crop(g, bound), cell, S)
        d_a = tl.load(g_row + (cell + M - 1) % M, mask=valid, other=0)
        tl.store(d_slot + 6 * S + cell, d_a, mask=cell < S)

        weights -= 2 * (count + 6)  # SUB
        g = _gradient(logits, starts, slot + 6, K, count + 6, d_inputs, cell, S, BLOCK_M, ROWS)
        a, b = _average_pair(weights, count + 6, values, cell, S, BLOCK_M, ROWS)
        _put_twice(g_row, _crop(g, bound), cell, M)
        _put_twice(a_row, a, cell, M)
        _put(b_row, b, cell, S)
        d_a = _convolve(b_row, g_row, M, cell, 1, -1, BLOCK_M, ROWS)
        d_b = _convolve(g_row, a_row, M, cell, 1, 1, BLOCK_M, ROWS)
        tl.store(d_slot + 4 * S + cell, d_a, mask=cell < S)
        tl.store(d_slot + 5 * S + cell, d_b, mask=cell < S)

        weights -= 2 * (count + 5)  # ADD
        g = _gradient(logits, starts, slot + 4, K, count + 5, d_inputs, cell, S, BLOCK_M, ROWS)
        a, b = _average_pair(weights, count + 5, values, cell, S, BLOCK_M, ROWS)
        _put(g_row, _crop(g, bound), cell, S)
        _put_twice(a_row, a, cell, M)
        _put_twice(b_row, b, cell, M)
        d_a = _convolve(g_row, b_row, M, cell, -1, 1, BLOCK_M, ROWS)
        d_b = _convolve(g_row, a_row, M, cell, -1, 1, BLOCK_M, ROWS)
        tl.store(d_slot + 2 * S + cell, d_a, mask=cell < S)
        tl.store(d_slot + 3 * S + cell, d_b, mask=cell < S)

        weights -= count + 4  # INC
        g = _gradient(logits, starts, slot + 2, K, count + 4, d_inputs, cell, S, BLOCK_M, ROWS)
        _put(g_row, _crop(g, bound), cell, S)
        d_a = tl.load(g_row + (cell + 1) % M, mask=valid, other=0)
        tl.store(d_slot + S + cell, d_a, mask=cell < S)

        weights -= count  # READ
        g = _gradient(logits, starts, slot + 1, K, count, d_inputs, cell, S, BLOCK_M, ROWS)
        g = _crop(g, bound)
        _put(a_row, _average(weights, count, values, cell, S, BLOCK_M, ROWS), cell, S)
        for first in range(0, S, ROWS):
            i = first + tl.arange(0, ROWS)
            place = i[:, None] * S + cell[None, :]
            inside = (i < M)[:, None] & valid[None, :]
            p = tl.load(a_row + i, mask=i < M, other=0)[:, None]
            rows = tl.load(tape + place, mask=inside, other=0)
            tl.store(d_slot + i, tl.sum(rows * g[None, :], 1))
            d_rows = tl.load(d_tape + place, mask=inside, other=0)
            tl.store(d_tape + place, d_rows + p * g[None, :], mask=inside)

    for r in range(R):
        g = _gradient(logits, starts, 0, K, r, d_inputs, cell, S, BLOCK_M, ROWS)
        tl.store(d_registers + r * S + cell, g, mask=cell < S)
    tl.debug_barrier()

    for first in range(0, K, 16):
        k = first + tl.arange(0, 16)
        start = tl.load(starts + k, mask=k < K, other=0)
        width = tl.load(starts + k + 1, mask=k < K, other=0) - start
        d_weight = tl.zeros([16, BLOCK_N], values.dtype.element_ty)
        for first_cell in range(0, S, CHUNK):
            c = first_cell + tl.arange(0, CHUNK)
            rows = tl.load(d_inputs + k[:, None] * S + c[None, :], mask=(k < K)[:, None], other=0)
            columns = tl.load(values + source[None, :] * S + c[:, None], mask=(source < sources)[None, :], other=0)
            d_weight = tl.dot(rows, columns, d_weight, input_precision=PRECISION, out_dtype=values.dtype.element_ty)
        inside = source[None, :] < width[:, None]
        place = logits + start[:, None] + source[None, :]
        weight = tl.load(place, mask=inside, other=0)
        if ENTROPY:
            d_each = tl.load(d_entropy + t * N + n)
            d_weight -= d_each * tl.log(tl.where(weight == 0, 1, weight))
        mean = tl.sum(weight * d_weight, 1)
        tl.store(place, _crop(weight * (d_weight - mean[:, None]), bound), mask=inside)
    tl.store(logits + L, _crop(tl.load(d_stop_logits + t * N + n), bound))


# --- the controller's activations -----------------------------------------------------------------------------------


@triton.jit(do_not_specialize=["t", "steps", "batch"])
def _relu_backward(
    d_out, activation, d_in, t, steps, batch, D_OUT: tl.constexpr, ACTIVATION: tl.constexpr, H: tl.constexpr,
    BLOCK: tl.constexpr, settings,
):  # fmt: skip
    """d_in = d_out, cropped, where the activation is not 0; d_out [P, B, D_OUT], the others [P, steps, B, ...]."""
    n = tl.program_id(0).to(tl.int64)
    row = ((n // batch) * steps + t) * batch + n % batch
    h = tl.arange(0, BLOCK)
    gradient = _crop(tl.load(d_out + n * D_OUT + h, mask=h < H, other=0), tl.load(settings))
    active = tl.load(activation + row * ACTIVATION + h, mask=h < H, other=0)
    tl.store(d_in + row * H + h, tl.where(active <= 0, 0, gradient), mask=h < H)


@triton.jit
def _sigmoid(x):
    small = tl.exp(-tl.abs(x))
    return tl.where(x < 0, small, 1) / (1 + small)


@triton.jit
def _tanh(x):
    small = tl.exp(-2 * tl.abs(x))
    size = (1 - small) / (1 + small)
    return tl.where(x < 0, -size, size)


@triton.jit(do_not_specialize=["now", "here", "there", "following", "steps", "batch"])
def _cell_forward(
    gates, cells, top, middle, now, here, there, following, steps, kept, batch, TOP: tl.constexpr,
    MIDDLE: tl.constexpr, H: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The LSTM's gates [P, steps, B, 4 H] -> their activations in place, the cells [P, kept, B, H] `there`, and h.

    h goes to top [P, steps, B, TOP] and, unless `following` is negative, to that step of middle, after the first H.
    """
    n = tl.program_id(0).to(tl.int64)
    member, example = n // batch, n % batch
    h = tl.arange(0, BLOCK)
    inside = h < H
    row = (member * steps + now) * batch + example
    gates += row * 4 * H
    enter = _sigmoid(tl.load(gates + h, mask=inside, other=0))
    keep = _sigmoid(tl.load(gates + H + h, mask=inside, other=0))
    candidate = _tanh(tl.load(gates + 2 * H + h, mask=inside, other=0))
    leave = _sigmoid(tl.load(gates + 3 * H + h, mask=inside, other=0))
    before = tl.load(cells + ((member * kept + here) * batch + example) * H + h, mask=inside, other=0)
    after = keep * before + enter * candidate
    hidden = leave * _tanh(after)
    tl.store(gates + h, enter, mask=inside)
    tl.store(gates + H + h, keep, mask=inside)
    tl.store(gates + 2 * H + h, candidate, mask=inside)
    tl.store(gates + 3 * H + h, leave, mask=inside)
    tl.store(cells + ((member * kept + there) * batch + example) * H + h, after, mask=inside)
    tl.store(top + row * TOP + h, hidden, mask=inside)
    if following >= 0:
        tl.store(middle + ((member * steps + following) * batch + example) * MIDDLE + H + h, hidden, mask=inside)


@triton.jit(do_not_specialize=["t", "steps", "batch"])
def _cell_backward(
    gates, cells, d_top, d_middle, d_cells, t, steps, batch, H: tl.constexpr, BLOCK: tl.constexpr, settings
):
    """Backward of `_cell_forward`: the gradient of the gates before their activation in their place.

    d_top [P, B, H] and the second half of d_middle [P, B, 2 H] are the gradient of h; d_cells [P, B, H] is passed on.
    """
    n = tl.program_id(0).to(tl.int64)
    member, example = n // batch, n % batch
    bound = tl.load(settings)
    h = tl.arange(0, BLOCK)
    inside = h < H
    gates += ((member * steps + t) * batch + example) * 4 * H
    enter = tl.load(gates + h, mask=inside, other=0)
    keep = tl.load(gates + H + h, mask=inside, other=0)
    candidate = tl.load(gates + 2 * H + h, mask=inside, other=0)
    leave = tl.load(gates + 3 * H + h, mask=inside, other=0)
    before = tl.load(cells + ((member * (steps + 1) + t) * batch + example) * H + h, mask=inside, other=0)
    after = tl.load(cells + ((member * (steps + 1) + t + 1) * batch + example) * H + h, mask=inside, other=0)
    d_hidden = tl.load(d_top + n * H + h, mask=inside, other=0)
    d_hidden = _crop(d_hidden + tl.load(d_middle + n * 2 * H + H + h, mask=inside, other=0), bound)
    size = _tanh(after)
    d_after = tl.load(d_cells + n * H + h, mask=inside, other=0) + d_hidden * leave * (1 - size * size)
    d_after = _crop(d_after, bound)
    tl.store(d_cells + n * H + h, d_after * keep, mask=inside)
    tl.store(gates + h, d_after * candidate * enter * (1 - enter), mask=inside)
    tl.store(gates + H + h, d_after * before * keep * (1 - keep), mask=inside)
    tl.store(gates + 2 * H + h, d_after * enter * (1 - candidate * candidate), mask=inside)
    tl.store(gates + 3 * H + h, d_hidden * size * leave * (1 - leave), mask=inside)


# --- from tensors ---------------------------------------------------------------------------------------------------


def interpreted() -> bool:
    """Whether Triton interprets the kernels (TRITON_INTERPRET=1 when it was imported): on CPU tensors, very slowly."""
    return not isinstance(_forward_step, triton.runtime.JITFunction)


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _inputs(layout: Layout) -> int:
    """Numbers that a controller is given: P(r = 0) of every register, and a 1 for the bias."""
    return _up(layout.num_registers + 1, 4)


def _blocks(layout: Layout, num_cells: int) -> dict[str, int]:
    """What the two timestep kernels are compiled for."""
    S = _up(num_cells, 16)
    block_m = triton.next_power_of_2(S)
    return {
        "R": layout.num_registers, "REPETITIONS": layout.repetitions, "K": len(layout.slots), "L": layout.num_logits,
        "LOGITS": _up(layout.num_logits + 1, 4), "S": S, "BLOCK_M": block_m,
        "BLOCK_N": max(16, triton.next_power_of_2(layout.num_sources)), "ROWS": min(16, max(4, TILE // block_m)),
    }  # fmt: skip


def compile_for(layout: Layout, num_cells: int, capability=(9, 0), want_entropy=True, max_registers=MAX_REGISTERS):
    """The float32 timestep kernels, forward and backward, compiled for a GPU that need not be there.

    Each result has `.asm` with "ptx" and "cubin". Raises RuntimeError under the interpreter.
    """
    if interpreted():
        raise RuntimeError("the interpreter compiles nothing: unset TRITON_INTERPRET")
    target = GPUTarget("cuda", 10 * capability[0] + capability[1], 32)
    constants = {"ENTROPY": want_entropy, **_blocks(layout, num_cells)}
    whole = {name: "*i32" for name in ("target", "limit", "starts", "stop_step", "wrong_cells", "produced")}
    whole |= {"mask": "*i8"} | {name: "i32" for name in ("t", "now", "here", "there", "steps", "kept", "batch", "M")}
    results = []
    for kernel, more in (
        (_forward_step, {"INPUTS": _inputs(layout), "PRODUCE": False}),
        (_backward_step, {"CHUNK": CHUNK, "PRECISION": PRECISION}),
    ):
        given = constants | more
        types = {name: "constexpr" if name in given else whole.get(name, "*fp32") for name in kernel.arg_names}
        aligned = {
            (index,): [["tt.divisibility", 16]] for index, kind in enumerate(types.values()) if kind.startswith("*")
        }
        source = ASTSource(kernel, types, constexprs=given, attrs=aligned)
        results.append(triton.compile(source, target=target, options={"num_warps": 1, "maxnreg": max_registers}))
    return results


class Workspace:
    """Buffers by name, reused as long as they are large enough, and the CUDA graphs that were captured on them."""

    def __init__(self):
        self._buffers = {}
        self.graphs = {}

    def take(self, name: str, *shape: int, dtype, device) -> Tensor:
        """An uninitialised contiguous tensor."""
        size = math.prod(shape)
        held = self._buffers.get(name)
        if held is None or held.dtype != dtype or held.device != device or held.numel() < size:
            held = None
            self._buffers.pop(name, None)  # free the old one first
            self.graphs.clear()  # they refer to it
            held = self._buffers[name] = torch.empty(size, dtype=dtype, device=device)
        return held[:size].view(shape)


@functools.cache  # CUDA graphs refer to the results
def _starts(layout: Layout, device) -> Tensor:
    """Where each slot's logits start, and their number: int32[K + 1]."""
    return torch.tensor([slot.start for slot in layout.slots] + [layout.num_logits], dtype=torch.int32, device=device)


@functools.cache  # CUDA graphs refer to the results
def _settings(clip, log_floor, dtype, device) -> Tensor:
    return torch.tensor([math.inf if clip is None else clip, log_floor], dtype=dtype, device=device)


def _check(memory, target, limit, dtype, steps) -> int:
    """The number of timesteps; the one place where the host waits for the device, unless `steps` is given."""
    num_cells = memory.shape[-1]
    if memory.device.type != "cuda" and not interpreted():
        raise ValueError(
            f"the gpu kernel runs on CUDA tensors, not on {memory.device.type!r}; on CPU tensors only under Triton's "
            "interpreter: set TRITON_INTERPRET=1 before Triton is imported"
        )
    if num_cells < 2:
        raise ValueError(f"a memory must have at least 2 cells, not {num_cells}")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"parameters must be float32 or float64, not {dtype}")
    if steps is not None:
        return steps
    extremes = torch.stack([*torch.aminmax(memory), *torch.aminmax(target), *torch.aminmax(limit)]).tolist()
    for name, (low, high) in (("memory", extremes[:2]), ("target", extremes[2:4])):
        if low < 0 or high >= num_cells:
            raise ValueError(f"{name} holds values outside 0..{num_cells - 1}")
    if extremes[4] < 1:
        raise ValueError("limits must be at least 1")
    return extremes[5]


class Pass:
    """One forward pass, kept for the backward pass: the run's buffers and what came out of it.

    steps: the number of timesteps, at least the largest limit; None finds it, and checks the arguments, which makes the
    host wait for the device.
    """

    def __init__(
        self,
        machines: Machines,
        batch: Batch,
        options: RunOptions,
        *,
        workspace: Workspace,
        keep: bool,
        produce: bool = False,
        steps: int | None = None,
    ):
        layout, controller, params = machines.layout, machines.controller, machines.params
        memory, target, mask, limit, _ = batch
        P, B, M = memory.shape
        N, R, L, H = P * B, layout.num_registers, layout.num_logits, controller.hidden
        dtype, device = params["output_weight"].dtype, memory.device
        steps = _check(memory, target, limit, dtype, steps)
        self.layout, self.controller, self.workspace = layout, controller, workspace
        self.dtype, self.device = dtype, device
        self.P, self.B, self.M, self.N, self.steps, self.keep = P, B, M, N, steps, keep
        self.lstm = isinstance(controller, LSTM)
        self.kept, self.kept_steps = (steps + 1, steps) if keep else (2, 1)
        self.blocks = _blocks(layout, M)
        self.S = self.blocks["S"]
        self.flags = {"ENTROPY": options.want_entropy, "PRODUCE": produce}
        self.key = (layout, controller, P, B, M, steps, keep, produce, options, dtype, device)
        self.starts, self.settings = _starts(layout, device), _settings(options.clip, options.log_floor, dtype, device)

        between = layout.repetitions - 1 if keep else 0
        self.inputs, self.top_size = _inputs(layout), _up(H + 1, 4)
        self.middle_size = _up(2 * H + 1, 4) if self.lstm else self.top_size
        self.values = self._take("values", self.kept, N, layout.num_sources, self.S)
        self.tapes = self._take("tapes", self.kept + between, N, M, self.S)
        self.logits = self._take("logits", P, self.kept_steps, B, self.blocks["LOGITS"])
        self.x = self._take("x", P, self.kept, B, self.inputs)
        self.middle = self._take("middle", P, self.kept_steps, B, self.middle_size)
        self.top = self._take("top", P, self.kept_steps, B, self.top_size)
        if self.lstm:
            self.gates = self._take("gates", P, self.kept_steps, B, 4 * H)
            self.cells = self._take("cells", P, self.kept, B, H)
        self.scratch = self._take("scratch", N, 6 * self.S)
        self.alive = self._take("alive", N)
        self.data = {
            "memory": self._copy("memory", memory, torch.int32),
            "target": self._copy("target", target, torch.int32),
            "mask": self._copy("mask", mask, torch.int8),
            "limit": self._copy("limit", limit, torch.int32),
        }
        middle_out = ("gates", 2 * H, 4 * H) if self.lstm else ("second", H, H)
        self.layers = (("first", R, H), middle_out, ("output", H, L + 1))
        padded = (self.inputs, H), (self.middle_size, middle_out[2]), (self.top_size, self.blocks["LOGITS"])
        self.matrices = []
        for (name, ins, outs), shape in zip(self.layers, padded, strict=True):
            matrix = self._take(f"matrix_{name}", P, *shape).zero_()
            matrix[:, :ins, :outs].copy_(params[f"{name}_weight"].detach())
            matrix[:, ins, :outs].copy_(params[f"{name}_bias"].detach())
            self.matrices.append(matrix)
        outcome = {
            "log_likelihood": self._take("log_likelihood", steps, P, B),
            "stop_logits": self._take("stop_logits", steps, P, B),
            "entropy": self._take("entropy", *((steps, P, B) if options.want_entropy else (1, 1, 1))),
            "wrong_cells": self._take("wrong_cells", P, B, dtype=torch.int32),
            "stop_step": self._take("stop_step", P, B, dtype=torch.int32),
            "produced": self._take("produced", *((P, B, M) if produce else (1, 1, 1)), dtype=torch.int32),
        }
        self.outcome = outcome
        self._launch("forward", self._forward)
        for name, value in outcome.items():  # copies: the buffers belong to the workspace
            setattr(self, name, value.clone() if value.dtype == dtype else value.long())

    def _take(self, name, *shape, dtype=None):
        return self.workspace.take(name, *shape, dtype=dtype or self.dtype, device=self.device)

    def _copy(self, name, tensor, dtype):
        return self._take(f"{name}_in", *tensor.shape, dtype=dtype).copy_(tensor)

    def _launch(self, name, function):
        """Run the launches of `function`, or the CUDA graph of the same launches."""
        with torch.cuda.device_of(self.settings):
            if not CUDA_GRAPHS or self.device.type != "cuda":
                function()
                return
            graphs, key = self.workspace.graphs, (name, *self.key)
            if key not in graphs:  # compiles the kernels, and takes all buffers
                function()
                graphs[key] = None
                return
            if graphs[key] is None:
                graph = torch.cuda.CUDAGraph()
                try:
                    with torch.cuda.graph(graph):
                        function()
                    graphs[key] = graph
                except RuntimeError as error:
                    logging.getLogger(__name__).warning("no CUDA graph of the %s pass: %s", name, error)
                    graphs[key] = False
            if graphs[key]:
                graphs[key].replay()
            else:
                function()

    def _forward(self):
        H, R, M, N = self.controller.hidden, self.blocks["R"], self.M, self.N
        for tensor, ones in ((self.x, R), (self.middle, H * (1 + self.lstm)), (self.top, H)):
            tensor.zero_()
            tensor[..., ones] = 1  # times the matrix's last row: the bias
        self.x[:, 0, :, :R] = 1  # every register is the integer 0
        self.values[0].zero_()
        self.values[0, :, :R, 0] = 1
        cells = torch.arange(self.S, dtype=torch.int32, device=self.device)
        self.tapes[0].copy_(self.data["memory"].view(N, M, 1) == cells)
        for tensor in (*self.outcome.values(), self.alive):
            tensor.zero_()
        self.outcome["stop_step"].fill_(-1)
        if self.lstm:
            self.cells[:, 0] = 0
        first, middle, output = self.matrices
        block_h = triton.next_power_of_2(H)
        data, out = self.data, self.outcome
        for t in range(self.steps):
            now = t % self.kept_steps
            here, there = t % self.kept, (t + 1) % self.kept
            hidden = self.middle[:, now, :, :H]
            torch.bmm(self.x[:, here], first, out=hidden)
            hidden.relu_()
            if self.lstm:
                torch.bmm(self.middle[:, now], middle, out=self.gates[:, now])
                following = (t + 1) % self.kept_steps if t + 1 < self.steps else -1
                _cell_forward[(N,)](
                    self.gates, self.cells, self.top, self.middle, now, here, there, following, self.kept_steps,
                    self.kept, self.B, self.top_size, self.middle_size, H, block_h,
                )  # fmt: skip
            else:
                hidden = self.top[:, now, :, :H]
                torch.bmm(self.middle[:, now], middle, out=hidden)
                hidden.relu_()
            torch.bmm(self.top[:, now], output, out=self.logits[:, now])
            _forward_step[(N,)](
                self.logits, self.x, self.values, self.tapes, data["target"], data["mask"], data["limit"], self.alive,
                out["stop_step"], out["wrong_cells"], out["produced"], out["log_likelihood"], out["stop_logits"],
                out["entropy"], self.starts, self.settings, self.scratch,
                t, now, here, there, self.kept_steps, self.kept, self.B, M,
                INPUTS=self.inputs, **self.blocks, **self.flags, num_warps=1, maxnreg=MAX_REGISTERS,
            )  # fmt: skip

    def backward(self, d_log_likelihood, d_stop_logits, d_entropy) -> dict[str, Tensor]:
        """Gradients of the parameters, from those of the outcome [T, P, B] (None: zero)."""
        shape = (self.steps, self.P, self.B)
        given = {"log_likelihood": d_log_likelihood, "stop_logits": d_stop_logits, "entropy": d_entropy}
        self.d_outcome = {}
        for name, gradient in given.items():
            held = self.d_outcome[name] = self._take(f"d_{name}", *shape)
            if gradient is None or (name == "entropy" and not self.flags["ENTROPY"]):
                held.zero_()
            else:
                held.copy_(gradient)
        P, B, N, H, R = self.P, self.B, self.N, self.controller.hidden, self.blocks["R"]
        self.d_registers = self._take("d_registers", N, R, self.S)
        self.d_tape = self._take("d_tape", N, self.M, self.S)
        self.d_inputs = self._take("d_inputs", N, self.blocks["K"], self.S)
        self.d_x = self._take("d_x", P, B, R)
        self.d_top = self._take("d_top", P, B, H)
        self.d_middle = self._take("d_middle", P, B, H * (1 + self.lstm))
        self.d_cells = self._take("d_cells", P, B, H)
        self.d_first = self._take("d_first", P, self.steps, B, H)
        self.d_second = self.gates if self.lstm else self._take("d_second", P, self.steps, B, H)
        self.d_matrices = [
            self._take(f"d_matrix_{name}", *matrix.shape)
            for (name, *_), matrix in zip(self.layers, self.matrices, strict=True)
        ]
        self._launch("backward", self._backward)
        gradients = {}
        for (name, ins, outs), matrix in zip(self.layers, self.d_matrices, strict=True):
            gradients[f"{name}_weight"] = matrix[:, :ins, :outs].clone(memory_format=torch.contiguous_format)
            gradients[f"{name}_bias"] = matrix[:, ins, :outs].clone(memory_format=torch.contiguous_format)
        return gradients

    def _backward(self):
        H, R, N, steps, B = self.controller.hidden, self.blocks["R"], self.N, self.steps, self.B
        block_h = triton.next_power_of_2(H)
        for tensor in (self.d_registers, self.d_tape, self.d_x, self.d_middle, self.d_cells):
            tensor.zero_()
        first, middle, output = (matrix.transpose(1, 2) for matrix in self.matrices)
        precision = PRECISION if self.dtype == torch.float32 else "ieee"
        data, given = self.data, self.d_outcome
        for t in reversed(range(steps)):
            _backward_step[(N,)](
                self.logits, self.d_x, self.values, self.tapes, data["target"], data["mask"], data["limit"],
                given["log_likelihood"], given["stop_logits"], given["entropy"], self.d_registers, self.d_tape,
                self.starts, self.settings, self.scratch, self.d_inputs,
                t, steps, B, self.M,
                CHUNK=CHUNK, ENTROPY=self.flags["ENTROPY"], PRECISION=precision, **self.blocks, num_warps=1,
                maxnreg=MAX_REGISTERS,
            )  # fmt: skip
            torch.bmm(self.logits[:, t], output[..., :H], out=self.d_top)
            if self.lstm:
                _cell_backward[(N,)](
                    self.gates, self.cells, self.d_top, self.d_middle, self.d_cells, t, steps, B, H, block_h,
                    self.settings,
                )  # fmt: skip
            else:
                _relu_backward[(N,)](
                    self.d_top, self.top, self.d_second, t, steps, B, H, self.top_size, H, block_h, self.settings
                )
            torch.bmm(self.d_second[:, t], middle[..., : self.d_middle.shape[-1]], out=self.d_middle)
            _relu_backward[(N,)](
                self.d_middle, self.middle, self.d_first, t, steps, B, self.d_middle.shape[-1], self.middle_size, H,
                block_h, self.settings,
            )  # fmt: skip
            torch.bmm(self.d_first[:, t], first[..., :R], out=self.d_x)
        ins = (self.x[:, :steps], self.middle, self.top)
        outs = (self.d_first, self.d_second, self.logits)
        for matrix, x, gradient in zip(self.d_matrices, ins, outs, strict=True):
            torch.bmm(x.flatten(1, 2).transpose(1, 2), gradient.flatten(1, 2), out=matrix)


_warm = set()


def will_compile(dtype=torch.float32) -> bool:
    """Whether `warm_up` has not run yet; Triton keeps what it compiled on disk, so that it may take a moment only."""
    return not interpreted() and dtype not in _warm


def warm_up(dtype=torch.float32) -> None:
    """Compile the kernels for the usual machine (4 registers, 14 modules, memories of up to 32 cells); others compile
    on their first run."""
    if not will_compile(dtype):
        return
    layout = Layout(4)
    device = torch.device("cuda")
    memory = torch.zeros(1, 1, 32, dtype=torch.long, device=device)
    batch = Batch(memory, memory, memory == 0, memory[..., 0] + 1, memory[..., 0])
    for kind in ("mlp", "lstm"):
        controller = make_controller(kind, layout, 64)
        params = {
            name: torch.zeros(1, *shape, dtype=dtype, device=device) for name, shape in controller.shapes().items()
        }
        machines = Machines(layout, controller, params)
        for entropy in (False, True):
            options = RunOptions(want_entropy=entropy)
            run = Pass(machines, batch, options, workspace=Workspace(), keep=True, steps=1)
            run.backward(None, None, None)
    _warm.add(dtype)
