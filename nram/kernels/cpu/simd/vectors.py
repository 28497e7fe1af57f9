"""The type of a vector: 16 lanes of float32 or float64, a value like Numba's own numbers."""

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import register_jitable, register_model

__all__ = ["LANES", "VectorType", "padded"]

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
