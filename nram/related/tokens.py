"""The tasks as sequences of tokens, encoded from the same samples that the machine gets.

`few_values` restricts a task of `nram.tasks` to elements of 1..8, since a token must have been seen in training.
`encode` writes a batch of it as tokens, twelve in all: the values 1..8 (tokens 0..7), HASH, SEP, BLANK and THINK:

    copy, reverse, increment    x_1..x_L SEP BLANK^L                      answers at the last L tokens
    access                      HASH^k BLANK^(L-k) SEP x_1..x_L SEP BLANK  answer at the last token
    merge                       a_1..a_n SEP b_1..b_m SEP BLANK^L          answers at the last L = n + m tokens

The answer is never fed back. With `think`, L tokens THINK stand before the blanks.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from nram import tasks

__all__ = [
    "BLANK",
    "HASH",
    "KEYS",
    "NOT_EXPRESSIBLE",
    "NUM_TOKENS",
    "OPTIONAL",
    "SEP",
    "THINK",
    "TRAIN_LENGTH",
    "VALUES",
    "Sequences",
    "chance_error",
    "draw",
    "encode",
    "few_values",
    "one_hot",
    "shortest",
    "structured",
]

VALUES = 8  # elements are 1..8, and 0 is NULL
HASH, SEP, BLANK, THINK = range(VALUES, VALUES + 4)
NUM_TOKENS = VALUES + 4
TRAIN_LENGTH = 15  # the longest sequences in training

KEYS = ("copy", "reverse", "increment")
# Expressible as well, but as another problem than the machine's.
OPTIONAL = {
    "access": "The index is unary, so the task asks for counting to k. The machine dereferences a pointer.",
    "merge": "With eight values, counting each one merges two runs. The machine compares and moves pointers.",
}
NOT_EXPRESSIBLE = {
    "swap": "Two addresses are data. Marks at the two elements would do the dereferencing for the system.",
    "permutation": "Every element of P is an address. A fixed vocabulary has no token for addresses beyond training.",
    "listk": "Nodes lie at random addresses and hold the next one's. A token for an address is a token never trained.",
    "listsearch": "As ListK, and the answer itself is an address.",
    "walkbst": "Every node holds two addresses.",
}


class Sequences(NamedTuple):
    """B sequences of one length S. tokens: LongTensor[B, S]. answers: LongTensor[B, A] of values 1..8, at the end."""

    tokens: Tensor
    answers: Tensor


@dataclass(frozen=True)
class _Form:
    """How a task's memory is read.

    first: the cell of the first element. cells_offset: in place of the task's, so that every memory has a cell 8.
    guards: cells among and behind the elements, half of them among. highest: the largest element in a memory.
    """

    first: int
    cells_offset: int
    guards: int = 0
    highest: int = VALUES


_FORMS = {
    "copy": _Form(first=1, cells_offset=7),
    "reverse": _Form(first=1, cells_offset=7),
    "increment": _Form(first=0, cells_offset=8, highest=VALUES - 1),  # its answers are 2..8
    "access": _Form(first=1, cells_offset=8),
    "merge": _Form(first=3, cells_offset=6, guards=2),
}


@cache
def few_values(key: str) -> tasks.Task:
    """The task of this key with elements of 1..8 (of 1..7 in Increment, which no element leaves by its successor).

    A sample is one of the task's own in a larger memory, cut to M cells; its elements are divided into 8 classes of
    equal size, in order. M is at least 9. Raises ValueError for a task that has no form as tokens.
    """
    task, form = tasks.get(key), _form(key)

    def generate(difficulty: Tensor, num_cells: int, generator):
        size = 7 * VALUES * (num_cells // (7 * VALUES) + 1)  # a multiple of 7 and of 8, so that classes are equal
        memory, target, mask = task.generate(difficulty, size + 1 + form.guards // 2, generator)
        memory, target, mask = memory[:, :num_cells], target[:, :num_cells], mask[:, :num_cells]
        cell = torch.arange(num_cells, device=memory.device)
        held = (cell >= form.first) & (cell < form.first + difficulty[:, None] + form.guards)
        guard = held & (memory > size)

        def divided(cells: Tensor, elements: Tensor) -> Tensor:
            return torch.where(elements, 1 + (cells - 1) * form.highest // size, cells)

        changed = divided(memory, held & ~guard).masked_fill(guard, num_cells - 1)
        answers = changed + 1 if key == "increment" else divided(target, mask)
        return changed, torch.where(mask, answers, changed), mask

    return replace(task, cells_offset=form.cells_offset, generate=generate, solver=None)


def encode(key: str, batch: tasks.Batch, think: bool = False) -> Sequences:
    """A batch of `few_values(key)` as tokens. Raises ValueError for examples of more than one difficulty."""
    length, form = int(batch.difficulty[0]), _form(key)
    if (batch.difficulty != length).any():
        raise ValueError("a batch of sequences has one length, so its examples have one difficulty")
    elements = batch.memory[:, form.first : form.first + length + form.guards // 2]
    values = torch.where(elements > VALUES, SEP, elements - 1)
    answers = batch.target[batch.mask].view(len(values), -1)

    def of(token: int, count: int) -> Tensor:
        return values.new_full((len(values), count), token)

    before = []
    if key == "access":
        index = torch.arange(1, length + 1, device=values.device)
        before = [torch.where(index <= batch.memory[:, :1], HASH, BLANK), of(SEP, 1)]
    after = [of(SEP, 1), of(THINK, length if think else 0), of(BLANK, answers.shape[1])]
    return Sequences(torch.cat([*before, values, *after], 1), answers)


def draw(key: str, length: int, count: int, generator: torch.Generator) -> tasks.Batch:
    """`count` examples of `few_values(key)` of one length.

    They are in the smallest memory for it, or for the train length if that is longer.
    """
    task = few_values(key)
    return task.sample(torch.full((count,), length), task.smallest_memory(max(length, TRAIN_LENGTH)), generator)


def structured(key: str, length: int) -> tasks.Batch:
    """Inputs that random ones seldom resemble: all elements equal, and two in turns. For Copy, Reverse and Increment.

    Equal: one example of each value. In turns: one of each value with the next one.
    """
    form = _form(key)
    if key not in KEYS:
        raise ValueError(f"there are structured inputs for {', '.join(KEYS)}, not for {key!r}")
    one = torch.arange(1, form.highest + 1)[:, None]
    other = one % form.highest + 1
    odd = torch.arange(length) % 2 == 1
    values = torch.cat([one.expand(-1, length), torch.where(odd, other, one)])
    batch = draw(key, length, len(values), torch.Generator().manual_seed(0))
    memory = batch.memory.clone()
    memory[:, form.first : form.first + length] = values
    answers = {"copy": values, "reverse": values.flip(1), "increment": values + 1}[key]
    target = memory.clone()
    target[batch.mask] = answers.flatten()
    return batch._replace(memory=memory, target=target)


def chance_error() -> dict[str, float]:
    """The share of wrong cells of a uniform guess among the values that an answer can have, by task."""
    return {key: 1 - 1 / _form(key).highest for key in KEYS}


def shortest(key: str) -> int:
    """The length of the shortest sequences of a task."""
    return few_values(key).min_difficulty


def one_hot(tokens: Tensor) -> Tensor:
    """Tokens LongTensor[B, S] as inputs [B, S, 12], float32."""
    return torch.nn.functional.one_hot(tokens, NUM_TOKENS).float()


def _form(key: str) -> _Form:
    if key not in _FORMS:
        why = NOT_EXPRESSIBLE.get(key)
        raise ValueError(f"{key!r} is not expressible as tokens{': ' + why if why else ''}; valid: {', '.join(_FORMS)}")
    return _FORMS[key]
