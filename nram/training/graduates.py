"""Lessons: a member that has learned one begins the next, and the others follow from what it was then.

A lesson is learned when the discretized machine is right too, at all difficulties of training. One that computes with
soft circuits, or that has a rule for each short instance, is a poor start: what comes after does not make it another.
A machine that has learned a lesson is sharp, and a saturated softmax has no gradient. So where the next lesson begins,
the output layer is softened, and every weight moves a little towards a fresh machine's. Where the task itself begins
the output layer stays as it is: the last lesson leaves little to learn.
Deviation: the paper's curriculum has no lessons (see `nram.tasks.lessons`).
"""

import torch
from torch import Tensor

from nram.evaluate import error_of
from nram.machine.controller import init_member
from nram.training.curriculum import MIN_WEIGHT
from nram.training.population import Graduate, Population
from nram.training.rewiring import rewire

__all__ = ["begin_as_graduate", "begin_next_lesson", "count_failure", "examine", "is_overdue", "overtaken"]

SOFTENING = 0.4  # factor on the output layer where a lesson begins
FRESH = 0.1  # how much of a fresh machine is added there
LESSON_CASES = 100  # fresh cases that the discretized machine must know
STILL = 60  # batches without a gain after which a member's time for a lesson may end
HOPELESS = 12  # no member begins as a graduate that so many began as in vain


def examine(population: Population, member: int) -> bool:
    """Whether a member has learned its lesson: it is right at its level, and discretized at all those of training.

    One that is right at its level alone goes on, a level higher than where lessons end as a rule.
    """
    config, members, trial = population.config, population.members, population.trial(member)
    if trial.lesson == population.last_stage or trial.level < population.hardest(trial.lesson):
        return False
    most, hardest = config.curriculum.lesson_error, config.examples.train_difficulty
    if trial.error >= most or members.error_weight[member] <= MIN_WEIGHT:
        return False
    lesson, generator = population.stages[trial.lesson], torch.Generator().manual_seed(population.seed_of(member))
    difficulties = torch.linspace(lesson.min_difficulty, hardest, LESSON_CASES).round().long()
    cases = lesson.sample(difficulties, config.examples.num_cells, generator)
    learned = error_of(population.machine(member).discretize(), cases) < most
    if not learned and trial.level < hardest:
        members.rise(member)
    return learned


def begin_next_lesson(population: Population, member: int) -> None:
    """Let a member that has learned its lesson begin the next, as its own graduate.

    The graduate that it began as has proved itself.
    """
    members, trial = population.members, population.trial(member)
    lesson = trial.lesson + 1
    if trial.graduate >= 0:
        population.graduates[trial.graduate].failed = 0
    population.graduates.append(Graduate(members.theta[member].clone(), lesson, trial.number))
    trial.lesson, trial.graduate, trial.lesson_began = lesson, -1, trial.batches
    generator = torch.Generator().manual_seed(population.seed_of(member))
    _begin(population, member, members.theta[member], init_member(population.controller, generator))


def is_overdue(population: Population, member: int) -> bool:
    """Whether a member and its ancestors had their time for its lesson, have not learned it and do not gain."""
    most, trial = population.config.curriculum.lesson_batches, population.trial(member)
    if not most or trial.lesson == population.last_stage or population.members.since_gain[member] < STILL:
        return False
    return trial.batches - trial.lesson_began >= most


def overtaken(population: Population) -> list[int]:
    """The members that are at an earlier lesson than a graduate that others may begin as."""
    furthest = max((each.lesson for each in _hopeful(population)), default=0)
    return [member for member in population.running() if population.members.lesson[member] < furthest]


def begin_as_graduate(population: Population, member: int) -> None:
    """Let a member that was just started begin as the graduate that came furthest and failed least, if there is one.

    What the graduate does not use is rewired.
    """
    hopeful = _hopeful(population)
    if not hopeful:
        return
    graduate = max(hopeful, key=lambda each: (each.lesson, -each.failed))
    trial = population.trial(member)
    trial.parent, trial.lesson, trial.graduate = graduate.trial, graduate.lesson, population.graduates.index(graduate)
    fresh = {name: param[member].detach().clone() for name, param in population.machines.params.items()}
    _begin(population, member, graduate.theta, fresh)
    rewire(population, member)
    population.members.remember(member)


def count_failure(population: Population, member: int) -> None:
    """Hold it against a graduate that a member which began as it is given up."""
    trial = population.trial(member)
    if trial.graduate >= 0 and trial.parent == population.graduates[trial.graduate].trial:
        population.graduates[trial.graduate].failed += 1


def _hopeful(population: Population) -> list[Graduate]:
    """The graduates that others may begin as."""
    return [each for each in population.graduates if each.failed < HOPELESS]


@torch.no_grad()
def _begin(population: Population, member: int, theta: Tensor, fresh: dict[str, Tensor]) -> None:
    """Put a member at the start of its trial's lesson, with softened parameters."""
    population.members.theta[member] = theta
    lesson = population.trial(member).lesson
    if lesson < population.last_stage:
        population.multiply_output_layer(member, SOFTENING)
    for name, param in population.machines.params.items():
        param[member] += FRESH * fresh[name].to(param.device)
    population.members.begin(member, lesson, population.easiest(lesson))
    population.found_family(member)
