"""Arithmetic on all lanes at once: `+ - * /`, `fma`, bounds, choices, `exp`; strict, so NaN stays NaN."""

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from nram.kernels.cpu.simd import llvm
from nram.kernels.cpu.simd.vectors import LANES, VectorType

__all__ = ["at_least", "at_most", "exp", "fma", "magnitude", "reciprocal", "where_positive"]


def _define_operator(function, instruction):
    @infer_global(function)
    class VectorTemplate(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], VectorType) and args[0] == args[1]:
                return signature(args[0], *args)

    @lower_builtin(function, VectorType, VectorType)
    def lower(context, builder, sig, args):
        return getattr(builder, instruction)(*args)


_define_operator(operator.add, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")
_define_operator(operator.truediv, "fdiv")


@intrinsic
def magnitude(typing_context, vector):
    """The absolute value of each lane."""
    if not isinstance(vector, VectorType):
        return None

    def emit(context, builder, sig, args):
        return llvm.call(builder, "fabs", args[0].type, [args[0]])

    return vector(vector), emit


@intrinsic
def where_positive(typing_context, condition, vector, other):
    """Lane by lane `vector` where `condition` > 0 or NaN, else `other`."""
    if not isinstance(vector, VectorType) or not condition == vector == other:
        return None

    def emit(context, builder, sig, args):
        chosen = builder.fcmp_unordered(">", args[0], llvm.constant(args[0].type, 0.0))
        return builder.select(chosen, args[1], args[2])

    return vector(vector, vector, vector), emit


@intrinsic
def reciprocal(typing_context, scalar):
    """1 / scalar in the scalar's own precision."""
    if scalar not in (types.float32, types.float64):
        return None

    def emit(context, builder, sig, args):
        return builder.fdiv(ir.Constant(args[0].type, 1.0), args[0])

    return scalar(scalar), emit


@intrinsic
def fma(typing_context, a, b, c):
    """a * b + c, in one instruction where the CPU has one."""
    if not isinstance(a, VectorType) or not a == b == c:
        return None

    def emit(context, builder, sig, args):
        return llvm.fma(builder, *args)

    return a(a, a, a), emit


def _extreme(comparison):
    @intrinsic
    def emit_extreme(typing_context, bound, vector):
        if not isinstance(vector, VectorType) or bound != vector:
            return None

        def emit(context, builder, sig, args):
            return llvm.choose(builder, comparison, *args)

        return vector(vector, vector), emit

    return emit_extreme


at_most = _extreme("<")  # at_most(bound, v): min(bound, v); a NaN in v stays
at_least = _extreme(">")  # at_least(bound, v): max(bound, v); a NaN in v stays


@intrinsic
def exp(typing_context, vector):
    """e to the power of each lane, for lanes <= 0.

    float32: 2^n by setting the exponent's bits, times a polynomial of degree 6 (relative error below 2e-7); lanes
    below -87.7 give 0, NaN gives NaN. float64: the C library's function, lane by lane.
    """
    if not isinstance(vector, VectorType):
        return None

    def emit(context, builder, sig, args):
        x = args[0]
        if vector.dtype == types.float64:
            return llvm.call(builder, "exp", x.type, [x])

        def constant(value):
            return llvm.constant(x.type, float(np.float32(value)))

        x = llvm.choose(builder, ">", constant(-88.0), x)
        # Adding 1.5 * 2^23 + 127 rounds to an integer n; n + 127, the exponent of 2^n, stands in the sum's lowest bits.
        shifted = llvm.fma(builder, x, constant(1.4426950408889634), constant(12583039.0))
        n = builder.fsub(shifted, constant(12583039.0))
        r = llvm.fma(builder, n, constant(-0.693359375), x)
        r = llvm.fma(builder, n, constant(2.12194440e-4), r)
        y = constant(1.9875691500e-4)
        for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
            y = llvm.fma(builder, y, r, constant(coefficient))
        y = llvm.fma(builder, builder.fmul(r, r), y, builder.fadd(r, constant(1.0)))
        integers = ir.VectorType(ir.IntType(32), LANES)
        power = builder.shl(builder.bitcast(shifted, integers), ir.Constant(integers, [23] * LANES))
        return builder.fmul(y, builder.bitcast(power, x.type))

    return vector(vector), emit
