"""The controllers, MLP and LSTM, for a block of examples: x [R] and a state in, circuit logits and stop logit out.

Every layer is one matrix product for the block's examples: a row of a matrix is loaded once for eight of them. A
layer's input ends in a constant 1, whose weights are the biases. Hidden sizes are rounded up to whole vectors, with
weights 0. Multiply-adds per example and timestep: H (R + H + L) for an MLP, H (R + 8 H + L) for an LSTM. Backward takes
as many for the gradients of the inputs, and as many again for those of the matrices, in one product over all timesteps
at the end.

run.py has the shapes of `rows` and `matrices`.
"""

from typing import NamedTuple

import numpy as np

from nram.kernels.cpu.rows import copy, fill_zero, inline, section
from nram.kernels.cpu.run import Matrices
from nram.kernels.cpu.simd import (
    at,
    at_least,
    at_most,
    exp,
    fma,
    lanes,
    load,
    magnitude,
    mix_many,
    one,
    splat,
    store,
    transpose,
    where_positive,
    zero,
)


class Slopes(NamedTuple):
    """Gradients that one timestep hands to the one before, and room for others: a row per example of the block.

    d_x [x_size], d_h [H], d_c [H] of the LSTM's cells, d_middle [middle_size] of the middle layer's input.
    """

    d_x: np.ndarray
    d_h: np.ndarray
    d_c: np.ndarray
    d_middle: np.ndarray


def backward_scratch(sizes) -> int:
    """Numbers of scratch that `start_backward` takes."""
    matrices = sizes.hidden * (sizes.outputs + sizes.x_size) + sizes.gates_size * sizes.middle_size
    return matrices + sizes.group * (sizes.x_size + 2 * sizes.hidden + sizes.middle_size)


# --- layers ---------------------------------------------------------------------------------------------------------


@inline
def _layer(out, out_stride, rows, row_stride, matrix, inputs, outputs, count):
    """out[g] = (rows[g], 1) @ matrix [inputs + 1, outputs], for g < count; row g holds the 1 at place `inputs`."""
    mix_many(out, out_stride, rows, row_stride, 1, matrix, outputs, inputs + 1, outputs, count)


@inline
def _layer_backward(d_rows, d_row_stride, d_out, d_out_stride, turned, inputs, outputs, count):
    """d_rows[g] = d_out[g] @ matrix^T, with `turned` the transposed matrix [outputs, inputs]."""
    mix_many(d_rows, d_row_stride, d_out, d_out_stride, 1, turned, inputs, outputs, inputs, count)


@inline
def _turn(out, matrix, inputs, outputs):
    """out [outputs, inputs] = matrix [inputs, outputs] transposed; both sizes are read in whole vectors."""
    for i in range(0, inputs, 16):
        for o in range(0, outputs, 16):
            transpose(at(out, o * inputs + i), inputs, at(matrix, i * outputs + o), outputs)


@inline
def _add(out, row, size):
    """out[c] += row[c]."""
    step = lanes()
    c = 0
    while c < size:
        store(out, c, load(out, c) + load(row, c))
        c += step


@inline
def _relu(row, size):
    """Zero what is below 0."""
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
    """The sigmoid of every lane; the exponential of -|x| cannot overflow. `base` gives the kind of number."""
    e = exp(zero(base) - magnitude(x))
    return where_positive(x, one(base), e) / (one(base) + e)


@inline
def _tanh(base, x):
    """2 sigmoid(2 x) - 1."""
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


# --- one timestep ---------------------------------------------------------------------------------------------------


@section
def forward(sizes, matrices, rows, c_before, c_now, count):
    """From x to logits, for `count` examples; c_before, c_now [count, H]: an LSTM's cells."""
    H, middle_size, middle_stride, gates_size = sizes.hidden, sizes.middle_size, sizes.middle_stride, sizes.gates_size
    top, top_stride = rows.top, sizes.top_stride
    _layer(rows.middle, middle_stride, rows.x, sizes.x_stride, matrices.first, sizes.registers, H, count)
    for g in range(count):
        _relu(at(rows.middle, g * middle_stride), H)
        store(rows.middle, g * middle_stride + middle_size, one(top))
    if sizes.is_lstm:
        _layer(rows.gates, gates_size, rows.middle, middle_stride, matrices.middle, middle_size, gates_size, count)
        for g in range(count):
            _cells(at(rows.gates, g * gates_size), at(top, g * top_stride), at(c_now, g * H), at(c_before, g * H), H)
    else:
        _layer(top, top_stride, rows.middle, middle_stride, matrices.middle, middle_size, H, count)
        for g in range(count):
            _relu(at(top, g * top_stride), H)
    for g in range(count):
        store(top, g * top_stride + H, one(top))
    _layer(rows.logits, sizes.logits_stride, top, top_stride, matrices.output, H, sizes.outputs, count)


@inline
def clear_state(sizes, rows, c_before, count):
    """Set the LSTM's state before the first timestep: h and cells 0."""
    for g in range(count):
        fill_zero(at(rows.middle, g * sizes.middle_stride + sizes.hidden), sizes.hidden)
        fill_zero(at(c_before, g * sizes.hidden), sizes.hidden)


@inline
def carry_state(sizes, rows, next_rows, count):
    """Copy the LSTM's h into the next timestep's input."""
    for g in range(count):
        state = at(next_rows.middle, g * sizes.middle_stride + sizes.hidden)
        copy(state, at(rows.top, g * sizes.top_stride), sizes.hidden)


@section
def start_backward(sizes, matrices, scratch):
    """Return the transposed matrices, slopes of zero after the last timestep, and the rest of the scratch."""
    H, G = sizes.hidden, sizes.group
    middle = at(scratch, sizes.outputs * H)
    first = at(middle, sizes.gates_size * sizes.middle_size)
    turned = Matrices(first, middle, scratch)
    _turn(turned.first, matrices.first, sizes.x_size, H)
    _turn(turned.middle, matrices.middle, sizes.middle_size, sizes.gates_size)
    _turn(turned.output, matrices.output, H, sizes.outputs)
    d_x = at(first, H * sizes.x_size)
    d_h = at(d_x, G * sizes.x_size)
    d_c = at(d_h, G * H)
    d_middle = at(d_c, G * H)
    fill_zero(d_c, G * H)
    fill_zero(d_middle, G * sizes.middle_size)
    return turned, Slopes(d_x, d_h, d_c, d_middle), at(d_middle, G * sizes.middle_size)


@section
def backward(sizes, turned, rows, first_out, slopes, c_before, c_now, bound, count):
    """Backward of `forward`: writes slopes.d_x; slopes.d_c and slopes.d_middle turn into those of the state before.

    rows.weights holds the gradients of the logits; rows.gates and first_out [count, H] turn into those of the layers'
    outputs before their activations.
    """
    H, middle_size, gates_size, outputs = sizes.hidden, sizes.middle_size, sizes.gates_size, sizes.logits + 1
    gates, d_h, d_c, d_middle = rows.gates, slopes.d_h, slopes.d_c, slopes.d_middle
    if sizes.is_lstm:
        _layer_backward(d_h, H, rows.weights, sizes.logits_stride, turned.output, H, outputs, count)
        for g in range(count):
            _add(at(d_h, g * H), at(d_middle, g * middle_size + H), H)
            _cells_backward(
                at(gates, g * gates_size),
                at(d_h, g * H),
                at(d_c, g * H),
                at(c_now, g * H),
                at(c_before, g * H),
                H,
                bound,
            )
        _layer_backward(d_middle, middle_size, gates, gates_size, turned.middle, middle_size, gates_size, count)
        for g in range(count):
            copy(at(first_out, g * H), at(d_middle, g * middle_size), H)
    else:
        _layer_backward(gates, H, rows.weights, sizes.logits_stride, turned.output, H, outputs, count)
        for g in range(count):
            _relu_backward(at(gates, g * H), at(rows.top, g * sizes.top_stride), H, bound)
        _layer_backward(first_out, H, gates, H, turned.middle, H, H, count)
    for g in range(count):
        _relu_backward(at(first_out, g * H), at(rows.middle, g * sizes.middle_stride), H, bound)
    _layer_backward(slopes.d_x, sizes.x_size, first_out, H, turned.first, sizes.x_size, H, count)


@section
def matrices_backward(sizes, d_matrices, rows, first_out, number):
    """The matrices' gradients from the rows of all timesteps, `number` in all."""
    R, H, gates_size = sizes.registers, sizes.hidden, sizes.gates_size
    mix_many(d_matrices.first, H, rows.x, 1, sizes.x_stride, first_out, H, number, H, R + 1)
    mix_many(
        d_matrices.middle,
        gates_size,
        rows.middle,
        1,
        sizes.middle_stride,
        rows.gates,
        gates_size,
        number,
        gates_size,
        sizes.middle_size + 1,
    )
    mix_many(
        d_matrices.output,
        sizes.outputs,
        rows.top,
        1,
        sizes.top_stride,
        rows.weights,
        sizes.logits_stride,
        number,
        sizes.outputs,
        H + 1,
    )
