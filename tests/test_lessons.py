"""Lessons: easier distributions over a task's own instances, and a training that goes through them."""

from dataclasses import replace

import pytest
import torch
from builders import tiny_config

import nram
from nram import tasks
from nram.machine.controller import init_member
from nram.results import RECORDED, load_run
from nram.tasks import Lesson
from nram.training.config import TrainConfig
from nram.training.curriculum import draw_batch, update_levels
from nram.training.graduates import (
    FRESH,
    HOPELESS,
    SOFTENING,
    STILL,
    begin_as_graduate,
    begin_next_lesson,
    count_failure,
    examine,
    is_overdue,
    overtaken,
)
from nram.training.loop import Training, train
from nram.training.population import Population
from nram.training.restarts import renew

LESSONS = [(key, lesson.name) for key in tasks.KEYS for lesson in tasks.get(key).lessons]


@pytest.mark.parametrize(("key", "name"), LESSONS)
def test_a_lesson_draws_instances_of_its_task(key, name):
    """Targets, output cells, limits and layouts are those of the task; only the distribution differs."""
    task = tasks.get(key)
    stage = task.stages[[lesson.name for lesson in task.lessons].index(name)]
    generator = torch.Generator().manual_seed(1)
    for difficulty in (task.min_difficulty, task.min_difficulty + 1, task.train_difficulty, 23):
        smallest = task.smallest_memory(difficulty)
        for num_cells in (smallest, smallest + 1, smallest + 13):
            wanted = torch.full((60,), difficulty)
            batch, own = stage.sample(wanted, num_cells, generator), task.sample(wanted, num_cells, generator)
            assert torch.equal(batch.limit, own.limit)
            assert batch.memory.min() >= 0 and batch.memory.max() < num_cells
            for memory, target, mask in zip(batch.memory.tolist(), batch.target.tolist(), batch.mask, strict=True):
                solved = task.solve(memory, difficulty)
                assert torch.equal(torch.tensor(solved)[mask], torch.tensor(target)[mask])
                assert all(a == b for a, b, out in zip(memory, target, mask.tolist(), strict=True) if not out)
                assert_layout(key, memory, mask, difficulty)


def assert_layout(key, memory, mask, difficulty):
    """The memory is one that the task itself allows, read with nothing but its description."""
    size, outputs = len(memory), mask.nonzero().flatten().tolist()
    if key == "listsearch":
        pointer, nodes = memory[0], []
        while pointer:
            nodes.append(pointer)
            pointer = memory[pointer]
        used = [cell for node in nodes for cell in (node, node + 1)]
        assert outputs == [2] and memory[2] == 2
        assert len(nodes) == difficulty and len(set(used)) == len(used) and min(used) >= 3 and max(used) < size
        assert all(memory[cell] > 0 for cell in set(range(3, size)) - set(used)), "free cells hold trash"
        assert memory[1] in [memory[node + 1] for node in nodes]
    elif key == "walkbst":
        nodes, below = [], [(memory[0], 0, size)]
        while below:
            node, low, high = below.pop()
            if node:
                value, left, right = memory[node : node + 3]
                assert low < value < high
                nodes.append(node)
                below += [(left, low, value), (right, value, high)]
        used = [cell for node in nodes for cell in range(node, node + 3)]
        assert len(nodes) == difficulty and len(set(used)) == len(used)
        assert outputs == [1] and memory[1] == 1 and min(used) >= difficulty + 2 and max(used) < size
        assert set(memory[2 : difficulty + 2]) <= {0, 1}
        assert not any(memory[cell] for cell in set(range(difficulty + 2, size)) - set(used)), "free cells hold NULL"
    else:
        a, b, out = memory[:3]
        first, second = memory[a : b - 1], memory[b : out - 1]
        assert a == 3 and out == difficulty + 5 and len(first) + len(second) == difficulty and first and second
        assert first == sorted(first) and second == sorted(second)
        assert memory[b - 1] == memory[out - 1] == size - 1 > max(first + second)
        assert outputs == list(range(out, out + difficulty)) and not any(memory[out:])


# A task of one's own with a lesson: Access, whose lesson always asks for the first element.


def draw_first(difficulty, num_cells, generator):
    memory, _, mask = tasks.get("access").generate(difficulty, num_cells, generator)
    memory[:, 0] = 1
    target = memory.clone()
    target[:, 0] = memory[:, 1]
    return memory, target, mask


FIRST = Lesson("the first element", draw_first)
OWN = replace(tasks.get("access"), lessons=(FIRST,))


def learn(population, member, lesson_error=0.0):
    """Let a member's moving error be this small at the level where its lesson can be learned."""
    members, trial = population.members, population.trial(member)
    trial.level = population.hardest(trial.lesson)
    members.level[member], members.error_weight[member], trial.error = trial.level, 15, lesson_error


def test_a_members_examples_come_from_its_lesson_and_the_one_before():
    population = Population(tiny_config(batch_size=400, small_memories=0.0, review=0.25), OWN)
    population.members.lesson[2] = 1
    batch, stage = draw_batch(population, torch.Generator().manual_seed(0))
    batch = batch.split(3)
    is_first = batch.memory[:, :, 0] == 1
    assert not stage[:2].any() and is_first[:2].all()
    assert (stage[2] == 0).float().mean() == pytest.approx(0.25, abs=0.1)
    assert is_first[2, stage[2] == 0].all() and not is_first[2, stage[2] == 1].all()


def test_a_lesson_may_begin_at_a_level_of_its_own():
    lessons = (FIRST, replace(FIRST, start=3))
    population = Population(tiny_config(), replace(OWN, lessons=lessons))
    assert population.members.level.tolist() == [1, 1, 1]
    for lesson, level in ((1, 3), (2, 1)):
        learn(population, 1)
        begin_next_lesson(population, 1)
        assert population.members.lesson[1] == lesson and population.members.level[1] == level


def test_reviewed_examples_are_of_all_difficulties_if_so_wished():
    settings = dict(batch_size=400, small_memories=0.0, lesson_difficulty=2, review_difficulty=3)
    population = Population(tiny_config(**settings), replace(OWN, lessons=(FIRST, FIRST)))
    population.members.lesson[1] = 1
    batch, stage = draw_batch(population, torch.Generator().manual_seed(0))
    difficulty = batch.split(3).difficulty
    reviewed, own = difficulty[1, stage[1] == 0], difficulty[1, stage[1] == 1]
    assert [(reviewed == each).float().mean().item() for each in (1, 2, 3)] == pytest.approx([1 / 3] * 3, abs=0.1)
    assert (own == 1).float().mean() > 0.4, "as its level asks for"


def test_only_examples_of_the_present_lesson_move_the_level():
    population = Population(tiny_config(), OWN)
    population.members.lesson[:] = 1
    difficulty = population.members.level.unsqueeze(-1).expand(-1, 4)
    before, present = torch.zeros_like(difficulty), torch.ones_like(difficulty)
    error = torch.tensor([[0.0] * 4, [0.5] * 4, [1.0] * 4])
    update_levels(population, difficulty, before, error)
    assert population.members.error_weight.tolist() == [0, 0, 0]
    update_levels(population, difficulty, present, error)
    assert population.members.level_error().tolist() == pytest.approx([0, 0.5, 1])


def test_lessons_end_at_a_difficulty_of_their_own():
    population = Population(tiny_config(lesson_difficulty=2, level_threshold=0.9), OWN)
    population.members.lesson[2] = 1
    for _ in range(100):
        difficulty = population.members.level.unsqueeze(-1).expand(-1, 4)
        stage = population.members.lesson.unsqueeze(-1).expand(-1, 4)
        update_levels(population, difficulty, stage, torch.zeros(3, 4))
    assert population.members.level.tolist() == [2, 2, 4]


def test_no_lesson_goes_beyond_the_train_difficulty():
    config = TrainConfig.for_task("walkbst", annealing=0, train_difficulty=3, small_memories=0.0, batch_size=50)
    population = Population(config, tasks.get("walkbst"))
    stages = range(len(population.stages))
    assert [(population.easiest(stage), population.hardest(stage)) for stage in stages] == [(2, 3), (3, 3), (2, 3)]
    for lesson in stages:
        population.members.lesson[:] = lesson
        batch, _ = draw_batch(population, torch.Generator().manual_seed(0))
        assert batch.difficulty.max() == 3
    assert Population(TrainConfig.for_task("walkbst", annealing=0), tasks.get("walkbst")).hardest(0) == 8


def test_a_machine_that_is_right_at_its_level_alone_goes_on_a_level_higher():
    population = Population(tiny_config(lesson_difficulty=2), OWN)
    for level in (2, 3, 4):
        population.members.level[1] = population.trial(1).level = level
        population.members.error_weight[1], population.trial(1).error = 15, 0.0
        assert not examine(population, 1), "it is a fresh machine"
        assert population.members.level[1] == min(level + 1, 4)
    assert population.members.level[0] == 1


def test_memories_are_as_large_as_the_members_levels_ask_for():
    """While all are at lessons; from the level on at which a lesson can be learned."""
    population = Population(tiny_config(lesson_difficulty=2, small_memories=0.0, batch_size=100), OWN)
    for level, lesson, largest in ((1, 0, 2), (2, 0, 2), (3, 0, 3), (1, 1, 4)):
        population.members.level[0], population.members.lesson[2] = level, lesson
        batch, _ = draw_batch(population, torch.Generator().manual_seed(0))
        assert batch.difficulty.max() == largest, (level, lesson)


@pytest.mark.parametrize("lessons", [(FIRST, FIRST), (FIRST,)])
def test_a_lesson_is_learned_by_a_machine_that_is_right_in_both_forms(lessons):
    run = load_run(RECORDED / "access")
    population = Population(TrainConfig.from_dict(run.config), replace(OWN, lessons=lessons))
    population.adopt(1, nram.load(RECORDED / "access"))
    for member in (0, 1):
        population.members.lesson[member] = 0
        assert not examine(population, member), "it is at the lowest difficulty"
        learn(population, member)
    assert examine(population, 1)
    assert not examine(population, 0), "it is a fresh machine, whatever its moving error"
    population.trial(1).error = 0.5
    assert not examine(population, 1)
    learn(population, 1)
    population.trial(1).lesson = len(lessons)
    assert not examine(population, 1), "the task itself is no lesson"


@pytest.mark.parametrize(("lessons", "softening"), [((FIRST, FIRST), SOFTENING), ((FIRST,), 1.0)])
def test_who_has_learned_a_lesson_begins_the_next_softened_and_the_task_itself_as_it_is(lessons, softening):
    population = Population(tiny_config(), replace(OWN, lessons=lessons))
    learn(population, 1)
    before = {name: param[1].detach().clone() for name, param in population.machines.params.items()}
    begin_next_lesson(population, 1)
    assert population.members.lesson.tolist() == [0, 1, 0] and population.trial(1).lesson == 1
    assert population.members.level[1] == 1 and population.members.level_error()[1] == 1
    graduate = population.graduates[0]
    assert graduate.lesson == 1 and graduate.trial == population.trial(1).number
    fresh = init_member(population.controller, torch.Generator().manual_seed(0))
    for name, param in population.machines.params.items():
        factor = softening if name.startswith("output_") else 1.0
        change = (param[1].detach() - factor * before[name]).norm() / fresh[name].norm()
        assert FRESH / 2 < change < 2 * FRESH, name


def test_the_others_follow_until_the_graduate_proves_hopeless():
    population = Population(tiny_config(), OWN)
    learn(population, 1)
    begin_next_lesson(population, 1)
    assert overtaken(population) == [0, 2]
    for _ in range(HOPELESS):
        population.start(0)
        begin_as_graduate(population, 0)
        trial = population.trial(0)
        assert trial.lesson == population.members.lesson[0] == 1 and trial.parent == population.graduates[0].trial
        count_failure(population, 0)
    assert overtaken(population) == []
    population.start(0)
    begin_as_graduate(population, 0)
    assert population.members.lesson[0] == 0 and population.trial(0).parent == -1


def test_a_lesson_ends_for_a_member_and_its_copies_together():
    population = Population(tiny_config(lesson_batches=100, copies=1.0), replace(OWN, lessons=(FIRST, FIRST)))
    population.trial(1).batches = 90
    learn(population, 1)
    begin_next_lesson(population, 1)
    population.trial(1).batches = 189
    renew(population, 0)
    assert population.trial(0).parent == population.trial(1).number
    since_gain = population.members.since_gain
    for batches, still, overdue in ((189, STILL, False), (190, STILL - 1, False), (190, STILL, True)):
        for member in (0, 1):
            population.trial(member).batches, since_gain[member] = batches, still
            assert is_overdue(population, member) == overdue
    population.trial(1).lesson = 2
    assert not is_overdue(population, 1), "the task itself has no end"
    assert not is_overdue(Population(tiny_config(), OWN), 0)


def test_no_member_is_verified_at_a_lesson():
    training = Training(tiny_config(), OWN, bar=None)
    for member in range(3):
        training.population.trial(member).error, training.population.trial(member).batches = 0.0, 1000
    training.population.members.lesson[2] = 1
    assert [training.is_candidate(member) for member in range(3)] == [False, False, True]


def test_a_task_of_ones_own_is_trained_through_its_lesson():
    own = replace(OWN, key="first-then-any")
    config = replace(tiny_config(), task=own.key)
    result = train(config, progress=False, task=own)
    assert result.solved and result.verification.exact
    assert result.trials["lesson"].max() == 1
    assert (result.trials["ended"] == "overtaken").any()


def test_lessons_can_be_left_out():
    population = Population(tiny_config(lessons=False), OWN)
    assert population.at_the_task().all() and len(population.stages) == 1


def test_members_without_replacement_do_not_depend_on_each_other_in_lessons():
    config = tiny_config(replacement=False, trial_batches=60, keep_going=True, seed=5)
    own = replace(OWN, key="first-then-any")
    config = replace(config, task=own.key)
    together = train(config, progress=False, task=own).trials.set_index("trial")
    alone = train(config, progress=False, task=own, left_out=[0, 2]).trials.set_index("trial")
    columns = ["lesson", "level", "error", "batches", "ended"]
    assert together.loc[1, columns].tolist() == alone.loc[1, columns].tolist()
