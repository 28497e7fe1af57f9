"""Lanes: vectors of equal lanes, selected and shifted lanes, running sums."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nram.kernels.cpu.simd import llvm
from nram.kernels.cpu.simd.vectors import LANES, VectorType

__all__ = [
    "constant",
    "first_lanes",
    "one",
    "running_sum",
    "running_sum_down",
    "shift_down",
    "shift_up",
    "splat",
    "splat_first",
    "splat_last",
    "with_lane",
    "zero",
]


@intrinsic
def splat(typing_context, scalar):
    """All 16 lanes equal to a scalar."""
    if scalar not in (types.float32, types.float64):
        return None

    def emit(context, builder, sig, args):
        return llvm.splat(builder, llvm.vector_type(scalar), args[0])

    return VectorType(scalar)(scalar), emit


def constant(value):
    """An intrinsic `f(base)`: all lanes `value`, in the kind of number that `base` points at."""

    @intrinsic
    def emit_constant(typing_context, base):
        if not llvm.is_pointer(base):
            return None

        def emit(context, builder, sig, args):
            return llvm.constant(llvm.vector_type(base.dtype), value)

        return VectorType(base.dtype)(base), emit

    return emit_constant


zero = constant(0.0)
one = constant(1.0)


@intrinsic
def first_lanes(typing_context, count, vector, other):
    """The lanes below `count` from `vector`, the rest from `other`."""
    if not isinstance(vector, VectorType) or vector != other:
        return None

    def emit(context, builder, sig, args):
        bits = vector.dtype.bitwidth
        limit = args[0] if bits == 64 else builder.trunc(args[0], ir.IntType(bits))
        chosen = builder.icmp_signed(
            "<", llvm.lane_numbers(bits), llvm.splat(builder, llvm.lane_numbers(bits).type, limit)
        )
        return builder.select(chosen, args[1], args[2])

    return vector(types.intp, vector, vector), emit


@intrinsic
def with_lane(typing_context, index, vector, other):
    """Lane `index` from `other`, the rest from `vector`; an index outside 0..15 changes nothing."""
    if not isinstance(vector, VectorType) or vector != other:
        return None

    def emit(context, builder, sig, args):
        bits = vector.dtype.bitwidth
        lane = args[0] if bits == 64 else builder.trunc(args[0], ir.IntType(bits))
        chosen = builder.icmp_signed(
            "==", llvm.lane_numbers(bits), llvm.splat(builder, llvm.lane_numbers(bits).type, lane)
        )
        return builder.select(chosen, args[2], args[1])

    return vector(types.intp, vector, vector), emit


@intrinsic
def shift_up(typing_context, vector, before):
    """Lane k becomes lane k-1; lane 0 becomes the last lane of `before`."""
    if not isinstance(vector, VectorType) or vector != before:
        return None

    def emit(context, builder, sig, args):
        return llvm.shuffle(builder, args[1], args[0], range(LANES - 1, 2 * LANES - 1))

    return vector(vector, vector), emit


@intrinsic
def shift_down(typing_context, vector, after):
    """Lane k becomes lane k+1; the last lane becomes lane 0 of `after`."""
    if not isinstance(vector, VectorType) or vector != after:
        return None

    def emit(context, builder, sig, args):
        return llvm.shuffle(builder, args[0], args[1], range(1, LANES + 1))

    return vector(vector, vector), emit


def _lane_splat(lane):
    @intrinsic
    def emit_splat(typing_context, vector):
        if not isinstance(vector, VectorType):
            return None

        def emit(context, builder, sig, args):
            return llvm.shuffle(builder, args[0], args[0], [lane] * LANES)

        return vector(vector), emit

    return emit_splat


splat_first = _lane_splat(0)
splat_last = _lane_splat(LANES - 1)


def _scan(upwards):
    @intrinsic
    def emit_scan(typing_context, vector):
        if not isinstance(vector, VectorType):
            return None

        def emit(context, builder, sig, args):
            running, nothing = args[0], llvm.constant(args[0].type, 0.0)
            distance = 1
            while distance < LANES:
                if upwards:
                    moved = llvm.shuffle(builder, nothing, running, range(LANES - distance, 2 * LANES - distance))
                else:
                    moved = llvm.shuffle(builder, running, nothing, range(distance, LANES + distance))
                running = builder.fadd(running, moved)
                distance *= 2
            return running

        return vector(vector), emit

    return emit_scan


running_sum = _scan(upwards=True)  # lane k: the sum of lanes 0..k
running_sum_down = _scan(upwards=False)  # lane k: the sum of lanes k..15
