"""Whole runs fused for the CPU, forward and backward, with Numba.

The unit of work is one example through one timestep. What it touches (R + Q value rows, an M x M tape) fits the first
caches, and nearly all of it is one operation, `simd.mix`: a weighted sum of rows. S is M rounded up to whole vectors;
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

The whole run is one call: a block of 8 examples of a member goes through all timesteps on one thread, so that no thread
waits for another within a run; the controller is a matrix product of the block. Backward, blocks again go through all
timesteps, and the gradients of the matrices are one product over all timesteps at the end.

A file imports only from those above it; all above loops.py is compiled, into the two loops:

    rows.py         rows of S numbers: one-hots, rescaling, rotations
    modules.py      the fourteen modules, forward and backward
    softmaxes.py    the circuit's softmaxes, their entropy, backward
    timestep.py     one example through one timestep, forward and backward
    run.py          what the loops are given, and a block's part of it
    controllers.py  MLP and LSTM, forward and backward
    outcome.py      likelihoods, and the memory at the median stopping time
    blocks.py       a block of examples through all timesteps, forward and backward
    loops.py        the compiled loops over blocks; the key of their cache
    packing.py      circuits and parameters as the loops address them
    threads.py      the threads that share out the blocks
    passes.py       a pass from tensors to tensors
"""

import torch

from nram.circuit import Layout
from nram.controller import make_controller
from nram.kernels.cpu.loops import marker
from nram.kernels.cpu.passes import Pass, Workspace

__all__ = ["Pass", "Workspace", "warm_up", "will_compile"]

_warm = set()


def will_compile(dtype=torch.float32) -> bool:
    """Whether `warm_up`, or else the first run, has to compile."""
    return dtype not in _warm and not marker(dtype).exists()


def warm_up(dtype=torch.float32) -> None:
    """Compile the loops for `dtype`, or load them from Numba's cache."""
    if dtype in _warm:
        return
    layout = Layout(1)
    controller = make_controller("mlp", layout, 1)
    params = {name: torch.zeros(1, *shape, dtype=dtype) for name, shape in controller.shapes().items()}
    memory, limit = torch.zeros(1, 1, 2, dtype=torch.long), torch.ones(1, 1, dtype=torch.long)
    run = Pass(layout, controller, params, memory, memory, memory == 0, limit, clip=None, want_entropy=False,
               log_floor=1e-6, workspace=Workspace(), keep=True)
    run.backward(None, None, None)
    _warm.add(dtype)
    try:
        marker(dtype).touch()
    except OSError:
        pass  # then Numba could not write its cache either
