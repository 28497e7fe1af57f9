"""The threads that share out the blocks of a pass: those of Python, since the compiled loops release its lock.

They do not spin while they wait, and so do not fight those of PyTorch, if these do not spin either
(OMP_WAIT_POLICY=PASSIVE in the environment before torch is imported).
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

num_threads = None  # of a pass; None stands for as many as PyTorch's own operations have


def count(blocks: int) -> int:
    """How many threads a pass over so many blocks gets."""
    return max(1, min(num_threads or torch.get_num_threads(), blocks))


_pool = None
_pool_lock = threading.Lock()


def _forget_pool():
    """A forked process has none of its parent's threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _without_denormals(function, thread):
    """Call function(thread) with numbers below the smallest normal one (1.2e-38) taken as 0: they cost 150 cycles each.

    Where the CPU has no such mode (torch.set_flush_denormal returns False) they are computed.
    """
    smallest = np.finfo(np.float32).tiny
    already = bool(smallest * np.float32(0.5) == 0)
    torch.set_flush_denormal(True)
    try:
        function(thread)
    finally:
        torch.set_flush_denormal(already)


def in_threads(function, threads):
    """Call function(thread) for every thread, this one among them; the loops release the interpreter's lock."""
    global _pool
    others = []
    if threads > 1:
        with _pool_lock:
            if _pool is None or _pool._max_workers < threads - 1:
                _pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="nram")
        others = [_pool.submit(_without_denormals, function, thread) for thread in range(1, threads)]
    try:
        _without_denormals(function, 0)
    finally:
        for other in others:
            other.result()
