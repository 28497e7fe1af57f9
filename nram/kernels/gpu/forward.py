"""One timestep forward: circuit softmaxes, the fourteen modules, new registers and tape, the outcome at that time."""

import triton
import triton.language as tl

from nram.kernels.gpu.rows import average, average_pair, convolve, put, put_twice, truth, unit, write_tape

__all__ = ["forward_step"]


@triton.jit(do_not_specialize=["t", "now", "here", "there", "steps", "kept", "batch", "M"])
def forward_step(
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

        pointer = average(weights, count, values_now, cell, S, BLOCK_M, ROWS)  # READ
        weights += count
        put(a_row, pointer, cell, S)
        total = tl.zeros([ROWS, BLOCK_M], values.dtype.element_ty)
        for first in range(0, M, ROWS):
            i = first + tl.arange(0, ROWS)
            p = tl.load(a_row + i, mask=i < M, other=0)
            rows = tl.load(tape + i[:, None] * S + cell[None, :], mask=(i < M)[:, None] & (cell < S)[None, :], other=0)
            total += p[:, None] * rows
        row = tl.sum(total, 0)
        tl.store(out + cell, row / tl.sum(row, 0), mask=cell < S)

        tl.store(out + S + cell, unit(0, M, cell, values), mask=cell < S)  # ZERO, ONE, TWO, and what WRITE returns
        tl.store(out + 2 * S + cell, unit(1, M, cell, values), mask=cell < S)
        tl.store(out + 3 * S + cell, unit(2, M, cell, values), mask=cell < S)
        tl.store(out + 13 * S + cell, unit(0, M, cell, values), mask=cell < S)
        tl.debug_barrier()

        a = average(weights, count + 4, values_now, cell, S, BLOCK_M, ROWS)  # INC
        weights += count + 4
        put(a_row, a, cell, S)
        row = tl.load(a_row + (cell + M - 1) % M, mask=cell < M, other=0)
        put(out + 4 * S, row, cell, S)

        a, b = average_pair(weights, count + 5, values_now, cell, S, BLOCK_M, ROWS)  # ADD
        weights += 2 * (count + 5)
        put(a_row, a, cell, S)
        put_twice(b_row, b, cell, M)
        row = convolve(a_row, b_row, M, cell, 1, -1, BLOCK_M, ROWS)
        put(out + 5 * S, row / tl.sum(row, 0), cell, S)

        a, b = average_pair(weights, count + 6, values_now, cell, S, BLOCK_M, ROWS)  # SUB
        weights += 2 * (count + 6)
        put(b_row, b, cell, S)
        put_twice(a_row, a, cell, M)
        row = convolve(b_row, a_row, M, cell, 1, 1, BLOCK_M, ROWS)
        put(out + 6 * S, row / tl.sum(row, 0), cell, S)

        a = average(weights, count + 7, values_now, cell, S, BLOCK_M, ROWS)  # DEC
        weights += count + 7
        put(a_row, a, cell, S)
        row = tl.load(a_row + (cell + 1) % M, mask=cell < M, other=0)
        put(out + 7 * S, row, cell, S)

        a, b = average_pair(weights, count + 8, values_now, cell, S, BLOCK_M, ROWS)  # LESS-THAN
        weights += 2 * (count + 8)
        prob = tl.sum(a * (tl.cumsum(b, 0, reverse=True) - b), 0)
        put(out + 8 * S, truth(prob, cell), cell, S)

        a, b = average_pair(weights, count + 9, values_now, cell, S, BLOCK_M, ROWS)  # LESS-OR-EQUAL-THAN
        weights += 2 * (count + 9)
        prob = tl.sum(a * tl.cumsum(b, 0, reverse=True), 0)
        put(out + 9 * S, truth(prob, cell), cell, S)

        a, b = average_pair(weights, count + 10, values_now, cell, S, BLOCK_M, ROWS)  # EQUALITY-TEST
        weights += 2 * (count + 10)
        put(out + 10 * S, truth(tl.sum(a * b, 0), cell), cell, S)

        a, b = average_pair(weights, count + 11, values_now, cell, S, BLOCK_M, ROWS)  # MIN
        weights += 2 * (count + 11)
        row = a * tl.cumsum(b, 0, reverse=True) + b * (tl.cumsum(a, 0, reverse=True) - a)
        put(out + 11 * S, row / tl.sum(row, 0), cell, S)

        a, b = average_pair(weights, count + 12, values_now, cell, S, BLOCK_M, ROWS)  # MAX
        weights += 2 * (count + 12)
        row = a * tl.cumsum(b, 0) + b * (tl.cumsum(a, 0) - a)
        put(out + 12 * S, row / tl.sum(row, 0), cell, S)

        pointer, value = average_pair(weights, count + 13, values_now, cell, S, BLOCK_M, ROWS)  # WRITE
        weights += 2 * (count + 13)
        put(a_row, pointer, cell, S)
        write_tape(tape_next, tape, a_row, value, M, cell, S, ROWS)
        tape = tape_next
        tl.debug_barrier()

    x += ((member * kept + there) * batch + example) * INPUTS
    for r in range(R):
        row = average(weights, sources, values_now, cell, S, BLOCK_M, ROWS)
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
