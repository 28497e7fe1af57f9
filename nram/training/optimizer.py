"""From gradients to new parameters (appendix B): rescaling to norm C2, gradient noise, Adam."""

import torch
from torch import Tensor

from nram.kernels.adam import EPSILON, fused_adam_step
from nram.training.config import TrainConfig
from nram.training.members import Members

__all__ = ["ADAM_BETAS", "adam_step", "update_parameters"]

ADAM_BETAS = (0.9, 0.999)


def update_parameters(members: Members, config: TrainConfig, gradient: Tensor, generator: torch.Generator) -> None:
    """One step of Adam. gradient [P, K] is summed over the batch; its mean is rescaled to L2 norm <= C2, then noisy.

    Deviation: the noise's standard deviation, sqrt(eta / (1 + step)^0.55) in the paper, is scaled by `noise_scale`.
    """
    settings, device = config.optimizer, gradient.device
    step = members.age.to(gradient.dtype)
    scale = torch.ones_like(step) / config.examples.batch_size
    if settings.gradient_norm is not None:
        norm = gradient.norm(dim=-1) * scale
        scale = scale * (settings.gradient_norm / norm.clamp(min=1e-30)).clamp(max=1)
    deviation = settings.noise_scale * (members.noise_eta / (1 + step) ** 0.55).sqrt()
    # One pool of 2K normal numbers serves all members: each takes K in a row from a random start.
    count = gradient.shape[1]
    pool = torch.randn(2 * count, generator=generator, device=device)
    starts = torch.randint(count, (config.population.size,), generator=generator, device=device)[members.place]
    step_size = members.learning_rate / (1 - ADAM_BETAS[0] ** (step + 1))
    factors = torch.stack([scale, deviation, step_size, 1 / (1 - ADAM_BETAS[1] ** (step + 1))])
    fused = gradient.device.type == "cpu" and gradient.dtype == torch.float32
    update = fused_adam_step if fused else adam_step
    update(members.theta, members.first_moment, members.second_moment, gradient, pool, starts, factors, ADAM_BETAS)


def adam_step(theta, first, second, gradient, noise, starts, factors, betas) -> None:
    """Add noise to the gradients [P, K], then one step of Adam: changes theta, first and second moment [P, K] in place.

    This is the definition, in plain PyTorch. noise: [at least 2K] standard normal numbers, a pool for all members:
    member p takes K of them from starts[p] (LongTensor[P], below K) on. factors: [4, P], for each member the factor of
    its gradient, its noise's standard deviation, its step size / bias correction of the first moment, and 1 / bias
    correction of the second moment.
    """
    scale, deviation, step_size, correction = factors.unsqueeze(-1)
    noisy = gradient * scale + noise.unfold(0, gradient.shape[1], 1)[starts] * deviation
    first.lerp_(noisy, 1 - betas[0])
    second.mul_(betas[1]).addcmul_(noisy, noisy, value=1 - betas[1])
    theta.sub_(step_size * first / ((second * correction).sqrt_() + EPSILON))
