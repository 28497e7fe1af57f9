"""The diagonal Neural GPU of Freivalds and Liepins: hard nonlinearities, a shifted state, a cost for saturation.

A sequence of n tokens is a state s [B, n, m]; n steps of one gated convolution of width 3 change it:

    r  = hs(conv_r(s) + 0.5)       hs(x) = clip(x / 2 + 1/2, 0, 1)
    c  = ht(conv_c(r * s))         ht(x) = clip(x, -1, 1)
    u  = hs(conv_u(s) + 0.7)
    s <- u * shift(s) + (1 - u) * dropout(c)

`shift` is the diagonal gate: a third of the channels moves one position to the left, a third to the right, the others
stay. s_0 = ht(linear(one-hot token)), with dropout; the output is linear at every position.
The first weights are Glorot's, our choice.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from nram.related.tokens import NUM_TOKENS, VALUES, one_hot

__all__ = ["DNGPU", "hard_sigmoid", "hard_tanh", "shift"]

SATURATED = 0.9  # a hard unit costs what its pre-activation has beyond this


class DNGPU(nn.Module):
    """A state of `maps` channels; dropout in training, of `dropout`.

    The state lies as [B, n, m]: a convolution of width 3 is a linear map of three neighbors' channels.
    """

    def __init__(self, maps: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.input = nn.Linear(NUM_TOKENS, maps)
        self.gates = nn.Linear(3 * maps, 2 * maps)  # of r and of u
        self.candidate = nn.Linear(3 * maps, maps)
        self.output = nn.Linear(maps, VALUES)
        with torch.no_grad():
            for layer in (self.input, self.gates, self.candidate, self.output):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
            self.gates.bias[:maps], self.gates.bias[maps:] = 0.5, 0.7
        self.saturation = torch.zeros(())

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the values at every position after n = S steps: LongTensor[B, S] -> [B, S, 8].

        In training `saturation` is then the saturation cost: the sum of max(0, |pre-activation| - 0.9) over all hard
        units, divided by n^2 B.
        """
        batch, n = tokens.shape
        before = self.input(one_hot(tokens))
        s = functional.dropout(hard_tanh(before), self.dropout, self.training)
        excess = [beyond(before)] if self.training else []
        for _ in range(n):
            gates = self.gates(neighbors(s))
            r, u = hard_sigmoid(gates).chunk(2, -1)
            before = self.candidate(neighbors(r * s))
            c = functional.dropout(hard_tanh(before), self.dropout, self.training)
            s = torch.lerp(c, shift(s), u)  # u * shift(s) + (1 - u) * c
            if self.training:
                excess += [beyond(gates), beyond(before)]
        if self.training:
            self.saturation = torch.stack(excess).sum() / (n * n * batch)
        return self.output(s)


def neighbors(s: Tensor) -> Tensor:
    """Every position's left neighbor, itself and its right neighbor: [B, n, m] -> [B, n, 3m], zeros beyond the ends."""
    padded = functional.pad(s, (0, 0, 1, 1))
    return torch.cat([padded[:, :-2], s, padded[:, 2:]], -1)


def hard_sigmoid(x: Tensor) -> Tensor:
    """hs(x) = clip(x / 2 + 1/2, 0, 1)."""
    return (x / 2 + 0.5).clamp(0, 1)


def hard_tanh(x: Tensor) -> Tensor:
    """ht(x) = clip(x, -1, 1)."""
    return x.clamp(-1, 1)


def beyond(pre_activations: Tensor) -> Tensor:
    """By how much pre-activations are beyond `SATURATED`, summed."""
    return (pre_activations.abs() - SATURATED).clamp(min=0).sum()


def shift(s: Tensor) -> Tensor:
    """The diagonal gate: of s [B, n, m], a third of the channels one to the left, a third one to the right."""
    third = s.shape[-1] // 3
    left, right, stay = s.split([third, third, s.shape[-1] - 2 * third], -1)
    return torch.cat([functional.pad(left[:, 1:], (0, 0, 0, 1)), functional.pad(right[:, :-1], (0, 0, 1, 0)), stay], -1)
