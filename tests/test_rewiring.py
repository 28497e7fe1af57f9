"""Rewiring: what a copy or a graduate does not use is drawn anew, and what it uses is kept."""

from dataclasses import replace

import pytest
import torch
from builders import tiny_config

from nram import tasks
from nram.model import load
from nram.program import from_machine
from nram.results import RECORDED
from nram.tasks import Lesson
from nram.training.config import TrainConfig
from nram.training.graduates import begin_as_graduate, begin_next_lesson
from nram.training.population import Population
from nram.training.restarts import renew
from nram.training.rewiring import rewire, used_modules


@pytest.fixture
def population():
    """Three members; the second is the recorded machine of Copy."""
    machine = load(RECORDED / "copy")
    sizes = {"num_registers": machine.num_registers, "repetitions": machine.repetitions, "hidden": machine.hidden}
    config = TrainConfig.for_task("copy", population=3, copies=1.0, rewiring=4.0, **sizes)
    population = Population(config, tasks.get("copy"))
    population.adopt(1, machine)
    return population


def logits_of(population, member):
    """The output layer of a member, slot by slot: weights and bias, one above the other."""
    params = population.machines.params
    both = torch.cat([params["output_weight"][member], params["output_bias"][member][None]]).detach().clone()
    return {slot: both[:, slot.start : slot.start + slot.width] for slot in population.layout.slots}


def test_modules_in_use_are_those_of_the_program(population):
    program = from_machine(population.machine(1))
    needed = {index for each in program.circuits for index, inputs in enumerate(each.inputs) if inputs is not None}
    assert needed <= used_modules(population, 1) < set(range(len(population.layout.modules)))


def test_a_rewired_machine_does_what_it_did(population):
    before, machine, used = logits_of(population, 1), population.machine(1), used_modules(population, 1)
    rewire(population, 1)
    after, rewired = logits_of(population, 1), population.machine(1)
    for slot in population.layout.slots:
        kept = slot.module is None or slot.module in used
        assert torch.equal(before[slot], after[slot]) == kept, slot
    task = tasks.get("copy")
    for difficulty in (1, 5, 15, 30):
        cases = task.sample(torch.full((20,), difficulty), task.smallest_memory(difficulty), None)
        outputs = [each.discretize().run(cases.memory, cases.limit)[cases.mask] for each in (machine, rewired)]
        assert torch.equal(*outputs)


def test_inputs_prefer_sources_that_are_in_use(population):
    """With a strength far above a fresh machine's logits the preferred source is the largest."""
    layout = population.layout
    object.__setattr__(population.config.population, "rewiring", 1e4)
    used = used_modules(population, 1)
    rewire(population, 1)
    drawn = [each for each in layout.slots if each.module is not None and each.module not in used]
    preferred = [int(logits_of(population, 1)[slot][-1].argmax()) for slot in drawn]
    in_use = [source < layout.num_registers or source - layout.num_registers in used for source in preferred]
    assert 0.6 < sum(in_use) / len(in_use) <= 1 and len(set(preferred)) > 2


def test_copies_are_rewired_and_their_registers_are_their_parents(population):
    members = population.members
    members.level[:], members.level[1] = 1, 5
    members.remember(1)
    parent = logits_of(population, 1)
    for rewiring in (0.0, 4.0):
        members.begin(0, lesson=0, level=1)
        object.__setattr__(population.config.population, "rewiring", rewiring)
        renew(population, 0)
        assert population.trial(0).parent == population.trial(1).number
        copy = logits_of(population, 0)
        same = {slot: torch.equal(copy[slot], parent[slot]) for slot in parent}
        assert all(same[slot] for slot in same if slot.module is None)
        assert all(same.values()) == (rewiring == 0)


def test_who_begins_as_a_graduate_is_rewired_but_not_the_graduate(monkeypatch):
    rewired = []
    monkeypatch.setattr("nram.training.graduates.rewire", lambda population, member: rewired.append(member))
    task = replace(tasks.get("access"), key="own", lessons=(Lesson("a lesson", tasks.get("access").generate),))
    population = Population(replace(tiny_config(), task="own"), task)
    begin_next_lesson(population, 2)
    assert not rewired
    population.start(0)
    begin_as_graduate(population, 0)
    assert rewired == [0] and torch.equal(population.members.best_theta[0], population.members.theta[0])
