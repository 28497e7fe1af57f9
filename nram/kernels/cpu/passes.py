"""A pass through the compiled loops, from tensors to tensors; what `nram.kernels.fused` asks of a kernel."""

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nram.kernels.cpu import blocks, threads, timestep
from nram.kernels.cpu.loops import compiled_loops
from nram.kernels.cpu.modules import WRITE
from nram.kernels.cpu.packing import Packed, circuit, pack, room, shares, unpack
from nram.kernels.cpu.run import Progress, Rows, Sizes
from nram.kernels.cpu.simd import LANES, padded
from nram.kernels.cpu.table import DATA, RESULTS, UPSTREAM, Frame, table, write, write_real
from nram.machine.controller import LSTM
from nram.machine.run import Machines, RunOptions
from nram.tasks import Batch

KEPT = 32  # keys of a workspace
GROUP = 8  # examples that go through the controller together; results do not depend on the number of threads


class Workspace:
    """Buffers by name, reused while they are large enough (64-byte aligned), and other things that passes share."""

    def __init__(self):
        self._buffers, self._kept = {}, {}

    def keep(self, key, make):
        """What `make()` gave for this key; the latest KEPT keys are remembered."""
        kept = self._kept.pop(key, None) or make()
        self._kept[key] = kept
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return kept

    def take(self, name: str, size: int, dtype) -> Tensor:
        """An uninitialized flat buffer of `size` elements."""
        held = self._buffers.get(name)
        if held is None or held.dtype != dtype or held.numel() < size:
            self._kept.clear()  # tables may hold the old buffer's address
            self._buffers[name] = None  # free that first
            held = self._buffers[name] = torch.empty(size, dtype=dtype)
        return held[:size]


def _check(memory, target, limit, dtype) -> int:
    """The number of timesteps. Raises ValueError for arguments that the loops, which check nothing, cannot take."""
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
        if low.item() < 0 or high.item() >= num_cells:
            raise ValueError(f"{name} holds values outside 0..{num_cells - 1}")
    low, high = torch.aminmax(limit)
    if low.item() < 1:
        raise ValueError("limits must be at least 1")
    return high.item()


@functools.lru_cache(maxsize=256)
def _sizes(layout, controller, shape, steps, keep) -> Sizes:
    """The sizes of a pass over memories of shape (P, B, M). The same few recur."""
    P, B, M = shape
    group, R, L, H = min(GROUP, B), layout.num_registers, layout.num_logits, padded(controller.hidden)
    lstm = isinstance(controller, LSTM)
    return Sizes(
        population=P,
        batch=B,
        group=group,
        blocks=-(-B // group),
        steps=steps,
        kept=steps + 1 if keep else 2,
        registers=R,
        cells=M,
        stride=padded(M),
        writes=int((circuit(layout).kinds == WRITE).sum()),
        sources=layout.num_sources,
        slots=len(layout.slots),
        logits=L,
        outputs=padded(L + 1),
        logits_stride=padded(L + 1) + LANES,
        hidden=H,
        is_lstm=int(lstm),
        x_size=padded(R),
        x_stride=padded(R + 1),
        middle_size=H * (1 + lstm),
        middle_stride=H * (1 + lstm) + LANES,
        gates_size=H * (1 + 3 * lstm),
        top_stride=H + LANES,
    )


class Prepared(NamedTuple):
    """What passes of the same sizes share: the table, its number of threads, the parameters and their gradients."""

    table: np.ndarray
    address: int  # of the table
    threads: int
    packed: Packed
    shares: Packed


def _prepare(layout, controller, sizes, keep, want_entropy, stop_early, dtype, workspace) -> Prepared:
    """The workspace's buffers for passes of these sizes, and the table that leads to them."""
    P, number = sizes.population, threads.count(sizes.population * sizes.blocks)

    def take(name, size):
        """A buffer with room behind it: whole vectors, and rows of a matrix product, are read past its end."""
        return workspace.take(name, size + LANES * max(sizes.stride, sizes.logits_stride), dtype)

    def make():
        packed = workspace.keep(("packed", layout, controller, P, dtype), lambda: room(layout, controller, P, dtype))
        share = shares(layout, controller, P, sizes.blocks if keep else 0, dtype, workspace)
        rows = P * sizes.blocks * (sizes.kept - 1) * sizes.group  # one for every kept timestep of every example
        kept_values, each = P * sizes.batch * sizes.kept * sizes.stride, number * sizes.group
        scratch = padded(max(timestep.forward_scratch(sizes), blocks.backward_scratch(sizes) if keep else 0))
        frame = Frame(
            sizes=sizes,
            want_entropy=int(want_entropy),
            stop_early=int(stop_early),
            circuit=circuit(layout),
            matrices=packed.matrices,
            rows=Rows(
                x=take("x", rows * sizes.x_stride),
                middle=take("middle", rows * sizes.middle_stride),
                gates=take("gates", rows * sizes.gates_size),
                top=take("top", rows * sizes.top_stride),
                logits=take("logits", rows * sizes.logits_stride),
                weights=take("weights", rows * sizes.logits_stride),
            ),
            cells=take("cells", P * sizes.blocks * sizes.kept * sizes.group * sizes.hidden),
            values=take("values", kept_values * sizes.sources),
            tapes=take("tapes", kept_values * sizes.cells),
            progress=Progress(
                cells=workspace.take("progress_cells", each * sizes.cells, torch.long),
                cell_count=workspace.take("progress_cell_count", each, torch.long),
                alive=workspace.take("progress_alive", each, torch.double),
                stopped=workspace.take("progress_stopped", each, torch.long),
                scratch=take("scratch", number * scratch),
                scratch_size=scratch,
            ),
            first_out=take("first_out", rows * sizes.hidden if keep else 0),
            shares=share.matrices,
        )
        numbers = table(frame)
        return Prepared(numbers, numbers.ctypes.data, number, packed, share)

    return workspace.keep((layout, controller, sizes, keep, want_entropy, stop_early, dtype, number), make)


class Pass:
    """One forward pass, kept for the backward pass: the run's buffers and its outcome.

    batch: memory, target LongTensor[P, B, M]; mask BoolTensor[P, B, M]; limit LongTensor[P, B]. Raises ValueError for a
    memory of fewer than 2 cells, parameters that are neither float32 nor float64, memory or target outside 0..M-1, and
    limits below 1. See `nram.kernels.fused` for the rest.
    """

    def __init__(
        self, machines: Machines, batch: Batch, options: RunOptions, *, workspace: Workspace, keep: bool, produce=False
    ):
        layout, controller, params = machines.layout, machines.controller, machines.params
        memory, target, mask, limit, _ = batch
        dtype = params["output_weight"].dtype
        steps = _check(memory, target, limit, dtype)
        P, B, M = memory.shape
        self.sizes = _sizes(layout, controller, memory.shape, steps, keep)
        self._workspace = workspace  # the table's addresses lead into it
        self.log_likelihood = torch.zeros(steps, P, B, dtype=dtype)
        self.stop_logits = torch.zeros(steps, P, B, dtype=dtype)
        self.entropy = torch.zeros((steps, P, B) if options.want_entropy else (1, 1, 1), dtype=dtype)
        self.produced = torch.zeros((P, B, M) if produce else (1, 1, 1), dtype=torch.long)
        self.wrong_cells = torch.zeros(P, B, dtype=torch.long)
        self.stop_step = torch.zeros(P, B, dtype=torch.long)
        results = (self.log_likelihood, self.stop_logits, self.entropy, self.produced, self.wrong_cells, self.stop_step)
        self._data = [
            tensor.contiguous() for tensor in (memory, target, mask.bool(), limit)
        ]  # backward reads them again
        self._prepared = prepared = _prepare(
            layout, controller, self.sizes, keep, options.want_entropy, produce, dtype, workspace
        )
        pack(prepared.packed, params)
        write(prepared.table, DATA, self._data)
        write(prepared.table, RESULTS, results)
        write_real(prepared.table, options.log_floor, math.inf if options.clip is None else options.clip)
        forward, self._backward = compiled_loops(dtype)
        threads.in_threads(forward.address, prepared.address, prepared.threads)

    def backward(self, d_log_likelihood, d_stop_logits, d_entropy) -> dict[str, Tensor]:
        """Gradients of the parameters, from those of the outcome [T, P, B] (None: zero)."""

        def whole(gradient):
            if gradient is None:
                return torch.zeros_like(self.log_likelihood)
            return gradient.to(self.log_likelihood.dtype).contiguous()

        prepared, upstream = self._prepared, [whole(each) for each in (d_log_likelihood, d_stop_logits, d_entropy)]
        write(prepared.table, UPSTREAM, upstream)
        threads.in_threads(self._backward.address, prepared.address, prepared.threads)
        return unpack(prepared.shares)
