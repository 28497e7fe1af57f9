"""Vectors of 16 lanes for Numba: the few operations from which the fused CPU kernel is built.

Numba vectorizes plain loops only behind run-time alias checks, and leaves short loops to a scalar remainder. Here a
vector is a value: `load` and `store` move 16 numbers, `+ - *` and `fma` work on all lanes, and a Numba function that
uses them compiles to exactly these instructions. LLVM maps 16 lanes onto whatever the CPU has (one AVX-512 register,
two AVX2 registers, four NEON registers); nothing here names a CPU. Arithmetic is strict: no fastmath, NaN stays NaN.

Memory is addressed by `pointer(address, dtype)`, a bare pointer; `at(p, n)` moves it by n elements and `p[i]` reads or
writes one element. **Nothing is bounds-checked**: every buffer must hold a whole vector at its end.
"""

from nram.kernels.cpu.simd.arithmetic import at_least, at_most, exp, fma, magnitude, reciprocal, where_positive
from nram.kernels.cpu.simd.memory import at, lanes, load, pointer, prefetch, prefetch_to_write, store
from nram.kernels.cpu.simd.mixes import mix, mix_many, mix_pair
from nram.kernels.cpu.simd.reductions import dots, first_equal, largest, row_maxima, row_sums, total, transpose
from nram.kernels.cpu.simd.shuffles import (
    constant,
    first_lanes,
    one,
    running_sum,
    running_sum_down,
    shift_down,
    shift_up,
    splat,
    splat_first,
    splat_last,
    with_lane,
    zero,
)
from nram.kernels.cpu.simd.tape import write_backward_block
from nram.kernels.cpu.simd.vectors import LANES, VectorType, padded

__all__ = [
    "LANES", "VectorType", "at", "at_least", "at_most", "constant", "dots", "exp", "first_equal", "first_lanes", "fma",
    "lanes", "largest", "load", "magnitude", "mix", "mix_many", "mix_pair", "one", "padded", "pointer", "prefetch",
    "prefetch_to_write", "reciprocal", "row_maxima", "row_sums", "running_sum", "running_sum_down", "shift_down",
    "shift_up", "splat", "splat_first", "splat_last", "store", "total", "transpose", "where_positive", "with_lane",
    "write_backward_block", "zero",
]  # fmt: skip
