"""The two compiled loops over blocks, and what tells whether Numba's cache has them.

Everything else in this package that is compiled is compiled into these two. Numba compares the time and size of this
file only, so the loops hold a digest of all files that they are made from: with another digest they are others.
"""

import functools
import hashlib
from pathlib import Path

import numba
import torch
from llvmlite.binding import get_host_cpu_name
from numba import njit

from nram.kernels import simd
from nram.kernels.cpu.blocks import block_backward, block_forward
from nram.kernels.cpu.run import gradients_of, progress_of, run_of

SOURCES = (Path(simd.__file__), *sorted(Path(__file__).parent.glob("*.py")))


def digest(sources=SOURCES) -> str:
    """Hexadecimal digest of files' contents and of Numba's version."""
    contents = [numba.__version__.encode(), *(path.read_bytes() for path in sources)]
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()


def _compile(source_digest):
    """The compiled loops. `source_digest` is not used: it is in them for being part of the key of Numba's cache."""

    @njit(cache=True, error_model="numpy", nogil=True)
    def forward(table, floor, bound, thread, threads):
        source_digest  # noqa: B018
        run = run_of(table, floor, bound)
        progress = progress_of(table, bound, run.sizes, thread)
        for index in range(thread, run.sizes.population * run.sizes.blocks, threads):
            block_forward(run, index, progress)

    @njit(cache=True, error_model="numpy", nogil=True)
    def backward(table, floor, bound, thread, threads):
        source_digest  # noqa: B018
        run = run_of(table, floor, bound)
        gradients, progress = gradients_of(table, bound), progress_of(table, bound, run.sizes, thread)
        for index in range(thread, run.sizes.population * run.sizes.blocks, threads):
            block_backward(run, gradients, index, progress)

    return forward, backward


DIGEST = digest()
forward_blocks, backward_blocks = _compile(DIGEST)  # one thread's share, every threads-th block


@functools.cache
def marker(dtype: torch.dtype) -> Path:
    """A file beside Numba's cache, there if the loops for `dtype` and this CPU are in it.

    Numba drops all it holds when this file's time has changed, as after a checkout: the name has it, too.
    """
    written = Path(__file__).stat().st_mtime_ns
    name = f"nram-kernels-{DIGEST[:16]}-{written:x}-{get_host_cpu_name()}-{str(dtype).removeprefix('torch.')}"
    return Path(forward_blocks.stats.cache_path) / name
