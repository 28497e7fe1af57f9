"""Whole runs fused for the CPU, forward and backward, with Numba.

The unit of work is one example through one timestep. What it touches (R + Q value rows, an M x M tape) fits the first
caches. Nearly all of the work is one operation, `simd.mix`: a weighted sum of rows. S is M rounded up to whole vectors;
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

The whole run is one call. A block of 8 examples of a member goes through all timesteps on one thread: no thread waits
for another within a run; the controller is a matrix product of the block. Backward, blocks again go through all
timesteps, and the gradients of the matrices are one product over all timesteps at the end.

A file imports only from those above it; all above threads.py is compiled into the two loops:

    simd/           vectors of 16 numbers
    rows.py         rows of S numbers: one-hots, rescaling, rotations
    modules.py      the fourteen modules, forward and backward
    softmaxes.py    the circuit's softmaxes, their entropy, backward
    timestep.py     one example through one timestep, forward and backward
    run.py          what the loops are given, and a block's part of it
    table.py        the table of addresses that leads the loops to it
    controllers.py  MLP and LSTM, forward and backward
    outcome.py      likelihoods, and the memory at the median stopping time
    blocks.py       a block of examples through all timesteps, forward and backward
    threads.py      the threads that share out the blocks
    loops.py        the compiled loops over blocks; the key of their cache
    packing.py      circuits and parameters as the loops address them
    passes.py       a pass from tensors to tensors
"""

import torch

from nram.kernels.cpu.loops import compiled_loops, will_compile
from nram.kernels.cpu.passes import Pass, Workspace

__all__ = ["Pass", "Workspace", "warm_up", "will_compile"]


def warm_up(dtype=torch.float32) -> None:
    """Compile the loops for `dtype`, or load them from Numba's cache."""
    compiled_loops(dtype)
