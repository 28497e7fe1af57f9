"""The check of one size on every possible input, where symbols do not decide."""

from itertools import product
from operator import mul

import numpy as np

from nram.program.proof.claim import Claim
from nram.program.proof.expressions import Expression, integer
from nram.program.proof.machine import NotProved

__all__ = ["first_wrong"]

MAX_INPUTS = 300_000  # enumerate at most this many inputs of one size


def first_wrong(claim: Claim, q: int) -> list[int] | None:
    """The first memory with the smallest M for q that ends wrong; None if all end right.

    Raises NotProved if there are too many.
    """
    n = claim.stretch * q + claim.rest
    num_cells = claim.task.min_cells(n) + claim.spare
    if (num_cells - 1) ** n > MAX_INPUTS:
        raise NotProved(f"n = {n} is not decided, and has too many inputs to try")
    spec, numbers = claim.spec, (1, q, 0, num_cells)

    def value(expression: Expression) -> int:
        return sum(map(mul, expression, numbers)) % num_cells

    elements = np.array(list(product(range(1, num_cells), repeat=n))).reshape(-1, n)
    memory = np.zeros((len(elements), num_cells), dtype=np.int64)
    memory[:, spec.first : spec.first + n] = elements
    if spec.header is not None:
        memory[:, 0] = value(spec.header(claim.n))
    final = memory.copy()
    taken = claim.program.code.run(final, np.full(len(final), claim.task.limit(n)))
    wrong = taken < 0
    for index in map(integer, range(n)):
        expected = spec.expected(claim.n, index)
        right = (memory[:, value(expected.address)] + value(expected.offset)) % num_cells
        wrong |= final[:, value(spec.address(claim.n, index))] != right
    return memory[wrong.argmax()].tolist() if wrong.any() else None
