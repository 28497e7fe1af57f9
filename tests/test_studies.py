"""Studies: trials that do not depend on each other, resumption, the table, the plans."""

import io

import pandas as pd
import pytest
import torch

from nram import results, tasks
from nram.__main__ import main
from nram.experiments import studies, study_plans, study_tables
from nram.experiments.board import Board
from nram.experiments.launch import launch
from nram.report import curves
from nram.training import loop
from nram.training.config import TrainConfig
from nram.training.loop import train
from nram.training.population import Population
from nram.training.step import train_step

TINY = {
    "task": "listk",
    "repetitions": 1,
    "hidden": 16,
    "train_difficulty": 3,
    "start_difficulty": 1,
    "batch_size": 4,
    "verify_cases": 20,
    "polish_batches": 0,
    "learning_rate": [0.01, 0.01],
    "output_scale": [1, 1],
    "noise_eta": [0.3, 0.3],
    "num_registers": 5,
    "stop_bias": [0, 0],
    "small_memories": 0.0,
    "sharpening": 1.0,
    "copies": 0.0,
    "entropy": [0.01, 0.01],
    "level_threshold": 0.5,
    "restart_after": 60,
}


def tiny(**changes):
    common = {"population": 5, "keep_going": True, "replacement": False, "trial_batches": 80, "budget_seconds": 1e9}
    return TrainConfig.for_task("listk", **{**{k: v for k, v in TINY.items() if k != "task"}, **common, **changes})


def rows_of(config, left_out=()):
    rows = []
    train(config, progress=False, left_out=left_out, on_trial=lambda trial, _: rows.append(trial.row()))
    frame = pd.DataFrame(rows).set_index("trial").sort_index()
    return frame.drop(columns="seconds")


@pytest.mark.slow
@pytest.mark.parametrize("sharpening", [1.0, 3.0])
def test_a_trial_depends_on_no_other(sharpening):
    together = rows_of(tiny(sharpening=sharpening))
    assert together.index.tolist() == [0, 1, 2, 3, 4] and set(together["ended"]) <= {"restarted", "batches", "solved"}
    assert together["rises"].nunique() > 1, "levels rise at different times, or this test shows nothing"
    alone = rows_of(tiny(sharpening=sharpening), left_out={0, 1, 3})
    pd.testing.assert_frame_equal(alone, together.loc[[2, 4]])


@pytest.mark.slow
def test_the_restart_rule_only_cuts_trials_short():
    cut, whole = rows_of(tiny()), rows_of(tiny(restarts=False))
    assert (cut["ended"] == "restarted").any() and (whole["ended"] != "restarted").all()
    assert (cut["batches"] <= whole["batches"]).all()
    same = cut["ended"] != "restarted"
    pd.testing.assert_frame_equal(cut[same], whole[same])
    for short, long in zip(cut["rises"], whole["rises"], strict=True):
        assert long.startswith(short)


def test_a_seed_has_the_same_first_parameters_with_and_without_noise_and_entropy():
    task = tasks.get("listk")
    plain = Population(tiny(), task).members.theta
    for changes in ({"noise_scale": 0.0}, {"entropy": (0.0, 0.0)}, {"curriculum": False}, {"activation_clip": None}):
        assert torch.equal(Population(tiny(**changes), task).members.theta, plain)


@pytest.mark.slow
def test_members_that_stay_keep_all_that_is_theirs():
    population = Population(tiny(), tasks.get("listk"))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        train_step(population, generator)
    before = {name: value.clone() for name, value in population.members.tensors().items()}
    population.keep([1, 4])
    assert len(population) == 2 and population.members.place.tolist() == [1, 4]
    assert [population.trial(member).number for member in range(2)] == [1, 4]
    for name, value in population.members.tensors().items():
        assert torch.equal(value, before[name][[1, 4]]), name
    train_step(population, generator)
    members = population.members
    assert members.age.tolist() == [4, 4] and not torch.equal(members.theta, before["theta"][[1, 4]])
    for name, value in population.machines.params.items():
        assert value.data_ptr() >= members.theta.data_ptr() and value.shape[0] == 2, name


@pytest.fixture
def plan(monkeypatch):
    """A study of two settings and two variants that takes a second."""
    settings = {"wide": TINY, "narrow": TINY | {"hidden": 8}}
    study = {"about": "for the tests", "batches": 40, "settings": settings}
    study["variants"] = {"with noise": {}, "no noise": {"noise_scale": 0.0}}
    monkeypatch.setitem(study_plans.STUDIES, "tiny", study)
    monkeypatch.setattr(study_plans, "BLOCK", 3)


@pytest.mark.slow
def test_a_study_has_a_row_for_every_trial_and_goes_on_after_a_kill(plan, tmp_path):
    board = Board(io.StringIO())
    whole = studies.run_study("tiny", tmp_path / "whole", seeds=4, board=board)
    told = board.stream.getvalue()
    assert told.count(" of 8: ") == 8 and "seeds 3 to 3" in told and board.forecast.left({}).usual == 0
    assert len(whole) == 16 and whole["learning_rate"].eq(0.01).all()
    keys = list(dict.fromkeys(zip(whole["setting"], whole["variant"], strict=True)))
    assert keys == [("wide", "with noise"), ("wide", "no noise"), ("narrow", "with noise"), ("narrow", "no noise")]
    for _, group in whole.groupby(["setting", "variant"]):
        assert group["trial"].tolist() == [0, 1, 2, 3]
    assert sorted(path.name for path in (tmp_path / "whole" / "tiny").iterdir()) == [
        "config.json",
        "provenance.json",
        "trials.csv",
    ]
    assert (whole["cpu_seconds"] > 0).all()

    # Killed: one population lacks a row and half a row, the others have not begun.
    killed = tmp_path / "killed" / "tiny"
    (killed / "blocks").mkdir(parents=True)
    (killed / "config.json").write_bytes((tmp_path / "whole" / "tiny" / "config.json").read_bytes())
    rows = whole[(whole["setting"] == "wide") & (whole["variant"] == "no noise") & (whole["trial"] < 3)]
    lines = rows.iloc[[2, 0]].assign(commit="earlier").to_csv(index=False, header=False)
    (killed / "blocks" / "wide-no_noise-0000.csv").write_text(lines + "wide,no noise,1,20")
    again = studies.run_study("tiny", tmp_path / "killed", seeds=4)
    assert again["commit"].eq("earlier").sum() == 2
    pd.testing.assert_frame_equal(
        again.drop(columns=["cpu_seconds", "commit"]), whole.drop(columns=["cpu_seconds", "commit"])
    )
    with pytest.raises(ValueError, match="other settings: 4 seeds, no fewer"):
        studies.run_study("tiny", tmp_path / "whole", seeds=3)
    with pytest.raises(ValueError, match="trial_batches 40 instead of 50 in wide, with noise"):
        studies.run_study("tiny", tmp_path / "whole", seeds=4, batches=50)
    kept = whole.copy()
    study_plans.STUDIES["tiny"]["variants"]["sharp"] = {"sharpening": 2.0}
    more = studies.run_study("tiny", tmp_path / "whole", seeds=4)
    assert len(more) == 24 and more["variant"].unique().tolist() == ["with noise", "no noise", "sharp"]
    pd.testing.assert_frame_equal(more[more["variant"] != "sharp"].reset_index(drop=True), kept)
    again = studies.run_study("tiny", tmp_path / "whole", seeds=7)
    assert again.groupby(["setting", "variant"])["trial"].agg(list).tolist() == [list(range(7))] * 6
    pd.testing.assert_frame_equal(again[again["trial"] < 4].reset_index(drop=True), more)
    finished = (tmp_path / "whole" / "tiny" / "trials.csv").stat().st_mtime_ns
    studies.run_study("tiny", tmp_path / "whole", seeds=7)
    assert (tmp_path / "whole" / "tiny" / "trials.csv").stat().st_mtime_ns == finished


@pytest.mark.slow
def test_a_study_may_grow_setting_by_setting(plan, tmp_path):
    first = studies.run_study("tiny", tmp_path, seeds=1, only=["narrow"])
    assert first["setting"].unique().tolist() == ["narrow"]
    both = studies.run_study("tiny", tmp_path, seeds=1, only=["wide"])
    assert both["setting"].unique().tolist() == ["wide", "narrow"]
    pd.testing.assert_frame_equal(both[both["setting"] == "narrow"].reset_index(drop=True), first)
    pd.testing.assert_frame_equal(studies.run_study("tiny", tmp_path, seeds=1), both)
    with pytest.raises(ValueError, match="tiny has no setting wode; valid: wide, narrow"):
        studies.run_study("tiny", tmp_path, seeds=1, only=["wode"])


@pytest.mark.slow
def test_seeds_can_be_added_to_fewer_than_a_population(plan, tmp_path):
    first = studies.run_study("tiny", tmp_path, seeds=1, only=["wide"])
    more = studies.run_study("tiny", tmp_path, seeds=2, only=["wide"])
    assert more.groupby("variant")["trial"].agg(list).tolist() == [[0, 1]] * 2
    pd.testing.assert_frame_equal(more[more["trial"] < 1].reset_index(drop=True), first)


def test_an_interrupt_ends_the_study_and_leaves_no_row(plan, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        studies.run_study("tiny", tmp_path, seeds=2)
    (block,) = (tmp_path / "tiny" / "blocks").iterdir()
    assert block.read_text() == "" and not (tmp_path / "tiny" / "trials.csv").exists()


def test_two_processes_do_not_write_the_same_rows(plan, tmp_path):
    import fcntl

    folder = tmp_path / "tiny" / "blocks"
    folder.mkdir(parents=True)
    with open(folder / "wide-with_noise-0000.csv", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is at work"):
            studies.run_study("tiny", tmp_path, seeds=2)


def test_the_table_counts_every_started_seed():
    rows = {"setting": ["a"] * 4 + ["b"] * 4, "variant": ["x"] * 8, "batches": [10, 99, 20, 30, 5, 5, 5, 5]}
    rows |= {"trial": [0, 1, 2, 3] * 2, "solved": [True, False, True, True] + [False] * 4, "cpu_seconds": [900.0] * 8}
    rows |= {"fuzzy_error": [0.0, 0.0, 0.0, 0.0, 0.1, float("nan"), 0.0, 0.0]}
    table = study_tables.study_table(pd.DataFrame(rows))
    assert table["started"].tolist() == [4, 4] and table["solved"].tolist() == [3, 0]
    assert table["batches"].tolist() == [159, 20] and table["batches_median"][0] == 20
    assert table["per_cpu_hour"].tolist() == [3, 0]
    shown = study_tables.study_markdown(table)
    assert "| a | 4 | 3 | 75% | 30.1 to 95.4% | 1 | 20 (15 to 25) | 60 | 3 |" in shown
    assert "| b | 4 | 0 | 0% | 0.0 to 49.0% | 2 | – | 60 | 0 |" in shown
    assert "| a | 4 | 3 | 192 |" in study_tables.scaling_markdown(table)


def test_seeds_are_compared_in_pairs():
    with_noise = [True] * 7 + [False] * 3
    no_noise = [True, *[False] * 8, True]
    rows = [("a", "with noise", trial, solved) for trial, solved in enumerate(with_noise)]
    rows += [("a", "no noise", trial, solved) for trial, solved in enumerate(no_noise)]
    trials = pd.DataFrame(rows, columns=["setting", "variant", "trial", "solved"])
    (row,) = study_tables.paired(trials, "with noise", "no noise").to_dict("records")
    counts = {"both": 1, "only with noise": 6, "only no noise": 1, "neither": 2}
    assert row == {"setting": "a", **counts, "p_value": pytest.approx(2 * 8 / 128)}


def test_the_papers_noise_study_is_beside_ours():
    rows = [
        ("x", "with noise", True),
        ("x", "with noise", False),
        ("y", "with noise", False),
        ("z", "with noise", True),
    ]
    table = study_tables.noise_table(pd.DataFrame(rows, columns=["setting", "variant", "solved"]))
    assert table["whose"].tolist() == ["paper", "paper", "ours"]
    ours = table.iloc[2]
    assert [ours[f"setting {n}"] for n in (1, 2, 3)] == [0.5, 0.0, 1.0] and ours["average"] == 0.5
    assert table["average"].round(3).tolist()[:2] == results.paper_gradient_noise()["average"].tolist()


def test_solved_by_batches_is_a_step_per_solved_seed():
    rows = [("a", "x", batches, solved) for batches, solved in ((30, True), (10, True), (90, False), (90, False))]
    rows += [("a", "y", 50, False), ("b", "x", 40, True), ("b", "y", 60, False)]
    frame = pd.DataFrame(rows, columns=["setting", "variant", "batches", "solved"])
    figure = curves.solved_by_batches(frame)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    line, flat = figure.axes[0].lines
    assert line.get_xdata().tolist() == [0, 10, 30, 90] and line.get_ydata().tolist() == [0, 0.25, 0.5, 0.5]
    assert flat.get_ydata().tolist() == [0, 0] and flat.get_label() == "y"
    assert all(axes.get_ylim()[1] > 1 for axes in figure.axes), "the highest line of any panel is within all"


def test_every_plan_is_valid_and_fixes_what_a_seed_would_draw():
    for name in study_plans.STUDIES:
        plan = study_plans.configurations(name)
        assert len({study_plans.BASE_SEED} | {config.seed for config in plan.values()}) == 1
        for config in plan.values():
            assert not config.population.replacement and config.population.keep_going
            assert config.population.trial_batches
            for hyperparameter in study_plans.DRAWN:
                low, high = getattr(config.draws, hyperparameter)
                assert low == high or study_plans.STUDIES[name].get("drawn")


def test_a_drawn_seed_draws_the_same_hyperparameters_under_both_controllers():
    plan = study_plans.configurations("controllers", seeds=3)
    for task in ("access", "listk"):
        of_one, of_other = (
            [
                [getattr(trial, each) for each in study_plans.DRAWN]
                for trial in Population(config, tasks.get(task)).trials
            ]
            for config in (plan[task, "mlp"], plan[task, "lstm"])
        )
        assert of_one == of_other and of_one[0] != of_one[1]


def test_hyperparameters_left_to_chance_are_an_error(plan, monkeypatch):
    settings = {"wide": TINY | {"learning_rate": [0.001, 0.01]}}
    monkeypatch.setitem(study_plans.STUDIES["tiny"], "settings", settings)
    with pytest.raises(ValueError, match="these are not: learning_rate"):
        study_plans.configurations("tiny")


@pytest.mark.slow
def test_the_command_runs_a_study_and_prints_its_table(plan, tmp_path, capsys):
    command = ["study", "tiny", "--out", str(tmp_path), "--seeds", "2", "--batches", "20"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "| narrow | no noise | 2 |" in printed and str(tmp_path / "tiny") in printed
    with pytest.raises(SystemExit):
        main(["study", "tinny", "--out", str(tmp_path)])
    assert "did you mean 'tiny'?" in capsys.readouterr().err


@pytest.mark.slow
def test_calls_are_spread_over_processes():
    assert sorted(launch(pow, [(2, 3), (3, 2), (5, 1)], jobs=2)) == [5, 8, 9]
    with pytest.raises(TypeError):
        list(launch(pow, [("a", 2)], jobs=1))


def test_a_recorded_settings_hyperparameters_are_those_of_its_solved_seed():
    config = study_plans.configurations("rates")["copy", "recipe"]
    recorded = results.load_run(results.CHECKOUT / "results" / "recorded" / "copy")
    solved = recorded.trials[recorded.trials["solved"]].iloc[0]
    assert config.draws.learning_rate == (solved["learning_rate"],) * 2
    assert config.draws.noise_eta == (solved["noise_eta"],) * 2
    assert config.machine.hidden == recorded.config["hidden"]
