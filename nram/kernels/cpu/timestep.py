"""One example through one timestep: circuit, modules, new registers and tape; and backward.

R registers, Q modules, K slots (a module's arguments in turn, then the new registers), M cells, S lanes, W the sum of
the slots' widths. Forward: W M multiply-adds for the slots' averages and about 5 M^2 in the modules. Backward: the
averages again (W M), the gradients of weights and sources (W M each), about 9 M^2 in the modules. Computing averages
again is cheaper than storing and fetching them.

Values [R + Q, S] are the registers, then every module's output; a tape is [M, S]; logits and weights are packed [L].
"""

from nram.kernels.cpu.modules import ONE, TWO, WRITE, ZERO, run_module, run_module_backward, write, write_backward
from nram.kernels.cpu.rows import clamp, copy, cut, inline, rescale, section
from nram.kernels.cpu.simd import (
    at,
    dots,
    lanes,
    mix,
    mix_many,
    mix_pair,
    padded,
    prefetch,
    prefetch_to_write,
    store,
    transpose,
)
from nram.kernels.cpu.softmaxes import scratch_size, softmaxes, softmaxes_backward

FETCH = 4096  # numbers of a tape that are prefetched, at most


def forward_scratch(sizes) -> int:
    """Numbers of scratch that `forward` takes."""
    return padded(4 * sizes.stride + 64) + scratch_size(sizes.slots, padded(sizes.sources))


def backward_scratch(sizes) -> int:
    """Numbers of scratch that `backward` takes."""
    K, S, V = sizes.slots, sizes.stride, padded(sizes.sources)
    tapes = (sizes.writes - 1) * sizes.cells * S
    return 2 * K * V + 2 * (K + 16) * S + S * V + 4 * S + 64 + 17 * (K + 16) + tapes


@inline
def _averages(out, weights, weights_stride, count, width, values, S):
    """The averages [count, S] of `count` (0, 1 or 2) slots of equal width, whose weights lie `weights_stride` apart."""
    if count == 2:
        mix_pair(out, S, weights, weights_stride, 1, values, S, width, S)
    elif count == 1:
        mix(out, weights, 1, values, S, width, S)


@inline
def forward(circuit, sizes, logits, weights, values, next_values, tape, next_tape, scratch, want_entropy, ahead):
    """One timestep of one example; the entropy of its circuit, or 0.

    Writes the weights, the modules' part of `values`, the registers' part of `next_values`, and `next_tape`.
    `ahead`: where the next timestep's logits and weights will lie; they are prefetched along the way.
    """
    R, M, S = sizes.registers, sizes.cells, sizes.stride
    kinds, first_slot, starts = circuit
    Q, K = sizes.sources - R, sizes.slots
    entropy = softmaxes(weights, logits, starts, K, padded(R + Q), scratch, want_entropy)
    arguments, double = scratch, at(scratch, 2 * S)
    now = tape
    next_logits, next_weights = ahead
    ahead_values, ahead_tape, ahead_logits = (R + Q) * S // Q + 16, min(M * S, FETCH) // Q + 16, starts[K] // Q + 16
    for i in range(Q):
        prefetch_to_write(at(next_logits, i * ahead_logits), ahead_logits)
        prefetch_to_write(at(next_weights, i * ahead_logits), ahead_logits)
        prefetch_to_write(at(next_values, i * ahead_values), ahead_values)
        prefetch_to_write(at(next_tape, i * ahead_tape), ahead_tape)
        k = first_slot[i]
        _averages(arguments, at(weights, starts[k]), R + i, first_slot[i + 1] - k, R + i, values, S)
        run_module(kinds[i], at(values, (R + i) * S), arguments, at(arguments, S), double, now, next_tape, M, S)
        if kinds[i] == WRITE:
            now = next_tape
    mix_many(next_values, S, at(weights, starts[K - R]), R + Q, 1, values, S, R + Q, S, R)
    for r in range(R):
        rescale(at(next_values, r * S), M, S)
    return entropy


# --- backward -------------------------------------------------------------------------------------------------------


@inline
def _version(tape, tapes, version, size):
    """The tape after `version` WRITEs of the timestep: the given one, or a recomputed one."""
    if version == 0:
        return tape
    return at(tapes, (version - 1) * size)


@section
def _write_again(tapes, circuit, sizes, arguments, tape):
    """The tapes after every WRITE but the last."""
    M, S, version = sizes.cells, sizes.stride, 0
    for i in range(sizes.sources - sizes.registers):
        if circuit.kinds[i] == WRITE and version + 1 < sizes.writes:
            k = circuit.first_slot[i]
            write(
                at(tapes, version * M * S),
                _version(tape, tapes, version, M * S),
                at(arguments, k * S),
                at(arguments, (k + 1) * S),
                M,
                S,
            )
            version += 1


@section
def _turn_values(turned, values, count, V, S):
    """turned [S, V]: the first `count` (whole vectors) rows of values as columns."""
    step = lanes()
    for j in range(0, count, 16):
        c = 0
        while c < S:
            transpose(at(turned, c * V + j), V, at(values, j * S + c), S)
            c += step


@section
def _weights_backward(d_weights, d_averages, values, turned, count, circuit, sizes, spare):
    """d_weights[k, j] = <d_averages[k], values[j]>, row k of V numbers: a matrix product over the `count` turned rows.

    For each j it does only the slots with more than j sources: all from some k on. `spare` [16] is overwritten.
    """
    R, M, S = sizes.registers, sizes.cells, sizes.stride
    first_slot, K, n = circuit.first_slot, sizes.slots, sizes.sources
    V = padded(n)
    for j in range(0, count, 16):
        k = first_slot[max(0, j - R + 1)]
        mix_many(at(d_weights, k * V + j), V, at(d_averages, k * S), S, 1, at(turned, j), V, M, 16, K - k)
    for j in range(count, n):
        k = first_slot[j - R + 1]
        for begin in range(k, K, 16):
            store(spare, 0, dots(at(values, j * S), at(d_averages, begin * S), S, S))
            for slot in range(begin, min(K, begin + 16)):
                d_weights[slot * V + j] = spare[slot - begin]


@inline
def backward(circuit, sizes, logits, weights, values, tape, d_registers, d_tape, scratch, d_entropy, bound, ahead):
    """Backward of `forward`: d_registers and d_tape turn from the gradients after the timestep into those before it.

    `weights` turns into the gradient of the logits. `ahead`: the values, tape, logits and weights of the next
    example, which are prefetched along the way.
    """
    R, M, S = sizes.registers, sizes.cells, sizes.stride
    kinds, first_slot, starts = circuit
    Q, K = sizes.sources - R, sizes.slots
    n = R + Q
    V = padded(n)
    dense = scratch  # the weights, one row of V per slot
    d_weights = at(dense, K * V)  # their gradients
    averages = at(d_weights, K * V)  # the slots' averages, without those of the registers
    d_averages = at(averages, K * S)  # all averages' gradients
    turned = at(d_averages, K * S)  # the value rows as columns: [S, V]
    d_out = at(turned, S * V)
    double = at(d_out, S)
    spare = at(double, 2 * S + 16)
    tapes = spare  # the tapes after the first, second.. WRITE, if there are several

    for k in range(K):
        copy(at(dense, k * V), at(weights, starts[k]), starts[k + 1] - starts[k])
    whole = n if n % 16 > 4 else n - n % 16  # sources whose rows are turned; a few left over are cheaper unturned
    _turn_values(turned, values, whole, V, S)
    for i in range(Q):
        k = first_slot[i]
        _averages(at(averages, k * S), at(dense, k * V), V, first_slot[i + 1] - k, R + i, values, S)
    _write_again(tapes, circuit, sizes, averages, tape)
    version = sizes.writes  # the number of WRITEs before a module: READ sees the tape of its version

    copy(at(d_averages, (K - R) * S), d_registers, R * S)
    for r in range(R):
        clamp(at(d_averages, (K - R + r) * S), M, S, bound)
    next_values, next_tape, next_logits, next_weights = ahead
    ahead_values, ahead_tape, ahead_logits = n * S // Q + 16, min(M * S, FETCH) // Q + 16, starts[K] // Q + 16
    for i in range(Q - 1, -1, -1):
        prefetch(at(next_values, i * ahead_values), ahead_values)
        prefetch(at(next_tape, i * ahead_tape), ahead_tape)
        prefetch(at(next_logits, i * ahead_logits), ahead_logits)
        prefetch(at(next_weights, i * ahead_logits), ahead_logits)
        kind = kinds[i]
        k, after = first_slot[i], first_slot[i + 1]
        a, b = at(averages, k * S), at(averages, (k + 1) * S)
        d_a, d_b = at(d_averages, k * S), at(d_averages, (k + 1) * S)
        if kind == WRITE:
            version -= 1
            write_backward(d_a, d_b, d_tape, a, b, _version(tape, tapes, version, M * S), M, S, bound)
        elif kind != ZERO and kind != ONE and kind != TWO:
            mix(d_out, at(dense, after * V + R + i), V, at(d_averages, after * S), S, K - after, S)
            clamp(d_out, M, S, bound)
            now = _version(tape, tapes, version, M * S)
            run_module_backward(kind, d_a, d_b, d_tape, d_out, a, b, double, now, M, S)
    mix_many(d_registers, S, dense, 1, V, d_averages, S, K, S, R)
    for r in range(R):
        cut(at(d_registers, r * S), M, S)

    _weights_backward(d_weights, d_averages, values, turned, whole, circuit, sizes, d_out)
    softmaxes_backward(weights, d_weights, dense, logits, starts, K, V, spare, d_entropy, bound)
