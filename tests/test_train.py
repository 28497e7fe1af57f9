"""Training: the loss by hand, the curriculum's distribution, restarts, determinism, interruption, configuration."""

import dataclasses
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nram import results, tasks
from nram.experiments import run as experiment
from nram.kernels import adam
from nram.machine.run import Outcome, unroll
from nram.training import loop as train
from nram.training import population
from nram.training.config import TrainConfig
from nram.training.recipes import RECIPES


def tiny(**overrides):
    settings = dict(population=3, batch_size=4, hidden=8, budget_seconds=60.0, verify_cases=20, polish_batches=50)
    return TrainConfig.for_task("access", **{**settings, "train_difficulty": 4, **overrides})


def stop_after(checks):
    """An on_check that ends training as Ctrl-C does, after so many checks: a training of a fixed number of batches."""
    calls = []

    def on_check(population, seconds):
        calls.append(seconds)
        if len(calls) == checks:
            raise KeyboardInterrupt

    return on_check


def test_loss_is_the_likelihood_weighted_by_the_stop_probability_minus_the_entropy_bonus():
    stop_logits = torch.tensor([0.0, 1.0, -2.0]).view(3, 1, 1)
    log_likelihood = torch.tensor([-3.0, -2.0, -1.0]).view(3, 1, 1)
    entropy = torch.tensor([0.5, 0.25, 0.125]).view(3, 1, 1)
    outcome = Outcome(log_likelihood, stop_logits, entropy, None, None)
    f0, f1 = 0.5, torch.tensor(1.0).sigmoid().item()
    expected = 3 * f0 + 2 * (1 - f0) * f1 + 1 * (1 - f0) * (1 - f1) - 0.1 * 0.875
    loss = population.loss_per_example(outcome, torch.tensor([[3]]), torch.tensor([0.1]))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_marginal_loss_is_the_likelihood_with_the_stop_summed_out():
    stop_logits = torch.tensor([0.0, 1.0, -2.0, 5.0]).view(4, 1, 1).requires_grad_()
    log_likelihood = torch.tensor([-300.0, -2.0, -1.0, 0.0]).view(4, 1, 1)  # the last is beyond the limit
    outcome = Outcome(log_likelihood, stop_logits, torch.ones(4, 1, 1), None, None)
    f0, f1 = 0.5, torch.tensor(1.0).sigmoid().item()
    likelihood = (1 - f0) * f1 * math.exp(-2) + (1 - f0) * (1 - f1) * math.exp(-1)
    loss = population.loss_per_example(outcome, torch.tensor([[3]]), torch.tensor([0.1]), "marginal")
    assert loss.item() == pytest.approx(-math.log(likelihood) - 0.1 * 4, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), stop_logits)
    assert gradient.isfinite().all() and (gradient[:2] != 0).all() and (gradient[2:] == 0).all()


def test_difficulties_follow_the_curriculum():
    generator = torch.Generator().manual_seed(0)
    level, high, size = torch.tensor([1, 4, 9]), 10, 200_000
    difficulty = population.sample_difficulty(level, size, 1, high, generator)
    for row, d in zip(difficulty, level.tolist(), strict=True):
        at_level = 0.65 * 0.5 + 0.10 / high  # e = 0 with probability 1/2, and the uniform draws over all difficulties
        for e in range(40):
            at_level += 0.25 * 0.5 ** (e + 1) / min(d + e, high)
        assert (row == d).float().mean().item() == pytest.approx(at_level, abs=0.005)
        assert row.min() == 1 and row.max() == high
    at_top = population.sample_difficulty(torch.tensor([high]), size, 1, high, generator)
    assert (at_top == high).float().mean().item() == pytest.approx(0.65 + 0.35 / high, abs=0.005)


def test_the_same_seed_gives_the_same_metrics_and_weights():
    results = [train.train(tiny(seed=seed), progress=False, on_check=stop_after(4)) for seed in (7, 7, 8)]
    first, again, other = (result.trials.drop(columns="seconds") for result in results)
    assert first.equals(again) and not first.equals(other)
    for name, value in results[0].machine.params.items():
        assert torch.equal(value, results[1].machine.params[name])
    assert results[0].batches == 4 * train.CHECK_EVERY and results[0].stopped_by == "interrupt"


def test_access_is_learned_from_scratch():
    result = train.train(tiny(population=4, hidden=32, seed=1), progress=False)
    assert result.solved and result.stopped_by == "solved"
    assert result.verification["fuzzy_error"] == result.verification["discretized_error"] == 0
    assert result.verification["verify_cases"] == 20
    assert result.members_solved >= 1 and (result.trials.ended == "solved").any()
    batch = tasks.get("access").sample(torch.full((50,), 9), 30, torch.Generator().manual_seed(5))
    produced = result.machine.run(batch.memory, batch.limit)
    assert torch.equal(produced[batch.mask], batch.target[batch.mask])


def test_polishing_makes_a_solved_machine_sharper_and_never_worse():
    settings = tiny(population=4, hidden=32, seed=1, polish_batches=0)
    result = train.train(settings, progress=False)
    batch = tasks.get("access").sample(torch.full((200,), 4), 12, torch.Generator().manual_seed(5))

    def mean_loss(machine):
        outcome = unroll(machine.machines, batch.split(1))
        return population.loss_per_example(outcome, batch.limit[None]).mean().item()

    polished, verification = train.polish(result.machine, dataclasses.replace(settings, polish_batches=200))
    assert verification["fuzzy_error"] == verification["discretized_error"] == 0
    assert mean_loss(polished) < 0.5 * mean_loss(result.machine)


def test_stuck_members_are_started_afresh_and_counted():
    config = tiny(restart_after=10, learning_rate=(1e-9, 1e-9))
    result = train.train(config, progress=False, on_check=stop_after(4))
    ended = result.trials.ended.value_counts()
    assert ended["restarted"] == result.members_started - config.population >= 3
    assert result.trials.trial.tolist() == list(range(len(result.trials)))
    config = dataclasses.replace(config, restarts=False)
    kept = train.train(config, progress=False, on_check=stop_after(4))
    assert kept.members_started == config.population


def test_members_with_values_that_are_not_finite_are_dead_restarted_and_counted():
    def poison(population, seconds):
        if poison.calls == 0:
            population.theta[1, 5] = float("nan")
        poison.calls += 1
        if poison.calls == 3:
            raise KeyboardInterrupt

    poison.calls = 0
    result = train.train(tiny(), progress=False, on_check=poison)
    assert result.trials.ended.tolist().count("dead") == 1
    assert result.members_started == 4
    assert all(torch.isfinite(value).all() for value in result.machine.params.values())


def test_gradient_norm_noise_and_adam():
    config = tiny(noise_eta=(0.3, 0.3), noise_scale=1.0, gradient_norm=0.5, learning_rate=(0.01, 0.01))
    members = population.Population(config, tasks.get("access"))
    before = members.theta.clone()
    members.adam_step(torch.full_like(before, config.batch_size), torch.Generator().manual_seed(0))
    gradient = members.first_moment / (1 - config.adam_betas[0])
    count = gradient.shape[1]
    noise = gradient - 0.5 / count**0.5  # the gradient of ones, rescaled to norm 1/2
    assert noise.mean().abs() < 4 * (0.3 / count / config.population) ** 0.5
    assert noise.var().item() == pytest.approx(0.3, rel=0.1)
    moved = (members.theta - before).detach()
    torch.testing.assert_close(moved, -0.01 * gradient / (gradient.abs() + 1e-8), rtol=1e-3, atol=1e-6)


def test_the_fused_optimiser_does_what_the_reference_does():
    generator = torch.Generator().manual_seed(0)
    size, count = 3, 1000
    theta, first, gradient = torch.randn(3, size, count, generator=generator)
    second = torch.rand(size, count, generator=generator)
    noise = torch.randn(2 * count, generator=generator)
    starts = torch.tensor([0, 17, count - 1])
    factors = torch.rand(4, size, generator=generator) + 0.1
    reference, fused = ([each.clone() for each in (theta, first, second)] for _ in range(2))
    adam.adam_step_reference(*reference, gradient, noise, starts, factors, (0.9, 0.99))
    adam.adam_step(*fused, gradient, noise, starts, factors, (0.9, 0.99))
    for expected, found, before in zip(reference, fused, (theta, first, second), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(found, before)
    gradient[1, 5] = float("nan")
    adam.adam_step(*fused, gradient, noise, starts, factors, (0.9, 0.99))
    assert torch.isnan(fused[0][1, 5]) and torch.isfinite(fused[0]).sum() == size * count - 1


def test_the_level_rises_only_for_small_errors_at_the_level():
    config = tiny(level_gap=5, train_difficulty=4)
    members = population.Population(config, tasks.get("access"))
    difficulty = torch.tensor([[1, 1, 4, 4]] * 3)
    error = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.2, 0.0, 0.0]])
    for _ in range(5):
        members.update_curriculum(difficulty, error)
    assert members.level.tolist() == [1, 1, 1]
    members.update_curriculum(difficulty, error)
    assert members.level.tolist() == [2, 1, 2]
    assert members.level_error().tolist() == [1.0, pytest.approx(1.0), 1.0]


def test_every_recipe_is_valid_and_survives_json():
    for key in tasks.KEYS:
        config = TrainConfig.for_task(key, seed=3)
        again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
        assert again == config and config.num_cells >= tasks.get(key).min_cells(config.train_difficulty)
    assert set(RECIPES) <= set(tasks.KEYS)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"learning_rat": 0.1}, "did you mean 'learning_rate'.*valid: task, seed"),
        ({"learning_rate": 0.1}, "learning_rate must be two numbers"),
        ({"learning_rate": (0.1, 0.01)}, "low, high"),
        ({"hidden": 4.5}, "hidden must be an integer"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"curriculum": "no"}, "curriculum must be of type bool"),
        ({"budget_seconds": -1}, "budget_seconds must not be negative"),
        ({"budget_seconds": float("nan")}, "budget_seconds must be a finite number"),
        ({"controller": "gru"}, "valid: mlp, lstm"),
        ({"loss": "likelihood"}, "valid: expected, marginal"),
        ({"kernel": "fast"}, "kernel"),
        ({"num_cells": 3}, "needs at least 22 cells"),
        ({"entropy": (0, 0.1)}, "entropy is drawn log-uniformly"),
    ],
)
def test_wrong_settings_are_errors_that_name_what_is_valid(overrides, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.for_task("access", **overrides)


def test_an_unknown_task_is_an_error_that_names_the_tasks():
    with pytest.raises(ValueError, match="reverse"):
        TrainConfig.for_task("revers")


@given(
    st.sampled_from([name for name in TrainConfig.__dataclass_fields__ if name != "task"]),
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.floats(), max_size=3)
    ),
)
def test_any_override_is_taken_or_refused_with_a_value_error(name, value):
    try:
        config = TrainConfig.for_task("copy", **{name: value})
    except ValueError:
        return
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_stuck_member_becomes_a_copy_of_one_that_stands_out():
    config = tiny(copies=1.0)
    members = population.Population(config, tasks.get("access"))
    members.renew(0)
    assert members.row(0)["parent"] == -1  # nobody stands out yet
    members.level[2], members.age[2], members.lowest_error[2] = 3, 70, 0.25
    members.first_moment[2], members.second_moment[2] = 0.5, 0.125
    members.renew(1)
    copy, parent = members.row(1), members.row(2)
    assert copy["parent"] == parent["trial"] == 2 and copy["trial"] == 4
    for name in ("theta", "first_moment", "second_moment", "level", "age", "lowest_error", "family"):
        assert torch.equal(getattr(members, name)[1], getattr(members, name)[2]), name
    assert members.since_gain[1] == 0
    ratio = copy["learning_rate"] / parent["learning_rate"]
    assert copy["noise_eta"] != parent["noise_eta"] and 0.3 < ratio < 3.2 and ratio != 1
    assert members.learning_rate[1].item() == pytest.approx(copy["learning_rate"])


def test_a_state_whose_copies_fail_is_copied_no_more_until_it_gets_on():
    members = population.Population(tiny(copies=1.0), tasks.get("access"))
    members.level[2] = 3
    assert members.donor() == 2
    members.fruitless[members.family[2]] = population.FRUITLESS
    assert members.donor() is None
    members.found_family(2)
    assert members.donor() == 2


def test_without_copies_members_start_afresh():
    members = population.Population(tiny(), tasks.get("access"))
    members.level[2] = 3
    members.renew(1)
    assert members.row(1)["parent"] == -1 and members.level[1] == tasks.get("access").min_difficulty


def test_a_fall_of_the_moving_error_is_a_gain():
    members = population.Population(tiny(level_threshold=0.0), tasks.get("access"))
    difficulty = members.level.unsqueeze(-1).expand(-1, 4)
    for batch in range(200):
        error = torch.full((3, 4), 0.8)
        error[1] = 0.8 if batch < 100 else 0.4
        members.update_curriculum(difficulty, error)
    since, lowest = members.since_gain.tolist(), members.lowest_error.tolist()
    assert since[0] == since[2] > 150 and 20 < since[1] < 100
    assert lowest == pytest.approx([0.8, 0.4, 0.8], abs=population.GAIN)


def test_sharpened_parameters_are_multiples_in_the_output_layer_alone():
    members = population.Population(tiny(sharpening=4.0), tasks.get("access"))
    sharper = population.sharpened(members, torch.Generator().manual_seed(0))
    factors = sharper["output_weight"] / members.params["output_weight"]
    for member in range(3):
        assert factors[member].min().item() == pytest.approx(factors[member].max().item(), rel=1e-4)
        assert 1 <= factors[member].mean() <= 4.0001
        expected = members.params["output_bias"][member] * factors[member, 0, 0]
        assert torch.allclose(sharper["output_bias"][member], expected)
    assert len({round(factor, 4) for factor in factors[:, 0, 0].tolist()}) == 3
    assert all(sharper[name] is value for name, value in members.params.items() if not name.startswith("output_"))


def test_a_task_of_ones_own_is_trained_measured_and_saved(tmp_path):
    own = dataclasses.replace(tasks.get("increment"), key="own", max_difficulty=6, train_difficulty=3, limit_offset=5)
    config = TrainConfig.for_task(own, budget_seconds=0.0, population=2, hidden=4, kernel="reference")
    assert (config.task, config.num_cells, config.train_difficulty) == ("own", 4, 3)
    assert (config.limit_slope, config.limit_offset, config.start_difficulty) == (1, 5, 1)
    folder = experiment.run(config, tmp_path, cases=5, progress=False, task=own)
    run = results.load_run(folder)
    at = run.generalization[run.generalization["mode"] == "at"]
    assert folder.name.startswith("own-") and sorted(at["complexity"].unique()) == [1, 2, 3, 4, 5, 6]
    result, evaluation = experiment.restore(folder)
    assert result.config == config and result.machine.task == "own"
    assert evaluation.generalization.equals(run.generalization)
    assert results.table1(results.load_runs(tmp_path))["runs"].isna().all()


def test_a_task_of_ones_own_must_be_given_and_have_a_name_of_its_own():
    own = dataclasses.replace(tasks.get("copy"), key="own")
    config = TrainConfig.for_task(own, train_difficulty=2, budget_seconds=0.0)
    assert config.num_cells == own.min_cells(2)
    with pytest.raises(ValueError, match="give the task itself too"):
        train.train(config, progress=False)
    with pytest.raises(ValueError, match="settings are those of task 'own', not of 'copy'"):
        train.train(config, progress=False, task=tasks.get("copy"))
    with pytest.raises(ValueError, match="another key"):
        TrainConfig.for_task(tasks.get("copy").with_limit(1, 9))


def test_what_was_saved_is_what_is_loaded():
    result, evaluation = experiment.restore(results.CHECKOUT / "results" / "recorded" / "copy")
    assert result.solved and result.members_solved == 1 and result.verification["fuzzy_error"] == 0
    assert evaluation.metrics["fuzzy_train_error"] == 0 and evaluation.metrics["max_complexity"] == 100
