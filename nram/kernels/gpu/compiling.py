"""The constants of the two timestep kernels, and compiling them without a GPU."""

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nram.kernels.gpu.backward import backward_step
from nram.kernels.gpu.forward import forward_step
from nram.machine.circuit import Layout

__all__ = ["CHUNK", "PRECISION", "blocks", "compile_for", "inputs", "interpreted", "max_registers", "up"]

TILE = 512  # numbers of a block of rows that a warp holds at once
CHUNK = 16  # cells at a time in the product that gives the weights' gradient
PRECISION = "tf32x3"  # of that product in float32: on tensor cores, split to keep 21 bits of each factor


def interpreted() -> bool:
    """Whether Triton interprets the kernels (TRITON_INTERPRET=1 when it was imported): on CPU tensors, very slowly."""
    return not isinstance(forward_step, triton.runtime.JITFunction)


def up(size: int, multiple: int) -> int:
    """`size` rounded up to a multiple."""
    return -(-size // multiple) * multiple


def max_registers(layout: Layout) -> int:
    """The most registers per lane: what was fastest on an H100.

    With 128, 16 warps fit a multiprocessor; fewer registers make room for more warps, but spill. Machines of 42 modules
    spill much with 128, and with 255 are a fifth faster, though half as many warps fit.
    """
    return 128 if layout.repetitions <= 2 else 255


def inputs(layout: Layout) -> int:
    """The size of a controller's input, rounded up: P(r = 0) of every register, and a 1 for the bias."""
    return up(layout.num_registers + 1, 4)


def blocks(layout: Layout, num_cells: int) -> dict[str, int]:
    """The constants that the two timestep kernels are compiled for."""
    S = up(num_cells, 16)
    block_m = triton.next_power_of_2(S)
    return {
        "R": layout.num_registers, "REPETITIONS": layout.repetitions, "K": len(layout.slots), "L": layout.num_logits,
        "LOGITS": up(layout.num_logits + 1, 4), "S": S, "BLOCK_M": block_m,
        "BLOCK_N": max(16, triton.next_power_of_2(layout.num_sources)), "ROWS": min(16, max(4, TILE // block_m)),
    }  # fmt: skip


def compile_for(layout: Layout, num_cells: int, capability=(9, 0), want_entropy=True):
    """The float32 timestep kernels, forward and backward, compiled for a GPU that need not be present.

    Each result has `.asm` with "ptx" and "cubin". Raises RuntimeError under the interpreter.
    """
    if interpreted():
        raise RuntimeError("the interpreter compiles nothing: unset TRITON_INTERPRET")
    target = GPUTarget("cuda", 10 * capability[0] + capability[1], 32)
    constants = {"ENTROPY": want_entropy, **blocks(layout, num_cells)}
    whole = {name: "*i32" for name in ("target", "limit", "starts", "stop_step", "wrong_cells", "produced")}
    whole |= {"mask": "*i8"} | {name: "i32" for name in ("t", "now", "here", "there", "steps", "kept", "batch", "M")}
    results = []
    for kernel, more in (
        (forward_step, {"INPUTS": inputs(layout), "PRODUCE": False}),
        (backward_step, {"CHUNK": CHUNK, "PRECISION": PRECISION}),
    ):
        given = constants | more
        types = {name: "constexpr" if name in given else whole.get(name, "*fp32") for name in kernel.arg_names}
        aligned = {
            (index,): [["tt.divisibility", 16]] for index, kind in enumerate(types.values()) if kind.startswith("*")
        }
        source = ASTSource(kernel, types, constexprs=given, attrs=aligned)
        options = {"num_warps": 1, "maxnreg": max_registers(layout)}
        results.append(triton.compile(source, target=target, options=options))
    return results
