"""WRITE's backward pass over 16 rows of the tape at once: loads, arithmetic and reductions fused into one loop."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nram.kernels.cpu.simd import llvm
from nram.kernels.cpu.simd.reductions import add_lanes, reduce_each
from nram.kernels.cpu.simd.vectors import LANES, VectorType

__all__ = ["write_backward_block"]


@intrinsic
def write_backward_block(typing_context, d_value, d_tape, place, value, tape, size, bound):
    """Backward of 16 rows of tape' = (1 - place) tape + place value; see `write` in nram.kernels.cpu.modules.

    d_tape [16, size] is cropped to [-bound, bound], then turned from the new rows' gradient into the old rows'. Adds to
    d_value; returns the gradient of place's 16 lanes.
    """
    if not (llvm.is_pointer(tape) and d_value == d_tape == place == value == tape and bound == tape.dtype):
        return None
    dtype = tape.dtype

    def emit(context, builder, sig, args):
        d_value_p, d_tape_p, place_p, value_p, tape_p, number, limit = args
        kind, index = llvm.vector_type(dtype), number.type
        high = llvm.splat(builder, kind, limit)
        low = builder.fsub(llvm.constant(kind, 0.0), high)
        ones = llvm.constant(kind, 1.0)
        sums = [cgutils.alloca_once(builder, kind) for _ in range(LANES)]
        for held in sums:
            builder.store(llvm.constant(kind, 0.0), held)
        rows = [builder.mul(number, ir.Constant(index, k)) for k in range(LANES)]
        gradients = [llvm.address(builder, dtype, d_tape_p, row) for row in rows]
        tapes = [llvm.address(builder, dtype, tape_p, row) for row in rows]
        with cgutils.for_range_slice(builder, ir.Constant(index, 0), number, ir.Constant(index, LANES), index) as (
            c,
            _,
        ):
            written, into_value = llvm.load(builder, dtype, value_p, c), llvm.load(builder, dtype, d_value_p, c)
            for k in range(LANES):
                d_row = llvm.load(builder, dtype, gradients[k], c)
                d_row = llvm.choose(builder, ">", low, llvm.choose(builder, "<", high, d_row))
                chosen = llvm.load_splat(builder, dtype, place_p, ir.Constant(index, k))
                change = builder.fsub(written, llvm.load(builder, dtype, tapes[k], c))
                builder.store(llvm.fma(builder, d_row, change, builder.load(sums[k], typ=kind)), sums[k])
                into_value = llvm.fma(builder, chosen, d_row, into_value)
                llvm.store(builder, dtype, gradients[k], c, builder.fmul(d_row, builder.fsub(ones, chosen)))
            llvm.store(builder, dtype, d_value_p, c, into_value)
        return reduce_each(builder, [builder.load(held, typ=kind) for held in sums], add_lanes)

    i = types.intp
    return VectorType(dtype)(d_value, d_tape, place, value, tape, i, bound), emit
