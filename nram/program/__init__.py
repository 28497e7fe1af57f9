"""From weights to a program: the discretized machine as a table of circuits, run at full speed, printed, proved."""

from nram.program.notation import Circuit
from nram.program.published import PUBLISHED, published
from nram.program.table import Program, Row, Step

__all__ = ["PUBLISHED", "Circuit", "Program", "Row", "Step", "published"]
