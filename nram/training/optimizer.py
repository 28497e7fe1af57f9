"""From gradients to new parameters: rescaling to norm C2, gradient noise, Adam (appendix B)."""

import torch
from torch import Tensor

from nram.kernels.adam import adam_step
from nram.training.config import TrainConfig
from nram.training.population import Members

__all__ = ["ADAM_BETAS", "update_parameters"]

ADAM_BETAS = (0.9, 0.999)


def update_parameters(members: Members, config: TrainConfig, gradient: Tensor, generator: torch.Generator) -> None:
    """One step of Adam on gradient [P, K], summed over the batch: its mean is rescaled to norm <= C2, noise is added.

    Deviation: the noise's standard deviation, sqrt(eta / (1 + step)^0.55) in the paper, is scaled by `noise_scale`.
    """
    settings, device = config.optimizer, gradient.device
    step = members.age.to(gradient.dtype)
    scale = torch.ones_like(step) / config.examples.batch_size
    if settings.gradient_norm is not None:
        norm = gradient.norm(dim=-1) * scale
        scale = scale * (settings.gradient_norm / norm.clamp(min=1e-30)).clamp(max=1)
    deviation = settings.noise_scale * (members.noise_eta / (1 + step) ** 0.55).sqrt()
    # One pool of noise serves all members: each takes its numbers from a start of its own.
    count = gradient.shape[1]
    pool = torch.randn(2 * count, generator=generator, device=device)
    starts = torch.randint(count, (config.population.size,), generator=generator, device=device)[members.place]
    beta1, beta2 = ADAM_BETAS
    step_size = members.learning_rate / (1 - beta1 ** (step + 1))
    factors = torch.stack([scale, deviation, step_size, 1 / (1 - beta2 ** (step + 1))])
    adam_step(members.theta, members.first_moment, members.second_moment, gradient, pool, starts, factors, ADAM_BETAS)
