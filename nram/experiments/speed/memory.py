"""Peak memory of training, each case in a fresh process."""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import torch

from nram import kernels
from nram.experiments.speed.calls import step_call
from nram.experiments.speed.cases import Case

__all__ = ["peak_memory"]


def _resident_mib() -> tuple[float, float]:
    """This process's resident memory: (now, its peak so far)."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory at the time of the fork
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line)
        return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    return peak, peak


def _train_a_little(case: Case, kernel: str, threads: int) -> tuple[float, float]:
    """For a fresh process: its resident MiB before training, and their peak during three training steps."""
    torch.set_num_threads(threads)
    kernels.warm_up(kernel, case.device)
    before, _ = _resident_mib()
    step = step_call(case, kernel)
    for _ in range(3):
        step()
    return before, _resident_mib()[1]


def peak_memory(case: Case, kernel: str) -> dict:
    """Peak resident memory of training, in a fresh process: of the whole process, and above what it had before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        before, peak = process.submit(_train_a_little, case, kernel, torch.get_num_threads()).result()
    name = "reference" if kernel == "reference" else "fused"
    return {**asdict(case), "implementation": name, "peak_mib": peak, "training_mib": peak - before}
