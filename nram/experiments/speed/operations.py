"""The least cost of a timestep: floating-point operations and bytes, counted from a circuit's layout.

An operation is one addition, subtraction, multiplication, division or exponential. The counts are what the equations
ask for, once: the backward pass has all values of the forward pass at hand; comparisons (maxima, cropped gradients) and
copies are free. An implementation that recomputes values does more operations than these counts.

Per example, with M cells. A slot averages n sources; the n of all K slots add up to W = L (the circuit's logits):

    what                  forward               backward
    average of n values   2 n M                 2 n M for the weights' + 2 n M for the values' gradient
    READ                  2 M^2                 2 M^2 for the pointer's + 2 M^2 for the tape's gradient
    ADD, SUB              2 M^2                 2 M^2 for each operand's
    WRITE                 3 M^2: m + p (a - m)  p: 3 M^2, a: 2 M^2, tape: d - p d = 2 M^2
    INC, DEC, constants   0                     0
    LESS-THAN             M + 2 M               M for a's, 2 M for b's: a running sum, then a scale
    LESS-OR-EQUAL-THAN    M + 2 M               M + 2 M
    EQUALITY-TEST         2 M                   M + M
    MIN, MAX              2 M + 3 M             4 M for each operand's: two products, a running sum, their sum
    division by the sum   2 M                   0: the identity
    softmax of n logits   4 n                   4 n
"""

from nram.machine.circuit import Layout

__all__ = ["controller_operations", "timestep_bytes", "timestep_operations"]

_PER_CELL = {  # module: operations per memory cell, forward and backward
    "LESS-THAN": (3, 3),
    "LESS-OR-EQUAL-THAN": (3, 3),
    "EQUALITY-TEST": (2, 2),
    "MIN": (5, 8),
    "MAX": (5, 8),
}
_PER_SQUARE = {  # module: operations per pair of cells
    "READ": (2, 4),
    "ADD": (2, 4),
    "SUB": (2, 4),
    "WRITE": (3, 7),
}


def timestep_operations(layout: Layout, num_cells: int) -> dict[str, tuple[int, int]]:
    """Operations of one example in one timestep, (forward, backward), by module name, and for "averages",
    "softmax" and "registers" (the division of new registers by their sum)."""
    M, counts = num_cells, {}
    for module in layout.modules:
        forward, backward = (
            per_cell * M + per_square * M * M
            for per_cell, per_square in zip(
                _PER_CELL.get(module.name, (0, 0)), _PER_SQUARE.get(module.name, (0, 0)), strict=True
            )
        )
        forward += 2 * M * module.rescaled
        before = counts.get(module.name, (0, 0))
        counts[module.name] = (before[0] + forward, before[1] + backward)
    W = sum(slot.width for slot in layout.slots)
    counts["averages"] = (2 * W * M, 4 * W * M)
    counts["softmax"] = (4 * W, 4 * W)
    counts["registers"] = (2 * M * layout.num_registers, 0)
    return counts


def controller_operations(shapes: dict[str, tuple[int, ...]]) -> tuple[int, int]:
    """Operations of a controller's matrix products per example and timestep, from its parameters' shapes.

    (forward, backward): 2 per weight forward, 2 for the weights' and 2 for the inputs' gradient backward.
    """
    weights = sum(shape[0] * shape[1] for shape in shapes.values() if len(shape) == 2)
    return 2 * weights, 4 * weights


def timestep_bytes(layout: Layout, num_cells: int, bytes_per_number: int = 4) -> int:
    """Bytes of kept values per example and timestep, written once forward and read once backward.

    Kept: all values [R + Q, M], the tape [M, M], the circuit's weights [L].
    """
    numbers = layout.num_sources * num_cells + num_cells**2 + layout.num_logits
    return 2 * bytes_per_number * numbers
