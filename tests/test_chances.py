"""How often `make reproduce` succeeds: the study, its resumption, its table."""

import pandas as pd
import pytest

from nram import results, tasks
from nram.experiments import chances
from nram.experiments.forecast import Expected
from nram.results.files import locked
from nram.training import loop
from nram.training.config import TrainConfig
from nram.training.verification import SHARP


def row_of(key, seed, perfect=True, seconds=10.0):
    settings = TrainConfig.for_task(key, seed=seed).to_dict() | {"budget_seconds": None}
    row = {"task": key, "seed": seed, "config_hash": results.config_hash(settings), "perfect": perfect}
    return row | {"solved": perfect, "seconds": seconds, "cases": 5, "commit": "c", "processor": "p"}


@pytest.fixture
def asked(monkeypatch):
    """What `run_once` was asked for; seeds that are odd fail after a long time."""
    calls = []

    def run_once(key, seed, cases, commit):
        calls.append((key, seed))
        return row_of(key, seed, *((False, 1e6) if seed % 2 else (True, 10.0)))

    monkeypatch.setattr(chances, "run_once", run_once)
    return calls


def test_the_plan_has_20_seeds_of_the_easy_tasks_and_12_of_the_others(tmp_path, asked):
    frame = chances.run_chances(tmp_path)
    counts = frame.groupby("task").size().to_dict()
    assert counts == {key: 20 if key in tasks.KEYS[:5] else 12 for key in tasks.KEYS}
    assert frame["seed"].min() == chances.FIRST_SEED and list(frame["task"].unique()) == list(tasks.KEYS)


def test_a_second_call_runs_what_is_missing(tmp_path, asked):
    chances.run_chances(tmp_path, seeds=1, only=["copy", "swap"])
    assert asked == [("copy", 6000), ("swap", 6000)]
    frame = chances.run_chances(tmp_path, seeds=2, only=["copy"])
    assert asked[2:] == [("copy", 6001)] and len(frame) == 3


def test_a_half_written_row_is_run_again(tmp_path, asked):
    chances.run_chances(tmp_path, seeds=2, only=["copy"])
    path = tmp_path / "reproduce" / "runs.csv"
    path.write_text(path.read_text()[:-3])
    assert len(chances.run_chances(tmp_path, seeds=2, only=["copy"])) == 2 and asked[2:] == [("copy", 6001)]


def test_an_interrupted_run_leaves_no_row(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        chances.run_chances(tmp_path, seeds=1, only=["copy"])
    assert not len(chances.load_chances(tmp_path / "reproduce"))


def test_the_recorded_runs_say_what_a_task_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RECORDED", tmp_path)
    assert chances.expected_of_tasks({"copy": 9.0}) == {"copy": Expected(9.0, 9.0)}, "there is no such study"
    rows = [row_of("copy", 6000, True, 4.0), row_of("copy", 6001, True, 6.0), row_of("copy", 6002, False, 900.0)]
    rows += [row_of("merge", 6000, False, 1800.0), row_of("walkbst", 6000, True, 350.0)]
    (tmp_path / "studies" / "reproduce").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(tmp_path / "studies" / "reproduce" / "runs.csv", index=False)
    takes = chances.expected_of_tasks({"copy": 900.0, "merge": 900.0, "walkbst": 60.0, "listk": 70.0})
    assert takes["copy"] == Expected(5.0, 900.0) and takes["merge"] == Expected(900.0, 900.0)
    assert takes["walkbst"] == Expected(60.0, 60.0) and takes["listk"] == Expected(70.0, 70.0)


def test_runs_of_former_recipes_are_run_again(tmp_path, asked):
    frame = chances.run_chances(tmp_path, seeds=2, only=["copy"])
    frame.loc[0, "config_hash"] = "0" * 64
    frame.to_csv(tmp_path / "reproduce" / "runs.csv", index=False)
    assert len(chances.run_chances(tmp_path, seeds=2, only=["copy"])) == 2
    assert asked == [("copy", 6000), ("copy", 6001), ("copy", 6000)]


def test_other_tasks_keep_their_runs(tmp_path, asked):
    frame = chances.run_chances(tmp_path, seeds=1, only=["copy", "swap"])
    frame.assign(config_hash="0" * 64).to_csv(tmp_path / "reproduce" / "runs.csv", index=False)
    after = chances.run_chances(tmp_path, seeds=1, only=["copy"])
    assert asked[2:] == [("copy", 6000)]
    assert after.loc[after["task"] == "swap", "config_hash"].tolist() == ["0" * 64]


def test_another_budget_runs_those_again_that_it_would_change(tmp_path, asked):
    (tmp_path / "reproduce").mkdir()
    budget = TrainConfig.for_task("copy").budget.seconds
    ended = [(True, budget - 1), (False, budget - 1), (True, budget + 1), (False, budget)]
    rows = [row_of("copy", 6000 + number, *each) for number, each in enumerate(ended)]
    frame = pd.DataFrame(rows, columns=list(chances.COLUMNS))
    frame.to_csv(tmp_path / "reproduce" / "runs.csv", index=False)
    assert len(chances.run_chances(tmp_path, seeds=4, only=["copy"])) == 4
    assert asked == [("copy", 6001), ("copy", 6002)]


def test_wrong_input_and_a_second_process_are_refused(tmp_path, asked):
    with pytest.raises(ValueError, match="reproduce has no setting sort; valid: access"):
        chances.run_chances(tmp_path, only=["sort"])
    (tmp_path / "reproduce").mkdir()
    with locked(tmp_path / "reproduce", "study"), pytest.raises(results.files.Busy):
        chances.run_chances(tmp_path, seeds=1, only=["copy"])


def test_the_table_gives_rates_intervals_and_seconds():
    rows = [row_of(key, 6000 + n, n != 3 or key != "merge", 10.0 * (n + 1)) for key in tasks.KEYS for n in range(4)]
    table = chances.chances_table(pd.DataFrame(rows)).set_index("task")
    assert table.loc["copy", ["runs", "perfect", "rate", "median_seconds"]].tolist() == [4, 4, 1.0, 25.0]
    assert table.loc["merge", ["runs", "perfect", "rate", "median_seconds"]].tolist() == [4, 3, 0.75, 20.0]
    low, high = results.wilson_interval(3, 4)
    assert table.loc["merge", ["low", "high"]].tolist() == [low, high]
    text = chances.chances_markdown(table.reset_index())
    assert "| merge | 4 | 3 | 30 to 95% | 20 | 28 |" in text
    low, high = results.wilson_interval(39, 40)
    assert f"39 of 40 rows are perfect (95% interval {100 * low:.0f} to {100 * high:.0f}%)" in text
    lowest = f"{100 * low**10:.0f}% if each task's rate were the lower end of that interval"
    assert f"a chance of 75%, and of {lowest}; 9.8 are to be expected" in text
    assert "chance" not in chances.chances_markdown(table.reset_index().head(3)), "not without all ten"


@pytest.mark.slow
def test_a_run_trains_and_measures_as_make_reproduce_does():
    row = chances.run_once("access", 3, 50, "commit")
    assert row["perfect"] and row["solved"] and row["train_error"] == 0
    assert row["fuzzy_to"] == row["discretized_to"] == 50 and row["largest_cost"] <= SHARP
    assert set(row) == set(chances.COLUMNS)
