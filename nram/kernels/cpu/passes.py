"""A pass through the compiled loops, from tensors to tensors; what `nram.kernels.fused` asks of a kernel."""

import functools
import math

import numpy as np
import torch
from torch import Tensor

from nram.controller import LSTM
from nram.kernels.cpu import blocks, threads, timestep
from nram.kernels.cpu.loops import backward_blocks, forward_blocks
from nram.kernels.cpu.modules import WRITE
from nram.kernels.cpu.packing import circuit, pack, shares, unpack
from nram.kernels.cpu.run import Data, Gradients, Progress, Results, Rows, Run, Sizes, table
from nram.kernels.simd import LANES, padded

KEPT = 8  # keys of a workspace
GROUP = 8  # examples that go through the controller together; results do not depend on the number of threads


class Workspace:
    """Buffers by name, reused as long as they are large enough; 64-byte aligned. And what else can be used again."""

    def __init__(self):
        self._buffers, self._kept = {}, {}

    def keep(self, key, make):
        """What `make()` gave for this key; of other keys the latest few are remembered."""
        kept = self._kept.pop(key, None) or make()
        self._kept[key] = kept
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return kept

    def take(self, name: str, size: int, dtype) -> Tensor:
        """An uninitialised flat buffer of `size` elements."""
        held = self._buffers.get(name)
        if held is None or held.dtype != dtype or held.numel() < size:
            self._buffers[name] = None  # free the old one first
            held = self._buffers[name] = torch.empty(size, dtype=dtype)
        return held[:size]


def _check(memory, target, limit, dtype):
    """The loops do not check what they address."""
    num_cells = memory.shape[-1]
    if num_cells < 2:
        raise ValueError(f"a memory must have at least 2 cells, not {num_cells}")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"parameters must be float32 or float64, not {dtype}")
    for name, tensor in (("memory", memory), ("target", target), ("limit", limit)):
        if tensor.dtype != torch.long:
            raise ValueError(f"{name} must be of type torch.long, not {tensor.dtype}")
    for name, tensor in (("memory", memory), ("target", target)):
        low, high = torch.aminmax(tensor)
        if low < 0 or high >= num_cells:
            raise ValueError(f"{name} holds values outside 0..{num_cells - 1}")
    if limit.min() < 1:
        raise ValueError("limits must be at least 1")


@functools.lru_cache(maxsize=256)
def _sizes(layout, controller, shape, steps, keep) -> Sizes:
    """Of a pass over memories of this shape, (P, B, M); the same few come up again and again."""
    P, B, M = shape
    group, R, L, H = min(GROUP, B), layout.num_registers, layout.num_logits, padded(controller.hidden)
    lstm = isinstance(controller, LSTM)
    return Sizes(
        population=P, batch=B, group=group, blocks=-(-B // group), steps=steps, kept=steps + 1 if keep else 2,
        registers=R, cells=M, stride=padded(M), writes=int((circuit(layout).kinds == WRITE).sum()),
        sources=layout.num_sources, slots=len(layout.slots), logits=L, outputs=padded(L + 1),
        logits_stride=padded(L + 1) + LANES, hidden=H, is_lstm=int(lstm), x_size=padded(R), x_stride=padded(R + 1),
        middle_size=H * (1 + lstm), middle_stride=H * (1 + lstm) + LANES, gates_size=H * (1 + 3 * lstm),
        top_stride=H + LANES,
    )


class Pass:
    """One forward pass, kept for the backward pass: the run's buffers and what came out of it.

    memory, target: LongTensor[P, B, M]; mask: BoolTensor[P, B, M]; limit: LongTensor[P, B]. Raises ValueError for a
    memory of fewer than 2 cells, parameters that are neither float32 nor float64, memory or target outside 0..M-1, and
    limits below 1. See `nram.kernels.fused` for the rest.
    """

    def __init__(self, layout, controller, params, memory, target, mask, limit, *, clip, want_entropy, log_floor,
                 workspace, keep, produce=False):
        dtype = params["output_weight"].dtype
        _check(memory, target, limit, dtype)
        steps = int(limit.max())
        sizes = _sizes(layout, controller, memory.shape, steps, keep)
        P, B, M = memory.shape
        self.layout, self.controller, self.workspace = layout, controller, workspace
        self.sizes, self.dtype = sizes, dtype
        self.log_likelihood = torch.zeros(steps, P, B, dtype=dtype)
        self.stop_logits = torch.zeros(steps, P, B, dtype=dtype)
        self.entropy = torch.zeros((steps, P, B) if want_entropy else (1, 1, 1), dtype=dtype)
        self.produced = torch.zeros((P, B, M) if produce else (1, 1, 1), dtype=torch.long)
        self.wrong_cells = torch.zeros(P, B, dtype=torch.long)
        self.stop_step = torch.zeros(P, B, dtype=torch.long)
        results = (
            self.log_likelihood, self.stop_logits, self.entropy, self.produced, self.wrong_cells, self.stop_step
        )
        data = memory, target, mask.bool(), limit
        kept_values, rows = P * B * sizes.kept * sizes.stride, self._num_rows()
        self.run = Run(
            sizes=sizes,
            want_entropy=int(want_entropy),
            stop_early=int(produce),
            circuit=circuit(layout),
            data=Data(*[tensor.contiguous() for tensor in data]),
            matrices=pack(layout, controller, params, workspace),
            rows=Rows(
                x=self._take("x", rows * sizes.x_stride),
                middle=self._take("middle", rows * sizes.middle_stride),
                gates=self._take("gates", rows * sizes.gates_size),
                top=self._take("top", rows * sizes.top_stride),
                logits=self._take("logits", rows * sizes.logits_stride),
                weights=self._take("weights", rows * sizes.logits_stride),
            ),
            cells=self._take("cells", P * sizes.blocks * sizes.kept * sizes.group * sizes.hidden),
            values=self._take("values", kept_values * sizes.sources),
            tapes=self._take("tapes", kept_values * M),
            results=Results(*results),
            floor=float(log_floor),
            bound=math.inf if clip is None else float(clip),
        )
        self._in_threads(forward_blocks, timestep.forward_scratch(sizes))

    def _num_rows(self):
        """Rows of the controller: one for every example of a block and every timestep that is kept."""
        return self.sizes.population * self.sizes.blocks * (self.sizes.kept - 1) * self.sizes.group

    def _take(self, name, size):
        """A buffer behind which whole vectors, and rows of a matrix product, may be read."""
        pad = LANES * max(self.sizes.stride, self.sizes.logits_stride)
        return self.workspace.take(name, size + pad, self.dtype)

    def _in_threads(self, loop, scratch_size, gradients=None):
        """Call a compiled loop in every thread."""
        sizes, number = self.sizes, threads.count(self.sizes.population * self.sizes.blocks)
        each = sizes.group * number
        progress = Progress(
            cells=self.workspace.take("progress_cells", each * sizes.cells, torch.long),
            cell_count=self.workspace.take("progress_cell_count", each, torch.long),
            alive=self.workspace.take("progress_alive", each, torch.double),
            stopped=self.workspace.take("progress_stopped", each, torch.long),
            scratch=self._take("scratch", number * padded(scratch_size)),
            scratch_size=padded(scratch_size),
        )
        bound = np.array([self.run.bound], np.float32 if self.dtype == torch.float32 else np.float64)
        numbers = table(self.run, progress, gradients)
        threads.in_threads(lambda thread: loop(numbers, self.run.floor, bound, thread, number), number)

    def backward(self, d_log_likelihood, d_stop_logits, d_entropy) -> dict[str, Tensor]:
        """Gradients of the parameters, from those of the outcome [T, P, B] (None: zero)."""

        def whole(gradient):
            if gradient is None:
                return torch.zeros(self.log_likelihood.shape, dtype=self.dtype)
            return gradient.to(self.dtype).contiguous()

        sizes = self.sizes
        room = shares(self.layout, self.controller, sizes.population, sizes.blocks, self.dtype, self.workspace)
        gradients = Gradients(
            whole(d_log_likelihood), whole(d_stop_logits), whole(d_entropy),
            self._take("first_out", self._num_rows() * sizes.hidden), room.matrices,
        )
        self._in_threads(backward_blocks, blocks.backward_scratch(sizes), gradients)
        return unpack(room)
