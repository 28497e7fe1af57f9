"""Restarts: who is stuck, who is copied."""

import pytest
import torch
from builders import tiny_config

from nram import tasks
from nram.training import restarts
from nram.training.curriculum import MIN_WEIGHT, update_levels
from nram.training.population import Population
from nram.training.restarts import FRUITLESS, find_donor, patience, renew


def test_a_stuck_member_becomes_a_copy_of_one_that_stands_out():
    population = Population(tiny_config(copies=1.0), tasks.get("access"))
    members = population.members
    renew(population, 0)
    assert population.trial(0).parent == -1  # nobody stands out yet
    members.level[2], members.age[2], members.lowest_error[2] = 3, 70, 0.25
    members.first_moment[2], members.second_moment[2] = 0.5, 0.125
    members.remember(torch.tensor([False, False, True]))
    renew(population, 1)
    copy, parent = population.trial(1), population.trial(2)
    assert copy.parent == parent.number == 2 and copy.number == 4
    for name in ("theta", "first_moment", "second_moment", "level", "age", "lowest_error", "family"):
        assert torch.equal(getattr(members, name)[1], getattr(members, name)[2]), name
    assert members.since_gain[1] == 0
    ratio = copy.learning_rate / parent.learning_rate
    assert copy.noise_eta != parent.noise_eta and 0.3 < ratio < 3.2 and ratio != 1
    assert members.learning_rate[1].item() == pytest.approx(copy.learning_rate)


def test_a_copy_is_what_its_parent_was_at_its_best():
    """A leader's error may rise again. Its copies begin where it was lowest."""
    population = Population(tiny_config(copies=1.0), tasks.get("access"))
    members, level = population.members, torch.tensor([[1], [1], [3]])
    members.level[2] = 3
    for error in (0.25, 0.75):
        for _ in range(2 * MIN_WEIGHT):
            update_levels(population, level, torch.zeros_like(level), torch.tensor([[1.0], [1.0], [error]]))
        if error == 0.25:
            best = [each.clone() for each in (members.theta[2].detach(), members.first_moment[2])]
        with torch.no_grad():
            members.theta[2], members.first_moment[2] = members.theta[2] + 1, 0.5
    renew(population, 1)
    assert population.trial(1).parent == 2
    assert torch.equal(members.theta[1], best[0]) and torch.equal(members.first_moment[1], best[1])


def test_a_leader_by_luck_is_not_copied(monkeypatch):
    """A moving error may be small by chance; fresh cases tell."""
    population = Population(tiny_config(copies=1.0), tasks.get("access"))
    measured = []
    monkeypatch.setattr(restarts, "error_of", lambda machine, batch: measured.append(len(batch.limit)) or 0.75)
    population.members.lowest_error[:] = torch.tensor([0.75, 0.8, 0.1])
    assert find_donor(population) is None
    assert population.members.lowest_error[2] == 0.75
    population.members.level[1] = 3  # what it has learned, no fresh case takes back
    assert find_donor(population) == find_donor(population) == 1
    assert len(measured) == 2, "a state is measured once"


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
