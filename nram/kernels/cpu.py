"""One machine timestep fused for the CPU: circuit softmax, modules, registers and tape, forward and backward (Numba).

The unit of work is one example through one timestep. What it touches (R + Q value rows, an M x M tape) fits the first
caches, and nearly all of it is one operation, `simd.mix`: a weighted sum of rows. S is M rounded up to whole vectors;
lanes M..S-1 of every row are zero.

Multiply-adds per example and timestep (a slot of module i has n = R + i sources, K slots, W = sum of their widths):

    what                forward             backward (the forward's inputs are computed again)
    slot averages       W M                 W M again + W M for the weights' + W M for the sources' gradient
    READ                M^2                 2 M^2
    ADD, SUB            M^2 each            2 M^2 each
    WRITE               2 M^2               3 M^2 (and M^2 again when it is repeated)
    INC, DEC            0                   0
    comparisons         about 2 M each      4 M
    MIN, MAX            about 4 M each      6 M

R = 4 and 14 modules: W = 307, so 307 M + 5 M^2 forward and 921 M + 9 M^2 backward; at M = 32 (2 flops per multiply-add)
30 + 77 thousand flops. The controller, MLP with H hidden units and L + 1 outputs, adds H (R + H + L) forward and twice
that backward: at H = 48, L = 307 another 35 + 69.

The whole run is one call: a block of 8 examples of a member goes through all timesteps on one thread, so that no thread
waits for another within a run; the controller is a matrix product of the block. Backward, blocks again go through all
timesteps, and the gradients of the matrices are one product over all timesteps at the end. The threads are those of
Python (the loops release its lock): they do not spin, and so do not fight those of PyTorch, if these do not spin either
(OMP_WAIT_POLICY=PASSIVE in the environment before torch is imported).
"""
import functools
import hashlib
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_name
from numba import njit
from torch import Tensor

from nram.circuit import Layout
from nram.controller import LSTM, make_controller
from nram.kernels import simd
from nram.kernels.simd import (
    at,
    at_least,
    at_most,
    constant,
    dots,
    exp,
    first_equal,
    first_lanes,
    fma,
    lanes,
    largest,
    load,
    magnitude,
    mix,
    mix_many,
    mix_pair,
    one,
    padded,
    pointer,
    prefetch,
    prefetch_to_write,
    reciprocal,
    row_maxima,
    row_sums,
    running_sum,
    running_sum_down,
    shift_down,
    shift_up,
    splat,
    splat_first,
    splat_last,
    store,
    total,
    transpose,
    where_positive,
    with_lane,
    write_backward_block,
    zero,
)
from nram.modules import MODULES

(READ, ZERO, ONE, TWO, INC, ADD, SUB, DEC, LESS, LESS_OR_EQUAL, EQUAL, MIN, MAX, WRITE) = range(len(MODULES))
_KIND = {module.name: kind for kind, module in enumerate(MODULES)}

FETCH = 4096  # at most so many numbers of a tape are asked for ahead of time
_lowest, _bottom = constant(-3e38), constant(-1000.0)

inline = njit(error_model="numpy", nogil=True)


# --- rows -----------------------------------------------------------------------------------------------------------


@inline
def _put_unit(out, cell, S):
    """The one-hot row of `cell`."""
    step = lanes()
    nothing, ones = zero(out), one(out)
    c = 0
    while c < S:
        store(out, c, with_lane(cell - c, nothing, ones))
        c += step


@inline
def _put_truth(out, prob, S):
    """The row 1 - prob, prob, 0, 0, ..."""
    step = lanes()
    nothing = zero(out)
    probs = splat(prob)
    store(out, 0, with_lane(1, with_lane(0, nothing, one(out) - probs), probs))
    c = 16
    while c < S:
        store(out, c, nothing)
        c += step


@inline
def _rescale(out, M, S):
    """Zero the lanes from M on and divide the row by its sum."""
    step = lanes()
    nothing = zero(out)
    sums = nothing
    c = 0
    while c < S:
        sums = sums + first_lanes(M - c, load(out, c), nothing)
        c += step
    scale = splat(reciprocal(total(sums)))
    c = 0
    while c < S:
        store(out, c, first_lanes(M - c, load(out, c), nothing) * scale)
        c += step


@inline
def _clamp(out, M, S, bound):
    """Zero the lanes from M on; crop the rest to [-bound, bound]."""
    step = lanes()
    nothing = zero(out)
    high = splat(bound)
    low = nothing - high
    c = 0
    while c < S:
        store(out, c, at_least(low, at_most(high, first_lanes(M - c, load(out, c), nothing))))
        c += step


@inline
def _rotate_up(out, row, M, S):
    """out[c] = row[c - 1 mod M]."""
    step = lanes()
    before = splat(row[M - 1])
    nothing = zero(out)
    c = 0
    while c < S:
        here = load(row, c)
        store(out, c, first_lanes(M - c, shift_up(here, before), nothing))
        before = here
        c += step


@inline
def _rotate_down(out, row, M, S):
    """out[c] = row[c + 1 mod M]."""
    step = lanes()
    after = zero(out)
    first = splat(row[0])
    c = S - 16
    while c >= 0:
        here = load(row, c)
        store(out, c, with_lane(M - 1 - c, shift_down(here, after), first))
        after = here
        c -= step


@inline
def _double(out, row, M, S):
    """The row twice, M apart: out[c] = row[c mod M] for c < M + S (garbage from 2 M on)."""
    step = lanes()
    c = 0
    while c < S:
        store(out, c, load(row, c))
        c += step
    c = 0
    while c < S:
        store(out, M + c, load(row, c))
        c += step


# --- modules, forward -----------------------------------------------------------------------------------------------


@inline
def _order_prob(kind, a, b, S):
    """P(a < b), P(a <= b) or P(a = b)."""
    step = lanes()
    sums = zero(a)
    above_chunk = zero(a)  # P(B >= first cell of the chunk above), in every lane
    c = S - 16
    while c >= 0:
        a_here, b_here = load(a, c), load(b, c)
        if kind == EQUAL:
            sums = fma(a_here, b_here, sums)
        else:
            at_least_b = running_sum_down(b_here) + above_chunk
            if kind == LESS:
                sums = fma(a_here, shift_down(at_least_b, above_chunk), sums)
            else:
                sums = fma(a_here, at_least_b, sums)
            above_chunk = splat_first(at_least_b)
        c -= step
    return total(sums)


@inline
def _min(out, a, b, S):
    """out[c] = A[c] P(B >= c) + B[c] P(A > c)."""
    step = lanes()
    a_chunk, b_chunk = zero(a), zero(b)
    c = S - 16
    while c >= 0:
        a_here, b_here = load(a, c), load(b, c)
        at_least_a, at_least_b = running_sum_down(a_here) + a_chunk, running_sum_down(b_here) + b_chunk
        store(out, c, fma(a_here, at_least_b, b_here * shift_down(at_least_a, a_chunk)))
        a_chunk, b_chunk = splat_first(at_least_a), splat_first(at_least_b)
        c -= step


@inline
def _max(out, a, b, S):
    """out[c] = A[c] P(B <= c) + B[c] P(A < c)."""
    step = lanes()
    a_chunk, b_chunk = zero(a), zero(b)
    c = 0
    while c < S:
        a_here, b_here = load(a, c), load(b, c)
        at_most_a, at_most_b = running_sum(a_here) + a_chunk, running_sum(b_here) + b_chunk
        store(out, c, fma(a_here, at_most_b, b_here * shift_up(at_most_a, a_chunk)))
        a_chunk, b_chunk = splat_last(at_most_a), splat_last(at_most_b)
        c += step


@inline
def _write(out, tape, place, value, M, S):
    """out[i] = (1 - place[i]) tape[i] + place[i] value; `out` may be `tape`."""
    step = lanes()
    ones = one(out)
    for i in range(M):
        p = splat(place[i])
        kept = ones - p
        c = 0
        while c < S:
            store(out, i * S + c, fma(p, load(value, c), kept * load(tape, i * S + c)))
            c += step


# --- modules, backward ----------------------------------------------------------------------------------------------


@inline
def _order_backward(kind, d_a, d_b, slope, a, b, S):
    """Gradients of slope * P(a < b), P(a <= b) or P(a = b)."""
    step = lanes()
    factor = splat(slope)
    if kind == EQUAL:
        c = 0
        while c < S:
            store(d_a, c, factor * load(b, c))
            store(d_b, c, factor * load(a, c))
            c += step
        return
    chunk = zero(a)
    c = S - 16
    while c >= 0:
        at_least_b = running_sum_down(load(b, c)) + chunk
        if kind == LESS:
            store(d_a, c, factor * shift_down(at_least_b, chunk))
        else:
            store(d_a, c, factor * at_least_b)
        chunk = splat_first(at_least_b)
        c -= step
    chunk = zero(a)
    c = 0
    while c < S:
        at_most_a = running_sum(load(a, c)) + chunk
        if kind == LESS:
            store(d_b, c, factor * shift_up(at_most_a, chunk))
        else:
            store(d_b, c, factor * at_most_a)
        chunk = splat_last(at_most_a)
        c += step


@inline
def _min_backward(d_a, d_b, d_out, a, b, S):
    step = lanes()
    a_chunk, b_chunk = zero(a), zero(b)
    c = S - 16
    while c >= 0:
        d_here = load(d_out, c)
        at_least_a, at_least_b = running_sum_down(load(a, c)) + a_chunk, running_sum_down(load(b, c)) + b_chunk
        store(d_a, c, d_here * at_least_b)
        store(d_b, c, d_here * shift_down(at_least_a, a_chunk))
        a_chunk, b_chunk = splat_first(at_least_a), splat_first(at_least_b)
        c -= step
    a_chunk, b_chunk = zero(a), zero(b)
    c = 0
    while c < S:
        d_here = load(d_out, c)
        from_a, from_b = running_sum(d_here * load(a, c)) + a_chunk, running_sum(d_here * load(b, c)) + b_chunk
        store(d_a, c, load(d_a, c) + shift_up(from_b, b_chunk))
        store(d_b, c, load(d_b, c) + from_a)
        a_chunk, b_chunk = splat_last(from_a), splat_last(from_b)
        c += step


@inline
def _max_backward(d_a, d_b, d_out, a, b, S):
    step = lanes()
    a_chunk, b_chunk = zero(a), zero(b)
    c = 0
    while c < S:
        d_here = load(d_out, c)
        at_most_a, at_most_b = running_sum(load(a, c)) + a_chunk, running_sum(load(b, c)) + b_chunk
        store(d_a, c, d_here * at_most_b)
        store(d_b, c, d_here * shift_up(at_most_a, a_chunk))
        a_chunk, b_chunk = splat_last(at_most_a), splat_last(at_most_b)
        c += step
    a_chunk, b_chunk = zero(a), zero(b)
    c = S - 16
    while c >= 0:
        d_here = load(d_out, c)
        from_a = running_sum_down(d_here * load(a, c)) + a_chunk
        from_b = running_sum_down(d_here * load(b, c)) + b_chunk
        store(d_a, c, load(d_a, c) + shift_down(from_b, b_chunk))
        store(d_b, c, load(d_b, c) + from_a)
        a_chunk, b_chunk = splat_first(from_a), splat_first(from_b)
        c -= step


@inline
def _read_backward(d_place, d_tape, d_out, place, tape, M, S):
    """d_place[i] = <d_out, tape[i]>; d_tape[i] += place[i] d_out."""
    step = lanes()
    nothing = zero(d_out)
    for i in range(0, M, 16):
        store(d_place, i, first_lanes(M - i, dots(d_out, at(tape, i * S), S, S), nothing))
    for i in range(M):
        p = splat(place[i])
        c = 0
        while c < S:
            store(d_tape, i * S + c, fma(p, load(d_out, c), load(d_tape, i * S + c)))
            c += step


@inline
def _write_backward(d_place, d_value, d_tape, place, value, tape, M, S, bound):
    """Backward of `_write`; d_tape turns from the written tape's gradient (cropped first) into the old tape's."""
    step = lanes()
    nothing = zero(d_place)
    c = 0
    while c < S:
        store(d_value, c, nothing)
        c += step
    for i in range(0, M, 16):
        d_here = write_backward_block(d_value, at(d_tape, i * S), at(place, i), value, at(tape, i * S), S, bound)
        store(d_place, i, first_lanes(M - i, d_here, nothing))


# --- one example through one timestep ---------------------------------------------------------------------------------


@inline
def _softmaxes(weights, logits, starts, V, scratch, want_entropy):
    """Softmax of every slot of packed logits into packed weights; the sum of their entropies, or 0.

    Maxima and sums of sixteen slots are reduced together. Fills `scratch` with K rows of V and three of 16 padded(K).
    """
    step = lanes()
    nothing, ones, lowest, bottom = zero(logits), one(logits), _lowest(logits), _bottom(logits)
    products = nothing
    K = starts.shape[0] - 1
    rounded = -(-K // 16) * 16
    partial, partial_products, each = scratch, at(scratch, 16 * rounded), at(scratch, 32 * rounded)
    exps = at(each, rounded)
    for k in range(K):
        start, end, row = starts[k], starts[k + 1], at(exps, k * V)
        peaks = first_lanes(end - start, load(logits, start), lowest)
        store(row, 0, peaks)
        c = start + 16
        while c < end:
            here = first_lanes(end - c, load(logits, c), lowest)
            store(row, c - start, here)
            peaks = at_least(peaks, here)
            c += step
        store(partial, 16 * k, peaks)
    for k in range(0, K, 16):
        store(each, k, row_maxima(at(partial, 16 * k)))
    for k in range(K):
        width, row, peak = starts[k + 1] - starts[k], at(exps, k * V), splat(each[k])
        z = load(row, 0) - peak
        sums = exp(z)
        store(row, 0, sums)
        if want_entropy:
            products = sums * at_least(bottom, z)
        c = step
        while c < width:
            z = load(row, c) - peak
            e = exp(z)
            store(row, c, e)
            sums = sums + e
            if want_entropy:
                products = fma(e, at_least(bottom, z), products)
            c += step
        store(partial, 16 * k, sums)
        if want_entropy:
            store(partial_products, 16 * k, products)
    entropy = 0.0
    for k in range(0, K, 16):
        sums = row_sums(at(partial, 16 * k))
        scales = ones / sums
        store(each, k, scales)
        if want_entropy:
            means = row_sums(at(partial_products, 16 * k)) * scales
            store(partial, k, sums)
            store(partial_products, k, means)
    for k in range(K):
        start, end, row, scale = starts[k], starts[k + 1], at(exps, k * V), splat(each[k])
        store(weights, start, load(row, 0) * scale)
        c = start + 16
        while c < end:
            store(weights, c, load(row, c - start) * scale)
            c += step
    if want_entropy:
        product = 1.0
        for k in range(K):
            product *= partial[k]
            entropy -= partial_products[k]
            if product > 1e100:
                entropy += math.log(product)
                product = 1.0
        entropy += math.log(product)
    return entropy


@inline
def _softmaxes_backward(d_logits, d_weights, weights, logits, starts, V, scratch, d_entropy, bound):
    """Cropped gradient of the packed logits, from rows of V weights and of their gradients.

    That of the entropy -sum w log w is -w (z - sum w z), with z the logits. Fills `scratch` with two of 16 padded(K).
    """
    step = lanes()
    nothing, high = zero(logits), splat(bound)
    low = nothing - high
    K = starts.shape[0] - 1
    each = at(scratch, -(-K // 16) * 256)
    if d_entropy != 0:
        slope = splat(d_entropy)
        for k in range(K):
            start, end = starts[k], starts[k + 1]
            c = start
            while c < end:
                place = k * V + c - start
                store(d_weights, place, load(d_weights, place) - slope * load(logits, c))
                c += step
    for k in range(K):
        width, row, d_row = starts[k + 1] - starts[k], at(weights, k * V), at(d_weights, k * V)
        sums = first_lanes(width, load(row, 0) * load(d_row, 0), nothing)
        c = step
        while c < width:
            sums = sums + first_lanes(width - c, load(row, c) * load(d_row, c), nothing)
            c += step
        store(scratch, 16 * k, sums)
    for k in range(0, K, 16):
        store(each, k, row_sums(at(scratch, 16 * k)))
    for k in range(K):
        start, end, row, d_row = starts[k], starts[k + 1], at(weights, k * V), at(d_weights, k * V)
        mean = splat(each[k])
        store(d_logits, start, at_least(low, at_most(high, load(row, 0) * (load(d_row, 0) - mean))))
        c = start + 16
        while c < end:
            d = load(row, c - start) * (load(d_row, c - start) - mean)
            store(d_logits, c, at_least(low, at_most(high, d)))
            c += step


@inline
def _inputs(out, weights, first, count, step, width, values, S):
    """The averages of `count` (1 or 2) slots of equal width; their weights lie `step` apart."""
    if count == 2:
        mix_pair(out, S, at(weights, first), step, 1, values, S, width, S)
    elif count == 1:
        mix(out, at(weights, first), 1, values, S, width, S)


@inline
def _run_module(kind, out, a, b, double, tape, next_tape, M, S):
    if kind == READ:
        mix(out, a, 1, tape, S, M, S)
        _rescale(out, M, S)
    elif kind == ZERO:
        _put_unit(out, 0, S)
    elif kind == ONE:
        _put_unit(out, 1 % M, S)
    elif kind == TWO:
        _put_unit(out, 2 % M, S)
    elif kind == INC:
        _rotate_up(out, a, M, S)
    elif kind == ADD:
        _double(double, b, M, S)
        mix(out, a, 1, at(double, M), -1, M, S)
        _rescale(out, M, S)
    elif kind == SUB:
        _double(double, a, M, S)
        mix(out, b, 1, double, 1, M, S)
        _rescale(out, M, S)
    elif kind == DEC:
        _rotate_down(out, a, M, S)
    elif kind == MIN:
        _min(out, a, b, S)
        _rescale(out, M, S)
    elif kind == MAX:
        _max(out, a, b, S)
        _rescale(out, M, S)
    elif kind == WRITE:
        _write(next_tape, tape, a, b, M, S)
        _put_unit(out, 0, S)
    else:
        _put_truth(out, _order_prob(kind, a, b, S), S)


@inline
def _forward(kinds, first_slot, starts, R, M, S, logits, weights, values, next_values, tape, next_tape, scratch,
             want_entropy, ahead):
    """One timestep of one example; the entropy of its circuit, or 0.

    `ahead`: where the next timestep's logits and weights will lie; memory is asked for along the way.
    """
    Q = kinds.shape[0]
    K = starts.shape[0] - 1
    entropy = _softmaxes(weights, logits, starts, -(-(R + Q) // 16) * 16, scratch, want_entropy)
    inputs, double = scratch, at(scratch, 2 * S)
    now = tape
    next_logits, next_weights = ahead
    ahead_values, ahead_tape, ahead_logits = (R + Q) * S // Q + 16, min(M * S, FETCH) // Q + 16, starts[K] // Q + 16
    for i in range(Q):
        prefetch_to_write(at(next_logits, i * ahead_logits), ahead_logits)
        prefetch_to_write(at(next_weights, i * ahead_logits), ahead_logits)
        prefetch_to_write(at(next_values, i * ahead_values), ahead_values)
        prefetch_to_write(at(next_tape, i * ahead_tape), ahead_tape)
        k = first_slot[i]
        _inputs(inputs, weights, starts[k], first_slot[i + 1] - k, R + i, R + i, values, S)
        _run_module(kinds[i], at(values, (R + i) * S), inputs, at(inputs, S), double, now, next_tape, M, S)
        if kinds[i] == WRITE:
            now = next_tape
    mix_many(next_values, S, at(weights, starts[K - R]), R + Q, 1, values, S, R + Q, S, R)
    for r in range(R):
        _rescale(at(next_values, r * S), M, S)
    return entropy


@inline
def _version(tape, tapes, version, size):
    """The tape after `version` WRITEs of the timestep."""
    if version == 0:
        return tape
    return at(tapes, (version - 1) * size)


@inline
def _backward(kinds, first_slot, starts, R, M, S, logits, weights, values, tape, d_registers, d_tape, scratch,
              d_entropy, bound, ahead):
    """Backward of `_forward`: d_registers and d_tape turn from the gradients after the timestep into those before it.

    `weights` turns into the gradient of the logits. `ahead`: the values, tape, logits and weights of the example that
    comes next, for which memory is asked along the way.
    """
    step = lanes()
    Q = kinds.shape[0]
    K = starts.shape[0] - 1
    n = R + Q
    V = -(-n // 16) * 16
    dense = scratch  # the weights, one row of V per slot
    scratch = at(scratch, K * V)
    d_weights = scratch  # their gradients
    scratch = at(scratch, K * V)
    inputs = scratch  # the slots' averages
    scratch = at(scratch, K * S)
    d_inputs = scratch  # their gradients
    scratch = at(scratch, K * S)
    turned = scratch  # the value rows as columns: [S, V]
    scratch = at(scratch, S * V)
    d_out = scratch
    scratch = at(scratch, S)
    double = scratch
    scratch = at(scratch, 2 * S + 16)
    tapes = scratch  # the tapes after the first, second.. WRITE, if there are several

    for k in range(K):
        c = 0
        while c < starts[k + 1] - starts[k]:
            store(dense, k * V + c, load(weights, starts[k] + c))
            c += step
    whole = n if n % 16 > 4 else n - n % 16  # sources whose rows are turned; a few left over are cheaper as they are
    for j in range(0, whole, 16):
        c = 0
        while c < S:
            transpose(at(turned, c * V + j), V, at(values, j * S + c), S)
            c += step
    version = 0  # how many WRITEs have run: READ sees the tape of its version
    for i in range(Q):
        k = first_slot[i]
        _inputs(at(inputs, k * S), dense, k * V, first_slot[i + 1] - k, V, R + i, values, S)
        if kinds[i] == WRITE:
            version += 1
    last = version
    version = 0
    for i in range(Q):
        if kinds[i] == WRITE and version + 1 < last:
            k = first_slot[i]
            _write(at(tapes, version * M * S), _version(tape, tapes, version, M * S), at(inputs, k * S),
                   at(inputs, (k + 1) * S), M, S)
            version += 1
    version = last

    for r in range(R):
        c = 0
        while c < S:
            store(d_inputs, (K - R + r) * S + c, load(d_registers, r * S + c))
            c += step
        _clamp(at(d_inputs, (K - R + r) * S), M, S, bound)
    next_values, next_tape, next_logits, next_weights = ahead
    ahead_values, ahead_tape, ahead_logits = n * S // Q + 16, min(M * S, FETCH) // Q + 16, starts[K] // Q + 16
    for i in range(Q - 1, -1, -1):
        prefetch(at(next_values, i * ahead_values), ahead_values)
        prefetch(at(next_tape, i * ahead_tape), ahead_tape)
        prefetch(at(next_logits, i * ahead_logits), ahead_logits)
        prefetch(at(next_weights, i * ahead_logits), ahead_logits)
        kind = kinds[i]
        k, after = first_slot[i], first_slot[i + 1]
        a, b = at(inputs, k * S), at(inputs, (k + 1) * S)
        d_a, d_b = at(d_inputs, k * S), at(d_inputs, (k + 1) * S)
        if kind == WRITE:
            version -= 1
            _write_backward(d_a, d_b, d_tape, a, b, _version(tape, tapes, version, M * S), M, S, bound)
            continue
        if kind == ZERO or kind == ONE or kind == TWO:
            continue
        mix(d_out, at(dense, after * V + R + i), V, at(d_inputs, after * S), S, K - after, S)
        _clamp(d_out, M, S, bound)
        if kind == READ:
            _read_backward(d_a, d_tape, d_out, a, _version(tape, tapes, version, M * S), M, S)
        elif kind == INC:
            _rotate_down(d_a, d_out, M, S)
        elif kind == DEC:
            _rotate_up(d_a, d_out, M, S)
        elif kind == ADD:
            _double(double, d_out, M, S)
            # d_a[x] = sum_b B[b] d_out[x + b], d_b[x] = sum_a A[a] d_out[x + a]
            mix_pair(d_a, S, b, -S, 1, double, 1, M, S)
        elif kind == SUB:
            _double(double, d_out, M, S)
            mix(d_a, b, 1, at(double, M), -1, M, S)  # sum_b B[b] d_out[x - b]
            _double(double, a, M, S)
            mix(d_b, d_out, 1, double, 1, M, S)  # sum_c d_out[c] A[x + c]
        elif kind == MIN:
            _min_backward(d_a, d_b, d_out, a, b, S)
        elif kind == MAX:
            _max_backward(d_a, d_b, d_out, a, b, S)
        else:
            _order_backward(kind, d_a, d_b, d_out[1 % M] - d_out[0], a, b, S)
    mix_many(d_registers, S, dense, 1, V, d_inputs, S, K, S, R)
    for r in range(R):
        c = 0
        while c < S:
            store(d_registers, r * S + c, first_lanes(M - c, load(d_registers, r * S + c), zero(d_out)))
            c += step

    for j in range(0, whole, 16):
        k = first_slot[max(0, j - R + 1)]  # the first slot with more than j sources
        mix_many(at(d_weights, k * V + j), V, at(d_inputs, k * S), S, 1, at(turned, j), V, M, 16, K - k)
    for j in range(whole, n):
        k = first_slot[j - R + 1]
        for begin in range(k, K, 16):
            store(d_out, 0, dots(at(values, j * S), at(d_inputs, begin * S), S, S))
            for slot in range(begin, min(K, begin + 16)):
                d_weights[slot * V + j] = d_out[slot - begin]
    _softmaxes_backward(weights, d_weights, dense, logits, starts, V, scratch, d_entropy, bound)


# --- controllers ------------------------------------------------------------------------------------------------------
# A layer is a matrix product of `count` rows, each ending in a constant 1 whose weights are the biases. Hidden sizes
# are rounded up to whole vectors with weights 0.


@inline
def _layer(out, out_stride, rows, row_stride, matrix, inputs, outputs, count):
    """out[g] = (rows[g], 1) @ matrix [inputs + 1, outputs], for g < count; row g holds the 1 at place `inputs`."""
    mix_many(out, out_stride, rows, row_stride, 1, matrix, outputs, inputs + 1, outputs, count)


@inline
def _layer_backward(d_rows, d_row_stride, d_out, d_out_stride, turned, inputs, outputs, count):
    """d_rows[g] = d_out[g] @ matrix^T, with `turned` the transposed matrix [outputs, inputs]."""
    mix_many(d_rows, d_row_stride, d_out, d_out_stride, 1, turned, inputs, outputs, inputs, count)


@inline
def _relu(row, size):
    step = lanes()
    c = 0
    while c < size:
        store(row, c, at_least(zero(row), load(row, c)))
        c += step


@inline
def _relu_backward(d_row, row, size, bound):
    """Crop the activation's gradient, then let it pass where the activation is positive."""
    step = lanes()
    nothing, high = zero(row), splat(bound)
    low = nothing - high
    c = 0
    while c < size:
        cropped = at_least(low, at_most(high, load(d_row, c)))
        store(d_row, c, where_positive(load(row, c), cropped, nothing))
        c += step


@inline
def _sigmoid(base, x):
    e = exp(zero(base) - magnitude(x))
    return where_positive(x, one(base), e) / (one(base) + e)


@inline
def _tanh(base, x):
    return _sigmoid(base, x + x) * (one(base) + one(base)) - one(base)


@inline
def _cells(gates, h, c_now, c_before, H):
    """LSTM cells: gates [4 H] (input, forget, candidate, output) become their activations; h and c_now are written."""
    step = lanes()
    c = 0
    while c < H:
        enter, keep = _sigmoid(gates, load(gates, c)), _sigmoid(gates, load(gates, H + c))
        candidate, leave = _tanh(gates, load(gates, 2 * H + c)), _sigmoid(gates, load(gates, 3 * H + c))
        store(gates, c, enter)
        store(gates, H + c, keep)
        store(gates, 2 * H + c, candidate)
        store(gates, 3 * H + c, leave)
        state = fma(keep, load(c_before, c), enter * candidate)
        store(c_now, c, state)
        store(h, c, leave * _tanh(gates, state))
        c += step


@inline
def _cells_backward(gates, d_h, d_c, c_now, c_before, H, bound):
    """Backward of `_cells`: `gates` turns from activations into gradients before them, d_c into that of c_before."""
    step = lanes()
    nothing, ones, high = zero(gates), one(gates), splat(bound)
    low = nothing - high
    c = 0
    while c < H:
        enter, keep = load(gates, c), load(gates, H + c)
        candidate, leave = load(gates, 2 * H + c), load(gates, 3 * H + c)
        squashed = _tanh(gates, load(c_now, c))
        d_out = at_least(low, at_most(high, load(d_h, c)))
        d_state = fma(d_out * leave, ones - squashed * squashed, load(d_c, c))
        d_state = at_least(low, at_most(high, d_state))
        store(gates, c, d_state * candidate * enter * (ones - enter))
        store(gates, H + c, d_state * load(c_before, c) * keep * (ones - keep))
        store(gates, 2 * H + c, d_state * enter * (ones - candidate * candidate))
        store(gates, 3 * H + c, d_out * squashed * leave * (ones - leave))
        store(d_c, c, d_state * keep)
        c += step


# --- a block of examples of one member through all timesteps ----------------------------------------------------------


class Run(NamedTuple):
    """Everything the compiled loops need. Buffers are flat; an example's block is `block`, its place in it `g`.

    Per example n and kept timestep: values [R + Q, S], tapes [M, S]. Per block, timestep and g: logits, weights
    [logits_stride], x [x_stride] (zero_probs, 1), middle [middle_stride] (the middle layer's input: first hidden layer,
    for an LSTM then h, then 1), gates [gates_size] (the middle layer's output), cells [H], top [H + 16] (the output
    layer's input: last hidden layer, then 1). `kept` is T + 1, or 2 where no backward follows.
    """

    kinds: np.ndarray
    first_slot: np.ndarray
    starts: np.ndarray
    registers: int
    num_cells: int
    stride: int
    population: int
    batch: int
    group: int
    steps: int
    kept: int
    hidden: int
    is_lstm: int
    want_entropy: int
    stop_early: int
    floor: float
    bound: np.ndarray
    memory: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    limit: np.ndarray
    first: np.ndarray
    middle_matrix: np.ndarray
    output: np.ndarray
    values: np.ndarray
    tapes: np.ndarray
    logits: np.ndarray
    weights: np.ndarray
    x: np.ndarray
    middle: np.ndarray
    gates: np.ndarray
    cells: np.ndarray
    top: np.ndarray
    log_likelihood: np.ndarray
    stop_logits: np.ndarray
    entropy: np.ndarray
    produced: np.ndarray
    wrong_cells: np.ndarray
    stop_step: np.ndarray


class Gradients(NamedTuple):
    """What the backward pass reads (gradients of the outcome) and writes (one block's share of the matrices')."""

    log_likelihood: np.ndarray
    stop_logits: np.ndarray
    entropy: np.ndarray
    first_out: np.ndarray
    first: np.ndarray
    middle_matrix: np.ndarray
    output: np.ndarray


@inline
def _fill_zero(base, size):
    step = lanes()
    c = 0
    while c < size:
        store(base, c, zero(base))
        c += step


@inline
def _list_cells(cells, run, n):
    """Offsets in the tape of the right values of example n's output cells; their number."""
    M, count = run.num_cells, 0
    for i in range(M):
        if run.mask[n * M + i]:
            cells[count] = i * run.stride + run.target[n * M + i]
            count += 1
    return count


@inline
def _log_likelihood(tape, cells, count, floor):
    """Sum of log max(tape[cell], floor): one logarithm of a product of many."""
    likelihood, product = 0.0, 1.0
    for k in range(count):
        prob = tape[cells[k]] * 1.0
        product *= floor if prob < floor else prob
        if product < 1e-150:
            likelihood += math.log(product)
            product = 1.0
    return likelihood + math.log(product)


@inline
def _argmax(row, M, S):
    """The first cell with the largest value."""
    step = lanes()
    lowest = _lowest(row)
    peaks = lowest
    c = 0
    while c < S:
        peaks = at_least(peaks, first_lanes(M - c, load(row, c), lowest))
        c += step
    peak = largest(peaks)
    c = 0
    while c < S:
        lane = first_equal(load(row, c), peak)
        if lane < 16:
            return c + lane
        c += step
    return 0


@inline
def _finish(run, n, t, tape):
    """Example n has stopped after timestep t: note its produced memory and wrong cells."""
    M = run.num_cells
    wrong = 0
    for i in range(M):
        produced = -1
        if run.stop_early:
            produced = _argmax(at(tape, i * run.stride), M, run.stride)
            run.produced[n * M + i] = produced
        elif run.mask[n * M + i]:
            produced = _argmax(at(tape, i * run.stride), M, run.stride)
            wrong += produced != run.target[n * M + i]
    run.wrong_cells[n] = wrong
    run.stop_step[n] = t


@inline
def _block_forward(run, block, cells, cell_count, alive, stopped, scratch):
    """All timesteps of the block's examples."""
    step = lanes()
    R, M, S, G, H = run.registers, run.num_cells, run.stride, run.group, run.hidden
    K, Q = run.starts.shape[0] - 1, run.kinds.shape[0]
    L = run.starts[K]
    outputs, logits_stride = -(-(L + 1) // 16) * 16, -(-(L + 1) // 16) * 16 + 16
    rows = R + Q
    N = run.population * run.batch
    blocks = -(-run.batch // G)
    member, first_example = block // blocks, (block % blocks) * G
    count = min(G, run.batch - first_example)
    base = member * run.batch + first_example
    kept, kept_steps = run.kept, run.kept - 1
    x_stride = -(-(R + 1) // 16) * 16
    middle_size = H * (1 + run.is_lstm)
    middle_stride, gates_size = middle_size + 16, H * (1 + 3 * run.is_lstm)
    tape_size = M * S

    first = at(pointer(run.first), member * (R + 1) * H)
    middle_matrix = at(pointer(run.middle_matrix), member * (middle_size + 1) * gates_size)
    output = at(pointer(run.output), member * (H + 1) * outputs)
    all_x = at(pointer(run.x), block * kept_steps * G * x_stride)
    all_middle = at(pointer(run.middle), block * kept_steps * G * middle_stride)
    all_gates = at(pointer(run.gates), block * kept_steps * G * gates_size)
    all_cells = at(pointer(run.cells), block * kept * G * H)
    all_top = at(pointer(run.top), block * kept_steps * G * (H + 16))
    all_logits = at(pointer(run.logits), block * kept_steps * G * logits_stride)
    all_weights = at(pointer(run.weights), block * kept_steps * G * logits_stride)
    values, tapes = pointer(run.values), pointer(run.tapes)

    steps = 0
    for g in range(count):
        n = base + g
        steps = max(steps, run.limit[n])
        cell_count[g] = _list_cells(cells[g * M : (g + 1) * M], run, n)
        alive[g] = 1.0
        stopped[g] = 0
        for r in range(R):
            _put_unit(at(values, (n * kept * rows + r) * S), 0, S)
        for i in range(M):
            _put_unit(at(tapes, n * kept * tape_size + i * S), run.memory[n * M + i], S)
    if run.is_lstm:
        for g in range(count):
            _fill_zero(at(all_middle, g * middle_stride + H), H)
            _fill_zero(at(all_cells, g * H), H)

    for t in range(steps):
        row = (t % kept_steps) * count
        x, middle = at(all_x, row * x_stride), at(all_middle, row * middle_stride)
        gates, top = at(all_gates, row * gates_size), at(all_top, row * (H + 16))
        logits, weights = at(all_logits, row * logits_stride), at(all_weights, row * logits_stride)
        running = 0
        for g in range(count):
            n = base + g
            _fill_zero(at(x, g * x_stride), x_stride)
            if t < run.limit[n] and not (run.stop_early and stopped[g]):
                running += 1
                now = at(values, (n * kept + t % kept) * rows * S)
                for r in range(R):
                    x[g * x_stride + r] = now[r * S]
            x[g * x_stride + R] = 1
        if running == 0:
            break

        _layer(middle, middle_stride, x, x_stride, first, R, H, count)
        for g in range(count):
            _relu(at(middle, g * middle_stride), H)
            store(middle, g * middle_stride + middle_size, one(middle))
        if run.is_lstm:
            _layer(gates, gates_size, middle, middle_stride, middle_matrix, middle_size, gates_size, count)
            following = at(all_middle, ((t + 1) % kept_steps) * count * middle_stride + H)
            c_before, c_now = at(all_cells, (t % kept) * count * H), at(all_cells, ((t + 1) % kept) * count * H)
            for g in range(count):
                h = at(top, g * (H + 16))
                _cells(at(gates, g * gates_size), h, at(c_now, g * H), at(c_before, g * H), H)
                if t + 1 < steps:
                    c = 0
                    while c < H:
                        store(following, g * middle_stride + c, load(h, c))
                        c += step
        else:
            _layer(top, H + 16, middle, middle_stride, middle_matrix, middle_size, H, count)
            for g in range(count):
                _relu(at(top, g * (H + 16)), H)
        for g in range(count):
            store(top, g * (H + 16) + H, one(top))
        _layer(logits, logits_stride, top, H + 16, output, H, outputs, count)

        for g in range(count):
            n = base + g
            if t >= run.limit[n] or (run.stop_early and stopped[g]):
                continue
            here, there = (n * kept + t % kept) * rows * S, (n * kept + (t + 1) % kept) * rows * S
            tape = at(tapes, (n * kept + t % kept) * tape_size)
            next_tape = at(tapes, (n * kept + (t + 1) % kept) * tape_size)
            entropy = _forward(
                run.kinds, run.first_slot, run.starts, R, M, S, at(logits, g * logits_stride),
                at(weights, g * logits_stride), at(values, here), at(values, there), tape, next_tape, scratch,
                run.want_entropy, (at(logits, (count + g) * logits_stride), at(weights, (count + g) * logits_stride)),
            )
            stop_logit = logits[g * logits_stride + L]
            run.stop_logits[t * N + n] = stop_logit
            run.log_likelihood[t * N + n] = _log_likelihood(next_tape, cells[g * M :], cell_count[g], run.floor)
            if run.want_entropy:
                run.entropy[t * N + n] = entropy
            alive[g] /= 1.0 + math.exp(stop_logit)
            if not stopped[g] and (alive[g] <= 0.5 or t == run.limit[n] - 1):
                stopped[g] = 1
                _finish(run, n, t, next_tape)


@inline
def _turn(out, matrix, inputs, outputs):
    """out [outputs, inputs] = matrix [inputs, outputs] transposed; both sizes are read in whole vectors."""
    for i in range(0, inputs, 16):
        for o in range(0, outputs, 16):
            transpose(at(out, o * inputs + i), inputs, at(matrix, i * outputs + o), outputs)


@inline
def _block_backward(run, gradients, block, cells, cell_count, scratch):
    """Backward of `_block_forward`: one block's share of the matrices' gradients."""
    step = lanes()
    R, M, S, G, H = run.registers, run.num_cells, run.stride, run.group, run.hidden
    K, Q = run.starts.shape[0] - 1, run.kinds.shape[0]
    L = run.starts[K]
    outputs, logits_stride = -(-(L + 1) // 16) * 16, -(-(L + 1) // 16) * 16 + 16
    rows = R + Q
    N = run.population * run.batch
    blocks = -(-run.batch // G)
    member, first_example = block // blocks, (block % blocks) * G
    count = min(G, run.batch - first_example)
    base = member * run.batch + first_example
    kept, kept_steps = run.kept, run.kept - 1
    x_stride, x_size = -(-(R + 1) // 16) * 16, -(-R // 16) * 16
    middle_size = H * (1 + run.is_lstm)
    middle_stride, gates_size = middle_size + 16, H * (1 + 3 * run.is_lstm)
    tape_size, d_tape_size = M * S, S * S
    bound = run.bound[0]

    first = at(pointer(run.first), member * (R + 1) * H)
    middle_matrix = at(pointer(run.middle_matrix), member * (middle_size + 1) * gates_size)
    output = at(pointer(run.output), member * (H + 1) * outputs)
    all_x = at(pointer(run.x), block * kept_steps * G * x_stride)
    all_middle = at(pointer(run.middle), block * kept_steps * G * middle_stride)
    all_gates = at(pointer(run.gates), block * kept_steps * G * gates_size)
    all_cells = at(pointer(run.cells), block * kept * G * H)
    all_top = at(pointer(run.top), block * kept_steps * G * (H + 16))
    all_logits = at(pointer(run.logits), block * kept_steps * G * logits_stride)
    all_weights = at(pointer(run.weights), block * kept_steps * G * logits_stride)
    all_first_out = at(pointer(gradients.first_out), block * kept_steps * G * H)
    values, tapes = pointer(run.values), pointer(run.tapes)

    turned_output = scratch
    scratch = at(scratch, outputs * H)
    turned_middle = scratch
    scratch = at(scratch, gates_size * middle_size)
    turned_first = scratch
    scratch = at(scratch, H * x_size)
    d_registers = scratch
    scratch = at(scratch, G * R * S)
    d_tapes = scratch
    scratch = at(scratch, G * d_tape_size)
    d_x = scratch
    scratch = at(scratch, G * x_size)
    d_h = scratch
    scratch = at(scratch, G * H)
    d_c = scratch
    scratch = at(scratch, G * H)
    d_middle = scratch
    scratch = at(scratch, G * middle_size)

    _turn(turned_output, output, H, outputs)
    _turn(turned_middle, middle_matrix, middle_size, gates_size)
    for i in range(0, x_size, 16):
        for o in range(0, H, 16):
            transpose(at(turned_first, o * x_size + i), x_size, at(first, i * H + o), H)
    _fill_zero(d_registers, G * R * S)
    _fill_zero(d_tapes, G * d_tape_size)
    _fill_zero(d_middle, G * middle_size)
    _fill_zero(d_c, G * H)

    steps = 0
    for g in range(count):
        steps = max(steps, run.limit[base + g])
        cell_count[g] = _list_cells(cells[g * M : (g + 1) * M], run, base + g)
    for t in range(steps - 1, -1, -1):
        row = t * count
        middle = at(all_middle, row * middle_stride)
        gates, top = at(all_gates, row * gates_size), at(all_top, row * (H + 16))
        logits, weights = at(all_logits, row * logits_stride), at(all_weights, row * logits_stride)
        first_out = at(all_first_out, row * H)
        for g in range(count):
            n = base + g
            d_logits = at(weights, g * logits_stride)
            if t >= run.limit[n]:
                _fill_zero(d_logits, outputs)
                continue
            tape, next_tape = at(tapes, (n * kept + t) * tape_size), at(tapes, (n * kept + t + 1) * tape_size)
            d_tape = at(d_tapes, g * d_tape_size)
            # The example that comes next; the very last one asks for its own memory again.
            g_next, t_next = (g + 1, t) if g + 1 < count else (0, max(0, t - 1))
            n_next = base + g_next
            row_next = (t_next * count + g_next) * logits_stride
            ahead = (
                at(values, (n_next * kept + t_next) * rows * S), at(tapes, (n_next * kept + t_next) * tape_size),
                at(all_logits, row_next), at(all_weights, row_next),
            )
            slope = gradients.log_likelihood[t * N + n]
            for k in range(g * M, g * M + cell_count[g]):
                prob = next_tape[cells[k]]
                if not prob < run.floor:
                    d_tape[cells[k]] += slope / prob
            _backward(
                run.kinds, run.first_slot, run.starts, R, M, S, at(logits, g * logits_stride), d_logits,
                at(values, (n * kept + t) * rows * S), tape, at(d_registers, g * R * S), d_tape, scratch,
                gradients.entropy[t * N + n], bound, ahead,
            )
            d_stop = gradients.stop_logits[t * N + n]
            d_logits[L] = -bound if d_stop < -bound else (bound if d_stop > bound else d_stop)

        if run.is_lstm:
            _layer_backward(d_h, H, weights, logits_stride, turned_output, H, L + 1, count)
            c_before, c_now = at(all_cells, t * count * H), at(all_cells, (t + 1) * count * H)
            for g in range(count):
                c = 0
                while c < H:
                    later = load(d_middle, g * middle_size + H + c)
                    store(d_h, g * H + c, load(d_h, g * H + c) + later)
                    c += step
                _cells_backward(at(gates, g * gates_size), at(d_h, g * H), at(d_c, g * H), at(c_now, g * H),
                                at(c_before, g * H), H, bound)
            _layer_backward(d_middle, middle_size, gates, gates_size, turned_middle, middle_size, gates_size, count)
            for g in range(count):
                c = 0
                while c < H:
                    store(first_out, g * H + c, load(d_middle, g * middle_size + c))
                    c += step
        else:
            _layer_backward(gates, H, weights, logits_stride, turned_output, H, L + 1, count)
            for g in range(count):
                _relu_backward(at(gates, g * H), at(top, g * (H + 16)), H, bound)
            _layer_backward(first_out, H, gates, H, turned_middle, H, H, count)
        for g in range(count):
            _relu_backward(at(first_out, g * H), at(middle, g * middle_stride), H, bound)
        _layer_backward(d_x, x_size, first_out, H, turned_first, x_size, H, count)
        for g in range(count):
            for r in range(R):
                d_registers[(g * R + r) * S] += d_x[g * x_size + r]

    number = steps * count
    mix_many(at(pointer(gradients.first), block * (R + 1) * H), H, all_x, 1, x_stride, all_first_out, H, number, H,
             R + 1)
    mix_many(at(pointer(gradients.middle_matrix), block * (middle_size + 1) * gates_size), gates_size, all_middle, 1,
             middle_stride, all_gates, gates_size, number, gates_size, middle_size + 1)
    mix_many(at(pointer(gradients.output), block * (H + 1) * outputs), outputs, all_top, 1, H + 16, all_weights,
             logits_stride, number, outputs, H + 1)


def _compile(source_digest):
    """The compiled loops. Their cache is keyed by `source_digest`, since they inline functions of another file."""

    @njit(cache=True, error_model="numpy", nogil=True)
    def forward(run, thread, threads, scratch):
        source_digest  # noqa: B018
        G = run.group
        cells, cell_count = np.empty(G * run.num_cells, np.int64), np.empty(G, np.int64)
        alive, stopped = np.empty(G), np.empty(G, np.int64)
        for block in range(thread, run.population * -(-run.batch // G), threads):
            _block_forward(run, block, cells, cell_count, alive, stopped, pointer(scratch))

    @njit(cache=True, error_model="numpy", nogil=True)
    def backward(run, gradients, thread, threads, scratch):
        source_digest  # noqa: B018
        cells, cell_count = np.empty(run.group * run.num_cells, np.int64), np.empty(run.group, np.int64)
        for block in range(thread, run.population * -(-run.batch // run.group), threads):
            _block_backward(run, gradients, block, cells, cell_count, pointer(scratch))

    return forward, backward


_DIGEST = hashlib.sha256(Path(simd.__file__).read_bytes() + Path(__file__).read_bytes()).hexdigest()
_forward_blocks, _backward_blocks = _compile(_DIGEST)


# --- from tensors -----------------------------------------------------------------------------------------------------

num_threads = None  # of a pass; None stands for as many as PyTorch's own operations have
GROUP = 8  # examples that go through the controller together; results do not depend on the number of threads


class Workspace:
    """Buffers by name, reused as long as they are large enough; 64-byte aligned."""

    def __init__(self):
        self._buffers = {}

    def take(self, name: str, size: int, dtype) -> Tensor:
        """An uninitialised flat buffer of `size` elements."""
        held = self._buffers.get(name)
        if held is None or held.dtype != dtype or held.numel() < size:
            self._buffers[name] = None  # free the old one first
            held = self._buffers[name] = torch.empty(size, dtype=dtype)
        return held[:size]


@functools.lru_cache(maxsize=16)
def _program(layout: Layout):
    kinds = np.array([_KIND[module.name] for module in layout.modules], np.int64)
    arities = [module.arity for module in layout.modules]
    first_slot = np.concatenate([[0], np.cumsum(arities)]).astype(np.int64)
    starts = np.array([slot.start for slot in layout.slots] + [layout.num_logits], np.int64)
    return kinds, first_slot, starts


def _layers(layout, controller):
    """(name, input parts, their size, output parts, their size) of the controller's three layers."""
    H = controller.hidden
    middle = ("gates", 2, H, 4, H) if isinstance(controller, LSTM) else ("second", 1, H, 1, H)
    return ("first", 1, layout.num_registers, 1, H), middle, ("output", 1, H, 1, layout.num_logits + 1)


def _whole(name, in_size, out_size):
    """A layer's part sizes in whole vectors; the first layer's inputs stay as they are."""
    return in_size if name == "first" else padded(in_size), padded(out_size)


def _pack(layout, controller, params, workspace):
    """The three layers as flat [P, inputs + 1, outputs] matrices in whole vectors, biases in the last row."""
    flats = []
    for name, in_parts, in_size, out_parts, out_size in _layers(layout, controller):
        weight, bias = params[f"{name}_weight"], params[f"{name}_bias"]
        P = weight.shape[0]
        inputs, outputs = _whole(name, in_size, out_size)
        shape = (P, in_parts * inputs + 1, out_parts * outputs)
        flat = workspace.take(f"matrix_{name}", math.prod(shape) + 16 * shape[2], weight.dtype).zero_()
        matrix = flat[: math.prod(shape)].view(shape)
        place = matrix[:, :-1].unflatten(2, (out_parts, outputs)).unflatten(1, (in_parts, inputs))
        place[:, :, :in_size, :, :out_size] = weight.view(P, in_parts, in_size, out_parts, out_size)
        matrix[:, -1].unflatten(1, (out_parts, outputs))[:, :, :out_size] = bias.view(P, out_parts, out_size)
        flats.append(flat)
    return flats


def _unpack(layout, controller, flats, P, blocks):
    """Parameters' gradients from every block's share of the three matrices'."""
    gradients = {}
    for flat, (name, in_parts, in_size, out_parts, out_size) in zip(flats, _layers(layout, controller), strict=True):
        inputs, outputs = _whole(name, in_size, out_size)
        shape = (P, blocks, in_parts * inputs + 1, out_parts * outputs)
        matrix = flat[: math.prod(shape)].view(shape)
        matrix = matrix.sum(1) if blocks > 1 else matrix[:, 0]
        place = matrix[:, :-1].unflatten(2, (out_parts, outputs)).unflatten(1, (in_parts, inputs))
        bias = matrix[:, -1].unflatten(1, (out_parts, outputs))[:, :, :out_size]
        # Copies: the shares' memory belongs to the workspace.
        gradients[f"{name}_weight"] = place[:, :, :in_size, :, :out_size].clone(
            memory_format=torch.contiguous_format
        ).view(P, in_parts * in_size, out_parts * out_size)
        gradients[f"{name}_bias"] = bias.clone(memory_format=torch.contiguous_format).view(P, out_parts * out_size)
    return gradients


_pool = None
_pool_lock = threading.Lock()


def _forget_pool():
    """A forked process has none of its parent's threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _without_denormals(function, thread):
    """Call function(thread) with numbers below the smallest normal one (1.2e-38) taken as 0: they cost 150 cycles each.

    Where the CPU has no such mode (torch.set_flush_denormal returns False) they are computed.
    """
    smallest = np.finfo(np.float32).tiny
    already = bool(smallest * np.float32(0.5) == 0)
    torch.set_flush_denormal(True)
    try:
        function(thread)
    finally:
        torch.set_flush_denormal(already)


def _in_threads(function, threads):
    """Call function(thread) for every thread, this one among them; the loops release the interpreter's lock."""
    global _pool
    others = []
    if threads > 1:
        with _pool_lock:
            if _pool is None or _pool._max_workers < threads - 1:
                _pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="nram")
        others = [_pool.submit(_without_denormals, function, thread) for thread in range(1, threads)]
    try:
        _without_denormals(function, 0)
    finally:
        for other in others:
            other.result()


def _check(memory, target, limit, dtype):
    """The loops below do not check what they address."""
    num_cells = memory.shape[-1]
    if num_cells < 2:
        raise ValueError(f"a memory must have at least 2 cells, not {num_cells}")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"parameters must be float32 or float64, not {dtype}")
    for name, tensor in (("memory", memory), ("target", target)):
        low, high = torch.aminmax(tensor)
        if low < 0 or high >= num_cells:
            raise ValueError(f"{name} holds values outside 0..{num_cells - 1}")
    if limit.min() < 1:
        raise ValueError("limits must be at least 1")


class Pass:
    """One forward pass, kept for the backward pass: the run's buffers and what came out of it."""

    def __init__(self, layout, controller, params, memory, target, mask, limit, *, clip, want_entropy, log_floor,
                 workspace, keep, produce=False):
        P, B, M = memory.shape
        N, R = P * B, layout.num_registers
        dtype = params["output_weight"].dtype
        _check(memory, target, limit, dtype)
        steps = int(limit.max())
        kept = steps + 1 if keep else 2
        group = min(GROUP, B)
        blocks = -(-B // group)
        S, H = padded(M), padded(controller.hidden)
        lstm = isinstance(controller, LSTM)
        rows, L = layout.num_sources, layout.num_logits
        block_rows = P * blocks * (kept - 1) * group
        self.layout, self.controller, self.workspace, self.dtype = layout, controller, workspace, dtype
        self.P, self.blocks, self.steps = P, blocks, steps
        self.threads = max(1, min(num_threads or torch.get_num_threads(), P * blocks))

        def take(name, size):
            return workspace.take(name, size, dtype)

        def ints(tensor):
            return tensor.contiguous().view(-1).numpy()

        self.flats = _pack(layout, controller, params, workspace)
        self.log_likelihood = torch.zeros(steps, P, B, dtype=dtype)
        self.stop_logits = torch.zeros(steps, P, B, dtype=dtype)
        self.entropy = torch.zeros((steps, P, B) if want_entropy else (1, 1, 1), dtype=dtype)
        self.produced = torch.zeros((P, B, M) if produce else (1, 1, 1), dtype=torch.long)
        self.wrong_cells = torch.zeros(P, B, dtype=torch.long)
        self.stop_step = torch.zeros(P, B, dtype=torch.long)
        bound = torch.tensor([math.inf if clip is None else clip], dtype=dtype)
        logits_stride = padded(L + 1) + 16
        kinds, first_slot, starts = _program(layout)
        pad = 16 * max(S, logits_stride)
        tensors = {
            "values": take("values", N * kept * rows * S + pad),
            "tapes": take("tapes", N * kept * M * S + pad),
            "logits": take("logits", block_rows * logits_stride + pad),
            "weights": take("weights", block_rows * logits_stride + pad),
            "x": take("x", block_rows * padded(R + 1) + pad),
            "middle": take("middle", block_rows * (H * (1 + lstm) + 16) + pad),
            "gates": take("gates", block_rows * H * (1 + 3 * lstm) + pad),
            "cells": take("cells", P * blocks * kept * group * H + pad),
            "top": take("top", block_rows * (H + 16) + pad),
        }
        self.sizes = (R, M, S, H, rows, L, len(starts) - 1, lstm, group, block_rows, pad)
        self.run = Run(
            kinds, first_slot, starts, R, M, S, P, B, group, steps, kept, H, int(lstm), int(want_entropy), int(produce),
            float(log_floor), bound.numpy(), ints(memory), ints(target), ints(mask), ints(limit),
            *[flat.numpy() for flat in self.flats], **{name: tensor.numpy() for name, tensor in tensors.items()},
            log_likelihood=self.log_likelihood.view(-1).numpy(), stop_logits=self.stop_logits.view(-1).numpy(),
            entropy=self.entropy.view(-1).numpy(), produced=self.produced.view(-1).numpy(),
            wrong_cells=self.wrong_cells.view(-1).numpy(), stop_step=self.stop_step.view(-1).numpy(),
        )
        slots = padded(len(starts))
        scratch_size = padded(4 * S + 64) + slots * (padded(rows) + 49)
        scratch = take("scratch", self.threads * scratch_size).numpy().reshape(self.threads, scratch_size)
        _in_threads(lambda k: _forward_blocks(self.run, k, self.threads, scratch[k]), self.threads)

    def backward(self, d_log_likelihood, d_stop_logits, d_entropy) -> dict[str, Tensor]:
        """Gradients of the parameters, from those of the outcome [T, P, B] (None: zero)."""
        R, M, S, H, rows, L, K, lstm, group, block_rows, pad = self.sizes
        middle, gates, V, outputs = H * (1 + lstm), H * (1 + 3 * lstm), padded(rows), padded(L + 1)

        def flat(gradient):
            if gradient is None:
                gradient = torch.zeros(self.log_likelihood.shape, dtype=self.dtype)
            return gradient.to(self.dtype).contiguous().view(-1).numpy()

        def take(name, size):
            return self.workspace.take(name, size, self.dtype)

        shares = [
            take("d_first", self.P * self.blocks * (R + 1) * H),
            take("d_middle", self.P * self.blocks * (middle + 1) * gates),
            take("d_output", self.P * self.blocks * (H + 1) * outputs),
        ]
        gradients = Gradients(
            flat(d_log_likelihood), flat(d_stop_logits), flat(d_entropy),
            take("first_out", block_rows * H + pad).numpy(),
            *[share.numpy() for share in shares],
        )
        controller = outputs * H + gates * middle + H * padded(R) + group * (padded(R) + 2 * H + middle)
        machine = group * (R * S + S * S)
        example = 2 * K * V + 2 * (K + 16) * S + S * V + 4 * S + 64 + 17 * (K + 16)
        example += (self.layout.repetitions - 1) * M * S
        size = padded(controller + machine + example) + pad
        scratch = take("scratch_backward", self.threads * size).numpy().reshape(self.threads, size)
        _in_threads(lambda k: _backward_blocks(self.run, gradients, k, self.threads, scratch[k]), self.threads)
        return _unpack(self.layout, self.controller, shares, self.P, self.blocks)


def _marker(dtype) -> Path:
    """A file beside Numba's cache, there if the loops for `dtype` and this CPU are in it."""
    name = f"nram-kernels-{_DIGEST[:16]}-{get_host_cpu_name()}-{str(dtype).removeprefix('torch.')}"
    return Path(_forward_blocks.stats.cache_path) / name


_warm = set()


def will_compile(dtype=torch.float32) -> bool:
    """Whether `warm_up`, or else the first run, has to compile."""
    return dtype not in _warm and not _marker(dtype).exists()


def warm_up(dtype=torch.float32) -> None:
    """Compile the loops for `dtype`, or load them from Numba's cache."""
    if dtype in _warm:
        return
    layout = Layout(1)
    controller = make_controller("mlp", layout, 1)
    params = {name: torch.zeros(1, *shape, dtype=dtype) for name, shape in controller.shapes().items()}
    memory, limit = torch.zeros(1, 1, 2, dtype=torch.long), torch.ones(1, 1, dtype=torch.long)
    run = Pass(layout, controller, params, memory, memory, memory == 0, limit, clip=None, want_entropy=False,
               log_floor=1e-6, workspace=Workspace(), keep=True)
    run.backward(None, None, None)
    _warm.add(dtype)
    try:
        _marker(dtype).touch()
    except OSError:
        pass  # then Numba could not write its cache either
