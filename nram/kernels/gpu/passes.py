"""A pass through the kernels, from tensors to tensors; what `nram.kernels.fused` asks of a kernel."""

import functools
import logging
import math

import torch
import triton
from torch import Tensor

from nram.kernels.gpu.activations import cell_backward, cell_forward, relu_backward
from nram.kernels.gpu.backward import backward_step
from nram.kernels.gpu.compiling import CHUNK, PRECISION, blocks, inputs, interpreted, max_registers, up
from nram.kernels.gpu.forward import forward_step
from nram.machine.circuit import Layout
from nram.machine.controller import LSTM
from nram.machine.run import Machines, RunOptions
from nram.tasks import Batch

__all__ = ["Pass", "Workspace"]

CUDA_GRAPHS = True  # replay each run's launches as one CUDA graph from the third run of the same shape on


class Workspace:
    """Buffers by name, reused while they are large enough, and the CUDA graphs captured on them."""

    def __init__(self):
        self._buffers = {}
        self.graphs = {}

    def take(self, name: str, *shape: int, dtype, device) -> Tensor:
        """An uninitialized contiguous tensor."""
        size = math.prod(shape)
        held = self._buffers.get(name)
        if held is None or held.dtype != dtype or held.device != device or held.numel() < size:
            held = None
            self._buffers.pop(name, None)  # free the old one first
            self.graphs.clear()  # they refer to it
            held = self._buffers[name] = torch.empty(size, dtype=dtype, device=device)
        return held[:size].view(shape)


@functools.cache  # CUDA graphs refer to the results
def _starts(layout: Layout, device) -> Tensor:
    """Where each slot's logits start, and their number: int32[K + 1]."""
    return torch.tensor([slot.start for slot in layout.slots] + [layout.num_logits], dtype=torch.int32, device=device)


@functools.cache  # CUDA graphs refer to the results
def _settings(clip, log_floor, dtype, device) -> Tensor:
    return torch.tensor([math.inf if clip is None else clip, log_floor], dtype=dtype, device=device)


def _check(memory, target, limit, dtype, steps) -> int:
    """The number of timesteps. Without `steps` the host checks the arguments here, and waits for the device."""
    num_cells = memory.shape[-1]
    if memory.device.type != "cuda" and not interpreted():
        raise ValueError(
            f"the gpu kernel runs on CUDA tensors, not on {memory.device.type!r}; on CPU tensors only under Triton's "
            "interpreter: set TRITON_INTERPRET=1 before Triton is imported"
        )
    if num_cells < 2:
        raise ValueError(f"a memory must have at least 2 cells, not {num_cells}")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"parameters must be float32 or float64, not {dtype}")
    if steps is not None:
        return steps
    extremes = torch.stack([*torch.aminmax(memory), *torch.aminmax(target), *torch.aminmax(limit)]).tolist()
    for name, (low, high) in (("memory", extremes[:2]), ("target", extremes[2:4])):
        if low < 0 or high >= num_cells:
            raise ValueError(f"{name} holds values outside 0..{num_cells - 1}")
    if extremes[4] < 1:
        raise ValueError("limits must be at least 1")
    return extremes[5]


class Pass:
    """One forward pass, kept for the backward pass: the run's buffers and its outcome.

    steps: the number of timesteps, at least the largest limit. None finds it and checks the arguments; the host then
    waits for the device.
    """

    def __init__(
        self,
        machines: Machines,
        batch: Batch,
        options: RunOptions,
        *,
        workspace: Workspace,
        keep: bool,
        produce: bool = False,
        steps: int | None = None,
    ):
        layout, controller, params = machines.layout, machines.controller, machines.params
        memory, target, mask, limit, _ = batch
        P, B, M = memory.shape
        N, R, L, H = P * B, layout.num_registers, layout.num_logits, controller.hidden
        dtype, device = params["output_weight"].dtype, memory.device
        steps = _check(memory, target, limit, dtype, steps)
        self.layout, self.controller, self.workspace = layout, controller, workspace
        self.dtype, self.device = dtype, device
        self.P, self.B, self.M, self.N, self.steps, self.keep = P, B, M, N, steps, keep
        self.lstm = isinstance(controller, LSTM)
        self.kept, self.kept_steps = (steps + 1, steps) if keep else (2, 1)
        self.blocks, self.max_registers = blocks(layout, M), max_registers(layout)
        self.S = self.blocks["S"]
        self.flags = {"ENTROPY": options.want_entropy, "PRODUCE": produce}
        self.key = (layout, controller, P, B, M, steps, keep, produce, options, dtype, device)
        self.starts, self.settings = _starts(layout, device), _settings(options.clip, options.log_floor, dtype, device)

        between = layout.repetitions - 1 if keep else 0
        self.inputs, self.top_size = inputs(layout), up(H + 1, 4)
        self.middle_size = up(2 * H + 1, 4) if self.lstm else self.top_size
        self.values = self._take("values", self.kept, N, layout.num_sources, self.S)
        self.tapes = self._take("tapes", self.kept + between, N, M, self.S)
        self.logits = self._take("logits", P, self.kept_steps, B, self.blocks["LOGITS"])
        self.x = self._take("x", P, self.kept, B, self.inputs)
        self.middle = self._take("middle", P, self.kept_steps, B, self.middle_size)
        self.top = self._take("top", P, self.kept_steps, B, self.top_size)
        if self.lstm:
            self.gates = self._take("gates", P, self.kept_steps, B, 4 * H)
            self.cells = self._take("cells", P, self.kept, B, H)
        self.scratch = self._take("scratch", N, 6 * self.S)
        self.alive = self._take("alive", N)
        self.data = {
            "memory": self._copy("memory", memory, torch.int32),
            "target": self._copy("target", target, torch.int32),
            "mask": self._copy("mask", mask, torch.int8),
            "limit": self._copy("limit", limit, torch.int32),
        }
        middle_out = ("gates", 2 * H, 4 * H) if self.lstm else ("second", H, H)
        self.layers = (("first", R, H), middle_out, ("output", H, L + 1))
        padded = (self.inputs, H), (self.middle_size, middle_out[2]), (self.top_size, self.blocks["LOGITS"])
        self.matrices = []
        for (name, ins, outs), shape in zip(self.layers, padded, strict=True):
            matrix = self._take(f"matrix_{name}", P, *shape).zero_()
            matrix[:, :ins, :outs].copy_(params[f"{name}_weight"].detach())
            matrix[:, ins, :outs].copy_(params[f"{name}_bias"].detach())
            self.matrices.append(matrix)
        outcome = {
            "log_likelihood": self._take("log_likelihood", steps, P, B),
            "stop_logits": self._take("stop_logits", steps, P, B),
            "entropy": self._take("entropy", *((steps, P, B) if options.want_entropy else (1, 1, 1))),
            "wrong_cells": self._take("wrong_cells", P, B, dtype=torch.int32),
            "stop_step": self._take("stop_step", P, B, dtype=torch.int32),
            "produced": self._take("produced", *((P, B, M) if produce else (1, 1, 1)), dtype=torch.int32),
        }
        self.outcome = outcome
        self._launch("forward", self._forward)
        for name, value in outcome.items():  # copies: the buffers belong to the workspace
            setattr(self, name, value.clone() if value.dtype == dtype else value.long())

    def _take(self, name, *shape, dtype=None):
        return self.workspace.take(name, *shape, dtype=dtype or self.dtype, device=self.device)

    def _copy(self, name, tensor, dtype):
        return self._take(f"{name}_in", *tensor.shape, dtype=dtype).copy_(tensor)

    def _launch(self, name, function):
        """Run the launches of `function`, or the CUDA graph of the same launches."""
        with torch.cuda.device_of(self.settings):
            if not CUDA_GRAPHS or self.device.type != "cuda":
                function()
                return
            graphs, key = self.workspace.graphs, (name, *self.key)
            if key not in graphs:  # compiles the kernels, and takes all buffers
                function()
                graphs[key] = None
                return
            if graphs[key] is None:
                graph = torch.cuda.CUDAGraph()
                try:
                    with torch.cuda.graph(graph):
                        function()
                    graphs[key] = graph
                except RuntimeError as error:
                    logging.getLogger(__name__).warning("no CUDA graph of the %s pass: %s", name, error)
                    graphs[key] = False
            if graphs[key]:
                graphs[key].replay()
            else:
                function()

    def _forward(self):
        H, R, M, N = self.controller.hidden, self.blocks["R"], self.M, self.N
        for tensor, ones in ((self.x, R), (self.middle, H * (1 + self.lstm)), (self.top, H)):
            tensor.zero_()
            tensor[..., ones] = 1  # times the matrix's last row: the bias
        self.x[:, 0, :, :R] = 1  # every register is the integer 0
        self.values[0].zero_()
        self.values[0, :, :R, 0] = 1
        cells = torch.arange(self.S, dtype=torch.int32, device=self.device)
        self.tapes[0].copy_(self.data["memory"].view(N, M, 1) == cells)
        for tensor in (*self.outcome.values(), self.alive):
            tensor.zero_()
        self.outcome["stop_step"].fill_(-1)
        if self.lstm:
            self.cells[:, 0] = 0
        first, middle, output = self.matrices
        block_h = triton.next_power_of_2(H)
        data, out = self.data, self.outcome
        for t in range(self.steps):
            now = t % self.kept_steps
            here, there = t % self.kept, (t + 1) % self.kept
            hidden = self.middle[:, now, :, :H]
            torch.bmm(self.x[:, here], first, out=hidden)
            hidden.relu_()
            if self.lstm:
                torch.bmm(self.middle[:, now], middle, out=self.gates[:, now])
                following = (t + 1) % self.kept_steps if t + 1 < self.steps else -1
                cell_forward[(N,)](
                    self.gates, self.cells, self.top, self.middle, now, here, there, following, self.kept_steps,
                    self.kept, self.B, self.top_size, self.middle_size, H, block_h,
                )  # fmt: skip
            else:
                hidden = self.top[:, now, :, :H]
                torch.bmm(self.middle[:, now], middle, out=hidden)
                hidden.relu_()
            torch.bmm(self.top[:, now], output, out=self.logits[:, now])
            forward_step[(N,)](
                self.logits, self.x, self.values, self.tapes, data["target"], data["mask"], data["limit"], self.alive,
                out["stop_step"], out["wrong_cells"], out["produced"], out["log_likelihood"], out["stop_logits"],
                out["entropy"], self.starts, self.settings, self.scratch,
                t, now, here, there, self.kept_steps, self.kept, self.B, M,
                INPUTS=self.inputs, **self.blocks, **self.flags, num_warps=1, maxnreg=self.max_registers,
            )  # fmt: skip

    def backward(self, d_log_likelihood, d_stop_logits, d_entropy) -> dict[str, Tensor]:
        """Gradients of the parameters, from those of the outcome [T, P, B] (None: zero)."""
        shape = (self.steps, self.P, self.B)
        given = {"log_likelihood": d_log_likelihood, "stop_logits": d_stop_logits, "entropy": d_entropy}
        self.d_outcome = {}
        for name, gradient in given.items():
            held = self.d_outcome[name] = self._take(f"d_{name}", *shape)
            if gradient is None or (name == "entropy" and not self.flags["ENTROPY"]):
                held.zero_()
            else:
                held.copy_(gradient)
        P, B, N, H, R = self.P, self.B, self.N, self.controller.hidden, self.blocks["R"]
        self.d_registers = self._take("d_registers", N, R, self.S)
        self.d_tape = self._take("d_tape", N, self.M, self.S)
        self.d_inputs = self._take("d_inputs", N, self.blocks["K"], self.S)
        self.d_x = self._take("d_x", P, B, R)
        self.d_top = self._take("d_top", P, B, H)
        self.d_middle = self._take("d_middle", P, B, H * (1 + self.lstm))
        self.d_cells = self._take("d_cells", P, B, H)
        self.d_first = self._take("d_first", P, self.steps, B, H)
        self.d_second = self.gates if self.lstm else self._take("d_second", P, self.steps, B, H)
        self.d_matrices = [
            self._take(f"d_matrix_{name}", *matrix.shape)
            for (name, *_), matrix in zip(self.layers, self.matrices, strict=True)
        ]
        self._launch("backward", self._backward)
        gradients = {}
        for (name, ins, outs), matrix in zip(self.layers, self.d_matrices, strict=True):
            gradients[f"{name}_weight"] = matrix[:, :ins, :outs].clone(memory_format=torch.contiguous_format)
            gradients[f"{name}_bias"] = matrix[:, ins, :outs].clone(memory_format=torch.contiguous_format)
        return gradients

    def _backward(self):
        H, R, N, steps, B = self.controller.hidden, self.blocks["R"], self.N, self.steps, self.B
        block_h = triton.next_power_of_2(H)
        for tensor in (self.d_registers, self.d_tape, self.d_x, self.d_middle, self.d_cells):
            tensor.zero_()
        first, middle, output = (matrix.transpose(1, 2) for matrix in self.matrices)
        precision = PRECISION if self.dtype == torch.float32 else "ieee"
        data, given = self.data, self.d_outcome
        for t in reversed(range(steps)):
            backward_step[(N,)](
                self.logits, self.d_x, self.values, self.tapes, data["target"], data["mask"], data["limit"],
                given["log_likelihood"], given["stop_logits"], given["entropy"], self.d_registers, self.d_tape,
                self.starts, self.settings, self.scratch, self.d_inputs,
                t, steps, B, self.M,
                CHUNK=CHUNK, ENTROPY=self.flags["ENTROPY"], PRECISION=precision, **self.blocks, num_warps=1,
                maxnreg=self.max_registers,
            )  # fmt: skip
            torch.bmm(self.logits[:, t], output[..., :H], out=self.d_top)
            if self.lstm:
                cell_backward[(N,)](
                    self.gates, self.cells, self.d_top, self.d_middle, self.d_cells, t, steps, B, H, block_h,
                    self.settings,
                )  # fmt: skip
            else:
                relu_backward[(N,)](
                    self.d_top, self.top, self.d_second, t, steps, B, H, self.top_size, H, block_h, self.settings
                )
            torch.bmm(self.d_second[:, t], middle[..., : self.d_middle.shape[-1]], out=self.d_middle)
            relu_backward[(N,)](
                self.d_middle, self.middle, self.d_first, t, steps, B, self.d_middle.shape[-1], self.middle_size, H,
                block_h, self.settings,
            )  # fmt: skip
            torch.bmm(self.d_first[:, t], first[..., :R], out=self.d_x)
        ins = (self.x[:, :steps], self.middle, self.top)
        outs = (self.d_first, self.d_second, self.logits)
        for matrix, x, gradient in zip(self.d_matrices, ins, outs, strict=True):
            torch.bmm(x.flatten(1, 2).transpose(1, 2), gradient.flatten(1, 2), out=matrix)
