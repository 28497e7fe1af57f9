"""The cost by hand: the paper's and that of its footnote 4."""

import math

import pytest
import torch

from nram.machine.cost import loss_per_example
from nram.machine.run import Outcome


def test_loss_is_the_likelihood_weighted_by_the_stop_probability_minus_the_entropy_bonus():
    stop_logits = torch.tensor([0.0, 1.0, -2.0]).view(3, 1, 1)
    log_likelihood = torch.tensor([-3.0, -2.0, -1.0]).view(3, 1, 1)
    entropy = torch.tensor([0.5, 0.25, 0.125]).view(3, 1, 1)
    outcome = Outcome(log_likelihood, stop_logits, entropy, None, None)
    f0, f1 = 0.5, torch.tensor(1.0).sigmoid().item()
    expected = 3 * f0 + 2 * (1 - f0) * f1 + 1 * (1 - f0) * (1 - f1) - 0.1 * 0.875
    loss = loss_per_example(outcome, torch.tensor([[3]]), torch.tensor([0.1]))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_marginal_loss_is_the_likelihood_with_the_stop_summed_out():
    stop_logits = torch.tensor([0.0, 1.0, -2.0, 5.0]).view(4, 1, 1).requires_grad_()
    log_likelihood = torch.tensor([-300.0, -2.0, -1.0, 0.0]).view(4, 1, 1)  # the last is beyond the limit
    outcome = Outcome(log_likelihood, stop_logits, torch.ones(4, 1, 1), None, None)
    f0, f1 = 0.5, torch.tensor(1.0).sigmoid().item()
    likelihood = (1 - f0) * f1 * math.exp(-2) + (1 - f0) * (1 - f1) * math.exp(-1)
    loss = loss_per_example(outcome, torch.tensor([[3]]), torch.tensor([0.1]), "marginal")
    assert loss.item() == pytest.approx(-math.log(likelihood) - 0.1 * 4, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), stop_logits)
    assert gradient.isfinite().all() and (gradient[:2] != 0).all() and (gradient[2:] == 0).all()
