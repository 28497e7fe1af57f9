"""Restarts: who is stuck, who is copied."""

import pytest
import torch
from builders import tiny_config

from nram import tasks
from nram.training.population import Population
from nram.training.restarts import FRUITLESS, find_donor, patience, renew


def test_a_stuck_member_becomes_a_copy_of_one_that_stands_out():
    population = Population(tiny_config(copies=1.0), tasks.get("access"))
    members = population.members
    renew(population, 0)
    assert population.trial(0).parent == -1  # nobody stands out yet
    members.level[2], members.age[2], members.lowest_error[2] = 3, 70, 0.25
    members.first_moment[2], members.second_moment[2] = 0.5, 0.125
    renew(population, 1)
    copy, parent = population.trial(1), population.trial(2)
    assert copy.parent == parent.number == 2 and copy.number == 4
    for name in ("theta", "first_moment", "second_moment", "level", "age", "lowest_error", "family"):
        assert torch.equal(getattr(members, name)[1], getattr(members, name)[2]), name
    assert members.since_gain[1] == 0
    ratio = copy.learning_rate / parent.learning_rate
    assert copy.noise_eta != parent.noise_eta and 0.3 < ratio < 3.2 and ratio != 1
    assert members.learning_rate[1].item() == pytest.approx(copy.learning_rate)


def test_a_state_whose_copies_fail_is_no_longer_copied_until_it_improves():
    population = Population(tiny_config(copies=1.0), tasks.get("access"))
    population.members.level[2] = 3
    assert find_donor(population) == 2
    population.fruitless[population.members.family[2]] = FRUITLESS
    assert find_donor(population) is None
    population.found_family(2)
    assert find_donor(population) == 2


def test_without_copies_members_start_afresh():
    population = Population(tiny_config(), tasks.get("access"))
    population.members.level[2] = 3
    renew(population, 1)
    assert population.trial(1).parent == -1
    assert population.members.level[1] == tasks.get("access").min_difficulty


def test_patience_is_longer_at_the_top_and_in_front():
    population = Population(tiny_config(copies=0.5, restart_after=100), tasks.get("access"))
    assert patience(population) == [100, 100, 100]
    population.members.level[:] = torch.tensor([4, 1, 1])  # the train difficulty, and ahead of the others
    assert patience(population) == [1200, 100, 100]
    population.config = population.config.replace(copies=0.0)
    assert patience(population) == [300, 100, 100]
