"""The fourteen modules: their names, their order, what they mean on integers and on distributions.

The rest of the package takes names and order from `MODULES`. A module maps two integers of {0..M-1} to a third; its
fuzzy form maps two distributions to the distribution of the result (Eq. 2):

    P(m(A, B) = c) = sum over a, b of P(A = a) P(B = b) [m(a, b) = c]

READ and WRITE alone touch the memory tape: see `read` and `write`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MODULES", "Module", "constant_probs", "module_sequence", "read", "write"]


@dataclass(frozen=True)
class Module:
    """One module.

    name: the paper's name.
    arity: the number of inputs that the module looks at, 0 to 2 (the paper formally gives every module two).
    integer: (a, b, M) -> integer, for Python ints and integer arrays or tensors alike; None for READ and WRITE.
    fuzzy: (a_probs [..., M], b_probs [..., M]) -> probs [..., M] (Eq. 2); None for READ and WRITE.
    rescaled: whether the output is divided by its sum, because rounding may move that from 1 (appendix B).
    """

    name: str
    arity: int
    integer: Callable | None
    fuzzy: Callable[[Tensor, Tensor], Tensor] | None
    rescaled: bool = False


def read(tape: Tensor, pointer_probs: Tensor) -> Tensor:
    """READ(p) = Mem^T p: tape [..., M, M] (row i is cell i), pointer [..., M] -> [..., M]."""
    return (tape * pointer_probs.unsqueeze(-1)).sum(-2)


def write(tape: Tensor, pointer_probs: Tensor, value_probs: Tensor) -> Tensor:
    """WRITE(p, a): Mem <- (1 - p) 1^T * Mem + p a^T; the new tape [..., M, M].

    Deviation: as a module, WRITE returns the integer 0. The appendix is ambiguous.
    """
    pointer = pointer_probs.unsqueeze(-1)
    return (1 - pointer) * tape + pointer * value_probs.unsqueeze(-2)


def constant_probs(value: int, like: Tensor) -> Tensor:
    """The integer `value` mod M as a one-hot distribution of the shape [..., M] of `like`."""
    probs = torch.zeros_like(like)
    probs[..., value % like.shape[-1]] = 1
    return probs


def _add(a: Tensor, b: Tensor) -> Tensor:
    cell = torch.arange(a.shape[-1], device=a.device)
    other = (cell[:, None] - cell[None, :]) % a.shape[-1]  # [c, a] -> the b for which a + b = c
    return (b[..., other] * a.unsqueeze(-2)).sum(-1)


def _subtract(a: Tensor, b: Tensor) -> Tensor:
    cell = torch.arange(a.shape[-1], device=a.device)
    other = (cell[:, None] + cell[None, :]) % a.shape[-1]  # [c, b] -> the a for which a - b = c
    return (a[..., other] * b.unsqueeze(-2)).sum(-1)


def _at_most(probs: Tensor) -> Tensor:
    """P(X <= c) for every c."""
    return probs.cumsum(-1)


def _above(probs: Tensor) -> Tensor:
    """P(X > c) for every c, without the rounding of 1 - P(X <= c)."""
    return probs.flip(-1).cumsum(-1).flip(-1) - probs


def _truth(true_prob: Tensor, like: Tensor) -> Tensor:
    """A distribution over {0..M-1} that is 1 with `true_prob` [...], else 0."""
    return (1 - true_prob).unsqueeze(-1) * constant_probs(0, like) + true_prob.unsqueeze(-1) * constant_probs(1, like)


MODULES = (
    Module("READ", 1, None, None, rescaled=True),
    Module("ZERO", 0, lambda a, b, M: 0 * a, lambda a, b: constant_probs(0, a)),
    Module("ONE", 0, lambda a, b, M: 0 * a + 1 % M, lambda a, b: constant_probs(1, a)),
    Module("TWO", 0, lambda a, b, M: 0 * a + 2 % M, lambda a, b: constant_probs(2, a)),
    Module("INC", 1, lambda a, b, M: (a + 1) % M, lambda a, b: a.roll(1, -1)),
    Module("ADD", 2, lambda a, b, M: (a + b) % M, _add, rescaled=True),
    Module("SUB", 2, lambda a, b, M: (a - b) % M, _subtract, rescaled=True),
    Module("DEC", 1, lambda a, b, M: (a - 1) % M, lambda a, b: a.roll(-1, -1)),
    Module("LESS-THAN", 2, lambda a, b, M: (a < b) * 1, lambda a, b: _truth((a * _above(b)).sum(-1), a)),
    Module(
        "LESS-OR-EQUAL-THAN", 2, lambda a, b, M: (a <= b) * 1, lambda a, b: _truth((a * (_above(b) + b)).sum(-1), a)
    ),
    Module("EQUALITY-TEST", 2, lambda a, b, M: (a == b) * 1, lambda a, b: _truth((a * b).sum(-1), a)),
    Module(
        "MIN", 2, lambda a, b, M: a * (a <= b) + b * (a > b), lambda a, b: a * (_above(b) + b) + b * _above(a), True
    ),
    Module(
        "MAX", 2, lambda a, b, M: a * (a > b) + b * (a <= b), lambda a, b: a * _at_most(b) + b * (_at_most(a) - a), True
    ),
    Module("WRITE", 2, None, None),
)


def module_sequence(repetitions: int) -> tuple[Module, ...]:
    """The modules of one timestep in order: the fourteen, `repetitions` times over (the paper's appendix)."""
    if repetitions < 1:
        raise ValueError(f"repetitions must be at least 1, not {repetitions}")
    return MODULES * repetitions
