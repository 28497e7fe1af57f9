"""The systems beside the machine: how each is made and trained.

Learning rates were chosen among at most three per system, on seeds that no study uses.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from nram.related.dngpu import DNGPU
from nram.related.lstm import LSTM
from nram.related.ntm import NTM
from nram.related.stack_rnn import StackRNN

__all__ = ["MACHINE", "SYSTEMS", "System"]

MACHINE = "nram"


@dataclass(frozen=True)
class System:
    """One system.

    title: for people. make: a fresh model. learning_rate: of Adam, or of AdaMax. gradient_norm: bound of the gradient's
    norm; None for none. think: whether THINK tokens precede the blanks. hard: whether the model has a discretized form.
    adamax: whether it is trained by `nram.related.adamax` with a saturation cost, instead of Adam. curriculum: the
    one of `nram.related.training`; without it lengths are uniform on 1..15. bins: lengths that share an update, 32
    sequences each.
    """

    title: str
    make: Callable[[], nn.Module]
    learning_rate: float
    gradient_norm: float | None = 1.0
    think: bool = False
    hard: bool = False
    adamax: bool = False
    curriculum: bool = False
    bins: int = 1


SYSTEMS = {
    "lstm": System("LSTM", LSTM, 3e-3),
    "stack": System("stack RNN", StackRNN, 3e-3, hard=True),
    "stacks": System("two stacks and time to think", lambda: StackRNN(stacks=2), 3e-3, think=True, hard=True),
    "ntm": System("NTM", NTM, 3e-3, gradient_norm=50.0),
    "dngpu": System("diagonal Neural GPU", DNGPU, 0.01, gradient_norm=None, adamax=True, bins=2),
}
