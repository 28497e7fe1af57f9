"""The fused run as one differentiable operation, with the signatures and the meaning of `nram.machine`.

A kernel module (cpu, gpu) offers `Workspace()` and

    Pass(machines, batch, options, *, workspace, keep, produce=False)

which runs the machines forward on construction and then holds log_likelihood, stop_logits, entropy [T, P, B],
wrong_cells, stop_step [P, B], and with produce=True produced [P, B, M] (the run may then end at the median stop). With
keep=True `.backward(d_log_likelihood, d_stop_logits, d_entropy)` returns the parameters' gradients by name. It can be
called once; None stands for a gradient of zero. A workspace belongs to one pass at a time. A kernel module also offers
`will_compile(dtype)` and `warm_up(dtype)`.
"""

import threading
from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nram.machine.run import DEFAULTS, Machines, Outcome, RunOptions
from nram.tasks import Batch

__all__ = ["produce", "unroll"]


class _Workspaces:
    """At most one idle workspace per kernel: successive training steps use the same memory."""

    def __init__(self):
        self._idle = {}
        self._lock = threading.Lock()

    def take(self, kernel):
        with self._lock:
            return self._idle.pop(kernel, None) or kernel.Workspace()

    def give_back(self, kernel, workspace):
        with self._lock:
            self._idle[kernel] = workspace

    def clear(self):
        with self._lock:
            self._idle.clear()


workspaces = _Workspaces()


class _Lease:
    """A pass with its workspace, which it returns when nothing refers to the pass any more."""

    workspace = None  # lets `__del__` run if `__init__` was interrupted

    def __init__(self, kernel, *args, **kwargs):
        self.kernel, self.workspace = kernel, workspaces.take(kernel)
        self.run = kernel.Pass(*args, workspace=self.workspace, **kwargs)

    def __del__(self, workspaces=workspaces):  # the default outlives the module when the interpreter exits
        if self.workspace is not None:
            workspaces.give_back(self.kernel, self.workspace)


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernel, layout, controller, names, batch, options, *params):
        keep = any(ctx.needs_input_grad)
        machines = Machines(layout, controller, dict(zip(names, params, strict=True)))
        lease = _Lease(kernel, machines, batch, options, keep=keep)
        run = lease.run
        ctx.lease, ctx.names = lease if keep else None, names
        ctx.mark_non_differentiable(run.wrong_cells, run.stop_step)
        if not options.want_entropy:
            ctx.mark_non_differentiable(run.entropy)
        ctx.set_materialize_grads(False)
        return run.log_likelihood, run.stop_logits, run.entropy, run.wrong_cells, run.stop_step

    @staticmethod
    @once_differentiable
    def backward(ctx, d_log_likelihood, d_stop_logits, d_entropy, *_):
        if ctx.lease is None:
            raise RuntimeError("the run's kept values are gone: backward can be called once")
        lease, ctx.lease = ctx.lease, None
        gradients = lease.run.backward(d_log_likelihood, d_stop_logits, d_entropy)
        return (None,) * 6 + tuple(gradients[name] for name in ctx.names)


def unroll(kernel, machines: Machines, batch: Batch, options: RunOptions = DEFAULTS) -> Outcome:
    """`nram.machine.unroll` on the given kernel module."""
    names = tuple(machines.params)
    likelihood, stop_logits, entropy, wrong_cells, stop_step = _Unroll.apply(
        kernel, machines.layout, machines.controller, names, batch, options, *machines.params.values()
    )
    return Outcome(likelihood, stop_logits, entropy if options.want_entropy else None, wrong_cells, stop_step)


@torch.no_grad()
def produce(kernel, machines: Machines, memory: Tensor, limit: Tensor) -> Tensor:
    """`nram.machine.produce` on the given kernel module."""
    params = {name: value.detach() for name, value in machines.params.items()}
    machines = replace(machines, params=params)
    batch = Batch(memory, memory, torch.zeros_like(memory, dtype=torch.bool), limit, difficulty=limit)
    return _Lease(kernel, machines, batch, RunOptions(log_floor=1.0), keep=False, produce=True).run.produced
