"""Vectors of 16 lanes for Numba: the few operations from which the fused CPU kernel is built.

Numba vectorises plain loops only behind run-time alias checks, and leaves short loops to a scalar remainder. Here a
vector is a value: `load` and `store` move 16 numbers, `+ - *` and `fma` work on all lanes, and a Numba function that
uses them compiles to exactly these instructions. LLVM maps 16 lanes onto whatever the CPU has (one AVX-512 register,
two AVX2 registers, four NEON registers); nothing here names a CPU. Arithmetic is strict: no fastmath, NaN stays NaN.

Memory is addressed by `pointer(address, dtype)`, a bare pointer; `at(p, n)` moves it by n elements and `p[i]` reads or
writes one element. **Nothing is bounds-checked**: every buffer must hold a whole vector at its end.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_jitable, register_model

LANES = 16


@register_jitable
def padded(count: int) -> int:
    """`count` rounded up to whole vectors."""
    return -(-count // LANES) * LANES


class VectorType(types.Type):
    """The Numba type of 16 lanes of `dtype` (float32 or float64)."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """A vector is an LLVM vector, in registers and in variables alike."""

    def __init__(self, manager, vector):
        super().__init__(manager, vector, ir.VectorType(manager.lookup(vector.dtype).get_value_type(), LANES))


def _float_type(dtype):
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def _vector_type(dtype):
    return ir.VectorType(_float_type(dtype), LANES)


def _constant(vector_type, value):
    return ir.Constant(vector_type, [value] * vector_type.count)


def _shuffle(builder, first, second, lanes):
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
    return builder.shuffle_vector(first, second, mask)


def _splat(builder, vector_type, scalar):
    undefined = ir.Constant(vector_type, ir.Undefined)
    single = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return _shuffle(builder, single, undefined, [0] * vector_type.count)


def _call(builder, name, result_type, args):
    """Call the LLVM intrinsic `name` for vectors of `result_type`."""
    suffix = f"v{result_type.count}{'f32' if result_type.element == ir.FloatType() else 'f64'}"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result_type, [arg.type for arg in args]), f"llvm.{name}.{suffix}"
    )
    return builder.call(function, args)


def _fma(builder, a, b, c):
    return _call(builder, "fmuladd", a.type, [a, b, c])


def _address(builder, dtype, pointer, offset):
    return builder.gep(pointer, [offset], source_etype=_float_type(dtype))


def _load(builder, dtype, pointer, offset=None):
    address = pointer if offset is None else _address(builder, dtype, pointer, offset)
    loaded = builder.load(builder.bitcast(address, _vector_type(dtype).as_pointer()))
    loaded.align = dtype.bitwidth // 8
    return loaded


def _load_splat(builder, dtype, pointer, offset):
    scalar = builder.load(_address(builder, dtype, pointer, offset), typ=_float_type(dtype))
    return _splat(builder, _vector_type(dtype), scalar)


def _store(builder, dtype, pointer, offset, vector):
    address = _address(builder, dtype, pointer, offset)
    stored = builder.store(vector, builder.bitcast(address, vector.type.as_pointer()))
    stored.align = dtype.bitwidth // 8


def _lane_numbers(bits=64):
    return ir.Constant(ir.VectorType(ir.IntType(bits), LANES), list(range(LANES)))


def _is_pointer(kind):
    return isinstance(kind, types.CPointer) and kind.dtype in (types.float32, types.float64)


# --- pointers -------------------------------------------------------------------------------------------------------


@intrinsic
def pointer(typing_context, address, dtype):
    """The pointer to elements of type `dtype` at an address, a whole number."""
    element = getattr(dtype, "dtype", None)
    if not isinstance(address, types.Integer) or element is None:
        return None

    def emit(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(element)(address, dtype), emit


@intrinsic
def at(typing_context, base, offset):
    """The pointer `offset` elements further on."""
    if not isinstance(base, types.CPointer):
        return None

    def emit(context, builder, sig, args):
        return builder.gep(args[0], [args[1]], source_etype=context.get_data_type(base.dtype))

    return base(base, types.intp), emit


@intrinsic
def load(typing_context, base, offset):
    """The 16 numbers from base[offset] on."""
    if not _is_pointer(base):
        return None

    def emit(context, builder, sig, args):
        return _load(builder, base.dtype, args[0], args[1])

    return VectorType(base.dtype)(base, types.intp), emit


@intrinsic
def store(typing_context, base, offset, vector):
    """Write 16 numbers from base[offset] on."""
    if not _is_pointer(base) or vector != VectorType(base.dtype):
        return None

    def emit(context, builder, sig, args):
        _store(builder, base.dtype, args[0], args[1], args[2])
        return context.get_dummy_value()

    return types.void(base, types.intp, vector), emit


@intrinsic
def lanes(typing_context):
    """16, in a way that the optimiser cannot see.

    It would unroll a loop `while c < S: ...; c += 16` by eight, and spend more on the remainder than on the usual one
    to four rounds. An empty piece of inline assembler hides the number.
    """

    def emit(context, builder, sig, args):
        number = ir.IntType(64)
        hidden = ir.InlineAsm(ir.FunctionType(number, [number]), "", "=r,0")
        return builder.call(hidden, [ir.Constant(number, LANES)])

    return types.int64(), emit


# --- lanes ----------------------------------------------------------------------------------------------------------


@intrinsic
def splat(typing_context, scalar):
    """All 16 lanes equal to a scalar."""
    if scalar not in (types.float32, types.float64):
        return None

    def emit(context, builder, sig, args):
        return _splat(builder, _vector_type(scalar), args[0])

    return VectorType(scalar)(scalar), emit


def constant(value):
    """An intrinsic `f(base)`: all lanes `value`, in the kind of number that `base` points at."""

    @intrinsic
    def emit_constant(typing_context, base):
        if not _is_pointer(base):
            return None

        def emit(context, builder, sig, args):
            return _constant(_vector_type(base.dtype), value)

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
        chosen = builder.icmp_signed("<", _lane_numbers(bits), _splat(builder, _lane_numbers(bits).type, limit))
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
        chosen = builder.icmp_signed("==", _lane_numbers(bits), _splat(builder, _lane_numbers(bits).type, lane))
        return builder.select(chosen, args[2], args[1])

    return vector(types.intp, vector, vector), emit


@intrinsic
def shift_up(typing_context, vector, before):
    """Lane k becomes lane k-1; lane 0 becomes the last lane of `before`."""
    if not isinstance(vector, VectorType) or vector != before:
        return None

    def emit(context, builder, sig, args):
        return _shuffle(builder, args[1], args[0], range(LANES - 1, 2 * LANES - 1))

    return vector(vector, vector), emit


@intrinsic
def shift_down(typing_context, vector, after):
    """Lane k becomes lane k+1; the last lane becomes lane 0 of `after`."""
    if not isinstance(vector, VectorType) or vector != after:
        return None

    def emit(context, builder, sig, args):
        return _shuffle(builder, args[0], args[1], range(1, LANES + 1))

    return vector(vector, vector), emit


def _lane_splat(lane):
    @intrinsic
    def emit_splat(typing_context, vector):
        if not isinstance(vector, VectorType):
            return None

        def emit(context, builder, sig, args):
            return _shuffle(builder, args[0], args[0], [lane] * LANES)

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
            running, nothing = args[0], _constant(args[0].type, 0.0)
            distance = 1
            while distance < LANES:
                if upwards:
                    moved = _shuffle(builder, nothing, running, range(LANES - distance, 2 * LANES - distance))
                else:
                    moved = _shuffle(builder, running, nothing, range(distance, LANES + distance))
                running = builder.fadd(running, moved)
                distance *= 2
            return running

        return vector(vector), emit

    return emit_scan


running_sum = _scan(upwards=True)  # lane k: the sum of lanes 0..k
running_sum_down = _scan(upwards=False)  # lane k: the sum of lanes k..15


# --- arithmetic -----------------------------------------------------------------------------------------------------


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
        return _call(builder, "fabs", args[0].type, [args[0]])

    return vector(vector), emit


@intrinsic
def where_positive(typing_context, condition, vector, other):
    """Lane by lane `vector` where `condition` > 0 or NaN, else `other`."""
    if not isinstance(vector, VectorType) or not condition == vector == other:
        return None

    def emit(context, builder, sig, args):
        chosen = builder.fcmp_unordered(">", args[0], _constant(args[0].type, 0.0))
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
        return _fma(builder, *args)

    return a(a, a, a), emit


def _choose(builder, comparison, a, b):
    """Lane by lane `a` where `a comparison b`, else `b`: a NaN in `b` stays."""
    return builder.select(builder.fcmp_ordered(comparison, a, b), a, b)


def _extreme(comparison):
    @intrinsic
    def emit_extreme(typing_context, bound, vector):
        if not isinstance(vector, VectorType) or bound != vector:
            return None

        def emit(context, builder, sig, args):
            return _choose(builder, comparison, *args)

        return vector(vector, vector), emit

    return emit_extreme


at_most = _extreme("<")  # at_most(bound, v): min(bound, v); a NaN in v stays
at_least = _extreme(">")  # at_least(bound, v): max(bound, v); a NaN in v stays


def _reduction(combine):
    @intrinsic
    def emit_reduction(typing_context, vector):
        if not isinstance(vector, VectorType):
            return None

        def emit(context, builder, sig, args):
            partial, lanes = args[0], LANES
            while lanes > 1:
                lanes //= 2
                low = _shuffle(builder, partial, partial, range(lanes))
                partial = combine(builder, low, _shuffle(builder, partial, partial, range(lanes, 2 * lanes)))
            return builder.extract_element(partial, ir.Constant(ir.IntType(32), 0))

        return vector.dtype(vector), emit

    return emit_reduction


total = _reduction(lambda builder, a, b: builder.fadd(a, b))  # sum of the lanes, in pairs
largest = _reduction(lambda builder, a, b: _choose(builder, ">", a, b))  # largest lane; NaN lanes may be ignored


@intrinsic
def first_equal(typing_context, vector, scalar):
    """The number of the first lane that equals a scalar; 16 if none does."""
    if not isinstance(vector, VectorType) or scalar != vector.dtype:
        return None

    def emit(context, builder, sig, args):
        equal = builder.fcmp_ordered("==", args[0], _splat(builder, args[0].type, args[1]))
        bits = builder.zext(builder.bitcast(equal, ir.IntType(LANES)), ir.IntType(64))
        bits = builder.or_(bits, ir.Constant(ir.IntType(64), 1 << LANES))
        return builder.cttz(bits, ir.Constant(ir.IntType(1), 1))

    return types.int64(vector, scalar), emit


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
            return _call(builder, "exp", x.type, [x])

        def constant(value):
            return _constant(x.type, float(np.float32(value)))

        x = _choose(builder, ">", constant(-88.0), x)
        # Adding 1.5 * 2^23 + 127 rounds to an integer n; n + 127, the exponent of 2^n, stands in the sum's lowest bits.
        shifted = _fma(builder, x, constant(1.4426950408889634), constant(12583039.0))
        n = builder.fsub(shifted, constant(12583039.0))
        r = _fma(builder, n, constant(-0.693359375), x)
        r = _fma(builder, n, constant(2.12194440e-4), r)
        y = constant(1.9875691500e-4)
        for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
            y = _fma(builder, y, r, constant(coefficient))
        y = _fma(builder, builder.fmul(r, r), y, builder.fadd(r, constant(1.0)))
        integers = ir.VectorType(ir.IntType(32), LANES)
        power = builder.shl(builder.bitcast(shifted, integers), ir.Constant(integers, [23] * LANES))
        return builder.fmul(y, builder.bitcast(power, x.type))

    return vector(vector), emit


# --- weighted sums of rows ------------------------------------------------------------------------------------------


def _mix_block(outs, chunks, unroll):
    """An intrinsic for `outs` weighted sums of the same rows, `chunks` vectors wide.

    `unroll` rows go to accumulators of their own, so that outs * chunks * unroll sums are in flight at once.
    """

    @intrinsic
    def mix_block(typing_context, out, out_stride, weights, weights_stride, step, rows, stride, count):
        if not (_is_pointer(out) and out == weights == rows):
            return None
        dtype = out.dtype

        def emit(context, builder, sig, args):
            out_p, out_s, weight_p, weight_s, weight_step, row_p, row_s, number = args
            vector = _vector_type(dtype)
            index = out_s.type

            def integer(value):
                return ir.Constant(index, value)

            sums = [
                [
                    [cgutils.alloca_once_value(builder, _constant(vector, 0.0)) for _ in range(chunks)]
                    for _ in range(outs)
                ]
                for _ in range(unroll)
            ]
            for per_unroll in sums:
                for per_out in per_unroll:
                    for place in per_out:
                        builder.store(_constant(vector, 0.0), place)
            weight_bases = [_address(builder, dtype, weight_p, builder.mul(weight_s, integer(o))) for o in range(outs)]

            def add_row(j, part):
                row = _address(builder, dtype, row_p, builder.mul(j, row_s))
                loaded = [_load(builder, dtype, row, integer(c * LANES)) for c in range(chunks)]
                place = builder.mul(j, weight_step)
                for o in range(outs):
                    weight = _load_splat(builder, dtype, weight_bases[o], place)
                    for c in range(chunks):
                        held = sums[part][o][c]
                        builder.store(_fma(builder, weight, loaded[c], builder.load(held, typ=vector)), held)

            whole = integer(0)
            if unroll > 1:
                whole = builder.and_(number, integer(-unroll))
                with cgutils.for_range_slice(builder, integer(0), whole, integer(unroll), index) as (j, _):
                    for part in range(unroll):
                        add_row(builder.add(j, integer(part)), part)
            with cgutils.for_range_slice(builder, whole, number, integer(1), index) as (j, _):
                add_row(j, 0)
            for o in range(outs):
                base = _address(builder, dtype, out_p, builder.mul(out_s, integer(o)))
                for c in range(chunks):
                    parts = [builder.load(sums[part][o][c], typ=vector) for part in range(unroll)]
                    while len(parts) > 1:
                        parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
                    _store(builder, dtype, base, integer(c * LANES), parts[0])
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


def _interleaved(half):
    """Two shuffles of a pair of vectors: of every 2 * half lanes, the first (second) halves of both, side by side."""
    first = [lane if not lane & half else LANES + (lane ^ half) for lane in range(LANES)]
    second = [lane | half if not lane & half else LANES + lane for lane in range(LANES)]
    return first, second


def _reduce_each(builder, vectors, combine):
    """One vector whose lane k reduces the lanes of vectors[k]: 15 times two shuffles and a combination, not 16 * 4."""
    half = 1
    while len(vectors) > 1:
        first, second = _interleaved(half)
        vectors = [
            combine(builder, _shuffle(builder, a, b, first), _shuffle(builder, a, b, second))
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        half *= 2
    return vectors[0]


def _add_lanes(builder, a, b):
    return builder.fadd(a, b)


def _row_reduction(combine):
    @intrinsic
    def emit_row_reduction(typing_context, rows):
        if not _is_pointer(rows):
            return None

        def emit(context, builder, sig, args):
            offsets = [ir.Constant(ir.IntType(64), k * LANES) for k in range(LANES)]
            return _reduce_each(builder, [_load(builder, rows.dtype, args[0], k) for k in offsets], combine)

        return VectorType(rows.dtype)(rows), emit

    return emit_row_reduction


row_sums = _row_reduction(_add_lanes)  # lane k: the sum of rows[16 k : 16 k + 16]
row_maxima = _row_reduction(lambda builder, a, b: _choose(builder, ">", a, b))  # the same, largest; NaN as in `largest`


@intrinsic
def dots(typing_context, vector, rows, stride, size):
    """Lane k: the inner product of vector[0:size] with the row at rows[k * stride], for 16 rows."""
    if not (_is_pointer(rows) and vector == rows):
        return None
    dtype = rows.dtype

    def emit(context, builder, sig, args):
        vector_p, row_p, row_s, number = args
        kind, index = _vector_type(dtype), row_s.type
        sums = [cgutils.alloca_once(builder, kind) for _ in range(LANES)]
        for place in sums:
            builder.store(_constant(kind, 0.0), place)
        bases = [_address(builder, dtype, row_p, builder.mul(row_s, ir.Constant(index, k))) for k in range(LANES)]
        with cgutils.for_range_slice(builder, ir.Constant(index, 0), number, ir.Constant(index, LANES), index) as (
            c,
            _,
        ):
            factor = _load(builder, dtype, vector_p, c)
            for base, place in zip(bases, sums, strict=True):
                held = builder.load(place, typ=kind)
                builder.store(_fma(builder, factor, _load(builder, dtype, base, c), held), place)
        return _reduce_each(builder, [builder.load(place, typ=kind) for place in sums], _add_lanes)

    return VectorType(dtype)(vector, rows, types.intp, types.intp), emit


@intrinsic
def transpose(typing_context, out, out_stride, rows, stride):
    """out[c * out_stride + j] = rows[j * stride + c] for j, c < 16: a 16 x 16 block turned over."""
    if not (_is_pointer(rows) and out == rows):
        return None
    dtype = rows.dtype

    def emit(context, builder, sig, args):
        out_p, out_s, row_p, row_s = args
        index = out_s.type
        block = [_load(builder, dtype, row_p, builder.mul(row_s, ir.Constant(index, j))) for j in range(LANES)]
        half = 1
        while half < LANES:
            take, other = _interleaved(half)
            turned = list(block)
            for k in range(LANES):
                if not k & half:
                    turned[k] = _shuffle(builder, block[k], block[k | half], take)
                    turned[k | half] = _shuffle(builder, block[k], block[k | half], other)
            block, half = turned, half * 2
        for c in range(LANES):
            _store(builder, dtype, out_p, builder.mul(out_s, ir.Constant(index, c)), block[c])
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, rows, i), emit


@intrinsic
def write_backward_block(typing_context, d_value, d_tape, place, value, tape, size, bound):
    """Backward of 16 rows of tape' = (1 - place) tape + place value; see `write` in nram.kernels.cpu.modules.

    d_tape [16, size] is cropped to [-bound, bound], then turned from the new rows' gradient into the old rows'. Adds to
    d_value; returns the gradient of place's 16 lanes.
    """
    if not (_is_pointer(tape) and d_value == d_tape == place == value == tape and bound == tape.dtype):
        return None
    dtype = tape.dtype

    def emit(context, builder, sig, args):
        d_value_p, d_tape_p, place_p, value_p, tape_p, number, limit = args
        kind, index = _vector_type(dtype), number.type
        high = _splat(builder, kind, limit)
        low = builder.fsub(_constant(kind, 0.0), high)
        ones = _constant(kind, 1.0)
        sums = [cgutils.alloca_once(builder, kind) for _ in range(LANES)]
        for held in sums:
            builder.store(_constant(kind, 0.0), held)
        rows = [builder.mul(number, ir.Constant(index, k)) for k in range(LANES)]
        gradients = [_address(builder, dtype, d_tape_p, row) for row in rows]
        tapes = [_address(builder, dtype, tape_p, row) for row in rows]
        with cgutils.for_range_slice(builder, ir.Constant(index, 0), number, ir.Constant(index, LANES), index) as (
            c,
            _,
        ):
            written, into_value = _load(builder, dtype, value_p, c), _load(builder, dtype, d_value_p, c)
            for k in range(LANES):
                d_row = _load(builder, dtype, gradients[k], c)
                d_row = _choose(builder, ">", low, _choose(builder, "<", high, d_row))
                chosen = _load_splat(builder, dtype, place_p, ir.Constant(index, k))
                change = builder.fsub(written, _load(builder, dtype, tapes[k], c))
                builder.store(_fma(builder, d_row, change, builder.load(sums[k], typ=kind)), sums[k])
                into_value = _fma(builder, chosen, d_row, into_value)
                _store(builder, dtype, gradients[k], c, builder.fmul(d_row, builder.fsub(ones, chosen)))
            _store(builder, dtype, d_value_p, c, into_value)
        return _reduce_each(builder, [builder.load(held, typ=kind) for held in sums], _add_lanes)

    i = types.intp
    return VectorType(dtype)(d_value, d_tape, place, value, tape, i, bound), emit


def _prefetch(write):
    @intrinsic
    def emit_prefetch(typing_context, base, count):
        if not _is_pointer(base):
            return None

        def emit(context, builder, sig, args):
            byte = ir.IntType(8).as_pointer()
            number = ir.IntType(32)
            kinds = [byte, number, number, number]
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.prefetch.p0"
            )
            index = args[1].type
            line = ir.Constant(index, 64 * 8 // base.dtype.bitwidth)
            with cgutils.for_range_slice(builder, ir.Constant(index, 0), args[1], line, index) as (place, _):
                address = builder.bitcast(_address(builder, base.dtype, args[0], place), byte)
                builder.call(function, [address] + [ir.Constant(number, value) for value in (int(write), 3, 1)])
            return context.get_dummy_value()

        return types.void(base, types.intp), emit

    return emit_prefetch


prefetch = _prefetch(write=False)  # prefetch(p, count): p[0:count] will soon be read
prefetch_to_write = _prefetch(write=True)  # the same, and written
