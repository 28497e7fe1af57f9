"""AdaMax as the diagonal Neural GPU is trained with it: without bias correction, its gradient clipped and noisy.

g <- g clipped to +-(1.2 v + 1e-4), with v from before the update
m <- 0.9 m + 0.1 g        v <- max(beta2 v, |g|)        theta <- theta - lr m / v        1 - beta2: 0.01 to 0.0005

What a plateau is, is our choice: a mean loss over some updates that is less than 1% below the lowest one before.
"""

from collections.abc import Iterable

import torch
from torch import nn

__all__ = ["AdaMax"]

BETA1 = 0.9
FORGETTING, LEAST_FORGETTING, HALVED_EVERY = 0.01, 0.0005, 2000  # 1 - beta2, its floor, its half-life in updates
SLACK, FLOOR = 1.2, 1e-4  # of the clipping
NOISE = 1e-4  # standard deviation of the parameters' noise, times the learning rate
BETTER, SHRINK, LEAST = 0.99, 0.7, 60  # plateau rule: what is better, the factor, the floor lr / 60


class AdaMax:
    """The optimizer's state. learning_rate falls on a plateau of the loss, see `on_loss`."""

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, generator: torch.Generator):
        self.parameters, self.generator = list(parameters), generator
        self.learning_rate = self.first_learning_rate = learning_rate
        self.first = [torch.zeros_like(each) for each in self.parameters]
        self.largest = [torch.zeros_like(each) for each in self.parameters]
        self.updates, self.lowest_loss = 0, float("inf")

    @torch.no_grad()
    def step(self) -> None:
        """One update from the parameters' gradients."""
        beta2 = 1 - max(FORGETTING * 0.5 ** (self.updates / HALVED_EVERY), LEAST_FORGETTING)
        for parameter, m, v in zip(self.parameters, self.first, self.largest, strict=True):
            bound = SLACK * v + FLOOR
            g = parameter.grad.clamp(-bound, bound)
            m.lerp_(g, 1 - BETA1)
            torch.maximum(v * beta2, g.abs(), out=v)
            noise = torch.randn(v.shape, generator=self.generator) * NOISE
            parameter -= self.learning_rate * (m / v.clamp(min=1e-12) + noise)
        self.updates += 1

    def on_loss(self, loss: float) -> None:
        """Lower the learning rate if the mean loss since the last call is hardly below the lowest one before."""
        if loss > BETTER * self.lowest_loss:
            self.learning_rate = max(self.learning_rate * SHRINK, self.first_learning_rate / LEAST)
        self.lowest_loss = min(self.lowest_loss, loss)
