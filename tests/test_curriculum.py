"""The curriculum: the distribution of difficulties, and when a level rises."""

import pytest
import torch
from builders import tiny_config

from nram import tasks
from nram.training.curriculum import GAIN, LEVEL_GAP, sample_difficulty, update_levels
from nram.training.population import Population


def test_difficulties_follow_the_curriculum():
    generator = torch.Generator().manual_seed(0)
    level, high, size = torch.tensor([1, 4, 9]), 10, 200_000
    difficulty = sample_difficulty(level, size, 1, high, generator)
    for row, d in zip(difficulty, level.tolist(), strict=True):
        at_level = 0.65 * 0.5 + 0.10 / high  # e = 0 with probability 1/2, and the uniform draws over all difficulties
        for e in range(40):
            at_level += 0.25 * 0.5 ** (e + 1) / min(d + e, high)
        assert (row == d).float().mean().item() == pytest.approx(at_level, abs=0.005)
        assert row.min() == 1 and row.max() == high
    at_top = sample_difficulty(torch.tensor([high]), size, 1, high, generator)
    assert (at_top == high).float().mean().item() == pytest.approx(0.65 + 0.35 / high, abs=0.005)


def test_the_level_rises_only_for_small_errors_at_the_level():
    config = tiny_config(train_difficulty=4)
    population = Population(config, tasks.get("access"))
    members = population.members
    difficulty = torch.tensor([[1, 1, 4, 4]] * 3)
    error = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.2, 0.0, 0.0]])
    for _ in range(LEVEL_GAP):
        update_levels(population, difficulty, torch.zeros_like(difficulty), error)
    assert members.level.tolist() == [1, 1, 1]
    update_levels(population, difficulty, torch.zeros_like(difficulty), error)
    assert members.level.tolist() == [2, 1, 2]
    assert members.level_error().tolist() == [1.0, pytest.approx(1.0), 1.0]


def test_a_fall_of_the_moving_error_is_a_gain():
    config = tiny_config(level_threshold=0.0)
    population = Population(config, tasks.get("access"))
    members = population.members
    difficulty = members.level.unsqueeze(-1).expand(-1, 4)
    for batch in range(200):
        error = torch.full((3, 4), 0.8)
        error[1] = 0.8 if batch < 100 else 0.4
        update_levels(population, difficulty, torch.zeros_like(difficulty), error)
    since, lowest = members.since_gain.tolist(), members.lowest_error.tolist()
    assert since[0] == since[2] > 150 and 20 < since[1] < 100
    assert lowest == pytest.approx([0.8, 0.4, 0.8], abs=GAIN)
