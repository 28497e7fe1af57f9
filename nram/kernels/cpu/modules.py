"""The fourteen modules on rows: each one's output from its arguments' averages, and backward.

Multiply-adds per call with S lanes, the first M of which count (see the package's table):

    what               forward         backward
    READ               M^2             2 M^2
    ADD, SUB           M^2             2 M^2
    WRITE              2 M^2           3 M^2
    comparisons        about 2 M       4 M
    MIN, MAX           about 4 M       6 M
    the others         0               0

P(B >= c) and the like are running sums of a row, in one pass over its chunks of 16 lanes: from lane 0 up for P(B <= c),
from the last lane down for P(B >= c). Each is summed directly, never taken as 1 - the other sum: nothing cancels. The
gradients d_a, d_b of the arguments a, b are overwritten, those of tapes added to.
"""

from nram.kernels.cpu.rows import (
    fill_zero,
    inline,
    put_truth,
    put_twice,
    put_unit,
    rescale,
    rotate_down,
    rotate_up,
    section,
)
from nram.kernels.cpu.simd import (
    at,
    dots,
    first_lanes,
    fma,
    lanes,
    load,
    mix,
    mix_pair,
    one,
    running_sum,
    running_sum_down,
    shift_down,
    shift_up,
    splat,
    splat_first,
    splat_last,
    store,
    total,
    write_backward_block,
    zero,
)

NAMES = (
    "READ",
    "ZERO",
    "ONE",
    "TWO",
    "INC",
    "ADD",
    "SUB",
    "DEC",
    "LESS-THAN",
    "LESS-OR-EQUAL-THAN",
    "EQUALITY-TEST",
    "MIN",
    "MAX",
    "WRITE",
)
(READ, ZERO, ONE, TWO, INC, ADD, SUB, DEC, LESS, LESS_OR_EQUAL, EQUAL, MIN, MAX, WRITE) = range(len(NAMES))


# --- forward --------------------------------------------------------------------------------------------------------


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
def write(out, tape, place, value, M, S):
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


@inline
def run_module(kind, out, a, b, double, tape, next_tape, M, S):
    """out [S] = module `kind` of the arguments a, b [S] (whatever they hold where it has fewer); WRITE: next_tape too.

    `double` [2 S + 16] is overwritten; tapes are [M, S], and may be the same.
    """
    if kind == READ:
        mix(out, a, 1, tape, S, M, S)
        rescale(out, M, S)
    elif kind == ZERO:
        put_unit(out, 0, S)
    elif kind == ONE:
        put_unit(out, 1 % M, S)
    elif kind == TWO:
        put_unit(out, 2 % M, S)
    elif kind == INC:
        rotate_up(out, a, M, S)
    elif kind == ADD:
        put_twice(double, b, M, S)
        mix(out, a, 1, at(double, M), -1, M, S)
        rescale(out, M, S)
    elif kind == SUB:
        put_twice(double, a, M, S)
        mix(out, b, 1, double, 1, M, S)
        rescale(out, M, S)
    elif kind == DEC:
        rotate_down(out, a, M, S)
    elif kind == MIN:
        _min(out, a, b, S)
        rescale(out, M, S)
    elif kind == MAX:
        _max(out, a, b, S)
        rescale(out, M, S)
    elif kind == WRITE:
        write(next_tape, tape, a, b, M, S)
        put_unit(out, 0, S)
    else:
        put_truth(out, _order_prob(kind, a, b, S), S)


# --- backward -------------------------------------------------------------------------------------------------------


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
    """Backward of `_min`: A's own factor going down, its share in the running sums going up."""
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
    """Backward of `_max`: A's own factor going up, its share in the running sums going down."""
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
def write_backward(d_place, d_value, d_tape, place, value, tape, M, S, bound):
    """Backward of `write`; d_tape turns from the written tape's gradient (cropped first) into the old tape's."""
    nothing = zero(d_place)
    fill_zero(d_value, S)
    for i in range(0, M, 16):
        d_here = write_backward_block(d_value, at(d_tape, i * S), at(place, i), value, at(tape, i * S), S, bound)
        store(d_place, i, first_lanes(M - i, d_here, nothing))


@section
def run_module_backward(kind, d_a, d_b, d_tape, d_out, a, b, double, tape, M, S):
    """Backward of `run_module` for the modules with arguments, WRITE apart; `tape` is the one that READ saw.

    Backward treats a division by the sum as the identity.
    """
    if kind == READ:
        _read_backward(d_a, d_tape, d_out, a, tape, M, S)
    elif kind == INC:
        rotate_down(d_a, d_out, M, S)
    elif kind == DEC:
        rotate_up(d_a, d_out, M, S)
    elif kind == ADD:
        put_twice(double, d_out, M, S)
        # d_a[x] = sum_b B[b] d_out[x + b], d_b[x] = sum_a A[a] d_out[x + a]
        mix_pair(d_a, S, b, -S, 1, double, 1, M, S)
    elif kind == SUB:
        put_twice(double, d_out, M, S)
        mix(d_a, b, 1, at(double, M), -1, M, S)  # sum_b B[b] d_out[x - b]
        put_twice(double, a, M, S)
        mix(d_b, d_out, 1, double, 1, M, S)  # sum_c d_out[c] A[x + c]
    elif kind == MIN:
        _min_backward(d_a, d_b, d_out, a, b, S)
    elif kind == MAX:
        _max_backward(d_a, d_b, d_out, a, b, S)
    else:
        _order_backward(kind, d_a, d_b, d_out[1 % M] - d_out[0], a, b, S)
