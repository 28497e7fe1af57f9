"""From gradients to parameters: norm, noise and Adam; sharpened output layers."""

import pytest
import torch
from builders import tiny_config

from nram import tasks
from nram.kernels.adam import fused_adam_step
from nram.training.optimizer import ADAM_BETAS, adam_step, update_parameters
from nram.training.population import Population
from nram.training.step import sharpened


def test_gradient_norm_noise_and_adam():
    config = tiny_config(noise_eta=(0.3, 0.3), noise_scale=1.0, gradient_norm=0.5, learning_rate=(0.01, 0.01))
    members = Population(config, tasks.get("access")).members
    before = members.theta.clone()
    gradient = torch.full_like(before, config.examples.batch_size)
    update_parameters(members, config, gradient, torch.Generator().manual_seed(0))
    gradient = members.first_moment / (1 - ADAM_BETAS[0])
    count = gradient.shape[1]
    noise = gradient - 0.5 / count**0.5  # the gradient of ones, rescaled to norm 1/2
    assert noise.mean().abs() < 4 * (0.3 / count / len(members)) ** 0.5
    assert noise.var().item() == pytest.approx(0.3, rel=0.1)
    moved = (members.theta - before).detach()
    torch.testing.assert_close(moved, -0.01 * gradient / (gradient.abs() + 1e-8), rtol=1e-3, atol=1e-6)


def test_the_fused_optimizer_does_what_the_reference_does():
    generator = torch.Generator().manual_seed(0)
    size, count = 3, 1000
    theta, first, gradient = torch.randn(3, size, count, generator=generator)
    second = torch.rand(size, count, generator=generator)
    noise = torch.randn(2 * count, generator=generator)
    starts = torch.tensor([0, 17, count - 1])
    factors = torch.rand(4, size, generator=generator) + 0.1
    reference, fused = ([each.clone() for each in (theta, first, second)] for _ in range(2))
    adam_step(*reference, gradient, noise, starts, factors, (0.9, 0.99))
    fused_adam_step(*fused, gradient, noise, starts, factors, (0.9, 0.99))
    for expected, found, before in zip(reference, fused, (theta, first, second), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(found, before)
    gradient[1, 5] = float("nan")
    fused_adam_step(*fused, gradient, noise, starts, factors, (0.9, 0.99))
    assert torch.isnan(fused[0][1, 5]) and torch.isfinite(fused[0]).sum() == size * count - 1


def test_sharpened_parameters_are_multiples_in_the_output_layer_alone():
    population = Population(tiny_config(), tasks.get("access"))
    params = population.machines.params
    sharper = sharpened(population, 4.0, torch.Generator().manual_seed(0)).params
    factors = sharper["output_weight"] / params["output_weight"]
    for member in range(3):
        assert factors[member].min().item() == pytest.approx(factors[member].max().item(), rel=1e-4)
        assert 1 <= factors[member].mean() <= 4.0001
        expected = params["output_bias"][member] * factors[member, 0, 0]
        assert torch.allclose(sharper["output_bias"][member], expected)
    assert len({round(factor, 4) for factor in factors[:, 0, 0].tolist()}) == 3
    assert all(sharper[name] is value for name, value in params.items() if not name.startswith("output_"))
