"""A search's folder: a row for every trial, solved machines, resumption after a kill at any moment."""

import shutil

import pandas as pd
import pytest
import torch
from builders import search_config

import nram
from nram import tasks
from nram.experiments import search
from nram.training.config import TrainConfig


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searches") / "access"
    trials = search.search(search_config(budget_seconds=8.0), folder, progress=False)
    return folder, trials


@pytest.mark.slow
def test_every_started_seed_leaves_a_row_and_every_solved_one_its_machine(finished):
    folder, trials = finished
    assert trials["trial"].sort_values().tolist() == list(range(len(trials)))
    assert set(trials["ended"]) <= {"solved", "restarted", "budget", "dead"}
    solved = trials[trials["solved"]]
    assert len(solved) >= 1 and (trials["ended"] == "solved").sum() == len(solved)
    machine = nram.load(folder / "machines" / str(solved["trial"].iloc[0]))
    batch = tasks.get("access").sample(torch.full((100,), 4), 9, torch.Generator().manual_seed(1))
    produced = machine.run(batch.memory, batch.limit)
    assert torch.equal(produced[batch.mask], batch.target[batch.mask])


@pytest.mark.slow
def test_a_search_is_resumed_after_a_kill_in_the_middle_of_a_row(finished, tmp_path):
    _, trials = finished
    folder = tmp_path / "access"
    search.search(search_config(), folder, progress=False)
    before = search.load_trials(folder)
    ended = before[~before["ended"].isin(search.CUT_SHORT)]
    with open(folder / "trials.csv", "a") as file:
        file.write(f"{before['trial'].max() + 1},0,0.01,1.")
    (folder / "machines" / ".staging-killed").mkdir(parents=True)
    after = search.search(search_config(), folder, resume=True, progress=False)
    pd.testing.assert_frame_equal(after.iloc[: len(ended)], ended.reset_index(drop=True), check_dtype=False)
    assert after["trial"].is_unique and after["learning_rate"].is_unique
    assert set(before["trial"]) <= set(after["trial"]) and len(after) > len(before)
    assert after["search_seconds"].max() > before["search_seconds"].max()
    assert set(after["call"]) == {0, 1} and (after["folder"] == str(folder)).all()
    origin = ["config_hash", "command", "commit", "device", "kernel", "python", "torch", "started_at"]
    assert after[origin].notna().all(axis=None)
    assert not (folder / "machines" / ".staging-killed").exists()


@pytest.mark.slow
def test_a_search_whose_state_is_gone_draws_no_seed_twice(tmp_path):
    folder = tmp_path / "access"
    before = search.search(search_config(budget_batches=60), folder, progress=False)
    shutil.rmtree(folder / "checkpoint")
    after = search.search(search_config(budget_batches=60), folder, resume=True, progress=False)
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
    assert after["trial"].is_unique and after["learning_rate"].is_unique and len(after) > len(before)


@pytest.mark.slow
def test_a_search_by_annealing_is_resumed(tmp_path):
    settings = {"train_difficulty": 4, "annealing": 100, "verify_cases": 100, "budget_seconds": 100.0}
    config = TrainConfig.for_task("access", seed=1, **settings, budget_batches=80)
    before = search.search(config, tmp_path / "a", progress=False)
    after = search.search(config, tmp_path / "a", resume=True, progress=False)
    assert after["trial"].is_unique and after["solved"].sum() > before["solved"].sum() > 0
    assert after.loc[after["ended"].eq("budget"), "trial"].tolist() == [after["trial"].max()]
    whole = search.search(config.replace(budget_batches=160), tmp_path / "whole", progress=False)
    alike = ["trial", "batches", "level", "error", "ended", "solved"]
    pd.testing.assert_frame_equal(after[alike], whole[alike])


@pytest.mark.slow
def test_a_folder_is_not_mixed_up(finished):
    folder, _ = finished
    with pytest.raises(ValueError, match="holds a search already"):
        search.search(search_config(), folder, progress=False)
    with pytest.raises(ValueError, match="other settings: hidden"):
        search.search(search_config(hidden=16), folder, resume=True, progress=False)


def test_success_rate():
    solved = [True, False, True, True]
    trials = pd.DataFrame({"trial": range(4), "solved": solved, "batches": [10, 99, 20, 30], "parent": -1})
    rate = search.success_rate(trials)
    assert (rate["started"], rate["solved"], rate["rate"]) == (4, 3, 0.75)
    assert (rate["batches_quartile1"], rate["batches_median"], rate["batches_quartile3"]) == (15, 20, 25)


def test_copies_are_no_seeds_and_solve_the_seed_they_stem_from():
    parents, solved = [-1, -1, 1, 2, 1, -1], [False, False, False, True, True, False]
    trials = pd.DataFrame({"trial": range(6), "solved": solved, "batches": 50, "parent": parents})
    rate = search.success_rate(trials)
    assert (rate["started"], rate["solved"]) == (3, 1)


@pytest.mark.slow
def test_a_search_of_another_version_is_not_added_to(tmp_path):
    folder = tmp_path / "access"
    search.search(search_config(budget_batches=10), folder, progress=False)
    path = folder / "trials.csv"
    path.write_text(path.read_text().replace(",call\n", "\n", 1))
    with pytest.raises(ValueError, match="columns of another version"):
        search.search(search_config(budget_batches=10), folder, resume=True, progress=False)
