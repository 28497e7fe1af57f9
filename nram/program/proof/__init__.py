"""Proofs that a program solves its task at every length: Access, Increment, Copy and Reverse.

The claim: for every n >= 1, every M >= the task's smallest memory (plus `spare` cells), and all elements (integers of
1..M-1), the memory left at the task's time limit has the right value in every output cell. The program runs on symbols
instead of integers (`machine`, `memory`, `symbols`, `facts`). Where a zero-test cannot be decided, the proof follows
both ways. If the number of timesteps depends on n, the argument is an induction over the rounds of a loop
(`induction`):

    base     the first t0 timesteps lead to the invariant at i = 0, for every n >= n0
    step     from the invariant at i, k timesteps lead to the invariant at i + 1, for every n and i with i < n - c
    end      from the invariant at i = n - c, the remaining timesteps lead to the right output, for every n >= n0
    small    for each n < n0 the whole run leads to the right output (on symbols, or on all possible inputs)

The invariant says what each register holds, and which cells have been written with what. `guess` derives it from
the first timesteps at large n. The proof then checks it as above: a wrong guess can only make a proof fail. `prove`
tries several t0, k and c (`search`). If a round moves two elements, even and odd n get separate proofs: n = 2 q or
n = 2 q + 1, and q replaces n. The smallest memories, where a single cell matters, may get separate proofs, too. A right
program may have no proof; the answer is then 'not proved'.
"""

from nram.program.proof.search import Proof, prove
from nram.program.proof.specs import PROVABLE

__all__ = ["PROVABLE", "Proof", "prove"]
