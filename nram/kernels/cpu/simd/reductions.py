"""Reductions: the sum or largest lane of one vector, or of each of 16 vectors at once; inner products; a transpose."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nram.kernels.cpu.simd import llvm
from nram.kernels.cpu.simd.vectors import LANES, VectorType

__all__ = ["dots", "first_equal", "largest", "reduce_each", "row_maxima", "row_sums", "total", "transpose"]


def _reduction(combine):
    @intrinsic
    def emit_reduction(typing_context, vector):
        if not isinstance(vector, VectorType):
            return None

        def emit(context, builder, sig, args):
            partial, count = args[0], LANES
            while count > 1:
                count //= 2
                low = llvm.shuffle(builder, partial, partial, range(count))
                partial = combine(builder, low, llvm.shuffle(builder, partial, partial, range(count, 2 * count)))
            return builder.extract_element(partial, ir.Constant(ir.IntType(32), 0))

        return vector.dtype(vector), emit

    return emit_reduction


total = _reduction(lambda builder, a, b: builder.fadd(a, b))  # sum of the lanes, in pairs
largest = _reduction(lambda builder, a, b: llvm.choose(builder, ">", a, b))  # largest lane; NaN lanes may be ignored


@intrinsic
def first_equal(typing_context, vector, scalar):
    """The number of the first lane that equals a scalar; 16 if none does."""
    if not isinstance(vector, VectorType) or scalar != vector.dtype:
        return None

    def emit(context, builder, sig, args):
        equal = builder.fcmp_ordered("==", args[0], llvm.splat(builder, args[0].type, args[1]))
        bits = builder.zext(builder.bitcast(equal, ir.IntType(LANES)), ir.IntType(64))
        bits = builder.or_(bits, ir.Constant(ir.IntType(64), 1 << LANES))
        return builder.cttz(bits, ir.Constant(ir.IntType(1), 1))

    return types.int64(vector, scalar), emit


def interleaved(half):
    """Two shuffles of a pair of vectors: of every 2 * half lanes, the first (second) halves of both, side by side."""
    first = [lane if not lane & half else LANES + (lane ^ half) for lane in range(LANES)]
    second = [lane | half if not lane & half else LANES + lane for lane in range(LANES)]
    return first, second


def reduce_each(builder, vectors, combine):
    """One vector whose lane k reduces the lanes of vectors[k]: 15 times two shuffles and a combination, not 16 * 4."""
    half = 1
    while len(vectors) > 1:
        first, second = interleaved(half)
        vectors = [
            combine(builder, llvm.shuffle(builder, a, b, first), llvm.shuffle(builder, a, b, second))
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        half *= 2
    return vectors[0]


def add_lanes(builder, a, b):
    return builder.fadd(a, b)


def _row_reduction(combine):
    @intrinsic
    def emit_row_reduction(typing_context, rows):
        if not llvm.is_pointer(rows):
            return None

        def emit(context, builder, sig, args):
            offsets = [ir.Constant(ir.IntType(64), k * LANES) for k in range(LANES)]
            return reduce_each(builder, [llvm.load(builder, rows.dtype, args[0], k) for k in offsets], combine)

        return VectorType(rows.dtype)(rows), emit

    return emit_row_reduction


row_sums = _row_reduction(add_lanes)  # lane k: the sum of rows[16 k : 16 k + 16]
row_maxima = _row_reduction(
    lambda builder, a, b: llvm.choose(builder, ">", a, b)
)  # the same, largest; NaN as in `largest`


@intrinsic
def dots(typing_context, vector, rows, stride, size):
    """Lane k: the inner product of vector[0:size] with the row at rows[k * stride], for 16 rows."""
    if not (llvm.is_pointer(rows) and vector == rows):
        return None
    dtype = rows.dtype

    def emit(context, builder, sig, args):
        vector_p, row_p, row_s, number = args
        kind, index = llvm.vector_type(dtype), row_s.type
        sums = [cgutils.alloca_once(builder, kind) for _ in range(LANES)]
        for place in sums:
            builder.store(llvm.constant(kind, 0.0), place)
        bases = [llvm.address(builder, dtype, row_p, builder.mul(row_s, ir.Constant(index, k))) for k in range(LANES)]
        with cgutils.for_range_slice(builder, ir.Constant(index, 0), number, ir.Constant(index, LANES), index) as (
            c,
            _,
        ):
            factor = llvm.load(builder, dtype, vector_p, c)
            for base, place in zip(bases, sums, strict=True):
                held = builder.load(place, typ=kind)
                builder.store(llvm.fma(builder, factor, llvm.load(builder, dtype, base, c), held), place)
        return reduce_each(builder, [builder.load(place, typ=kind) for place in sums], add_lanes)

    return VectorType(dtype)(vector, rows, types.intp, types.intp), emit


@intrinsic
def transpose(typing_context, out, out_stride, rows, stride):
    """out[c * out_stride + j] = rows[j * stride + c] for j, c < 16: a 16 x 16 block turned over."""
    if not (llvm.is_pointer(rows) and out == rows):
        return None
    dtype = rows.dtype

    def emit(context, builder, sig, args):
        out_p, out_s, row_p, row_s = args
        index = out_s.type
        block = [llvm.load(builder, dtype, row_p, builder.mul(row_s, ir.Constant(index, j))) for j in range(LANES)]
        half = 1
        while half < LANES:
            take, other = interleaved(half)
            turned = list(block)
            for k in range(LANES):
                if not k & half:
                    turned[k] = llvm.shuffle(builder, block[k], block[k | half], take)
                    turned[k | half] = llvm.shuffle(builder, block[k], block[k | half], other)
            block, half = turned, half * 2
        for c in range(LANES):
            llvm.store(builder, dtype, out_p, builder.mul(out_s, ir.Constant(index, c)), block[c])
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, rows, i), emit
