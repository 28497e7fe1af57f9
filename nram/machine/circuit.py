"""How a circuit is wired: which weighted averages it consists of, and where their logits lie.

With R registers and Q modules a circuit is a list of *slots*, each a weighted average of some sources (Eqs. 1 and 3):

    for module i: one slot per input, over the R registers and the outputs of modules 0..i-1
    for register r: one slot, over the R registers and all Q module outputs

The controller emits all logits of a circuit as one packed vector of L numbers, slot after slot.
Deviation: an input that its module ignores has no slot, so the controller emits no weights for it; what the machine
computes is the same.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nram.machine.modules import Module, module_sequence

__all__ = ["Layout", "Slot", "circuit_entropy"]


@dataclass(frozen=True)
class Slot:
    """One weighted average of a circuit.

    module: index of the module in the sequence that the slot feeds, or None if it feeds a register.
    position: which input of that module (0 or 1), or which register.
    start, width: the slot's logits are packed[start : start + width]; source j < R is register j, else module j - R.
    """

    module: int | None
    position: int
    start: int
    width: int


@dataclass(frozen=True)
class Layout:
    """The slots of every circuit of a machine with `num_registers` registers and 14 * `repetitions` modules."""

    num_registers: int
    repetitions: int = 1

    def __post_init__(self):
        if self.num_registers < 1:
            raise ValueError(f"num_registers must be at least 1, not {self.num_registers}")
        module_sequence(self.repetitions)

    @cached_property
    def modules(self) -> tuple[Module, ...]:
        return module_sequence(self.repetitions)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        slots, start = [], 0
        for index, module in enumerate(self.modules):
            for position in range(module.arity):
                slots.append(Slot(index, position, start, self.num_registers + index))
                start += self.num_registers + index
        for register in range(self.num_registers):
            slots.append(Slot(None, register, start, self.num_sources))
            start += self.num_sources
        return tuple(slots)

    @property
    def num_sources(self) -> int:
        """R + Q: the values that a new register is averaged from."""
        return self.num_registers + len(self.modules)

    @property
    def num_logits(self) -> int:
        """L, the length of a packed circuit."""
        return self.slots[-1].start + self.slots[-1].width

    @cached_property
    def source_names(self) -> tuple[str, ...]:
        """Names of the R + Q sources: r1..rR, then the modules', numbered (READ2) from the second repetition on."""
        registers = [f"r{r + 1}" for r in range(self.num_registers)]
        per_repetition = len(self.modules) // self.repetitions
        modules = [
            module.name + (str(index // per_repetition + 1) if index >= per_repetition else "")
            for index, module in enumerate(self.modules)
        ]
        return tuple(registers + modules)

    def split(self, packed: Tensor) -> tuple[Tensor, ...]:
        """A packed [..., L] tensor as one [..., width] tensor per slot."""
        return packed.split([slot.width for slot in self.slots], dim=-1)

    def softmax(self, packed_logits: Tensor) -> tuple[Tensor, ...]:
        """The slots' weights [..., width] from packed logits [..., L]."""
        return tuple(logits.softmax(-1) for logits in self.split(packed_logits))

    def argmax(self, packed_logits: Tensor) -> Tensor:
        """The discretized circuit: the chosen source of every slot, LongTensor[..., number of slots]."""
        return torch.stack([logits.argmax(-1) for logits in self.split(packed_logits)], dim=-1)

    def one_hot_logits(self, sources: Tensor, strength: float = 1e4) -> Tensor:
        """Packed logits [..., L] whose softmax is one-hot at `sources` LongTensor[..., number of slots]."""
        parts = [
            torch.nn.functional.one_hot(sources[..., index], slot.width) * strength
            for index, slot in enumerate(self.slots)
        ]
        return torch.cat(parts, dim=-1)


def circuit_entropy(layout: Layout, packed_logits: Tensor) -> Tensor:
    """Sum of the entropies of a circuit's distributions (appendix B), in nats: packed_logits [..., L] -> [...]."""
    log_weights = [logits.log_softmax(-1) for logits in layout.split(packed_logits)]
    return -sum((each.exp() * each).sum(-1) for each in log_weights)
