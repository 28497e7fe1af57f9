"""When a run ends: p_t, the probability that it ends after timestep t, and the median stopping time (section 3)."""

import torch
from torch import Tensor

__all__ = ["log_stop_probs", "median_stop", "stop_probs"]


def stop_probs(stop_logits: Tensor, limit: Tensor) -> Tensor:
    """p_t = f_t * prod_{i<t} (1 - f_i): stop_logits [T, ...], limit [...] -> [T, ...].

    The machine must stop after its `limit`-th timestep: p_t there is all that is left, and later 0 (section 3).
    """
    steps, log_alive = _steps(stop_logits, limit), _log_alive(stop_logits)
    probs = torch.where(steps == limit - 1, log_alive.exp(), (log_alive.exp() * stop_logits.sigmoid()))
    return probs.masked_fill(steps >= limit, 0)


def log_stop_probs(stop_logits: Tensor, limit: Tensor) -> Tensor:
    """The logarithms of `stop_probs`, without its underflow: stop_logits [T, ...], limit [...] -> [T, ...]."""
    steps, log_alive = _steps(stop_logits, limit), _log_alive(stop_logits)
    log_probs = torch.where(steps == limit - 1, log_alive, log_alive + torch.nn.functional.logsigmoid(stop_logits))
    return log_probs.masked_fill(steps >= limit, -torch.inf)


def _steps(stop_logits: Tensor, limit: Tensor) -> Tensor:
    return torch.arange(stop_logits.shape[0], device=limit.device).view(-1, *[1] * limit.dim())


def _log_alive(stop_logits: Tensor) -> Tensor:
    """log prod_{i<t} (1 - f_i): the machine has not stopped before timestep t."""
    log_continues = torch.nn.functional.logsigmoid(-stop_logits)
    return torch.cat([torch.zeros_like(log_continues[:1]), log_continues[:-1].cumsum(0)])


def median_stop(stop_logits: Tensor, limit: Tensor) -> Tensor:
    """The first timestep t, from 0, with p_0 + ... + p_t >= 1/2: stop_logits [T, ...], limit [...] -> [...], long.

    Deviation: the paper does not say which memory is judged. Ours is the one at this timestep.
    """
    alive = torch.nn.functional.logsigmoid(-stop_logits).cumsum(0).exp()  # after timestep t: 1 - (p_0 + ... + p_t)
    return torch.minimum((alive > 0.5).sum(0), limit - 1)
