"""Table 1 in a terminal: it fits, and says no more than the table; a run's verdict in a line."""

import re
from pathlib import Path

import pytest
from builders import save_run, sweep

from nram import results
from nram.experiments import reproduce
from nram.experiments.closing import closing
from nram.results.terminal import terminal_table1


@pytest.fixture(scope="module")
def recorded():
    return results.table1(results.load_runs(results.RECORDED))


@pytest.mark.parametrize("width", [100, 80, 40])
def test_it_fits_into_the_width(recorded, width):
    text = terminal_table1(recorded, width)
    assert max(map(len, text.splitlines())) <= width
    assert text.endswith(f"\n{len(results.all_reached(recorded))} of 10 reach the paper\n")
    lines = [line.split() for line in text.splitlines()]
    for row in results.table1_rows(recorded):
        (line,) = (line for line in lines if line and line[0].rstrip("†") == row.task)
        assert [word for word in line if word in results.MARKS.values()] == [cell.mark for cell in row.cells]


def test_the_widest_cells_fit_beside_the_papers(recorded):
    worst = {"train_error": 1.2345e-05, "generalization": "first error at 50 (0.00123), 0.2 at 50"}
    worst |= {"discretization": "589125 of 590000 outputs differ, error 0.75 at 10"}
    text = terminal_table1(recorded.assign(**worst), 100)
    assert re.search("^access +✗ 1.2e-05 +0 +✗ fails at 50 +perfect +✗ 99.9% differ +perfect$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 100


def test_what_was_not_run_or_not_tried_is_said(recorded):
    table = recorded.copy()
    table.loc[table["task"] != "copy", "runs"] = None
    table.loc[table["task"] == "copy", "generalization"] = "no error at the 19 complexities tried, up to 20"
    table.loc[table["task"] == "copy", "discretization"] = "3 of 60000 outputs differ, error 0 at 15"
    text = terminal_table1(table, 100)
    assert text.count("not run  ") == 9 and "0 of 10 reach the paper; 9 not run" in text
    assert "✗ right up to 20" in text and "✗ <0.1% differ" in text


@pytest.mark.parametrize(
    ("measured", "solved", "outcome"),
    [
        (sweep(), True, "✓ perfect after 12 s of training"),
        (sweep(complexities=range(1, 21)), True, "○ no error at the 20 complexities tried"),
        (sweep(first_error=40, differ=3), True, "✗ first error at 40 (0.25), 3 of 51000 outputs differ"),
        (sweep(first_error=3), False, "✗ not solved in 12 s of training, train error 0.25, first error at 3 (0.25)"),
    ],
)
def test_a_tasks_outcome_is_perfect_or_what_is_missing(tmp_path, measured, solved, outcome):
    save_run(tmp_path / "runs", generalization=measured, metrics={"solved": solved, "training_seconds": 12.3})
    config = results.load_run(next((tmp_path / "runs").iterdir())).config
    commands = dict.fromkeys(["copy", *reproduce.SUMMARIES], "")
    (job,), (summary, *_) = reproduce.make_jobs({"copy": config}, {}, commands, tmp_path, results.NOTEBOOKS)
    assert job.outcome() == outcome and summary.outcome() == "done"


def test_it_says_where_the_results_are_and_what_to_run_next(tmp_path, monkeypatch, recorded):
    monkeypatch.chdir(tmp_path)
    table = recorded.assign(train_error=0.0, generalization="perfect", discretization="perfect")
    table.loc[table["task"].isin(["copy", "swap"]), "runs"] = None
    table.loc[table["task"] == "merge", ["train_error", "seed"]] = 0.5, 4
    text = closing(table, tmp_path / "results")
    assert "tables:    results/tables\n" in text and "site:      not made yet" in text
    assert "-m nram report --runs results/runs --out results/report" in text
    assert "-m nram reproduce --results results --tasks 'copy swap'\n" in text
    assert "-m nram reproduce --results results --tasks merge --seed 5\n" in text
    assert "-m nram compare --mine '/a b/runs'" in closing(table, Path("/a b"))
    (tmp_path / "results" / "report").mkdir(parents=True)
    (tmp_path / "results" / "report" / "index.html").write_text("")
    assert "site:      results/report/index.html" in closing(table, tmp_path / "results")
