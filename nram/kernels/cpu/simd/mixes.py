"""Weighted sums of rows: nearly all of the machine's arithmetic (`mix`), and a matrix product (`mix_many`)."""

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from nram.kernels.cpu.simd import llvm
from nram.kernels.cpu.simd.memory import at
from nram.kernels.cpu.simd.vectors import LANES

__all__ = ["mix", "mix_many", "mix_pair"]


def _mix_block(outs, chunks, unroll):
    """An intrinsic for `outs` weighted sums of the same rows, `chunks` vectors wide.

    Each of `unroll` rows has its own accumulators: outs * chunks * unroll sums are in flight at once.
    """

    @intrinsic
    def mix_block(typing_context, out, out_stride, weights, weights_stride, step, rows, stride, count):
        if not (llvm.is_pointer(out) and out == weights == rows):
            return None
        dtype = out.dtype

        def emit(context, builder, sig, args):
            out_p, out_s, weight_p, weight_s, weight_step, row_p, row_s, number = args
            vector = llvm.vector_type(dtype)
            index = out_s.type

            def integer(value):
                return ir.Constant(index, value)

            sums = [
                [
                    [cgutils.alloca_once_value(builder, llvm.constant(vector, 0.0)) for _ in range(chunks)]
                    for _ in range(outs)
                ]
                for _ in range(unroll)
            ]
            for per_unroll in sums:
                for per_out in per_unroll:
                    for place in per_out:
                        builder.store(llvm.constant(vector, 0.0), place)
            weight_bases = [
                llvm.address(builder, dtype, weight_p, builder.mul(weight_s, integer(o))) for o in range(outs)
            ]

            def add_row(j, part):
                row = llvm.address(builder, dtype, row_p, builder.mul(j, row_s))
                loaded = [llvm.load(builder, dtype, row, integer(c * LANES)) for c in range(chunks)]
                place = builder.mul(j, weight_step)
                for o in range(outs):
                    weight = llvm.load_splat(builder, dtype, weight_bases[o], place)
                    for c in range(chunks):
                        held = sums[part][o][c]
                        builder.store(llvm.fma(builder, weight, loaded[c], builder.load(held, typ=vector)), held)

            whole = integer(0)
            if unroll > 1:
                whole = builder.and_(number, integer(-unroll))
                with cgutils.for_range_slice(builder, integer(0), whole, integer(unroll), index) as (j, _):
                    for part in range(unroll):
                        add_row(builder.add(j, integer(part)), part)
            with cgutils.for_range_slice(builder, whole, number, integer(1), index) as (j, _):
                add_row(j, 0)
            for o in range(outs):
                base = llvm.address(builder, dtype, out_p, builder.mul(out_s, integer(o)))
                for c in range(chunks):
                    parts = [builder.load(sums[part][o][c], typ=vector) for part in range(unroll)]
                    while len(parts) > 1:
                        parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
                    llvm.store(builder, dtype, base, integer(c * LANES), parts[0])
            return context.get_dummy_value()

        i = types.intp
        return types.void(out, i, weights, i, i, rows, i, i), emit

    return mix_block


_mix_1x1, _mix_1x2, _mix_1x4 = _mix_block(1, 1, 4), _mix_block(1, 2, 4), _mix_block(1, 4, 2)
_mix_2x1, _mix_2x2, _mix_2x4 = _mix_block(2, 1, 4), _mix_block(2, 2, 2), _mix_block(2, 4, 1)
_mix_4x1, _mix_4x2, _mix_4x4 = _mix_block(4, 1, 2), _mix_block(4, 2, 1), _mix_block(4, 4, 1)
_mix_8x1, _mix_8x2 = _mix_block(8, 1, 1), _mix_block(8, 2, 1)


@njit(error_model="numpy")
def mix(out, weights, step, rows, stride, count, size):
    """out[c] = sum over j < count of weights[j * step] * rows[j * stride + c], for c < size (whole vectors)."""
    c = 0
    while size - c >= 64:
        _mix_1x4(at(out, c), 0, weights, 0, step, at(rows, c), stride, count)
        c += 64
    if size - c >= 32:
        _mix_1x2(at(out, c), 0, weights, 0, step, at(rows, c), stride, count)
        c += 32
    if size - c >= 16:
        _mix_1x1(at(out, c), 0, weights, 0, step, at(rows, c), stride, count)


@njit(error_model="numpy")
def mix_pair(out, out_stride, weights, weights_stride, step, rows, stride, count, size):
    """`mix` for two sets of weights over the same rows: the rows are loaded once."""
    c = 0
    while size - c >= 64:
        _mix_2x4(at(out, c), out_stride, weights, weights_stride, step, at(rows, c), stride, count)
        c += 64
    if size - c >= 32:
        _mix_2x2(at(out, c), out_stride, weights, weights_stride, step, at(rows, c), stride, count)
        c += 32
    if size - c >= 16:
        _mix_2x1(at(out, c), out_stride, weights, weights_stride, step, at(rows, c), stride, count)


@njit(error_model="numpy")
def mix_many(out, out_stride, weights, weights_stride, step, rows, stride, count, size, outs):
    """`mix` for `outs` sets of weights over the same rows: a matrix product."""
    o = 0
    while outs - o >= 8:
        c = 0
        w = at(weights, o * weights_stride)
        while size - c >= 32:
            _mix_8x2(at(out, o * out_stride + c), out_stride, w, weights_stride, step, at(rows, c), stride, count)
            c += 32
        if size - c >= 16:
            _mix_8x1(at(out, o * out_stride + c), out_stride, w, weights_stride, step, at(rows, c), stride, count)
        o += 8
    if outs - o >= 4:
        c = 0
        w = at(weights, o * weights_stride)
        while size - c >= 64:
            _mix_4x4(at(out, o * out_stride + c), out_stride, w, weights_stride, step, at(rows, c), stride, count)
            c += 64
        if size - c >= 32:
            _mix_4x2(at(out, o * out_stride + c), out_stride, w, weights_stride, step, at(rows, c), stride, count)
            c += 32
        if size - c >= 16:
            _mix_4x1(at(out, o * out_stride + c), out_stride, w, weights_stride, step, at(rows, c), stride, count)
        o += 4
    if outs - o >= 2:
        mix_pair(
            at(out, o * out_stride),
            out_stride,
            at(weights, o * weights_stride),
            weights_stride,
            step,
            rows,
            stride,
            count,
            size,
        )
        o += 2
    if outs - o >= 1:
        mix(at(out, o * out_stride), at(weights, o * weights_stride), step, rows, stride, count, size)
