"""From weights to a program: the discretized machine as a table of circuits, run at full speed, printed, proved."""

from nram.program.execution import Step
from nram.program.extract import Tabulator, from_machine, from_runs
from nram.program.fold import folded
from nram.program.measure import describe, first_failure, readable, seen_program, timesteps_per_second, try_lengths
from nram.program.notation import Circuit
from nram.program.program import Program
from nram.program.proof import PROVABLE, Proof, prove
from nram.program.published import PUBLISHED, published
from nram.program.simplify import small
from nram.program.tree import Row

__all__ = [
    "PROVABLE",
    "PUBLISHED",
    "Circuit",
    "Program",
    "Proof",
    "Row",
    "Step",
    "Tabulator",
    "describe",
    "first_failure",
    "folded",
    "from_machine",
    "from_runs",
    "prove",
    "published",
    "readable",
    "seen_program",
    "small",
    "timesteps_per_second",
    "try_lengths",
]
