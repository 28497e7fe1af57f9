"""Memory: pointers, loads and stores of 16 numbers, prefetches. Nothing is bounds-checked."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nram.kernels.cpu.simd import llvm
from nram.kernels.cpu.simd.vectors import LANES, VectorType

__all__ = ["at", "lanes", "load", "pointer", "prefetch", "prefetch_to_write", "store"]


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
    if not llvm.is_pointer(base):
        return None

    def emit(context, builder, sig, args):
        return llvm.load(builder, base.dtype, args[0], args[1])

    return VectorType(base.dtype)(base, types.intp), emit


@intrinsic
def store(typing_context, base, offset, vector):
    """Write 16 numbers from base[offset] on."""
    if not llvm.is_pointer(base) or vector != VectorType(base.dtype):
        return None

    def emit(context, builder, sig, args):
        llvm.store(builder, base.dtype, args[0], args[1], args[2])
        return context.get_dummy_value()

    return types.void(base, types.intp, vector), emit


@intrinsic
def lanes(typing_context):
    """16, hidden from the optimizer.

    It would unroll a loop `while c < S: ...; c += 16` by eight, and the remainder would cost more than the usual one
    to four rounds. An empty piece of inline assembler hides the number.
    """

    def emit(context, builder, sig, args):
        number = ir.IntType(64)
        hidden = ir.InlineAsm(ir.FunctionType(number, [number]), "", "=r,0")
        return builder.call(hidden, [ir.Constant(number, LANES)])

    return types.int64(), emit


def _prefetch(write):
    @intrinsic
    def emit_prefetch(typing_context, base, count):
        if not llvm.is_pointer(base):
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
                address = builder.bitcast(llvm.address(builder, base.dtype, args[0], place), byte)
                builder.call(function, [address] + [ir.Constant(number, value) for value in (int(write), 3, 1)])
            return context.get_dummy_value()

        return types.void(base, types.intp), emit

    return emit_prefetch


prefetch = _prefetch(write=False)  # prefetch(p, count): p[0:count] will be read soon
prefetch_to_write = _prefetch(write=True)  # the same, and written
