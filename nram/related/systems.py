"""The systems beside the machine: how each is made and trained.

Learning rates were chosen among at most three per system, on seeds that no study uses.
"""

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

    title: for people. model, options: its class, and what a model is made with. learning_rate: of Adam, or of AdaMax.
    gradient_norm: bound of the gradient's norm; None for none. think: whether THINK tokens precede the blanks. hard:
    whether the model has a discretized form. adamax: whether it is trained by `nram.related.adamax` with a saturation
    cost, instead of Adam. curriculum: the one of `nram.related.training`, which no system below has: without it
    lengths are uniform on 1..15. bins: lengths that share an update, 32 sequences each.
    """

    title: str
    model: type[nn.Module]
    options: dict
    learning_rate: float
    gradient_norm: float | None = 1.0
    think: bool = False
    hard: bool = False
    adamax: bool = False
    curriculum: bool = False
    bins: int = 1

    def make(self) -> nn.Module:
        """A fresh model."""
        return self.model(**self.options)


ONE_STACK = {"stacks": 1, "hidden": 64, "cell": 8}
SYSTEMS = {
    "lstm": System("LSTM", LSTM, {"hidden": 128}, 3e-3),
    "stack": System("stack RNN", StackRNN, ONE_STACK, 3e-3, hard=True),
    "stacks": System("two stacks and time to think", StackRNN, ONE_STACK | {"stacks": 2}, 3e-3, think=True, hard=True),
    "ntm": System("NTM", NTM, {"hidden": 100, "cells": 64, "width": 20}, 3e-3, gradient_norm=50.0),
    "dngpu": System(
        "diagonal Neural GPU", DNGPU, {"maps": 48, "dropout": 0.1}, 0.01, gradient_norm=None, adamax=True, bins=2
    ),
}
