"""A table of circuits: what a discretized machine with an MLP does, for every pattern of registers that are zero.

It is all of the machine that matters once its softmaxes are one-hot (section 3.4). Annealing changes it at random, on
integers, and never sees a gradient.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.nn.functional import pad

from nram.annealing import chain
from nram.annealing.lanes import LANES, MOST_CELLS, Group, Wiring
from nram.machine.circuit import Layout
from nram.tasks import Batch

__all__ = ["Table", "grouped", "warm_up", "will_compile"]


def grouped(batches: list[Batch]) -> Group:
    """All N examples of some batches on the CPU, in groups of `LANES`: a `Group` with one more dimension before all.

    Raises ValueError for a memory of fewer than 3 or more than `MOST_CELLS` cells.
    """
    cells, count = [batch.memory.shape[1] for batch in batches], sum(len(batch.memory) for batch in batches)
    if not 3 <= min(cells) <= max(cells) <= MOST_CELLS:
        raise ValueError(f"annealing takes memories of 3 to {MOST_CELLS} cells, not {min(cells)} to {max(cells)}")

    def in_lanes(rows: list[torch.Tensor], dtype: torch.dtype, empty: int = 0) -> np.ndarray:
        """Rows [B, M] or [B] of all batches as [groups, M, LANES] or [groups, LANES]; `empty` in lanes without."""
        rows = [pad(row, (0, max(cells) - row.shape[1])) if row.ndim == 2 else row for row in rows]
        flat = torch.cat(rows).to(dtype)
        flat = torch.cat((flat, flat.new_full((-count % LANES, *flat.shape[1:]), empty)))
        return flat.unflatten(0, (-1, LANES)).movedim(1, -1).contiguous().numpy()

    return Group(
        memory=in_lanes([batch.memory for batch in batches], torch.uint8),
        target=in_lanes([batch.target for batch in batches], torch.uint8),
        mask=in_lanes([batch.mask for batch in batches], torch.uint8),
        num_cells=in_lanes([torch.full((len(b.memory),), b.memory.shape[1]) for b in batches], torch.uint8, max(cells)),
        limit=in_lanes([batch.limit for batch in batches], torch.int16),
        weight=in_lanes([1 / batch.mask.sum(1) for batch in batches], torch.float64),
    )


@dataclass(frozen=True, eq=False)
class Table:
    """The circuits of a machine with R registers. Pattern p has bit r set where register r is 0.

    sources: int16[2^R, slots], the source of every slot (see `nram.machine.circuit`). stops: bool[2^R], whether the
    machine stops after that circuit.
    """

    layout: Layout
    sources: np.ndarray
    stops: np.ndarray

    @classmethod
    def random(cls, layout: Layout, rng: np.random.Generator) -> "Table":
        """One circuit for all patterns, drawn uniformly, that never stops."""
        patterns = 2**layout.num_registers
        circuit = [rng.integers(slot.width) for slot in layout.slots]
        return cls(layout, np.tile(np.array(circuit, dtype=np.int16), (patterns, 1)), np.zeros(patterns, dtype=bool))

    def copy(self) -> "Table":
        return Table(self.layout, self.sources.copy(), self.stops.copy())

    def anneal(
        self,
        cases: Group,
        *,
        prefix: float,
        temperature: float,
        proposals: int,
        until_right: bool,
        seed: int,
        growth: float = 0.0,
    ) -> tuple[float, float]:
        """Make `proposals` steps of the chain, in place; the mean error before and after.

        prefix: weight in the error of the share of output cells from the first wrong one on, beside the wrong share.
        growth: chance that a slot gets a fresh expression of unused modules instead of another source. until_right:
        whether to end where all cases are right.
        """
        settings = (prefix, growth, temperature, proposals, until_right, seed)
        return chain.anneal((self.sources, self.stops, self._wiring, cases, *settings))

    def wrong(self, cases: Group) -> np.ndarray:
        """Whether the machine leaves a wrong output cell, bool[N] for N cases."""
        wrong = chain.wrong_cases((self.sources, self.stops, self._wiring, cases))
        return wrong[cases.weight > 0]

    @cached_property
    def _wiring(self) -> Wiring:
        slots, modules = self.layout.slots, self.layout.modules
        arity = np.array([module.arity for module in modules])
        module_of = np.array([-1 if slot.module is None else slot.module for slot in slots])
        width = np.array([slot.width for slot in slots])
        return Wiring(np.cumsum(arity) - arity, arity, module_of, width, self.layout.num_registers)


def will_compile() -> bool:
    """Whether `warm_up` has not run in this process."""
    return not chain.anneal.signatures


def warm_up() -> None:
    """Compile what annealing runs, or load it from Numba's cache."""
    table, cells = Table.random(Layout(1), np.random.default_rng(0)), torch.zeros(1, 3, dtype=torch.long)
    cases = grouped([Batch(cells, cells, cells == 0, cells[:, 0] + 1, cells[:, 0] + 1)])
    table.anneal(cases, prefix=0.0, temperature=1.0, proposals=1, until_right=False, seed=0)
    table.wrong(cases)
