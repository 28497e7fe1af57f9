"""One timestep backward: from the gradients of what it leaves to those of its logits and of what it found."""

import triton
import triton.language as tl

from nram.kernels.gpu.rows import average, average_pair, convolve, crop, gradient, put, put_twice, write_tape
from nram.machine.modules import MODULES

__all__ = ["backward_step"]

# A repetition has 19 slots; with n sources for its first module they have 19 n + EXTRA_WEIGHTS weights.
EXTRA_WEIGHTS = tl.constexpr(sum(module.arity * index for index, module in enumerate(MODULES)))


@triton.jit(do_not_specialize=["t", "steps", "batch", "M"])
def backward_step(
    logits, x_gradient, values, tapes, target, mask, limit, d_log_likelihood, d_stop_logits, d_entropy, d_registers,
    d_tape, starts, settings, scratch, d_inputs,
    t, steps, batch, M,
    R: tl.constexpr, REPETITIONS: tl.constexpr, K: tl.constexpr, L: tl.constexpr, LOGITS: tl.constexpr,
    S: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr,
    ENTROPY: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Backward of `forward_step`, with t = now = here = there - 1: the gradient of the logits in place of the weights.

    d_registers [N, R, S], d_tape [N, M, S]: before, gradients of what the timestep leaves; after, of what it finds;
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
        tl.store(d_inputs + (K - R + r) * S + cell, crop(d_register, bound), mask=cell < S)

    weights = logits
    for repetition in range(REPETITIONS - 1):
        count = R + 14 * repetition
        weights += 19 * count + EXTRA_WEIGHTS  # past this repetition's slots
        pointer, value = average_pair(weights - 2 * (count + 13), count + 13, values, cell, S, BLOCK_M, ROWS)
        plane = tl.where(repetition == 0, t, steps + repetition)
        tape = tapes + (plane * N + n) * M * S
        put(a_row, pointer, cell, S)
        write_tape(tapes + ((steps + 1 + repetition) * N + n) * M * S, tape, a_row, value, M, cell, S, ROWS)

    weights = logits + (L - R * sources)
    for turn in range(REPETITIONS):
        repetition = REPETITIONS - 1 - turn
        count = R + 14 * repetition
        slot = 19 * repetition
        d_slot = d_inputs + slot * S
        plane = tl.where(repetition == 0, t, steps + repetition)
        tape = tapes + (plane * N + n) * M * S

        weights -= 2 * (count + 13)  # WRITE
        pointer, value = average_pair(weights, count + 13, values, cell, S, BLOCK_M, ROWS)
        put(a_row, pointer, cell, S)
        d_value = tl.zeros([ROWS, BLOCK_M], values.dtype.element_ty)
        for first in range(0, S, ROWS):
            i = first + tl.arange(0, ROWS)
            place = i[:, None] * S + cell[None, :]
            inside = (i < M)[:, None] & valid[None, :]
            p = tl.load(a_row + i, mask=i < M, other=0)[:, None]
            d_rows = crop(tl.load(d_tape + place, mask=inside, other=0), bound)
            rows = tl.load(tape + place, mask=inside, other=0)
            d_value += p * d_rows
            tl.store(d_slot + 17 * S + i, tl.sum(d_rows * (value[None, :] - rows), 1))
            tl.store(d_tape + place, (1 - p) * d_rows, mask=inside)
        tl.store(d_slot + 18 * S + cell, tl.sum(d_value, 0), mask=cell < S)

        weights -= 2 * (count + 12)  # MAX
        g = gradient(logits, starts, slot + 17, K, count + 12, d_inputs, cell, S, BLOCK_M, ROWS)
        g = crop(g, bound)
        a, b = average_pair(weights, count + 12, values, cell, S, BLOCK_M, ROWS)
        g_b = g * b
        d_a = g * tl.cumsum(b, 0) + (tl.cumsum(g_b, 0, reverse=True) - g_b)
        d_b = g * (tl.cumsum(a, 0) - a) + tl.cumsum(g * a, 0, reverse=True)
        tl.store(d_slot + 15 * S + cell, tl.where(valid, d_a, 0), mask=cell < S)
        tl.store(d_slot + 16 * S + cell, tl.where(valid, d_b, 0), mask=cell < S)

        weights -= 2 * (count + 11)  # MIN
        g = gradient(logits, starts, slot + 15, K, count + 11, d_inputs, cell, S, BLOCK_M, ROWS)
        g = crop(g, bound)
        a, b = average_pair(weights, count + 11, values, cell, S, BLOCK_M, ROWS)
        g_b = g * b
        d_a = g * tl.cumsum(b, 0, reverse=True) + (tl.cumsum(g_b, 0) - g_b)
        d_b = g * (tl.cumsum(a, 0, reverse=True) - a) + tl.cumsum(g * a, 0)
        tl.store(d_slot + 13 * S + cell, tl.where(valid, d_a, 0), mask=cell < S)
        tl.store(d_slot + 14 * S + cell, tl.where(valid, d_b, 0), mask=cell < S)

        weights -= 2 * (count + 10)  # EQUALITY-TEST
        g = gradient(logits, starts, slot + 13, K, count + 10, d_inputs, cell, S, BLOCK_M, ROWS)
        g = crop(g, bound)
        slope = tl.sum(tl.where(cell == 1, g, 0) - tl.where(cell == 0, g, 0), 0)
        a, b = average_pair(weights, count + 10, values, cell, S, BLOCK_M, ROWS)
        tl.store(d_slot + 11 * S + cell, slope * b, mask=cell < S)
        tl.store(d_slot + 12 * S + cell, slope * a, mask=cell < S)

        weights -= 2 * (count + 9)  # LESS-OR-EQUAL-THAN
        g = gradient(logits, starts, slot + 11, K, count + 9, d_inputs, cell, S, BLOCK_M, ROWS)
        g = crop(g, bound)
        slope = tl.sum(tl.where(cell == 1, g, 0) - tl.where(cell == 0, g, 0), 0)
        a, b = average_pair(weights, count + 9, values, cell, S, BLOCK_M, ROWS)
        tl.store(d_slot + 9 * S + cell, slope * tl.cumsum(b, 0, reverse=True), mask=cell < S)
        tl.store(d_slot + 10 * S + cell, tl.where(valid, slope * tl.cumsum(a, 0), 0), mask=cell < S)

        weights -= 2 * (count + 8)  # LESS-THAN
        g = gradient(logits, starts, slot + 9, K, count + 8, d_inputs, cell, S, BLOCK_M, ROWS)
        g = crop(g, bound)
        slope = tl.sum(tl.where(cell == 1, g, 0) - tl.where(cell == 0, g, 0), 0)
        a, b = average_pair(weights, count + 8, values, cell, S, BLOCK_M, ROWS)
        tl.store(d_slot + 7 * S + cell, slope * (tl.cumsum(b, 0, reverse=True) - b), mask=cell < S)
        tl.store(d_slot + 8 * S + cell, tl.where(valid, slope * (tl.cumsum(a, 0) - a), 0), mask=cell < S)

        weights -= count + 7  # DEC
        g = gradient(logits, starts, slot + 7, K, count + 7, d_inputs, cell, S, BLOCK_M, ROWS)
        put(g_row, crop(g, bound), cell, S)
        d_a = tl.load(g_row + (cell + M - 1) % M, mask=valid, other=0)
        tl.store(d_slot + 6 * S + cell, d_a, mask=cell < S)

        weights -= 2 * (count + 6)  # SUB
        g = gradient(logits, starts, slot + 6, K, count + 6, d_inputs, cell, S, BLOCK_M, ROWS)
        a, b = average_pair(weights, count + 6, values, cell, S, BLOCK_M, ROWS)
        put_twice(g_row, crop(g, bound), cell, M)
        put_twice(a_row, a, cell, M)
        put(b_row, b, cell, S)
        d_a = convolve(b_row, g_row, M, cell, 1, -1, BLOCK_M, ROWS)
        d_b = convolve(g_row, a_row, M, cell, 1, 1, BLOCK_M, ROWS)
        tl.store(d_slot + 4 * S + cell, d_a, mask=cell < S)
        tl.store(d_slot + 5 * S + cell, d_b, mask=cell < S)

        weights -= 2 * (count + 5)  # ADD
        g = gradient(logits, starts, slot + 4, K, count + 5, d_inputs, cell, S, BLOCK_M, ROWS)
        a, b = average_pair(weights, count + 5, values, cell, S, BLOCK_M, ROWS)
        put(g_row, crop(g, bound), cell, S)
        put_twice(a_row, a, cell, M)
        put_twice(b_row, b, cell, M)
        d_a = convolve(g_row, b_row, M, cell, -1, 1, BLOCK_M, ROWS)
        d_b = convolve(g_row, a_row, M, cell, -1, 1, BLOCK_M, ROWS)
        tl.store(d_slot + 2 * S + cell, d_a, mask=cell < S)
        tl.store(d_slot + 3 * S + cell, d_b, mask=cell < S)

        weights -= count + 4  # INC
        g = gradient(logits, starts, slot + 2, K, count + 4, d_inputs, cell, S, BLOCK_M, ROWS)
        put(g_row, crop(g, bound), cell, S)
        d_a = tl.load(g_row + (cell + 1) % M, mask=valid, other=0)
        tl.store(d_slot + S + cell, d_a, mask=cell < S)

        weights -= count  # READ
        g = gradient(logits, starts, slot + 1, K, count, d_inputs, cell, S, BLOCK_M, ROWS)
        g = crop(g, bound)
        put(a_row, average(weights, count, values, cell, S, BLOCK_M, ROWS), cell, S)
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
        g = gradient(logits, starts, 0, K, r, d_inputs, cell, S, BLOCK_M, ROWS)
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
        tl.store(place, crop(weight * (d_weight - mean[:, None]), bound), mask=inside)
    tl.store(logits + L, crop(tl.load(d_stop_logits + t * N + n), bound))
