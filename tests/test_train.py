"""Training: determinism, restarts, dead members, polishing, tasks of one's own."""

import dataclasses

import pytest
import torch
from builders import COPY, stop_after, tiny_config

from nram import load, results, tasks
from nram.evaluate import compare_forms
from nram.experiments import run as experiment
from nram.experiments.run import restore
from nram.machine.circuit import Layout
from nram.model import Machine
from nram.program import Program
from nram.training import verification
from nram.training.config import TrainConfig, task_of
from nram.training.loop import CHECK_EVERY, train
from nram.training.polish import polish
from nram.training.verification import SHARP, Verification, softened, verify


def test_the_same_seed_gives_the_same_metrics_and_weights():
    results = [train(tiny_config(seed=seed), progress=False, on_check=stop_after(4)) for seed in (7, 7, 8)]
    first, again, other = (result.trials.drop(columns="seconds") for result in results)
    assert first.equals(again) and not first.equals(other)
    for name, value in results[0].machine.params.items():
        assert torch.equal(value, results[1].machine.params[name])
    assert results[0].batches == 4 * CHECK_EVERY and results[0].stopped_by == "interrupt"


def test_access_is_learned_from_scratch():
    result = train(tiny_config(population=4, hidden=32, seed=1), progress=False)
    assert result.solved and result.stopped_by == "solved"
    assert result.verification.fuzzy_error == result.verification.discretized_error == 0
    assert result.verification.verify_cases == 20
    assert result.trials_solved >= 1 and (result.trials.ended == "solved").any()
    batch = tasks.get("access").sample(torch.full((50,), 9), 30, torch.Generator().manual_seed(5))
    produced = result.machine.run(batch.memory, batch.limit)
    assert torch.equal(produced[batch.mask], batch.target[batch.mask])


def test_a_soft_machine_is_not_solved_until_polishing_has_made_it_sharp():
    settings = tiny_config(population=4, hidden=32, seed=1)
    result = train(settings, progress=False)
    assert result.solved and result.verification.largest_cost <= SHARP
    soft = next(
        soft
        for soft in (softened(result.machine, 0.9**power) for power in range(1, 50))
        if verify(soft, tasks.get("access"), settings, seed=3).largest_cost > SHARP
    )
    before = verify(soft, tasks.get("access"), settings, seed=3)
    assert before.exact and not before.solved
    polished, verification = polish(soft, settings.replace(polish_batches=1))
    assert verification.solved and verification.largest_cost <= SHARP < before.largest_cost
    assert [polished.params[name].equal(value) for name, value in soft.params.items()].count(False) == 2, (
        "an exact machine needs a doubled output layer and no training"
    )
    same, found = polish(result.machine, settings)
    assert found.solved and same is result.machine, "a sharp machine is left as it is"


def test_what_is_right_only_when_it_is_stopped_early_is_not_solved():
    controller, params = Program.parse(COPY, Layout(2), "copy").controller()
    machine = Machine("copy", 2, 1, "mlp", controller.hidden, params)
    config = TrainConfig.for_task("copy", limit_slope=1, limit_offset=1, verify_cases=100)
    patient = dataclasses.replace(tasks.get("copy"), limit_offset=40)
    for task, solved in ((tasks.get("copy"), True), (patient, False)):
        assert verify(machine, task_of(config, task), config, seed=1).solved == solved


def test_small_memories_are_verified_with_the_tasks_own_time_limit(monkeypatch):
    seen = []

    def spy(machine, batch):
        seen.append((batch.memory.shape[1], set((batch.limit - batch.difficulty).tolist())))
        return compare_forms(machine, batch)

    monkeypatch.setattr(verification, "compare_forms", spy)
    config = TrainConfig.for_task("merge")
    verify(load(results.RECORDED / "more" / "merge-descent"), task_of(config), config, seed=1)
    assert [limits for _, limits in seen] == [{2}, {2}] + [{6}] * verification.SMALL_SIZES
    assert max(cells for cells, _ in seen[2:]) <= config.examples.num_cells


def test_verification_ranks_solved_then_exact_then_the_better_form():
    solved, soft = Verification(0, 0, 0, 9, SHARP / 2), Verification(0, 0, 0, 9, 2 * SHARP)
    half, bad = Verification(0.2, 0, 3, 9, 1.0), Verification(0.1, 0.1, 3, 9, 1.0)
    assert sorted([bad, half, soft, solved], key=lambda each: each.rank) == [solved, soft, half, bad]
    assert [each.solved for each in (solved, soft, half, bad)] == [True, False, False, False]


def test_stuck_members_are_started_afresh_and_counted():
    config = tiny_config(restart_after=10, learning_rate=(1e-9, 1e-9))
    result = train(config, progress=False, on_check=stop_after(4))
    ended = result.trials.ended.value_counts()
    assert ended["restarted"] == result.seeds_started - config.population.size >= 3
    assert result.trials.trial.tolist() == list(range(len(result.trials)))
    config = config.replace(restarts=False)
    kept = train(config, progress=False, on_check=stop_after(4))
    assert kept.seeds_started == config.population.size


def test_members_with_values_that_are_not_finite_are_dead_restarted_and_counted():
    def poison(population, seconds):
        if poison.calls == 0:
            population.members.theta[1, 5] = float("nan")
        poison.calls += 1
        if poison.calls == 3:
            raise KeyboardInterrupt

    poison.calls = 0
    result = train(tiny_config(), progress=False, on_check=poison)
    assert result.trials.ended.tolist().count("dead") == 1
    assert result.seeds_started == 4
    assert all(torch.isfinite(value).all() for value in result.machine.params.values())


def test_a_task_of_ones_own_is_trained_measured_and_saved(tmp_path):
    own = dataclasses.replace(tasks.get("increment"), key="own", max_difficulty=6, train_difficulty=3, limit_offset=5)
    config = TrainConfig.for_task(own, budget_seconds=0.0, population=2, hidden=4, kernel="reference")
    assert (config.task, config.examples.num_cells, config.examples.train_difficulty) == ("own", 4, 3)
    assert (config.examples.limit_slope, config.examples.limit_offset, config.curriculum.start_difficulty) == (1, 5, 1)
    folder = experiment.run(config, tmp_path, cases=5, progress=False, task=own)
    run = results.load_run(folder)
    at = run.generalization[run.generalization["mode"] == "at"]
    assert folder.name.startswith("own-") and sorted(at["complexity"].unique()) == [1, 2, 3, 4, 5, 6]
    result, evaluation = restore(folder)
    assert result.config == config and result.machine.task == "own"
    assert evaluation.generalization.equals(run.generalization)
    assert results.table1(results.load_runs(tmp_path))["runs"].isna().all()


def test_a_task_of_ones_own_must_be_given_and_have_a_name_of_its_own():
    own = dataclasses.replace(tasks.get("copy"), key="own")
    config = TrainConfig.for_task(own, train_difficulty=2, budget_seconds=0.0)
    assert config.examples.num_cells == own.min_cells(2)
    with pytest.raises(ValueError, match="give the task itself too"):
        train(config, progress=False)
    with pytest.raises(ValueError, match="settings are those of task 'own', not of 'copy'"):
        train(config, progress=False, task=tasks.get("copy"))
    with pytest.raises(ValueError, match="another key"):
        TrainConfig.for_task(tasks.get("copy").with_limit(1, 9))


def test_what_was_saved_is_what_is_loaded():
    result, evaluation = restore(results.CHECKOUT / "results" / "recorded" / "copy")
    assert result.solved and result.trials_solved == 1 and result.verification.fuzzy_error == 0
    assert evaluation.metrics["fuzzy_train_error"] == 0 and evaluation.metrics["max_complexity"] == 100
