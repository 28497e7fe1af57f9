"""The computer's own limits: arithmetic in a matrix product, bandwidth in a large copy."""

import statistics

import torch

from nram.experiments.speed.timing import MATRIX_SIZES, matrix_product, take_turns

__all__ = ["limits"]


def limits(rounds: int, copied_mib: int) -> dict:
    """What this computer can do with torch's threads: float32 matrix products and a copy larger than its caches.

    gflops: operations per second / 1e9, of the faster of the sizes. copy_gigabytes_per_second: bytes read and written.
    Medians, with the best and all of the rounds.
    """
    source = torch.zeros(copied_mib * 2**18)
    target = torch.empty_like(source)
    calls = {f"matrix {size}": matrix_product(size, "cpu") for size in MATRIX_SIZES}
    calls["copy"] = lambda: target.copy_(source)
    samples, _ = take_turns(calls, rounds)
    rates = {size: sorted(2 * size**3 / wall / 1e9 for wall, _ in samples[f"matrix {size}"]) for size in MATRIX_SIZES}
    size = max(rates, key=lambda size: statistics.median(rates[size]))
    copies = sorted(2 * source.nbytes / wall / 1e9 for wall, _ in samples["copy"])
    return {
        "matrix_size": size,
        "gflops": statistics.median(rates[size]),
        "gflops_best": rates[size][-1],
        "copied_mib": copied_mib,
        "copy_gigabytes_per_second": statistics.median(copies),
        "copy_gigabytes_per_second_best": copies[-1],
        "rounds": rounds,
    }
