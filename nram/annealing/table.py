"""A table of circuits: what a discretized machine with an MLP does, for every pattern of registers that are zero.

It is all of the machine that matters once its softmaxes are one-hot (section 3.4). Annealing changes it at random, on
integers, and never sees a gradient.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from nram.annealing import chain
from nram.machine.circuit import Layout
from nram.tasks import Batch

__all__ = ["Cases", "Table", "warm_up"]


@dataclass(frozen=True)
class Cases:
    """N cases of one task, in memories of different sizes: the first num_cells[i] cells of row i of [N, M].

    memory, target: int16[N, M]. mask: bool[N, M], the output cells. num_cells, limit: int64[N].
    """

    memory: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    num_cells: np.ndarray
    limit: np.ndarray

    @classmethod
    def of(cls, batches: list[Batch]) -> "Cases":
        """All examples of some batches on the CPU."""
        cells = [batch.memory.shape[1] for batch in batches]

        def padded(name: str, dtype) -> np.ndarray:
            parts = [getattr(batch, name).to(dtype) for batch in batches]
            rows = [torch.nn.functional.pad(part, (0, max(cells) - part.shape[1])) for part in parts]
            return torch.cat(rows).numpy()

        num_cells = np.repeat(cells, [len(batch.memory) for batch in batches])
        limit = torch.cat([batch.limit for batch in batches]).numpy()
        memory, target = padded("memory", torch.int16), padded("target", torch.int16)
        return cls(memory, target, padded("mask", torch.bool), num_cells, limit)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """As the compiled functions take them."""
        return self.memory, self.target, self.mask, self.num_cells, self.limit


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
        cases: Cases,
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
        first_slot, arity, module_of, width = self._slots
        table = (self.sources, self.stops, first_slot, arity, module_of, width, self.layout.num_registers)
        settings = (prefix, growth, temperature, proposals, until_right, seed)
        return chain.anneal((*table, *cases.arrays, *settings))

    def wrong(self, cases: Cases) -> int:
        """In how many cases the machine leaves a wrong output cell."""
        first_slot, arity, _, _ = self._slots
        table = (self.sources, self.stops, first_slot, arity, self.layout.num_registers)
        found = chain.wrong_cells((*table, *cases.arrays))
        return int((found > 0).sum())

    @cached_property
    def _slots(self) -> tuple[np.ndarray, ...]:
        """First slot and arity of every module; module, or -1, and width of every slot."""
        slots, modules = self.layout.slots, self.layout.modules
        arity = np.array([module.arity for module in modules])
        module_of = np.array([-1 if slot.module is None else slot.module for slot in slots])
        return np.cumsum(arity) - arity, arity, module_of, np.array([slot.width for slot in slots])


def warm_up() -> None:
    """Compile what annealing runs, or load it from Numba's cache."""
    table, cells = Table.random(Layout(1), np.random.default_rng(0)), torch.zeros(1, 3, dtype=torch.long)
    cases = Cases.of([Batch(cells, cells, cells == 0, cells[:, 0] + 1, cells[:, 0] + 1)])
    table.anneal(cases, prefix=0.0, temperature=1.0, proposals=1, until_right=False, seed=0)
    table.wrong(cases)
