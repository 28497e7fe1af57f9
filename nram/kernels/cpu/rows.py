"""Rows of S numbers: one-hots, rescaling, rotations, the largest. The first M numbers count, the rest are zero.

A tape [M, S] is M rows one after another. All take O(S) operations.
"""

from numba import njit

from nram.kernels.cpu.simd import (
    at,
    at_least,
    at_most,
    constant,
    first_equal,
    first_lanes,
    lanes,
    largest,
    load,
    one,
    reciprocal,
    shift_down,
    shift_up,
    splat,
    store,
    total,
    with_lane,
    zero,
)

inline = njit(error_model="numpy", nogil=True)  # compiled into its caller, which also holds the cache
# Part of a long function, called from one place: compiled with its caller, not once alone and once more within it.
section = njit(error_model="numpy", nogil=True, inline="always")

lowest = constant(-3e38)  # below every number that is compared with it


@inline
def copy(out, row, size):
    """out[c] = row[c] for c < size, in whole vectors."""
    step = lanes()
    c = 0
    while c < size:
        store(out, c, load(row, c))
        c += step


@inline
def put_unit(out, cell, S):
    """The one-hot row of `cell`."""
    step = lanes()
    nothing, ones = zero(out), one(out)
    c = 0
    while c < S:
        store(out, c, with_lane(cell - c, nothing, ones))
        c += step


@inline
def put_truth(out, prob, S):
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
def rescale(out, M, S):
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
def cut(out, M, S):
    """Zero the lanes from M on."""
    step = lanes()
    nothing = zero(out)
    c = 0
    while c < S:
        store(out, c, first_lanes(M - c, load(out, c), nothing))
        c += step


@inline
def clamp(out, M, S, bound):
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
def rotate_up(out, row, M, S):
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
def rotate_down(out, row, M, S):
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
def put_twice(out, row, M, S):
    """The row twice, M apart: out[c] = row[c mod M] for c < M + S (garbage from 2 M on)."""
    copy(out, row, S)
    copy(at(out, M), row, S)


@inline
def fill_zero(base, size):
    """Zero `size` numbers, in whole vectors."""
    step = lanes()
    c = 0
    while c < size:
        store(base, c, zero(base))
        c += step


@inline
def argmax(row, M, S):
    """The first cell with the largest value."""
    step = lanes()
    below = lowest(row)
    peaks = below
    c = 0
    while c < S:
        peaks = at_least(peaks, first_lanes(M - c, load(row, c), below))
        c += step
    peak = largest(peaks)
    c = 0
    while c < S:
        lane = first_equal(load(row, c), peak)
        if lane < 16:
            return c + lane
        c += step
    return 0
