"""Run whole machines, with the fastest implementation for the tensors' device or with a named one.

    "reference"  nram.machine: plain PyTorch, any device
    "cpu"        nram.kernels.cpu: the whole run fused with Numba
    "gpu"        nram.kernels.gpu: every timestep fused with Triton, which PyTorch's CUDA builds bring along
    "auto"       the fused one for the device: "cpu", or "gpu" where Triton is installed; else the reference

All compute what `nram.machine` defines. `nram.kernels.fused` says what a fused implementation offers.
"""

import contextlib
import importlib
import importlib.util
import os

import torch
from torch import Tensor

from nram import machine
from nram.kernels import fused
from nram.machine.run import DEFAULTS, Machines, Outcome, RunOptions
from nram.tasks import Batch

__all__ = ["KERNELS", "narrow_pytorch", "produce", "resolve", "share_cache", "unroll", "warm_up", "will_compile"]

KERNELS = ("auto", "reference", "cpu", "gpu")
_FUSED = {"cpu": "cpu", "cuda": "gpu"}  # device type -> the fused kernel for it


def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def resolve(kernel: str = "auto", device: torch.device | str = "cpu") -> str:
    """The name of the implementation that `kernel` means on this device; never "auto".

    Raises ValueError for an unknown kernel, or for one that does not run on this device. On the CPU "gpu" runs only
    under Triton's interpreter (TRITON_INTERPRET=1), for tests.
    """
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; valid: {', '.join(KERNELS)}")
    kind = torch.device(device).type
    if kernel == "gpu" and not _has_triton():
        raise ValueError("kernel 'gpu' needs Triton, which is not installed: pip install triton")
    if kernel == "gpu" and kind == "cpu":
        if os.environ.get("TRITON_INTERPRET") != "1":
            raise ValueError(
                "kernel 'gpu' runs on CUDA tensors; on the CPU only under Triton's interpreter, with TRITON_INTERPRET=1"
            )
        return kernel
    if kernel not in ("auto", "reference", _FUSED.get(kind)):
        valid = ["auto", "reference", *filter(None, [_FUSED.get(kind)])]
        raise ValueError(f"kernel {kernel!r} does not run on {kind!r}; valid there: {', '.join(valid)}")
    if kernel != "auto":
        return kernel
    fastest = _FUSED.get(kind, "reference")
    return "reference" if fastest == "gpu" and not _has_triton() else fastest


def _module(name: str):
    """The kernel module of a resolved name; None for the reference. Imported late: Numba takes a second."""
    return None if name == "reference" else importlib.import_module(f"nram.kernels.{name}")


def unroll(machines: Machines, batch: Batch, options: RunOptions = DEFAULTS, kernel: str = "auto") -> Outcome:
    """`nram.machine.unroll` by the given kernel: the same arguments, the same `Outcome`."""
    module = _module(resolve(kernel, batch.memory.device))
    if module is None:
        return machine.unroll(machines, batch, options)
    return fused.unroll(module, machines, batch, options)


def produce(machines: Machines, memory: Tensor, limit: Tensor, kernel: str = "auto") -> Tensor:
    """`nram.machine.produce` by the given kernel: memory LongTensor[P, B, M], limit LongTensor[P, B] -> [P, B, M]."""
    module = _module(resolve(kernel, memory.device))
    if module is None:
        return machine.produce(machines, memory, limit)
    return fused.produce(module, machines, memory, limit)


@contextlib.contextmanager
def narrow_pytorch():
    """Run PyTorch's own operations on one thread, and leave the others to the fused kernel.

    The work around a run is too small to share, and PyTorch's idle threads spin: with few cores that costs far more
    than they save.
    """
    from nram.kernels.cpu import threads

    ours, before = torch.get_num_threads(), threads.num_threads
    threads.num_threads = ours
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(ours)
        threads.num_threads = before


def will_compile(kernel: str = "auto", device: torch.device | str = "cpu", dtype=torch.float32) -> bool:
    """Whether the first run on this device starts with compiling, which takes tens of seconds."""
    module = _module(resolve(kernel, device))
    return module is not None and module.will_compile(dtype)


def share_cache() -> None:
    """Let this process and those that it starts share what they compile, see `nram.kernels.cache`."""
    importlib.import_module("nram.kernels.cache")


def warm_up(kernel: str = "auto", device: torch.device | str = "cpu", dtype=torch.float32) -> None:
    """Compile what the first run on this device needs, or load it from the cache."""
    module = _module(resolve(kernel, device))
    if module is not None:
        module.warm_up(dtype)
