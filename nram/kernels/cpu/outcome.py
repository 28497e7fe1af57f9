"""The outcome of an example's run: the likelihood of its output cells, its memory at the median stopping time."""

import math

from nram.kernels.cpu.rows import argmax, inline
from nram.kernels.cpu.simd import at


@inline
def list_cells(cells, run, n):
    """Write the offsets of the targets of example n's output cells in the tape [M, S]; return their number."""
    M, S, count = run.sizes.cells, run.sizes.stride, 0
    for i in range(M):
        if run.data.mask[n * M + i]:
            cells[count] = i * S + run.data.target[n * M + i]
            count += 1
    return count


@inline
def log_likelihood(tape, cells, count, floor):
    """Sum of log max(tape[cell], floor), with one logarithm of the product of many."""
    likelihood, product = 0.0, 1.0
    for k in range(count):
        prob = tape[cells[k]] * 1.0
        product *= floor if prob < floor else prob
        if product < 1e-150:
            likelihood += math.log(product)
            product = 1.0
    return likelihood + math.log(product)


@inline
def log_likelihood_backward(d_tape, tape, cells, count, floor, slope):
    """Add the gradient of slope * `log_likelihood`."""
    for k in range(count):
        prob = tape[cells[k]]
        if not prob < floor:
            d_tape[cells[k]] += slope / prob


@inline
def finish(run, n, t, tape):
    """Example n has stopped after timestep t: note its wrong cells, or what it produced if the run may end here."""
    M, S = run.sizes.cells, run.sizes.stride
    wrong = 0
    for i in range(M):
        if run.stop_early:
            run.results.produced[n * M + i] = argmax(at(tape, i * S), M, S)
        elif run.data.mask[n * M + i]:
            wrong += argmax(at(tape, i * S), M, S) != run.data.target[n * M + i]
    run.results.wrong_cells[n] = wrong
    run.results.stop_step[n] = t
