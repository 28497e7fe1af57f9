"""Parallel tempering: chains at rising temperatures, which change places."""

import math

import numpy as np

from nram.annealing.lanes import Group
from nram.annealing.table import Table

__all__ = ["temper"]

ROUNDS, PROPOSALS = 2, 500  # of all chains, and of each chain in a round
HOTTER = 1.5  # the temperature of a chain over that of the one before it


def temper(
    tables: list[Table], cases: Group, *, temperature: float, seed: int, **settings
) -> tuple[float, list[float]]:
    """Let all chains run on the same cases, in place; the coldest one's error before, and the errors of all after it.

    tables: of the chains, the coldest first, whose temperature is given. After each round neighbours change places with
    the probability min(1, exp((1 / T - 1 / T') (e - e'))), T and e being temperature and error of the colder. So a
    chain that is stuck gets what the hotter ones found. settings: others of `Table.anneal`.
    """
    temperatures = [temperature * HOTTER**chain for chain in range(len(tables))]
    rng, before = np.random.default_rng(seed), None
    for _ in range(ROUNDS):
        errors = []
        for table, each in zip(tables, temperatures, strict=True):
            shared = {"temperature": each, "proposals": PROPOSALS, "seed": int(rng.integers(2**32))}
            first, last = table.anneal(cases, **shared, **settings)
            before = first if before is None else before
            errors.append(last)
        for cold in range(len(tables) - 2, -1, -1):
            hot = cold + 1
            advantage = (1 / temperatures[cold] - 1 / temperatures[hot]) * (errors[cold] - errors[hot])
            if math.log(max(rng.random(), 1e-300)) < advantage:
                tables[cold], tables[hot] = tables[hot], tables[cold]
                errors[cold], errors[hot] = errors[hot], errors[cold]
    return before, errors
