"""A run's folder: whole or absent, found by its configuration; frames of runs; verdicts; Table 1."""

import os
import signal
import subprocess
import sys
import textwrap

import pandas as pd
import pytest
import torch
from builders import CONFIG, save_run, sweep

import nram
from nram import results
from nram.results import provenance
from nram.results.digests import SUMS

CONFIG |= {"noise": [0, 0.3]}


def test_a_run_is_read_back_as_it_was_written(tmp_path):
    folder = save_run(tmp_path)
    assert folder == tmp_path / results.run_name(CONFIG)
    assert {path.name for path in folder.iterdir()} == {*results.FILES, SUMS}
    run = results.load_run(folder)
    assert run.config == CONFIG
    assert run.metrics == {"solved": True, "batches": 7}
    pd.testing.assert_frame_equal(run.generalization, sweep())
    assert run.history["seconds"].tolist() == [0.1, 1 / 3]
    weights, task = results.load_weights(folder)
    assert task == CONFIG["task"]
    assert torch.equal(weights["hidden"], torch.arange(6.0).reshape(2, 3).t())
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "nothing else is left behind"


def test_the_same_run_is_the_same_bytes(tmp_path):
    config = CONFIG | {"device": "cpu"}
    same = {"provenance": results.collect_provenance(config, seconds=1.5, kernel="reference", started_at=0.0)}
    folders = [save_run(tmp_path / str(number), config, **same) for number in range(6)]  # metadata came in any order
    for name in (*results.FILES, SUMS):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1, name


def test_the_name_holds_task_and_hash(tmp_path):
    assert results.run_name(CONFIG) == "copy-" + results.config_hash(CONFIG)[:10]
    assert save_run(tmp_path, name="recorded").name == "recorded"


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"budget_seconds": 121}, {"device": "cuda"}, {"noise": [0, 0.2]}, {"task": "swap"}]
)
def test_every_setting_counts_in_the_hash(change):
    assert results.config_hash(CONFIG | change) != results.config_hash(CONFIG)


def test_equal_settings_have_equal_hashes():
    same = dict(reversed(CONFIG.items())) | {"budget_seconds": 120, "noise": (0.0, 0.3), "format": 1}
    assert results.config_hash(same) == results.config_hash(CONFIG)
    first, second = (results.config_hash(CONFIG | {"device": name}) for name in ("cuda:0", "cuda:1"))
    assert first == second


def test_the_hash_is_the_same_in_every_version():
    """Finished runs are found by it: a change here orphans them all."""
    config = {"task": "copy", "seed": 0, "budget_seconds": 120.0, "bounds": (0.5, 2.0), "clip": None}
    assert results.config_hash(config) == "2375f1eeb70a10ff403d15de09252109381f154a0694567e433e9ac9d2c667c7"


def test_settings_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        results.config_hash({"task": "copy", "rate": float("nan")})


def test_a_finished_run_is_found_by_its_configuration_alone(tmp_path):
    assert results.find_run(tmp_path / "absent", CONFIG) is None
    folder = save_run(tmp_path)
    assert results.find_run(tmp_path, CONFIG) == folder
    assert results.find_run(tmp_path, CONFIG | {"seed": 1}) is None


def test_an_interrupted_run_is_not_a_finished_one(tmp_path):
    save_run(tmp_path, metrics={"stopped_by": "interrupt"})
    assert results.find_run(tmp_path, CONFIG) is None
    assert len(results.load_runs(tmp_path)) == 1
    save_run(tmp_path, metrics={"stopped_by": "budget"})
    assert results.find_run(tmp_path, CONFIG) is not None


def test_another_run_under_the_same_name_is_not_taken(tmp_path):
    folder = save_run(tmp_path)
    other = CONFIG | {"seed": 1}
    folder.rename(tmp_path / results.run_name(other))
    assert results.find_run(tmp_path, other) is None


def test_an_earlier_run_of_the_same_name_is_replaced(tmp_path):
    save_run(tmp_path)
    folder = save_run(tmp_path, metrics={"batches": 8})
    assert results.load_run(folder).metrics == {"batches": 8}
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": {"error": float("nan")}}, "metric error is nan"),
        ({"metrics": {"errors": [1, 2]}}, "metric errors is not a number"),
        ({"metrics": {"seed": 5}}, "metric seed is 5, the setting"),
        ({"trials": pd.DataFrame()}, "trials has no columns"),
        ({"provenance": {"config_hash": "0" * 64}}, "another configuration"),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_leaves_nothing(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        save_run(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        save_run(tmp_path, config=CONFIG, provenance={"config_hash": results.config_hash(CONFIG), "command": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_process_killed_while_writing_leaves_no_run(tmp_path):
    """Killed between writing and renaming, it leaves a staging folder: no run, and removed when it is old."""
    script = """
        import os, signal, sys
        sys.path.insert(0, sys.argv[2])
        import builders
        from nram.results import saving
        saving.replace_folder = lambda staging, final: os.kill(os.getpid(), signal.SIGKILL)
        builders.save_run(sys.argv[1])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), os.path.dirname(__file__)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    (staging,) = tmp_path.iterdir()
    assert {path.name for path in staging.iterdir()} == {*results.FILES, SUMS}, "the run was written, but not renamed"
    assert results.find_run(tmp_path, CONFIG) is None
    assert len(results.load_runs(tmp_path)) == 0
    results.remove_stale(tmp_path)
    assert staging.exists(), "it could be another process's, at work"
    os.utime(staging, (0, 0))
    save_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [results.run_name(CONFIG)]


def test_what_is_no_run_is_skipped_with_a_warning(tmp_path):
    save_run(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / results.FAILED).mkdir()
    (tmp_path / "file.txt").write_text("no folder")
    with pytest.warns(UserWarning, match="notes is not a run's folder") as warned:
        runs = results.load_runs(tmp_path)
    assert len(runs) == 1 and len(warned) == 1


def test_a_missing_folder_of_runs_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        results.load_runs(tmp_path / "absent")


def test_runs_become_rows(tmp_path):
    for seed in (0, 1):
        save_run(tmp_path, CONFIG | {"seed": seed}, sweep(first_error=20 * (seed + 1)), {"batches": 5 + seed})
    runs = results.load_runs(tmp_path).sort_values("seed")
    assert runs["seed"].tolist() == [0, 1] and runs["batches"].tolist() == [5, 6]
    assert runs["error_free_up_to"].tolist() == [19, 39]
    assert runs["provenance_command"].tolist() == ["the command"] * 2
    assert runs["provenance_torch"].tolist() == [torch.__version__] * 2
    assert runs["config_hash"].str.len().tolist() == [64, 64]
    generalization = results.load_generalization(tmp_path)
    assert len(generalization) == 2 * len(sweep())
    origin = ["folder", "config_hash", "command", "commit", "device", "seconds", "python", "torch"]
    assert generalization[origin].notna().all(axis=None)
    per_run = generalization.groupby("seed")["error"].apply(lambda error: (error > 0).sum())
    assert per_run.tolist() == [2 * 31 + 2, 2 * 11 + 2]


def test_provenance_names_code_machine_and_command(monkeypatch):
    monkeypatch.setenv("NRAM_COMMAND", "make reproduce")
    found = results.collect_provenance(CONFIG, seconds=2.0, kernel="numba")
    assert found["command"] == "make reproduce"
    assert found["config_hash"] == results.config_hash(CONFIG)
    assert found["versions"]["torch"] == torch.__version__
    assert found["kernel"] == "numba" and found["seconds"] == 2.0 and found["threads"] >= 1
    assert found["device"] and found["started_at"].endswith("+00:00")
    monkeypatch.delenv("NRAM_COMMAND")
    monkeypatch.setattr(sys, "orig_argv", ["/somewhere/python3.11", "-m", "nram", "train", "--task", "copy"])
    assert results.collect_provenance(CONFIG, seconds=2.0, kernel="numba")["command"] == (
        "python -m nram train --task copy"
    )


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.slow
def test_the_commit_and_whether_the_code_differs_from_it(tmp_path):
    checkout = tmp_path.resolve()
    assert provenance.code_version(checkout) == {"commit": None, "dirty": None}
    git(tmp_path, "init")
    (tmp_path / "nram").mkdir()
    (tmp_path / "nram" / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("no code")
    assert provenance.code_version(checkout) == {"commit": commit, "dirty": False}
    (tmp_path / "nram" / "new.py").write_text("2")
    assert provenance.code_version(checkout) == {"commit": commit, "dirty": True}
    inside = provenance.code_version(checkout / "nram")
    assert inside == {"commit": None, "dirty": None}, "a checkout around the package is not its own"


def test_perfect_means_no_error_at_every_complexity_up_to_fifty():
    assert results.verdict(sweep(), 15)["generalization"] == "perfect"
    assert results.verdict(sweep(low=2), 15)["generalization"] == "perfect"
    judged = results.verdict(sweep(first_error=50), 15)
    assert judged["generalization"] == "first error at 50 (0.25)" and judged["error_free_up_to"] == 49
    judged = results.verdict(sweep(first_error=1), 15)
    assert judged["generalization"] == "first error at 1 (0.25), 0.25 at 50"
    assert judged["error_free_up_to"] == 0 and judged["train_error"] == 0.25


@pytest.mark.parametrize("complexities", [range(1, 50), [*range(1, 30), *range(31, 51)], range(3, 51)])
def test_an_unfinished_sweep_is_not_perfect(complexities):
    text = results.verdict(sweep(complexities=complexities), 15)["generalization"]
    assert text == f"no error at the {len(complexities)} complexities tried, up to {max(complexities)}"


def test_discretization_is_perfect_when_no_output_differs():
    judged = results.verdict(sweep(), 15)
    assert judged["discretization"] == "perfect" and judged["discretization_cases"] == 51 * 1000
    assert results.verdict(sweep(differ=3), 15)["discretization"] == "3 of 51000 outputs differ, error 0 at 15"


def test_the_numbers_of_a_verdict_follow_from_the_same_rows():
    metrics = results.judge(sweep(first_error=20, differ=3), 15).metrics()
    assert metrics == {
        "train_difficulty": 15,
        "cases": 1000,
        "discretized_train_error": 0.0,
        "discretized_train_cases": 1000,
        "discretized_max_error": 0.25,
        "discretized_first_failure": 20,
        "fuzzy_train_error": 0.0,
        "fuzzy_train_cases": 1000,
        "fuzzy_max_error": 0.25,
        "fuzzy_first_failure": 20,
        "max_complexity": 50,
        "disagreements": 3,
        "compared_cases": 51 * 1000,
    }
    assert results.judge(sweep(), 15).metrics()["fuzzy_first_failure"] is None


def test_recorded_metrics_are_those_of_the_verdict():
    for folder in results.load_runs(results.RECORDED)["folder"]:
        run = results.load_run(folder)
        metrics = run.judge().metrics()
        assert metrics == {name: run.metrics[name] for name in metrics}


def test_a_verdict_needs_the_train_complexity():
    with pytest.raises(ValueError, match="train complexity 60"):
        results.verdict(sweep(), 60)
    with pytest.raises(ValueError, match="disagreements"):
        results.verdict(sweep().drop(columns="disagreements"), 15)


def test_table1_puts_the_paper_beside_the_best_run(tmp_path):
    save_run(tmp_path, CONFIG | {"seed": 0}, sweep(first_error=10))
    save_run(tmp_path, CONFIG | {"seed": 1}, sweep(first_error=40, differ=2))
    save_run(tmp_path, CONFIG | {"task": "merge", "train_difficulty": 10}, sweep(low=2))
    table = results.table1(results.load_runs(tmp_path)).set_index("task")
    assert list(table.index) == results.paper_table1()["task"].tolist(), "ten tasks, in the paper's order"
    copy = table.loc["copy"]
    assert copy["seed"] == 1 and copy["runs"] == 2 and copy["train_error"] == 0 and copy["train_cases"] == 1000
    assert (
        copy["generalization"] == "first error at 40 (0.25), 0.25 at 50" and copy["paper_generalization"] == "perfect"
    )
    assert copy["discretization"].startswith("2 of 51000 outputs differ") and copy["command"] == "the command"
    merge = table.loc["merge"]
    assert (merge["paper_train_error"], merge["paper_generalization"], merge["generalization"]) == (
        0.01,
        "weak",
        "perfect",
    )
    assert copy["beyond_paper"] == ""
    assert table.loc["swap"].filter(regex="^(?!paper_|complexity)").isna().all(), "no run, no numbers"


def test_table1_is_written_as_csv_and_markdown(tmp_path):
    save_run(tmp_path / "runs")
    table = results.write_table1(tmp_path)
    again = pd.read_csv(tmp_path / "tables" / "table1.csv")
    assert again["task"].tolist() == table["task"].tolist() and again["config_hash"].notna().sum() == 1
    lines = (tmp_path / "tables" / "table1.md").read_text().splitlines()
    assert lines[0].startswith("| task | complexity | train complexity: paper | train complexity: ours |")
    assert len([line for line in lines if line.startswith("| ")]) == 12
    assert len({line.count(" | ") for line in lines if line.startswith("| ")}) == 1
    (copy,) = [line for line in lines if line.startswith("| copy ")]
    assert "| 15 | 15 | 0 | 0 | perfect | perfect | perfect | perfect | 1000; 1000 per complexity; 51000 | 1 |" in copy
    (swap,) = [line for line in lines if line.startswith("| swap ")]
    assert "| 20 | – | 0 | – | perfect | – | perfect | – | not run | – |" in swap
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["table1.csv", "table1.md"]


def test_a_row_that_needed_more_than_the_papers_recipe_is_marked(tmp_path):
    save_run(tmp_path, CONFIG)
    save_run(tmp_path, CONFIG | {"task": "swap", "copies": 0.5, "sharpening": 4.0, "curriculum": False})
    table = results.table1(results.load_runs(tmp_path))
    assert table.set_index("task").loc["swap", "beyond_paper"] == "copies, sharpening, no curriculum"
    for text in (results.table1_markdown(table), results.summary_markdown(table)):
        assert "| swap † |" in text and "| copy |" in text
        assert "†: trained with more than the paper's recipe: swap (copies, sharpening, no curriculum)." in text


def test_table1_without_any_run_keeps_the_paper(tmp_path):
    (tmp_path / "runs").mkdir()
    table = results.write_table1(tmp_path)
    assert len(table) == 10 and table["train_error"].isna().all() and table["paper_train_error"].notna().all()


def test_all_forms_of_table1_show_the_same_cells(tmp_path):
    save_run(tmp_path, CONFIG, sweep(first_error=40, differ=2))
    table = results.table1(results.load_runs(tmp_path))
    copy, swap = (row for row in results.table1_rows(table) if row.task in ("copy", "swap"))
    assert [cell.reached for cell in copy.cells] == [True, False, False]
    assert [cell.said for cell in copy.cells] == ["reached", "not reached", "not reached"]
    assert copy.cells[1].ours == "first error at 40 (0.25), 0.25 at 50" and copy.cases == (1000, 1000, 51000)
    assert [(cell.mark, cell.ours, cell.said) for cell in swap.cells] == [("○", "not run", "not run")] * 3
    assert swap.runs is None and swap.cases is None and swap.trained_at is None
    full, short = results.table1_markdown(table), results.summary_markdown(table)
    for cell in copy.cells:
        assert f"| {cell.paper} | {cell.ours} |" in full
        assert f"| {cell.paper} | {cell.mark} {cell.ours.partition(', ')[0]} |" in short


def test_markdown_escapes_and_rounds():
    frame = pd.DataFrame({"a": ["x|y", "two\nlines"], "b": [1 / 3, None], "c": [1, 2]})
    rows = ["| a | b | c |", "| --- | --- | --- |", "| x\\|y | 0.3333 | 1 |", "| two lines | – | 2 |", ""]
    assert results.to_markdown(frame) == "\n".join(rows)


def test_the_paper_is_there():
    assert results.paper_table1()["task"].nunique() == 10
    assert results.paper_gradient_noise()["average"].tolist() == [0.013, 0.113]
    copy = results.paper_execution("copy")
    assert len(copy) == 11 and {"m11", "r4", "write_a"} <= set(copy.columns)
    for task in results.PAPER_EXECUTIONS:
        assert results.paper_execution(task)["step"].iloc[0] == 1
    with pytest.raises(ValueError, match="no execution of 'merge'; it has copy"):
        results.paper_execution("merge")


def test_what_reaches_the_paper():
    def table(**ours):
        row = {"task": "copy", "runs": 1, "paper_train_error": 0.01, "train_error": 0.01}
        row |= {"paper_generalization": "perfect", "generalization": "perfect"}
        row |= {"paper_discretization": "perfect", "discretization": "perfect"}
        return pd.DataFrame([row | ours])

    def marks(**ours):
        return results.reached(table(**ours)).iloc[0, 1:].tolist()

    assert marks() == [True, True, True] and results.all_reached(table()) == ["copy"]
    assert marks(train_error=0.02) == [False, True, True] and results.all_reached(table(train_error=0.02)) == []
    failing = {"generalization": "first error at 20 (0.1)", "discretization": "3 of 10 outputs differ, error 1 at 9"}
    assert marks(**failing) == [True, False, False]
    words = {"paper_generalization": "weak", "paper_discretization": "hurts performance"}
    assert marks(**words) == [True, True, True]
    assert marks(**words, **failing) == [True, None, True]
    assert marks(**words, **failing, train_error=0.5) == [False, False, False]
    assert marks(runs=pd.NA) == [None, None, None] and results.all_reached(table(runs=pd.NA)) == []


def test_the_short_table_says_what_is_behind_it():
    runs = results.load_runs(results.RECORDED)
    text = results.summary_markdown(results.table1(runs))
    assert "| copy | 0 | ✓ 0 | perfect | ✓ perfect | perfect | ✓ perfect |" in text
    assert "tasks reach the paper wherever it gives a number." in text
    assert "Each train error is measured on at least 10,000 fresh cases" in text
    nothing = results.summary_markdown(results.table1(runs.iloc[:0]))
    assert nothing.count("○ not run") == 30 and "0 of 10 tasks" in nothing and "fresh cases" not in nothing


LIGHT = """
import sys
from nram import results
assert len(results.load_runs(results.RECORDED)) == 10 and len(results.load_generalization(results.RECORDED))
print(*sorted(name for name in sys.modules if name.partition(".")[0] in ("nram", "numba")))
"""


def test_the_packages_names_are_imported_at_first_use():
    assert nram.Machine is nram.model.Machine and nram.load is nram.model.load
    assert nram.TrainConfig.__name__ == "TrainConfig"
    with pytest.raises(AttributeError, match="module 'nram' has no attribute 'train_all'"):
        _ = nram.train_all


@pytest.mark.slow
def test_reading_results_imports_no_machine():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=results.CHECKOUT, check=True, capture_output=True, text=True
    )
    rooms = {name.split(".")[1] for name in done.stdout.split() if name.startswith("nram.")}
    assert rooms == {"results", "tasks"} and "numba" not in done.stdout.split()
