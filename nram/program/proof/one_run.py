"""The proof for a task whose time limit does not depend on n: one run on symbols."""

from nram.program.proof.claim import Claim, Part
from nram.program.proof.expressions import I
from nram.program.proof.machine import NotProved

__all__ = ["by_one_run"]


def by_one_run(claim: Claim) -> Part:
    """The proof of a claim with one output, for every k of 1..n. Raises NotProved."""
    task, machine = claim.task, claim.machine()
    if task.limit_slope:
        raise NotProved("the time limit depends on n")
    facts = claim.facts((1, 1, 1, 0), (1, 1, 0, 0))  # i = 1 + u, n = i + v; i stands for k
    stopped, state = machine.run(machine.start(), facts, task.limit_offset, may_stop=True)
    for final in stopped + ([state] if state else []):
        claim.check(final, I, facts)
    lines = (f"For {claim}: one run on symbols, for every n and every k of 1..n, ends with the right output.",)
    return Part(lines, frozenset(machine.rows))
