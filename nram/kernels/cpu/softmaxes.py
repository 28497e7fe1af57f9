"""The circuit of one example: a softmax per slot of its packed logits, their entropy, and backward.

A slot is too short for a reduction of its own. First each slot's logits are reduced to one vector. Then the vectors of
sixteen slots are reduced to one vector, whose lanes are the slots' maxima or sums. This takes about 20 flops per logit,
most of them for the exponential, and 4 backward. K is the number of slots, V their largest width (R + Q) in whole
vectors; slot k's logits are packed[starts[k] : starts[k + 1]], in dense form its row of V numbers.
"""

import math

from nram.kernels.cpu.rows import inline, lowest
from nram.kernels.cpu.simd import (
    at,
    at_least,
    at_most,
    constant,
    exp,
    first_lanes,
    fma,
    lanes,
    load,
    one,
    padded,
    row_maxima,
    row_sums,
    splat,
    store,
    zero,
)

bottom = constant(-1000.0)  # e to this power is 0, and 0 times it is still a number


def scratch_size(K, V):
    """Numbers that `softmaxes` writes to its scratch; `softmaxes_backward` writes fewer."""
    return 33 * padded(K) + K * V


@inline
def _entropy(sums, means, K):
    """Entropy of K slots, each log(sum of e^z) less the mean of z, from row k's first lane of each; it takes one
    logarithm of the product of many."""
    entropy, product = 0.0, 1.0
    for k in range(K):
        product *= sums[k]
        entropy -= means[k]
        if product > 1e100:
            entropy += math.log(product)
            product = 1.0
    return entropy + math.log(product)


@inline
def softmaxes(weights, logits, starts, K, V, scratch, want_entropy):
    """Softmax of every slot of packed logits into packed weights; the sum of their entropies, or 0.

    Whole vectors are written: up to 15 numbers behind a slot, then overwritten by the next one's.
    """
    step = lanes()
    nothing, ones, below, least = zero(logits), one(logits), lowest(logits), bottom(logits)
    products = nothing
    rounded = padded(K)
    partial, partial_products, each = scratch, at(scratch, 16 * rounded), at(scratch, 32 * rounded)
    exps = at(each, rounded)
    for k in range(K):  # the logits dense, and the largest of each lane
        start, end, row = starts[k], starts[k + 1], at(exps, k * V)
        peaks = first_lanes(end - start, load(logits, start), below)
        store(row, 0, peaks)
        c = start + 16
        while c < end:
            here = first_lanes(end - c, load(logits, c), below)
            store(row, c - start, here)
            peaks = at_least(peaks, here)
            c += step
        store(partial, 16 * k, peaks)
    for k in range(0, K, 16):
        store(each, k, row_maxima(at(partial, 16 * k)))
    for k in range(K):  # exponentials, their sum and that of e^z z in each lane
        width, row, peak = starts[k + 1] - starts[k], at(exps, k * V), splat(each[k])
        z = load(row, 0) - peak
        sums = exp(z)
        store(row, 0, sums)
        if want_entropy:
            products = sums * at_least(least, z)
        c = step
        while c < width:
            z = load(row, c) - peak
            e = exp(z)
            store(row, c, e)
            sums = sums + e
            if want_entropy:
                products = fma(e, at_least(least, z), products)
            c += step
        store(partial, 16 * k, sums)
        if want_entropy:
            store(partial_products, 16 * k, products)
    for k in range(0, K, 16):
        sums = row_sums(at(partial, 16 * k))
        scales = ones / sums
        store(each, k, scales)
        if want_entropy:
            means = row_sums(at(partial_products, 16 * k)) * scales
            store(partial, k, sums)
            store(partial_products, k, means)
    for k in range(K):  # the weights, packed
        start, end, row, scale = starts[k], starts[k + 1], at(exps, k * V), splat(each[k])
        store(weights, start, load(row, 0) * scale)
        c = start + 16
        while c < end:
            store(weights, c, load(row, c - start) * scale)
            c += step
    return _entropy(partial, partial_products, K) if want_entropy else 0.0


@inline
def softmaxes_backward(d_logits, d_weights, weights, logits, starts, K, V, scratch, d_entropy, bound):
    """Cropped gradient of the packed logits, from rows of V weights and of their gradients.

    That of the entropy -sum w log w is -w (z - sum w z), with z the logits: subtract z from the weights' gradients.
    """
    step = lanes()
    nothing, high = zero(logits), splat(bound)
    low = nothing - high
    each = at(scratch, 16 * padded(K))
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
