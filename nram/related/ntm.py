"""The Neural Turing Machine with an LSTM controller, one read head and one write head.

In each step the controller emits, per head, k, beta, g, s, gamma, and for the write head e and a:

    k = tanh, beta = softplus, g = sigmoid, s = softmax over the shifts -1, 0, +1, gamma = 1 + softplus, e = sigmoid,
    a = tanh
    content   wc[i] = softmax_i(beta * cos(k, M[i]))
    gate      wg    = g * wc + (1 - g) * w_prev
    shift     ws[i] = sum_j wg[j] * s[(i - j) mod N]
    sharpen   w[i]  = ws[i]^gamma / sum_j ws[j]^gamma
    read      r     = sum_i w[i] M[i]
    write     M[i] <- M[i] * (1 - w[i] e) + w[i] a
    output    y     = V [h, r], with the read of the same step

The memory starts constant and w at location 0, so that N is no parameter. The read vector before the first step is
learned.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from nram.related.lstm import open_forget_gates
from nram.related.tokens import NUM_TOKENS, VALUES, one_hot

__all__ = ["NTM", "address", "content", "sharpen", "shift"]

FIRST_MEMORY = 1e-6  # in every cell: a zero vector has no direction
TINY = 1e-12
CLIP = 20.0  # bound of head parameters and outputs


class NTM(nn.Module):
    """A machine with `cells` memory vectors of `width` numbers and a controller of `hidden` LSTM cells."""

    def __init__(self, hidden: int, cells: int, width: int):
        super().__init__()
        self.cells, self.width = cells, width
        self.controller = nn.LSTMCell(NUM_TOKENS + width, hidden)
        open_forget_gates(self.controller.bias_ih, self.controller.bias_hh)
        self.addressing = width + 6  # k, beta, g, s, gamma of a head
        self.heads = nn.Linear(hidden, 2 * self.addressing + 2 * width)  # read head, write head, e, a
        self.output = nn.Linear(hidden + width, VALUES)
        for layer in (self.heads, self.output):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
        self.first_read = nn.Parameter(torch.randn(width) * 0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the values after every token: LongTensor[B, S] -> [B, S, 8]."""
        inputs, batch = one_hot(tokens), len(tokens)
        memory = inputs.new_full((batch, self.cells, self.width), FIRST_MEMORY)
        w = inputs.new_zeros(batch, 2, self.cells)  # of the read head and of the write head
        w[..., 0] = 1
        r = self.first_read.tanh().expand(batch, -1)
        state = None
        outputs = []
        for x in inputs.unbind(1):
            state = self.controller(torch.cat([x, r], 1), state)
            h = state[0]
            emitted = self.heads(h).clamp(-CLIP, CLIP)
            heads, erase, add = emitted.split([2 * self.addressing, self.width, self.width], 1)
            w = address(heads.unflatten(1, (2, self.addressing)), memory, w)
            r = torch.einsum("bn,bnw->bw", w[:, 0], memory)
            written = w[:, 1].unsqueeze(-1)
            memory = memory * (1 - written * erase.sigmoid().unsqueeze(1)) + written * add.tanh().unsqueeze(1)
            outputs.append(torch.cat([h, r], 1))
        return self.output(torch.stack(outputs, 1)).clamp(-CLIP, CLIP)


def address(heads: Tensor, memory: Tensor, before: Tensor) -> Tensor:
    """New weightings [B, H, N] of H heads: from their W + 6 numbers [B, H, W + 6], memory [B, N, W], the last ones."""
    key, strength, gate, shifts, gamma = heads.split([memory.shape[-1], 1, 1, 3, 1], -1)
    by_content = content(memory, key.tanh(), functional.softplus(strength))
    gated = torch.lerp(before, by_content, gate.sigmoid())  # g * wc + (1 - g) * w_prev
    return sharpen(shift(gated, shifts.softmax(-1)), 1 + functional.softplus(gamma))


def content(memory: Tensor, key: Tensor, strength: Tensor) -> Tensor:
    """Where the memory resembles keys: memory [B, N, W], key [B, H, W], strength beta [B, H, 1] -> [B, H, N]."""
    norms = key.norm(dim=-1, keepdim=True) * memory.norm(dim=-1).unsqueeze(1)
    return (strength * (key @ memory.mT) / (norms + TINY)).softmax(-1)


def shift(weights: Tensor, shifts: Tensor) -> Tensor:
    """A circular shift: weights [B, H, N], shifts [B, H, 3] for -1, 0, +1 -> [B, H, N]."""
    back, stay, forward = shifts.unsqueeze(-2).unbind(-1)
    return back * weights.roll(-1, -1) + stay * weights + forward * weights.roll(1, -1)


def sharpen(weights: Tensor, gamma: Tensor) -> Tensor:
    """weights[i]^gamma, divided by their sum: weights [B, H, N], gamma [B, H, 1]; as a softmax of logarithms."""
    return (gamma * (weights + TINY).log()).softmax(-1)
