"""Which members are stuck, and what takes their place: the next seed, or a copy of a member that stands out."""

import torch
from torch import Tensor

from nram.evaluate import error_of
from nram.training.graduates import begin_as_graduate
from nram.training.members import Members
from nram.training.population import Population
from nram.training.rewiring import rewire

__all__ = ["FRUITLESS", "find_donor", "patience", "renew", "stands_out"]

PATIENCE_AT_TOP = 3.0  # factor on the patience with a member at the train difficulty
PATIENCE_IN_FRONT = 4  # factor on the patience with a member that stands out, if there are copies
LEAD = 0.2  # a member stands out if its merit exceeds the median by this, in levels
DONOR_CASES = 100  # fresh cases that a leader's error is measured on
FRUITLESS = 24  # stop copying a state after this many failed copies


def patience(population: Population) -> list[float]:
    """For each member, the batches without a gain after which it is stuck."""
    config, members = population.config, population.members
    at_top = (population.at_the_task() & (members.level == config.examples.train_difficulty)).tolist()
    in_front = stands_out(members).tolist()
    batches = []
    for top, front in zip(at_top, in_front, strict=True):
        each = config.population.restart_after * (PATIENCE_AT_TOP if top and config.curriculum.enabled else 1)
        batches.append(each * PATIENCE_IN_FRONT if config.population.copies and front else each)
    return batches


def merit(members: Members) -> Tensor:
    """How far the members have come: [P], lessons, then levels, less the root of the lowest moving error there."""
    return members.ladder() - members.lowest_error.clamp(max=0.999).sqrt()


def stands_out(members: Members) -> Tensor:
    """Whether a member is well ahead of the median one: BoolTensor[P]."""
    merits = merit(members)
    return merits >= merits.median() + LEAD


def find_donor(population: Population) -> int | None:
    """The member that has come furthest, if it stands out and copies of its state are not known to fail.

    A moving error may be small by luck, so a member's best state is measured on fresh cases before it is first copied.
    """
    members = population.members
    hopeful = torch.tensor([population.fruitless[family] < FRUITLESS for family in members.family.tolist()])
    while (candidates := stands_out(members).cpu() & hopeful).any():
        donor = int(torch.where(candidates, merit(members).cpu(), -1.0).argmax())
        if members.best_is_measured[donor]:
            return donor
        members.lowest_error[donor] = max(float(members.lowest_error[donor]), _measured_error(population, donor))
        members.best_is_measured[donor] = True
    return None


def _measured_error(population: Population, member: int) -> float:
    """A member's error at its best, on fresh cases of its lesson and level."""
    members, generator = population.members, torch.Generator().manual_seed(population.seed_of(member))
    stage = population.stages[int(members.lesson[member])]
    difficulty = members.level[member].cpu().expand(DONOR_CASES)
    cases = stage.sample(difficulty, population.config.examples.num_cells, generator)
    return error_of(population.best_machine(member), cases)


@torch.no_grad()
def renew(population: Population, member: int) -> None:
    """Start a member afresh, or as a graduate, or, with probability `copies` and if one stands out, as a copy of it.

    A copy has the parameters and Adam's moments that its parent had at its best, since a leader may lose what it had
    learned; a learning rate near its parent's; and hyperparameters of its own otherwise. What its parent does not use
    is rewired.
    Deviation: the paper's seeds are independent. Copies are population-based training (Jaderberg et al., 2017).
    """
    donor = find_donor(population) if population.config.population.copies else None
    population.start(member)
    trial = population.trial(member)
    if donor is None or donor == member or trial.chance >= population.config.population.copies:
        begin_as_graduate(population, member)
        return
    parent = population.trial(donor)
    population.members.inherit(member, donor)
    low, high = population.config.draws.learning_rate
    drawn = trial.learning_rate / (low * high) ** 0.5
    trial.learning_rate = min(max(parent.learning_rate * drawn**0.5, low / 4), high)
    population.members.learning_rate[member] = trial.learning_rate
    trial.parent, trial.lesson, trial.graduate = parent.number, parent.lesson, parent.graduate
    trial.level, trial.batches, trial.lesson_began = parent.level, parent.batches, parent.lesson_began
    rewire(population, member)
