"""From weights to a program: the discretized machine as a table of circuits, run at full speed, printed, proved."""

from nram.program.extract import from_machine, from_runs, small
from nram.program.measure import first_failure, seen_program, timesteps_per_second, try_lengths
from nram.program.notation import Circuit
from nram.program.published import PUBLISHED, published
from nram.program.table import Program, Row, Step

__all__ = [
    "PUBLISHED",
    "Circuit",
    "Program",
    "Row",
    "Step",
    "first_failure",
    "from_machine",
    "from_runs",
    "published",
    "seen_program",
    "small",
    "timesteps_per_second",
    "try_lengths",
]
