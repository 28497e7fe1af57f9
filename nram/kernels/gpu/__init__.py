"""One machine timestep fused for the GPU: circuit softmax, modules, registers and tape, forward and backward (Triton).

One program of one warp is one example through one timestep. The controller runs between the timesteps as batched matrix
products over the population; its parameters' gradients are one product over all timesteps at the end. Nothing is
copied to the host but, once a run, the extremes of the arguments that are checked there.

Kept for the backward pass, per example and timestep: the R + Q value rows, the tape before it, the circuit's weights
(its gradient takes their place) and the controller's activations. A row has S numbers: M rounded up to a multiple of
16; those from M on are zero. What one lane of the warp writes and another reads goes through memory, that is the first
cache, between two barriers, so that no array in registers is indexed at run time, whatever M.

A slot of module i averages n = R + i sources. K: number of slots; L: number of logits; N = P * B examples.

    rows.py         rows of S numbers: one-hots, weighted sums, rotations, a new tape
    forward.py      one timestep forward
    backward.py     one timestep backward
    activations.py  ReLU and the LSTM's cell, forward and backward
    compiling.py    what the kernels are compiled for
    passes.py       a pass from tensors to tensors
"""

import torch

from nram.kernels.gpu.compiling import compile_for, interpreted
from nram.kernels.gpu.passes import Pass, Workspace
from nram.machine.circuit import Layout
from nram.machine.controller import make_controller
from nram.machine.run import Machines, RunOptions
from nram.tasks import Batch

__all__ = ["Pass", "Workspace", "compile_for", "interpreted", "warm_up", "will_compile"]

_warm = set()


def will_compile(dtype=torch.float32) -> bool:
    """Whether `warm_up` has not run yet; Triton keeps what it compiled on disk, so that it may take a moment only."""
    return not interpreted() and dtype not in _warm


def warm_up(dtype=torch.float32) -> None:
    """Compile the kernels for the usual machine (4 registers, 14 modules, memories of up to 32 cells); others compile
    on their first run."""
    if not will_compile(dtype):
        return
    layout = Layout(4)
    device = torch.device("cuda")
    memory = torch.zeros(1, 1, 32, dtype=torch.long, device=device)
    batch = Batch(memory, memory, memory == 0, memory[..., 0] + 1, memory[..., 0])
    for kind in ("mlp", "lstm"):
        controller = make_controller(kind, layout, 64)
        params = {
            name: torch.zeros(1, *shape, dtype=dtype, device=device) for name, shape in controller.shapes().items()
        }
        machines = Machines(layout, controller, params)
        for entropy in (False, True):
            options = RunOptions(want_entropy=entropy)
            run = Pass(machines, batch, options, workspace=Workspace(), keep=True, steps=1)
            run.backward(None, None, None)
    _warm.add(dtype)
