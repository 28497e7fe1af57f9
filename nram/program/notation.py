"""Circuits with one source per input, and a small notation for them.

    READ r4
    ADD r2 r4
    WRITE ADD READ      # WRITE(p, a): the pointer, then the value
    r3 = r4
    r4 = INC
    INC r3

A statement is a module and its inputs, or a register and its new source. It ends with its line or with `;`, and `#`
starts a comment. An input is a register r1..rR or a module that comes earlier in the sequence. WRITE(ADD, READ) is the
same as WRITE ADD READ. READ2, INC2, ... are the modules of the second repetition. The order of the statements is free:
modules run in the machine's order, then all registers change at once. A register that is not named keeps its value. A
module that is not named is unused, except that ZERO, ONE and TWO can be inputs without a statement.

A machine's WRITE always writes. An unused one writes back what READ has just found at the same cell.
"""

import difflib
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from nram.machine.circuit import Layout
from nram.machine.modules import Module

__all__ = ["Circuit"]


@dataclass(frozen=True)
class Circuit:
    """A circuit with one source per slot; the slots of unused modules have none.

    inputs: per module of the layout, the sources of its inputs, or None if the module is unused.
    registers: per register, the source of its new value.
    Source j is register j if j < R, else the output of module j - R, as in `Layout`.
    """

    layout: Layout
    inputs: tuple[tuple[int, ...] | None, ...]
    registers: tuple[int, ...]

    @classmethod
    def parse(cls, text: str, layout: Layout) -> "Circuit":
        """The circuit that `text` describes. Raises ValueError naming the wrong statement and the reason."""
        names = {name: source for source, name in enumerate(layout.source_names)}
        inputs: dict[int, tuple[int, ...]] = {}
        registers: dict[int, int] = {}
        statements = [part.strip() for line in text.splitlines() for part in line.split("#")[0].split(";")]

        def source(name: str, statement: str) -> int:
            if name not in names:
                nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
                nearest = nearest or difflib.get_close_matches(name.upper(), names, n=1)
                hint = f"; did you mean {nearest[0]}?" if nearest else ""
                raise ValueError(f"{statement!r}: there is no {name!r} in this machine{hint}")
            return names[name]

        for statement in filter(None, statements):
            left, equals, right = statement.partition("=")
            words = re.split(r"[\s(),]+", statement.strip(" ()"))
            if equals:
                register, value = source(left.strip(), statement), source(right.strip(), statement)
                if register >= layout.num_registers:
                    raise ValueError(f"{statement!r}: only a register stands left of '='")
                if register in registers:
                    raise ValueError(f"{statement!r}: r{register + 1} has a new value already")
                registers[register] = value
                continue
            owner, found = source(words[0], statement), tuple(source(word, statement) for word in words[1:])
            if owner < layout.num_registers:
                raise ValueError(f"{statement!r}: a statement starts with a module, or reads 'register = source'")
            index = owner - layout.num_registers
            arity = layout.modules[index].arity
            if len(found) != arity:
                raise ValueError(f"{statement!r}: {words[0]} takes {arity} inputs, not {len(found)}")
            if index in inputs:
                raise ValueError(f"{statement!r}: {words[0]} has its inputs already")
            for word, number in zip(words[1:], found, strict=True):
                if number >= owner:
                    raise ValueError(f"{statement!r}: {word} does not come before {words[0]} in the sequence")
            inputs[index] = found

        used = {source for found in inputs.values() for source in found} | set(registers.values())
        for number in sorted(used):
            index = number - layout.num_registers
            if index >= 0 and index not in inputs:
                if layout.modules[index].arity > 0:
                    raise ValueError(f"{layout.source_names[number]} is used, but has no inputs")
                inputs[index] = ()
        return cls(
            layout,
            tuple(inputs.get(index) for index in range(len(layout.modules))),
            tuple(registers.get(register, register) for register in range(layout.num_registers)),
        )

    @classmethod
    def from_sources(cls, layout: Layout, sources) -> "Circuit":
        """The circuit with these sources, one per slot of the layout (see `Layout.argmax`); every module is in use."""
        slots = iter(int(source) for source in sources)
        inputs = tuple(tuple(next(slots) for _ in range(module.arity)) for module in layout.modules)
        return cls(layout, inputs, tuple(slots))

    def sources(self) -> Tensor:
        """One source per slot of the layout, LongTensor[slots]; a machine needs one for unused modules, too.

        Unused modules take r1. An unused WRITE writes back what the READ of its repetition has found at the same cell.
        """
        slots, reader = [], 0
        for index, (module, found) in enumerate(zip(self.layout.modules, self.inputs, strict=True)):
            if found is None:
                found = (0,) * module.arity
                if module.name == "WRITE":
                    found = (slots[reader], self.layout.num_registers + index - (len(self.modules_per_repetition) - 1))
            if module.name == "READ":
                reader = len(slots)
            slots.extend(found)
        return torch.tensor(slots + list(self.registers))

    @property
    def modules_per_repetition(self) -> tuple[Module, ...]:
        """The modules of the first repetition."""
        return self.layout.modules[: len(self.layout.modules) // self.layout.repetitions]

    def pruned(self) -> "Circuit":
        """The same circuit without the modules that change neither a register nor a cell.

        A WRITE changes nothing if it puts back what READ has found at the same cell and no WRITE comes between them.
        WRITE returns 0, so ZERO replaces it as a source. ZERO, ONE and TWO replace ZERO2, ONE2, ...
        """
        num_registers, per_repetition = self.layout.num_registers, len(self.modules_per_repetition)
        first = {module.name: num_registers + index for index, module in enumerate(self.modules_per_repetition)}

        def same(source: int) -> int:
            if source < num_registers:
                return source
            module = self.layout.modules[source - num_registers]
            if module.name == "WRITE":
                return first["ZERO"]
            return first[module.name] if module.arity == 0 else source

        inputs = [None if found is None else tuple(map(same, found)) for found in self.inputs]
        registers = tuple(map(same, self.registers))
        used = {source - num_registers for source in registers}
        for index in reversed(range(len(inputs))):
            if inputs[index] is None and index not in used:
                continue
            name, found = self.layout.modules[index].name, inputs[index] or ()
            if name == "WRITE":
                reader = index - per_repetition + 1
                keep = not (inputs[reader] == found[:1] and found[1] == num_registers + reader)
            else:
                keep = index in used
            inputs[index] = found if keep else None
            if keep:
                used.update(source - num_registers for source in found)
        return Circuit(self.layout, tuple(inputs), registers)

    def statements(self) -> list[str]:
        """The circuit in the notation, without unused modules and registers that keep their values."""
        names = self.layout.source_names
        lines = []
        for index, found in enumerate(self.inputs):
            if found:
                owner = names[self.layout.num_registers + index]
                lines.append(" ".join([owner, *(names[source] for source in found)]))
        changes = [f"r{r + 1} = {names[source]}" for r, source in enumerate(self.registers) if source != r]
        return lines + changes

    def __str__(self) -> str:
        return "; ".join(self.statements()) or "(nothing changes)"
