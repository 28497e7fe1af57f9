"""Attention over modules: the variant is the machine when its choices are the machine's, and trains as it does."""

from functools import partial

import pytest
import torch
from builders import TINY

from nram import tasks
from nram.experiments import studies, study_plans
from nram.machine import Layout, discrete_timestep, one_hot_memory, timestep
from nram.machine.modules import MODULES
from nram.related import attention
from nram.related.attention import AttentionLayout, AttentionMachine, AttentionPopulation
from nram.training.config import TrainConfig
from nram.training.loop import train

ORIGINAL, LAYOUT = Layout(3), AttentionLayout(3)


def as_places(packed, strength=1e4):
    """A circuit of the machine as a circuit of places that chooses module j in place j: packed logits."""
    given = {
        (slot.module, slot.position): part for slot, part in zip(ORIGINAL.slots, ORIGINAL.split(packed), strict=True)
    }
    parts = []
    for slot in LAYOUT.slots:
        if slot.module is not None and slot.position == attention.CHOICE:
            parts.append((torch.arange(14) == slot.module) * strength + packed.new_zeros(*packed.shape[:-1], 14))
        else:
            parts.append(given.get((slot.module, slot.position), packed.new_zeros(*packed.shape[:-1], slot.width)))
    return torch.cat(parts, -1)


def drawn(batch=4, num_cells=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    packed = torch.randn(batch, ORIGINAL.num_logits, generator=generator, dtype=torch.float64)
    registers = torch.randn(batch, 3, num_cells, generator=generator, dtype=torch.float64).softmax(-1)
    tape = torch.randn(batch, num_cells, num_cells, generator=generator, dtype=torch.float64).softmax(-1)
    return packed, registers, tape


def test_the_controller_emits_a_choice_for_every_place():
    registers, places = 3, 14
    expected = sum(2 * (registers + j) + 14 for j in range(places)) + registers * (registers + places)
    assert LAYOUT.num_logits == expected and len(attention.place_slots(LAYOUT)) == places
    assert len(LAYOUT.source_names) == LAYOUT.num_sources == 17 and LAYOUT.source_names[3] == "p1"


def test_with_the_machines_choices_it_is_the_machine():
    packed, registers, tape = drawn()
    expected = timestep(ORIGINAL, ORIGINAL.softmax(packed), registers, tape)
    found = attention.attentive_timestep(LAYOUT, LAYOUT.softmax(as_places(packed)), registers, tape)
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("num_cells", [2, 3, 7])
def test_every_place_can_give_what_each_module_gives(num_cells):
    _, registers, tape = drawn(num_cells=num_cells)
    a, b = registers[:, 0], registers[:, 1]
    found = attention.module_outputs(a, b, tape)
    for module, output in zip(MODULES, found.unbind(1), strict=True):
        if module.name == "READ":
            expected = torch.einsum("bi,bij->bj", a, tape)
        elif module.name == "WRITE":
            expected = (torch.arange(num_cells) == 0).expand_as(a).double()
        else:
            expected = module.fuzzy(a, b)
        assert torch.allclose(output, expected, atol=1e-12), module.name


def test_values_stay_distributions_whatever_is_chosen():
    _, registers, tape = drawn()
    packed = torch.randn(4, LAYOUT.num_logits, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for each in attention.attentive_timestep(LAYOUT, LAYOUT.softmax(packed), registers, tape):
        assert torch.allclose(each.sum(-1), torch.ones_like(each[..., 0])) and (each >= 0).all()


def test_on_integers_it_is_the_machine_and_agrees_with_its_fuzzy_form():
    generator = torch.Generator().manual_seed(2)
    registers, memory = (torch.randint(7, (50, n), generator=generator) for n in (3, 7))
    running = torch.arange(50) % 5 > 0
    packed = torch.randn(50, ORIGINAL.num_logits, generator=generator)
    expected, found = memory.clone(), memory.clone()
    new = discrete_timestep(ORIGINAL, ORIGINAL.argmax(packed), registers, expected, running)
    sources = LAYOUT.argmax(as_places(packed))
    assert torch.equal(attention.discrete_attentive_timestep(LAYOUT, sources, registers, found, running), new)
    assert torch.equal(found, expected) and not torch.equal(found, memory)

    sources = LAYOUT.argmax(torch.randn(50, LAYOUT.num_logits, generator=generator))  # any modules, several WRITEs
    found = memory.clone()
    new = attention.discrete_attentive_timestep(LAYOUT, sources, registers, found, running | True)
    weights = LAYOUT.softmax(LAYOUT.one_hot_logits(sources))
    values = torch.nn.functional.one_hot(registers, 7).float()
    fuzzy = attention.attentive_timestep(LAYOUT, weights, values, one_hot_memory(memory, torch.float32))
    assert torch.equal(fuzzy[0].argmax(-1), new) and torch.equal(fuzzy[1].argmax(-1), found)


def population(bias, **settings):
    config = TrainConfig.for_task("access", **TINY | settings)
    return AttentionPopulation(config, tasks.get("access"), bias=bias)


def test_a_bias_makes_it_begin_as_the_machine():
    free, bound = population(0.0), population(5.0)
    difference = bound.members.theta - free.members.theta
    assert difference.count_nonzero(dim=1).tolist() == [14, 14] and difference.max() == 5
    machine = population(50.0).machine(0)
    assert isinstance(machine, AttentionMachine) and machine.kernel == "reference"
    batch = tasks.get("access").sample(torch.tensor([3, 3]), 7, torch.Generator().manual_seed(0))
    assert machine.run(batch.memory, batch.limit).shape == machine.discretize().run(batch.memory, batch.limit).shape
    names = [module.name for module in MODULES]
    chosen = attention.choices(machine, batch.memory[0], 4)
    assert 1 <= len(chosen) <= 4 and all(each == names for each in chosen)


def test_only_plain_pytorch_runs_it_and_nothing_is_rewired():
    with pytest.raises(ValueError, match="kernel 'reference' alone, not with 'auto'"):
        population(0.0, kernel="auto")
    with pytest.raises(ValueError, match="rewiring must be 0"):
        population(0.0, rewiring=1.0)
    machine = population(0.0).machine(0)
    with pytest.raises(ValueError, match="reference"):
        AttentionMachine("access", 4, 1, "mlp", TINY["hidden"], machine.params, "cpu")


def test_it_trains_as_the_machine_does():
    config = TrainConfig.for_task("access", budget_batches=3, polish_batches=0, **TINY)
    result = train(config, progress=False, make_population=partial(AttentionPopulation, bias=2.0))
    assert result.batches == 3 and isinstance(result.machine, AttentionMachine)
    start = population(2.0).machine(0)
    assert any(not torch.equal(start.params[name], value) for name, value in result.machine.params.items())


@pytest.mark.slow
def test_the_study_compares_the_biases_with_the_original_and_keeps_what_was_chosen(tmp_path, monkeypatch):
    plan = study_plans.STUDIES["attention"]
    configs = study_plans.configurations("attention")
    assert len(configs) == 12 and {each.budget.batches for each in configs.values()} == {None}
    assert {each.population.size for each in configs.values()} == {20} and study_plans.seeds_of("attention") == 20
    assert {(key[1], each.kernel) for key, each in configs.items()} == {
        ("original", "auto"), *((f"bias {bias}", "reference") for bias in (0, 2, 5))
    }  # fmt: skip
    tiny = {"task": "access", "restarts": False, "train_difficulty": 2, "hidden": 24, "verify_cases": 20}
    tiny |= {"kernel": "reference", "learning_rate": [0.02, 0.02]}
    variants = {"original": {}, "bias 5": {}}
    settings = {"settings": {"access": tiny}, "variants": variants, "batches": 90, "drawn": True}
    monkeypatch.setitem(study_plans.STUDIES, "attention", plan | settings)
    trials = studies.run_study("attention", tmp_path, seeds=3)
    assert trials.groupby("variant").size().tolist() == [3, 3]
    chose = trials[trials["variant"] == "bias 5"]
    assert (chose["choices"].notna() == chose["solved"]).all() and chose["solved"].any()
    assert trials.loc[trials["variant"] == "original", "choices"].isna().all()
    for text in chose["choices"].dropna():
        assert all(len(step.split()) == 14 for step in text.split("; "))
