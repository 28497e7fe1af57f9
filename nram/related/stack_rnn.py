"""The stack-augmented RNN of Joulin and Mikolov, in its modern form: the cells of a stack are vectors.

    h_t    = tanh(U x_t + R h_{t-1} + P s_{t-1}[0] + b)      s_{t-1}[0]: the top cell of every stack
    a_t    = softmax(A h_t) over push, pop, no-op            a softmax of its own for every stack
    s_t[0] = a_push * D h_t       + a_pop * s_{t-1}[1]   + a_noop * s_{t-1}[0]
    s_t[i] = a_push * s_{t-1}[i-1] + a_pop * s_{t-1}[i+1] + a_noop * s_{t-1}[i]
    y_t    = V h_t

The original's cells are scalars, D h passes a sigmoid, an empty cell is -1, two top cells are read and R is 0. Here
cells are vectors, D is linear, empty is 0 and one cell is read, as in DeepMind's comparison of the Chomsky hierarchy.
Their code takes one softmax over the actions of all stacks, which is wrong for two stacks; ours has one per stack, as
the original.
"""

import torch
from torch import Tensor, nn

from nram.related.tokens import NUM_TOKENS, VALUES, one_hot

__all__ = ["PUSH", "StackRNN", "act"]

PUSH, POP, NOOP = range(3)


class StackRNN(nn.Module):
    """A tanh RNN of `hidden` units that moves `stacks` stacks of vectors of `cell` numbers."""

    def __init__(self, stacks: int, hidden: int, cell: int):
        super().__init__()
        self.stacks, self.cell = stacks, cell
        self.controller = nn.RNNCell(NUM_TOKENS + stacks * cell, hidden)  # U, R, P
        self.actions = nn.Linear(hidden, stacks * 3)  # A
        self.pushed = nn.Linear(hidden, stacks * cell)  # D
        self.output = nn.Linear(hidden, VALUES)  # V

    def forward(self, tokens: Tensor, hard: bool = False) -> Tensor:
        """Logits of the values after every token: LongTensor[B, S] -> [B, S, 8]. hard: actions are argmax, one-hot."""
        inputs = one_hot(tokens)
        batch, steps = tokens.shape
        h = inputs.new_zeros(batch, self.controller.hidden_size)
        depth = steps + 1  # never full, and the cell below the deepest is empty
        stack = inputs.new_zeros(batch, self.stacks, depth, self.cell)
        hidden = []
        for x in inputs.unbind(1):
            h = self.controller(torch.cat([x, stack[:, :, 0].flatten(1)], 1), h)
            actions = self.actions(h).view(batch, self.stacks, 3)
            if hard:
                actions = nn.functional.one_hot(actions.argmax(-1), 3).to(h.dtype)
            else:
                actions = actions.softmax(-1)
            stack = act(stack, actions, self.pushed(h).view(batch, self.stacks, self.cell))
            hidden.append(h)
        return self.output(torch.stack(hidden, 1))


def act(stack: Tensor, actions: Tensor, pushed: Tensor) -> Tensor:
    """Push, pop and leave a stack, each to its share.

    stack [..., depth, cell], actions [..., 3] that sum to 1, pushed [..., cell] -> the new stack [..., depth, cell].
    What is pushed out of the deepest cell is lost, and an empty cell comes up from below.
    """
    push, pop, noop = actions[..., None, None].unbind(-3)
    down = torch.cat([pushed.unsqueeze(-2), stack[..., :-1, :]], -2)
    up = torch.cat([stack[..., 1:, :], torch.zeros_like(stack[..., :1, :])], -2)
    return push * down + pop * up + noop * stack
