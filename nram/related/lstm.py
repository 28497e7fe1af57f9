"""A plain LSTM: it must hold the whole input in h and c.

    i, f, o = sigmoid(W [x, h] + b)    c <- f * c + i * tanh(W [x, h] + b)    h = o * tanh(c)    y = V h

PyTorch has the cell. Forget gates start open (bias 1), recurrent weights orthogonal.
"""

import torch
from torch import Tensor, nn

from nram.related.tokens import NUM_TOKENS, VALUES, one_hot

__all__ = ["LSTM", "open_forget_gates"]


class LSTM(nn.Module):
    """One layer of `hidden` LSTM cells and a linear output."""

    def __init__(self, hidden: int):
        super().__init__()
        self.cells = nn.LSTM(NUM_TOKENS, hidden, batch_first=True)
        self.output = nn.Linear(hidden, VALUES)
        open_forget_gates(self.cells.bias_ih_l0, self.cells.bias_hh_l0)
        for gate in self.cells.weight_hh_l0.chunk(4):
            nn.init.orthogonal_(gate)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the values after every token: LongTensor[B, S] -> [B, S, 8]."""
        return self.output(self.cells(one_hot(tokens))[0])


@torch.no_grad()
def open_forget_gates(input_bias: Tensor, hidden_bias: Tensor) -> None:
    """Make the forget gates' bias, the sum of PyTorch's two [4 * hidden], 1. The gates' order is i, f, g, o."""
    quarter = len(input_bias) // 4
    input_bias[quarter : 2 * quarter] = 1
    hidden_bias[quarter : 2 * quarter] = 0
