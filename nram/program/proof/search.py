"""The search for a proof: how many spare cells it needs, which n it treats separately, and which loop."""

from dataclasses import dataclass, field

from nram import tasks
from nram.program.program import Program
from nram.program.proof.claim import Claim, Part
from nram.program.proof.expressions import show
from nram.program.proof.guess import guess
from nram.program.proof.induction import by_induction
from nram.program.proof.machine import NotProved
from nram.program.proof.one_run import by_one_run
from nram.program.proof.specs import PROVABLE, SPECS
from nram.program.table import Key

__all__ = ["Proof", "prove"]

STRETCHES = (1, 2)  # 1: all n together; 2: even and odd n separately
PERIODS = (1, 2, 3)  # k, the timesteps of a round
FIRSTS = range(8)  # t0, the timesteps before the first round
SHORTS = range(6)  # c, the rounds that the invariant may miss at the end


@dataclass(frozen=True)
class Proof:
    """The outcome: `lines` tells the argument, or, if not `proved`, where the attempts failed.

    spare: cells beyond the task's smallest memory that the claim needs. rows: keys of the program's rows that valid
    inputs of the claim can reach.
    """

    proved: bool
    task: str
    spare: int
    lines: tuple[str, ...]
    rows: frozenset[Key] = field(default=frozenset(), repr=False)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def prove(program: Program, task: tasks.Task | None = None, spares: int = 4) -> Proof:
    """Try to prove that a program solves its task at every length (see `nram.program.proof`).

    The proof has the fewest spare cells for which one is found, of 0..spares-1. Raises ValueError for a task that is
    not in `PROVABLE`, or a program of several controller states.
    """
    task = task or tasks.get(program.task)
    if task.key not in PROVABLE:
        raise ValueError(f"no proof is known for {task.key!r}; there are {', '.join(PROVABLE)}")
    if program.num_states > 1:
        raise ValueError("programs of several controller states are not proved")
    reasons: list[str] = []
    for spare in range(spares):
        parts = _for_memories(program, task, spare, False, reasons)
        if parts is not None:
            return _complete(program, task, spare, parts, reasons)
    return Proof(False, task.key, 0, ("not proved", *dict.fromkeys(reasons)))


def _complete(program: Program, task: tasks.Task, spare: int, parts: list[Part], reasons: list[str]) -> Proof:
    """The proof for memories with `spare` cells more than the smallest, and for smaller ones if the claim is true."""
    besides: list[str] = []  # about the largest memory size for which the claim is not true, or not proved, for every n
    while spare > 0 and not besides:
        exact = _for_memories(program, task, spare - 1, True, reasons)
        if exact is None:
            besides = [f"Not proved for M = {_cells(task, spare - 1)}."]
        elif any(part.wrong for part in exact):
            besides = ["Besides:", *(line for part in exact for line in part.lines)]
        else:
            parts = exact + parts
            spare -= 1
    limit = show((task.limit_offset, task.limit_slope, 0, 0))
    cells = _cells(task, spare)
    claim = f"{task.title}: right for every n >= 1 and every M >= {cells} (and >= 3), within {limit} timesteps."
    rows = frozenset().union(*(part.rows for part in parts))
    return Proof(True, task.key, spare, (claim, *(line for part in parts for line in part.lines), *besides), rows)


def _cells(task: tasks.Task, spare: int) -> str:
    """The smallest memory and some spare cells, as text."""
    return show((task.cells_offset + spare, task.cells_slope, 0, 0))


def _for_memories(program: Program, task: tasks.Task, spare: int, exact: bool, reasons: list[str]) -> list[Part] | None:
    """Proofs that together cover every n, for M >= smallest + spare (`exact`: M = that); None if there are none."""
    if SPECS[task.key].single:
        claim = Claim(program, task, spare, exact)
        try:
            return [by_one_run(claim)]
        except NotProved as reason:
            reasons.append(f"{claim}: {reason}")
            return None
    for stretch in STRETCHES:
        claims = [Claim(program, task, spare, exact, stretch, rest) for rest in range(stretch)]
        parts = [_some_induction(claim, reasons) for claim in claims]
        if None not in parts:
            return parts
    return None


def _some_induction(claim: Claim, reasons: list[str]) -> Part | None:
    """The first proof by induction that succeeds, or None; adds to `reasons` why attempts failed."""
    for period in PERIODS:
        if claim.stretch > 1 and period != claim.stretch * claim.task.limit_slope:
            continue
        for first in FIRSTS:
            where = f"{claim}, from timestep {first + 1}, {period} a round"
            try:
                invariant = guess(claim, first, period)
            except NotProved as reason:
                reasons.append(f"{where}: {reason}")
                continue
            for short in SHORTS:
                try:
                    return by_induction(claim, invariant, short)
                except NotProved as reason:
                    reasons.append(f"{where}: {reason}")
    return None
