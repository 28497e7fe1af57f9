"""Annealing: the chain on integers is the discretized machine, and training by it sees what all training sees."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from builders import ARITHMETIC
from tqdm import tqdm

from nram import tasks
from nram.annealing import lanes
from nram.annealing import teach as teaching
from nram.annealing.lanes import LANES, MOST_CELLS, Group
from nram.annealing.table import Table, grouped
from nram.annealing.teach import teach
from nram.machine.circuit import Layout
from nram.machine.controller import make_controller
from nram.machine.modules import MODULES
from nram.model import Machine
from nram.program import from_machine
from nram.training import annealing, train
from nram.training.annealing import RIGHT, Annealing
from nram.training.cases import Cases
from nram.training.checkpoint import Checkpoint
from nram.training.config import TrainConfig, task_of
from nram.training.population import Population
from nram.training.verification import Verification

LAYOUT = Layout(num_registers=3, repetitions=2)
LESSONS = {"annealing": 6, "annealing_start": 3, "annealing_threshold": 0.3}  # gives up early
MERGE = {"annealing_chains": 3, "annealing_growth": 0.3, "annealing_prefix": 1.0, "annealing_easiest": 4}
CHAIN = {"growth": 0.3, "prefix": 0.25, "temperature": 0.01, "proposals": 2000, "until_right": False}
SMALL = {"train_difficulty": 4, "annealing": 100, "verify_cases": 100, "budget_seconds": 100.0}
QUIET = {"progress": False}
SEEMS_RIGHT = {"annealing": 20, "train_difficulty": 4, "annealing_cases": 8, "verify_cases": 100}  # now and then


def varied_table(seed):
    """A random table whose circuits differ from pattern to pattern, one of which stops."""
    rng, table = np.random.default_rng(seed), Table.random(LAYOUT, np.random.default_rng(seed))
    for slot, each in enumerate(LAYOUT.slots):
        for pattern in range(0, len(table.stops), 2):
            table.sources[pattern, slot] = rng.integers(each.width)
    table.stops[rng.integers(len(table.stops))] = True
    return table


def drawn(key, difficulties, seed=0):
    """A batch of each difficulty, in memories of its own size."""
    task, generator = tasks.get(key), torch.Generator().manual_seed(seed)
    return [task.sample(torch.full((12,), each), task.smallest_memory(each) + 2, generator) for each in difficulties]


def as_machine(table, hidden=24):
    controller = make_controller("mlp", LAYOUT, hidden)
    params = teach(table, controller, torch.Generator().manual_seed(1))
    return Machine("copy", LAYOUT.num_registers, LAYOUT.repetitions, "mlp", hidden, params)


@pytest.mark.parametrize("seed", range(4))
def test_a_taught_machine_does_what_its_table_does(seed):
    """Discretized by the definition, in every pattern; and fuzzy, because it is sharp."""
    table, batches = varied_table(seed), drawn("reverse", (1, 4, 9))
    machine = as_machine(table)
    patterns = torch.arange(8)[:, None] >> torch.arange(3) & 1
    outputs, _ = machine.controller.step(machine.machines.params, patterns[None].float(), ())
    assert LAYOUT.argmax(outputs[0, :, :-1]).tolist() == table.sources.tolist()
    assert (outputs[0, :, -1] >= 0).tolist() == table.stops.tolist()
    for weights in LAYOUT.softmax(outputs[0, :, :-1]):
        assert weights.amax(-1).min() == 1
    for batch in batches:
        fuzzy, discretized = (each.run(batch.memory, batch.limit) for each in (machine, machine.discretize()))
        assert torch.equal(fuzzy, discretized)
        wrong = ((discretized != batch.target) & batch.mask).any(1)
        assert table.wrong(grouped([batch])).tolist() == wrong.tolist()
    together = np.concatenate([table.wrong(grouped([batch])) for batch in batches])
    assert table.wrong(grouped(batches)).tolist() == together.tolist() and together.any()


def test_a_controller_that_is_too_small_is_named(monkeypatch):
    monkeypatch.setattr(teaching, "STEPS", 50)
    with pytest.raises(ValueError, match="1 hidden units did not learn a table of 8 circuits"):
        as_machine(varied_table(0), hidden=1)


@pytest.mark.parametrize("cells", [5, MOST_CELLS])
def test_a_module_computes_the_same_in_every_lane(cells):
    """All modules without memory, modulo the cells; READ and WRITE, at one address for all lanes and at many."""
    rng = np.random.default_rng(cells)
    a, b = rng.integers(cells, size=(2, LANES), dtype=np.uint8)
    size, here = np.full(LANES, cells, dtype=np.uint8), rng.integers(2, size=LANES, dtype=np.uint8)
    for module, each in enumerate(MODULES):
        if each.name in ARITHMETIC:
            values = np.stack((a, b, a))
            lanes._compute(module, values, 0, 1, 2, np.zeros((cells, LANES), dtype=np.uint8), size, here)
            assert values[2].tolist() == [
                ARITHMETIC[each.name](int(x), int(y)) % cells for x, y in zip(a, b, strict=True)
            ]
    for address in (a, np.full_like(a, cells - 1)):
        memory = rng.integers(cells, size=(cells, LANES), dtype=np.uint8)
        values, expected = np.stack((address, b, a)), memory.copy()
        lanes._compute(lanes.READ, values, 0, 1, 2, memory, size, here)
        assert values[2].tolist() == [memory[cell, lane] for lane, cell in enumerate(address)]
        for lane in np.flatnonzero(here):
            expected[address[lane], lane] = b[lane]
        lanes._compute(lanes.WRITE, values, 0, 1, 2, memory, size, here)
        assert np.array_equal(memory, expected) and not values[2].any()


def test_the_error_counts_wrong_cells_and_those_from_the_first_wrong_one_on():
    """In every lane; one without weight has none."""

    def column(*cells):
        return np.array(cells, dtype=np.uint8)[:, None].repeat(LANES, 1)

    memory, target, mask = column(7, 1, 9, 3, 4, 9), column(0, 1, 2, 3, 4, 0), column(0, 1, 1, 1, 1, 0)
    ones, weight = np.ones(LANES, dtype=np.uint8), np.zeros(LANES)
    weight[[0, 5]] = 1 / 4
    group = Group(memory, target, mask, ones, ones.astype(np.int16), weight)
    for prefix, error in ((0.0, 1 / 4), (1.0, 3 / 4), (0.5, 1 / 2)):
        assert lanes.error(group, memory, prefix, np.zeros((4, LANES), dtype=np.uint8)) == 2 * error


def test_cases_fill_groups_of_lanes():
    """Each in its own memory, with its own limit; the last group has empty lanes."""
    batches = drawn("copy", (3, 6, 4, 2, 5, 7))
    groups, cases = grouped(batches), sum(len(each.memory) for each in batches)
    assert groups.memory.shape == (2, batches[5].memory.shape[1], LANES) and LANES < cases < 2 * LANES
    assert (groups.weight > 0).sum() == cases
    number = 0
    for batch in batches:
        for row in range(len(batch.memory)):
            group, lane = divmod(number, LANES)
            cells = groups.num_cells[group, lane]
            for name in ("memory", "target", "mask"):
                column = getattr(groups, name)[group, :, lane]
                assert column[:cells].tolist() == getattr(batch, name)[row].tolist() and not column[cells:].any()
            assert cells == batch.memory.shape[1] and groups.limit[group, lane] == batch.limit[row]
            assert groups.weight[group, lane] == pytest.approx(1 / batch.mask[row].sum().item())
            number += 1


def test_a_memory_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=f"3 to {MOST_CELLS} cells"):
        grouped(drawn("copy", (MOST_CELLS,)))
    with pytest.raises(ValueError, match=f"3 to {MOST_CELLS} cells"):
        train(TrainConfig.for_task("copy", annealing=10, train_difficulty=MOST_CELLS), **QUIET)


def test_the_chain_reports_the_error_it_leaves_and_cold_it_never_rises():
    table, cases = varied_table(1), grouped(drawn("copy", (3, 6)))
    errors = []
    for seed in range(5):
        errors += table.anneal(cases, seed=seed, **CHAIN | {"temperature": 0.0})
    assert errors == pytest.approx(sorted(errors, reverse=True), abs=1e-6) and errors[0] > errors[-1]
    assert errors[1::2][:-1] == pytest.approx(errors[2::2])


def test_the_chain_ends_where_all_is_right():
    """Nothing changes in a table that makes no error."""
    table, cases = varied_table(1), grouped(drawn("copy", (3, 6)))
    right = cases._replace(mask=np.zeros_like(cases.mask), target=cases.target.copy())
    right.mask[:, 0] = 1
    idle = Table(LAYOUT, np.zeros_like(table.sources), np.ones_like(table.stops))  # WRITEs r1 = 0 to cell r1 = 0
    right.target[:, 0] = 0
    before = idle.copy()
    assert idle.anneal(right, seed=1, **CHAIN | {"until_right": True}) == (0, 0)
    assert np.array_equal(idle.sources, before.sources) and np.array_equal(idle.stops, before.stops)
    idle.anneal(right, seed=1, **CHAIN)
    assert not np.array_equal(idle.sources, before.sources)


SCRIPT = """
import hashlib, sys
sys.path.insert(0, "tests")
from test_annealing import *
print(digest())
"""


def digest():
    """What some hundred steps of the chain leave."""
    table = varied_table(2)
    errors = [
        float(each) for each in table.anneal(grouped(drawn("copy", (2, 3))), seed=5, **CHAIN | {"proposals": 300})
    ]
    return hashlib.sha256(table.sources.tobytes() + table.stops.tobytes() + repr(errors).encode()).hexdigest()


@pytest.mark.slow
def test_the_compiled_chain_is_the_one_that_is_written():
    """Python itself, without Numba's compiler, takes the same steps."""
    uncompiled = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    found = subprocess.run([sys.executable, "-c", SCRIPT], env=uncompiled, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == digest()


def test_a_task_is_solved_by_annealing():
    config = TrainConfig.for_task("copy", seed=3, **SMALL)
    result = train(config, **QUIET)
    assert result.solved and result.stopped_by == "solved" and result.verification.exact
    assert result.trials["solved"].sum() == 1 and result.trials["ended"].iloc[-1] == "solved"
    assert result.trials["learning_rate"].isna().all()  # nothing of the kind is drawn
    assert result.history["batch"].iloc[-1] == result.batches == result.trials["batches"].sum()
    again = train(config, **QUIET)
    assert all(torch.equal(value, again.machine.params[name]) for name, value in result.machine.params.items())
    assert from_machine(result.machine).circuits


def test_annealing_goes_from_lesson_to_lesson():
    """Those that follow a graduate are copies of its trial, and count its batches as theirs."""
    config = TrainConfig.for_task("listsearch", seed=1, **LESSONS, budget_batches=200)
    trials = train(config, **QUIET).trials
    copies = trials[trials["parent"] >= 0]
    assert len(copies) > 0 and (copies["lesson"] > 0).all() and trials["ended"].iloc[-1] == "budget"
    for _, copy in copies.iterrows():
        parent = trials[trials["trial"] == copy["parent"]].iloc[0]
        assert copy["lesson"] >= parent["lesson"] > 0 and copy["batches"] > 0


def test_it_draws_from_lessons_and_sizes_of_training_alone(monkeypatch):
    """The verification too. The memories are those that training has."""
    seen = []
    sample = tasks.Task.sample

    def spy(self, difficulty, num_cells, generator=None):
        seen.append((self.generate, int(difficulty.max()), num_cells))
        return sample(self, difficulty, num_cells, generator)

    monkeypatch.setattr(tasks.Task, "sample", spy)
    config = TrainConfig.for_task("listsearch", seed=1, **LESSONS, budget_batches=120)
    train(config, **QUIET)
    generators, difficulties, cells = zip(*seen, strict=True)
    assert set(generators) <= {each.generate for each in tasks.get("listsearch").stages}
    assert max(difficulties) <= config.examples.train_difficulty
    assert max(cells) <= config.examples.num_cells + config.examples.extra_cells


def test_at_the_highest_level_a_third_of_the_cases_has_the_tasks_own_time_limit():
    config = TrainConfig.for_task("merge")
    for level, counts in ((9, [192, 0]), (10, [128, 64])):
        cases = grouped(Cases(config, task_of(config)).draw(192, 0, level, torch.Generator().manual_seed(1)))
        beyond = (cases.limit - cases.mask.sum(1)).flatten()
        assert [(beyond == each).sum() for each in (2, 6)] == counts


def test_larger_memories_can_be_asked_for():
    config = TrainConfig.for_task("merge", num_cells=60, extra_cells=2)
    cases = Cases(config, task_of(config)).draw(192, 0, 10, torch.Generator().manual_seed(1))
    sizes = [batch.memory.shape[1] for batch in cases]
    assert all(60 <= size <= 62 for size in sizes[:2]) and sizes[2] < 60


def test_levels_rise_one_by_one_and_bound_what_is_drawn():
    config = TrainConfig.for_task("copy", seed=1, annealing=50, annealing_start=2, budget_batches=200)
    levels = [int(each.partition("@")[0]) for each in train(config, **QUIET).trials["rises"].iloc[0].split()]
    assert levels == list(range(2, 2 + len(levels)))


def test_a_chain_that_is_stuck_makes_room_for_the_next():
    config = TrainConfig.for_task("merge", seed=1, **MERGE, annealing=10)
    training = Annealing(config, task_of(config), tqdm(disable=True))
    training.run_chains = lambda cases, seed: (0.9, [0.9, 0.9, 0.9])
    first, second, third = training.tables
    while len(training.trials) == 1:
        training.step()
    assert training.trials[0].ended == "restarted" and 10 < training.trials[0].batches < 40
    assert training.tables[:2] == [second, third] and training.tables[2] not in (first, second, third)


def test_a_better_table_moves_to_the_colder_chain(monkeypatch):
    config = TrainConfig.for_task("merge", seed=1, **MERGE, annealing=10)
    training = Annealing(config, task_of(config), tqdm(disable=True))
    errors = dict(zip(map(id, training.tables), (0.9, 0.5, 0.1), strict=True))
    monkeypatch.setattr(Table, "anneal", lambda self, cases, **settings: (errors[id(self)], errors[id(self)]))
    before = list(training.tables)
    assert training.run_chains(drawn("merge", [4]), seed=1) == (0.9, [0.1, 0.5, 0.9])
    assert training.tables == before[::-1]


def test_a_batch_ends_with_what_seemed_right_and_is_wrong(monkeypatch):
    config, seen = TrainConfig.for_task("copy", seed=1, **SEEMS_RIGHT, budget_batches=100), []
    run_chains = Annealing.run_chains

    def spy(self, cases, seed):
        outcome = run_chains(self, cases, seed)
        seen.append((self.batches, min(outcome[1])))
        return outcome

    monkeypatch.setattr(Annealing, "run_chains", spy)
    train(config, **QUIET)
    batches = [batch for batch, _ in seen]
    again = [place for place in range(1, len(batches)) if batches[place] == batches[place - 1]]
    assert again and all(seen[place - 1][1] < RIGHT for place in again)


def test_an_attempt_ends_whose_machines_fail_the_verification(monkeypatch):
    monkeypatch.setattr(annealing, "verify", lambda *_, **__: Verification(0.0, 0.1, 1, 100, 0.0))
    config = TrainConfig.for_task("access", seed=1, **SMALL | {"annealing": 5}, budget_batches=60)
    result = train(config, **QUIET)
    assert not result.solved and (result.trials["ended"] == "restarted").any()


def test_what_is_too_easy_is_left_out_below_the_highest_level():
    config, generator = TrainConfig.for_task("merge"), torch.Generator().manual_seed(1)
    sizes = [grouped(Cases(config, task_of(config)).draw(200, 0, level, generator)).mask.sum(1) for level in (6, 10)]
    assert [(size[size > 0].min(), size.max()) for size in sizes] == [(4, 6), (2, 10)]


class Judge:
    """Stands for a table that is wrong in some cases of Copy."""

    def __init__(self, is_wrong):
        self.is_wrong, self.draws = is_wrong, 0

    def wrong(self, cases):
        self.draws += 1
        return self.is_wrong(cases.memory[:, 1], cases.mask.sum(1))[cases.weight > 0]


@pytest.mark.parametrize("count", [64, 2])
def test_a_table_trains_on_what_it_gets_wrong_of_many_cases(count):
    """Beside others, so that these stay right."""
    config, generator = TrainConfig.for_task("copy", **SMALL, annealing_cases=count), torch.Generator().manual_seed(1)
    judge = Judge(lambda first, length: (first == 1) & (length == 4))
    missed = Cases(config, task_of(config)).missed(judge, 0, generator)
    wrong = [((batch.memory[:, 1] == 1) & (batch.mask.sum(1) == 4)).tolist() for batch in missed]
    assert all(each == sorted(each, reverse=True) for each in wrong)
    assert [len(each) for each in wrong] == [max(1, count // 3)] * 3
    assert grouped(missed).memory.any() and (count == 2 or 0 < sum(map(sum, wrong)) < 20)


def test_the_task_itself_is_learned_by_who_is_right_in_twenty_times_as_many_cases():
    config, right = TrainConfig.for_task("listsearch"), [Judge(lambda first, length: length > 1) for _ in range(2)]
    cases = Cases(config, task_of(config))
    for lesson, judge in zip((0, len(cases.stages) - 1), right, strict=True):
        assert cases.missed(judge, lesson, torch.Generator().manual_seed(1)) == []
    assert [judge.draws for judge in right] == [1, 20]


def test_no_level_lies_above_the_train_difficulty():
    config = TrainConfig.for_task("walkbst", train_difficulty=3, annealing=5, annealing_start=8, budget_batches=30)
    trials = train(config, **QUIET).trials
    assert set(trials["level"]) == {3}


def test_it_keeps_going_if_asked():
    config = TrainConfig.for_task("access", seed=1, **SMALL, keep_going=True, budget_batches=150)
    machines = {}
    result = train(config, **QUIET, on_trial=lambda trial, machine: machines.setdefault(trial.number, machine))
    assert result.trials_solved > 1 and result.stopped_by == "budget" and result.solved
    given = [machines[number] for number in result.trials.query("solved")["trial"]]
    assert len({str(machine.params) for machine in given}) == len(given), "each trial has a machine of its own"
    assert machines[result.trials["trial"].max()] is None


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    ("task", "settings", "at"),
    [("listsearch", LESSONS, 100), ("merge", MERGE | {"annealing": 5}, 15), ("copy", SEEMS_RIGHT, 90)],
)
def test_a_killed_annealing_ends_as_an_undisturbed_one(tmp_path, monkeypatch, task, settings, at):
    config = TrainConfig.for_task(task, seed=1, **settings, budget_batches=at + 15)
    expected = train(config, **QUIET)
    checkpoint = Checkpoint(tmp_path / "checkpoint", config.to_dict())
    step = Annealing.step

    def killed(self):
        if self.batches == at:
            raise Killed
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(annealing, "SAVE_SECONDS", 0.05)
        patch.setattr(Annealing, "step", killed)
        with pytest.raises(Killed):
            train(config, checkpoint=checkpoint, **QUIET)
    path = checkpoint.folder / "annealing.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"since_gain":', b'"since_loss":'))
    with pytest.raises(ValueError, match="holds the state of another version's annealing; remove it to start afresh"):
        train(config, checkpoint=checkpoint, **QUIET)
    path.write_bytes(whole)
    half_written = path.with_name(".annealing.safetensors.123")
    half_written.write_bytes(whole[:100])
    found = train(config, checkpoint=checkpoint, **QUIET)
    assert not half_written.exists()
    assert found.resumed == 1 and found.batches == expected.batches
    for name in ("trials", "history"):
        frames = (getattr(each, name).drop(columns="seconds") for each in (found, expected))
        assert next(frames).equals(next(frames))
    assert all(torch.equal(value, found.machine.params[name]) for name, value in expected.machine.params.items())


def test_ctrl_c_returns_the_best_so_far(monkeypatch):
    step = Annealing.step

    def interrupted(self):
        if self.batches == 20:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Annealing, "step", interrupted)
    result = train(TrainConfig.for_task("merge", annealing=100), **QUIET)
    assert result.stopped_by == "interrupt" and not result.solved and result.trials["ended"].tolist() == ["interrupt"]
    assert result.machine is not None and result.verification.discretized_error > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"controller": "lstm"}, "must be an mlp"),
        ({"num_registers": 9}, "at most 8 registers"),
        ({"hidden": 15}, "at least 16 hidden units"),
        ({"replacement": False}, "set annealing=0"),
        ({"annealing_temperature": -1}, "annealing_temperature"),
        ({"annealing_prefix": 1.5}, "annealing_prefix"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.for_task("copy", **{"annealing": 10, **settings})


def test_a_population_is_not_annealed():
    config = TrainConfig.for_task("copy", annealing=10)
    with pytest.raises(ValueError, match="annealing has no population"):
        train(config, **QUIET, left_out=[1])
    with pytest.raises(ValueError, match="annealing has no population"):
        train(config, **QUIET, make_population=lambda *arguments: Population(*arguments))
