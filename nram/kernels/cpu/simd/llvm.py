"""The LLVM instructions for vectors: what the intrinsics of this package emit.

dtype is Numba's float32 or float64. Offsets count elements. A load or store needs only an element's alignment.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from nram.kernels.cpu.simd.vectors import LANES

__all__ = [
    "address",
    "call",
    "choose",
    "constant",
    "float_type",
    "fma",
    "is_pointer",
    "lane_numbers",
    "load",
    "load_splat",
    "shuffle",
    "splat",
    "store",
    "vector_type",
]


def float_type(dtype):
    """LLVM's type of one number."""
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def vector_type(dtype):
    """LLVM's type of a vector."""
    return ir.VectorType(float_type(dtype), LANES)


def constant(vector_type, value):
    """All lanes `value`."""
    return ir.Constant(vector_type, [value] * vector_type.count)


def shuffle(builder, first, second, lanes):
    """The given lanes of two vectors side by side: 0..15 are those of the first."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
    return builder.shuffle_vector(first, second, mask)


def splat(builder, vector_type, scalar):
    """All lanes equal to a scalar."""
    undefined = ir.Constant(vector_type, ir.Undefined)
    single = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return shuffle(builder, single, undefined, [0] * vector_type.count)


def call(builder, name, result_type, args):
    """Call the LLVM intrinsic `name` for vectors of `result_type`."""
    suffix = f"v{result_type.count}{'f32' if result_type.element == ir.FloatType() else 'f64'}"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result_type, [arg.type for arg in args]), f"llvm.{name}.{suffix}"
    )
    return builder.call(function, args)


def fma(builder, a, b, c):
    """a * b + c, in one instruction where the CPU has one."""
    return call(builder, "fmuladd", a.type, [a, b, c])


def address(builder, dtype, pointer, offset):
    """The pointer `offset` elements further on."""
    return builder.gep(pointer, [offset], source_etype=float_type(dtype))


def load(builder, dtype, pointer, offset=None):
    """The 16 numbers from a pointer on."""
    place = pointer if offset is None else address(builder, dtype, pointer, offset)
    loaded = builder.load(builder.bitcast(place, vector_type(dtype).as_pointer()))
    loaded.align = dtype.bitwidth // 8
    return loaded


def load_splat(builder, dtype, pointer, offset):
    """All lanes equal to the number at pointer + offset."""
    scalar = builder.load(address(builder, dtype, pointer, offset), typ=float_type(dtype))
    return splat(builder, vector_type(dtype), scalar)


def store(builder, dtype, pointer, offset, vector):
    """Write 16 numbers from pointer + offset on."""
    place = address(builder, dtype, pointer, offset)
    stored = builder.store(vector, builder.bitcast(place, vector.type.as_pointer()))
    stored.align = dtype.bitwidth // 8


def lane_numbers(bits=64):
    """The whole numbers 0..15."""
    return ir.Constant(ir.VectorType(ir.IntType(bits), LANES), list(range(LANES)))


def is_pointer(kind):
    """Whether a Numba type is a pointer to float32 or float64."""
    return isinstance(kind, types.CPointer) and kind.dtype in (types.float32, types.float64)


def choose(builder, comparison, a, b):
    """Lane by lane `a` where `a comparison b`, else `b`: a NaN in `b` stays."""
    return builder.select(builder.fcmp_ordered(comparison, a, b), a, b)
