"""A block of examples of one member through all timesteps, forward and backward.

The controller runs for the whole block, the rest example by example: what one example touches fits the first caches.
Meanwhile the next example's data is prefetched.
"""

import math

from nram.kernels.cpu import controllers, timestep
from nram.kernels.cpu.outcome import finish, list_cells, log_likelihood, log_likelihood_backward
from nram.kernels.cpu.rows import fill_zero, inline, put_unit, section
from nram.kernels.cpu.run import block_at, matrices_at, rows_at, tape_at, values_at
from nram.kernels.cpu.simd import at


def backward_scratch(sizes) -> int:
    """Numbers of scratch that `block_backward` takes."""
    registers_and_tapes = sizes.group * (sizes.registers + sizes.stride) * sizes.stride
    return controllers.backward_scratch(sizes) + registers_and_tapes + timestep.backward_scratch(sizes)


@section
def _start(run, block, progress):
    """Note every example's output cells and their number; return the block's number of timesteps."""
    M, steps = run.sizes.cells, 0
    for g in range(block.count):
        n = block.first + g
        steps = max(steps, run.data.limit[n])
        progress.cell_count[g] = list_cells(at(progress.cells, g * M), run, n)
        progress.alive[g] = 1.0
        progress.stopped[g] = 0
    return steps


@section
def _reset(run, block):
    """Set registers to the integer 0 and tapes to the one-hot memories."""
    M, S = run.sizes.cells, run.sizes.stride
    for n in range(block.first, block.first + block.count):
        values, tape = values_at(run, n, 0), tape_at(run, n, 0)
        for r in range(run.sizes.registers):
            put_unit(at(values, r * S), 0, S)
        for i in range(M):
            put_unit(at(tape, i * S), run.data.memory[n * M + i], S)


@inline
def _is_running(run, n, t, stopped):
    """Whether example n takes part in timestep t."""
    return t < run.data.limit[n] and not (run.stop_early and stopped)


@section
def _observe(run, block, progress, x, t):
    """Write the controller's inputs [count, x_stride], P(r = 0) and then 1; return the number of running examples."""
    R, S, x_stride, running = run.sizes.registers, run.sizes.stride, run.sizes.x_stride, 0
    for g in range(block.count):
        n = block.first + g
        fill_zero(at(x, g * x_stride), x_stride)
        if _is_running(run, n, t, progress.stopped[g]):
            running += 1
            registers = values_at(run, n, t % run.sizes.kept)
            for r in range(R):
                x[g * x_stride + r] = registers[r * S]
        x[g * x_stride + R] = 1
    return running


@section
def _step(run, block, progress, rows, g, t, scratch):
    """Timestep t of example g of the block, from its logits."""
    sizes, results = run.sizes, run.results
    n, M = block.first + g, sizes.cells
    here, there = t % sizes.kept, (t + 1) % sizes.kept
    place, ahead = g * sizes.logits_stride, (block.count + g) * sizes.logits_stride
    next_tape = tape_at(run, n, there)
    entropy = timestep.forward(
        run.circuit,
        sizes,
        at(rows.logits, place),
        at(rows.weights, place),
        values_at(run, n, here),
        values_at(run, n, there),
        tape_at(run, n, here),
        next_tape,
        scratch,
        run.want_entropy,
        (at(rows.logits, ahead), at(rows.weights, ahead)),
    )
    stop_logit = rows.logits[place + sizes.logits]
    number = t * sizes.population * sizes.batch + n
    results.stop_logits[number] = stop_logit
    results.log_likelihood[number] = log_likelihood(
        next_tape, at(progress.cells, g * M), progress.cell_count[g], run.floor
    )
    if run.want_entropy:
        results.entropy[number] = entropy
    progress.alive[g] /= 1.0 + math.exp(stop_logit)
    if not progress.stopped[g] and (progress.alive[g] <= 0.5 or t == run.data.limit[n] - 1):
        progress.stopped[g] = 1
        finish(run, n, t, next_tape)


@inline
def block_forward(run, index, progress):
    """All timesteps of block `index`."""
    sizes = run.sizes
    block = block_at(run, index)
    count, kept_rows = block.count, sizes.kept - 1
    steps = _start(run, block, progress)
    _reset(run, block)
    if sizes.is_lstm:
        controllers.clear_state(sizes, block.rows, block.cells, count)
    for t in range(steps):
        rows = rows_at(block.rows, sizes, (t % kept_rows) * count)
        if _observe(run, block, progress, rows.x, t) == 0:
            break
        c_before = at(block.cells, (t % sizes.kept) * count * sizes.hidden)
        c_now = at(block.cells, ((t + 1) % sizes.kept) * count * sizes.hidden)
        controllers.forward(sizes, block.matrices, rows, c_before, c_now, count)
        if sizes.is_lstm and t + 1 < steps:
            controllers.carry_state(sizes, rows, rows_at(block.rows, sizes, ((t + 1) % kept_rows) * count), count)
        for g in range(count):
            if _is_running(run, block.first + g, t, progress.stopped[g]):
                _step(run, block, progress, rows, g, t, progress.scratch)


# --- backward -------------------------------------------------------------------------------------------------------


@section
def _step_backward(run, gradients, block, progress, rows, g, t, d_registers, d_tape, scratch):
    """Backward of `_step`: the logits' gradient, and d_registers [R, S], d_tape [S, S] turn into those before t."""
    sizes, bound = run.sizes, run.bound
    n, M = block.first + g, sizes.cells
    number = t * sizes.population * sizes.batch + n
    place = g * sizes.logits_stride
    d_logits = at(rows.weights, place)
    # The next example; the last one prefetches its own memory again.
    g_next, t_next = (g + 1, t) if g + 1 < block.count else (0, max(0, t - 1))
    n_next, place_next = block.first + g_next, (t_next * block.count + g_next) * sizes.logits_stride
    ahead = (
        values_at(run, n_next, t_next),
        tape_at(run, n_next, t_next),
        at(block.rows.logits, place_next),
        at(block.rows.weights, place_next),
    )
    log_likelihood_backward(
        d_tape,
        tape_at(run, n, t + 1),
        at(progress.cells, g * M),
        progress.cell_count[g],
        run.floor,
        gradients.log_likelihood[number],
    )
    timestep.backward(
        run.circuit,
        sizes,
        at(rows.logits, place),
        d_logits,
        values_at(run, n, t),
        tape_at(run, n, t),
        d_registers,
        d_tape,
        scratch,
        gradients.entropy[number],
        bound,
        ahead,
    )
    d_stop = gradients.stop_logits[number]
    d_logits[sizes.logits] = -bound if d_stop < -bound else (bound if d_stop > bound else d_stop)


@inline
def block_backward(run, gradients, index, progress):
    """Backward of `block_forward`: one block's share of the matrices' gradients."""
    sizes = run.sizes
    R, S, G, H = sizes.registers, sizes.stride, sizes.group, sizes.hidden
    block = block_at(run, index)
    count = block.count
    all_first_out = at(gradients.first_out, index * (sizes.kept - 1) * G * H)
    turned, slopes, scratch = controllers.start_backward(sizes, block.matrices, progress.scratch)
    d_registers = scratch
    d_tapes = at(d_registers, G * R * S)
    scratch = at(d_tapes, G * S * S)
    fill_zero(d_registers, G * R * S)
    fill_zero(d_tapes, G * S * S)

    steps = _start(run, block, progress)
    for t in range(steps - 1, -1, -1):
        rows, first_out = rows_at(block.rows, sizes, t * count), at(all_first_out, t * count * H)
        for g in range(count):
            if t < run.data.limit[block.first + g]:
                _step_backward(
                    run,
                    gradients,
                    block,
                    progress,
                    rows,
                    g,
                    t,
                    at(d_registers, g * R * S),
                    at(d_tapes, g * S * S),
                    scratch,
                )
            else:
                fill_zero(at(rows.weights, g * sizes.logits_stride), sizes.outputs)
        c_before, c_now = at(block.cells, t * count * H), at(block.cells, (t + 1) * count * H)
        controllers.backward(sizes, turned, rows, first_out, slopes, c_before, c_now, run.bound, count)
        for g in range(count):
            for r in range(R):
                d_registers[(g * R + r) * S] += slopes.d_x[g * sizes.x_size + r]
    shares = matrices_at(gradients.matrices, sizes, index)
    controllers.matrices_backward(sizes, shares, block.rows, all_first_out, steps * count)
