"""The two compiled loops over blocks, and whether Numba's cache has them.

All that this package computes is compiled into these two. Numba's cache compares the time and size of this file alone.
The loops therefore hold a digest of all files that they are made from: a new digest makes new loops.
"""

import contextlib
import functools
from pathlib import Path

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_name
from numba import cfunc

from nram.kernels.cache import CACHED, digest
from nram.kernels.cpu import threads
from nram.kernels.cpu.blocks import block_backward, block_forward
from nram.kernels.cpu.run import share
from nram.kernels.cpu.table import gradients_of, progress_of, run_of

# Every file of this package, the vectors included: all that may be compiled into the loops.
SOURCES = tuple(sorted(Path(__file__).parent.rglob("*.py")))


def _compile(source_digest, real):
    """The two loops for buffers of type `real`. `source_digest` is in them to be part of the key of Numba's cache."""
    compiled = cfunc(threads.JOB, cache=CACHED, error_model="numpy")

    @compiled
    def forward(table, thread, number):
        source_digest  # noqa: B018
        run = run_of(table, real)
        progress = progress_of(table, real, run.sizes, thread)
        for index in range(*share(run.sizes, thread, number)):
            block_forward(run, index, progress)

    @compiled
    def backward(table, thread, number):
        source_digest  # noqa: B018
        run = run_of(table, real)
        gradients, progress = gradients_of(table, real), progress_of(table, real, run.sizes, thread)
        for index in range(*share(run.sizes, thread, number)):
            block_backward(run, gradients, index, progress)

    return forward, backward


DIGEST = digest(SOURCES)
_compiled = {}


def compiled_loops(dtype: torch.dtype) -> tuple:
    """The loops, forward and backward, for float32 or float64: compiled, or loaded from Numba's cache."""
    if dtype not in _compiled:
        _compiled[dtype] = _compile(DIGEST, np.float32 if dtype == torch.float32 else np.float64)
        if CACHED:
            with contextlib.suppress(OSError):  # then Numba could not write its cache either
                marker(dtype).touch()
    return _compiled[dtype]


def will_compile(dtype: torch.dtype = torch.float32) -> bool:
    """Whether `compiled_loops` has to compile."""
    return dtype not in _compiled and not (CACHED and marker(dtype).exists())


@functools.cache
def marker(dtype: torch.dtype) -> Path:
    """A file beside Numba's cache that exists if the cache holds the loops for `dtype` and this CPU.

    Numba drops its cache when this file's time has changed, as after a checkout: the marker's name contains the time.
    """
    written = Path(__file__).stat().st_mtime_ns
    name = f"nram-kernels-{DIGEST[:16]}-{written:x}-{get_host_cpu_name()}-{str(dtype).removeprefix('torch.')}"
    return Path(threads._lead.stats.cache_path) / name
