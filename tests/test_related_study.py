"""The study of other systems: its plan, its resumption, its rows, its tables and its figure."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from builders import related_row

from nram import results, tasks
from nram.__main__ import main
from nram.experiments import related_study, related_tables
from nram.experiments.related_study import COLUMNS
from nram.related.lstm import LSTM
from nram.related.systems import SYSTEMS
from nram.report import recorded
from nram.report.related_curves import error_by_length
from nram.results.files import locked
from nram.training import loop
from nram.training.config import TrainConfig


@pytest.fixture
def asked(monkeypatch):
    """What `run_once` was asked for; later seeds reach further."""
    calls = []

    def run_once(system, task, seed, seconds, commit):
        calls.append((system, task, seed))
        return related_row(system, task, seed, 10 + 5 * (seed - 7000), seconds)

    monkeypatch.setattr(related_study, "run_once", run_once)
    return calls


def test_the_plan_has_five_seeds_of_every_system_and_task_seed_after_seed(tmp_path, asked):
    frame = related_study.run_related(tmp_path)
    assert frame.groupby(["task", "system"]).size().tolist() == [5] * 18
    assert list(frame["task"].unique()) == ["copy", "reverse", "increment"]
    assert list(frame["system"].unique()) == ["lstm", "stack", "stacks", "ntm", "dngpu", "nram"]
    assert {seed for _, _, seed in asked[:18]} == {7000}, "one seed of all comes before the next"


def test_a_second_call_runs_what_is_missing(tmp_path, asked):
    related_study.run_related(tmp_path, seeds=1, only=["stack", "reverse"])
    assert asked == [("stack", "reverse", 7000)]
    frame = related_study.run_related(tmp_path, seeds=2, only=["stack", "lstm", "reverse"])
    assert asked[1:] == [("lstm", "reverse", 7000), ("lstm", "reverse", 7001), ("stack", "reverse", 7001)]
    assert list(frame.columns) == list(COLUMNS)
    related_study.run_related(tmp_path, seeds=1, only=["merge"])
    assert ("nram", "merge", 7000) not in asked and ("dngpu", "merge", 7000) in asked


def test_wrong_input_other_settings_and_a_second_process_are_refused(tmp_path, asked):
    with pytest.raises(ValueError, match="related has no setting swap; valid: lstm, stack"):
        related_study.run_related(tmp_path, only=["swap"])
    related_study.run_related(tmp_path, seeds=1, only=["lstm", "copy"])
    with pytest.raises(ValueError, match="the study's runs take 300 s, not 5: use another folder"):
        related_study.run_related(tmp_path, seeds=1, only=["lstm", "copy"], seconds=5.0)
    path = tmp_path / "related" / "runs.csv"
    good = path.read_text()
    for name in ("lstm", "gru"):
        path.write_text(good.replace("lstm,copy,7000,", f"{name},copy,7000,x"))
        with pytest.raises(ValueError, match=f"a run of other settings: {name}, copy, seed 7000; remove its row"):
            related_study.run_related(tmp_path, seeds=1, only=["lstm", "copy"])
    path.write_text(good)
    with pytest.raises(ValueError, match="no row for merge"):
        related_study.run_related(tmp_path, only=["nram", "merge"])
    with locked(tmp_path / "related", "study"), pytest.raises(results.files.Busy):
        related_study.run_related(tmp_path, seeds=1, only=["ntm"])


def test_every_setting_decides_a_run_and_a_title_does_not(monkeypatch):
    def settings(system):
        return related_study.settings_of(system, "copy", 7000, 300.0)

    machine, ntm = settings("nram"), settings("ntm")
    assert machine != related_study.settings_of("nram", "reverse", 7000, 300.0)
    known = TrainConfig.to_dict
    monkeypatch.setattr(TrainConfig, "to_dict", lambda config: known(config) | {"population": 3})
    assert settings("nram") != machine
    monkeypatch.setitem(SYSTEMS, "ntm", replace(SYSTEMS["ntm"], title="Turing"))
    assert settings("ntm") == ntm
    for changes in ({"options": SYSTEMS["ntm"].options | {"cells": 16}}, {"learning_rate": 0.1}, {"model": LSTM}):
        monkeypatch.setitem(SYSTEMS, "ntm", replace(SYSTEMS["ntm"], **changes))
        assert settings("ntm") != ntm


def test_a_half_written_row_is_run_again(tmp_path, asked):
    related_study.run_related(tmp_path, seeds=2, only=["ntm", "copy"])
    path = tmp_path / "related" / "runs.csv"
    path.write_text(path.read_text()[:-20])
    frame = related_study.run_related(tmp_path, seeds=2, only=["ntm", "copy"])
    assert frame["seed"].tolist() == [7000, 7001] and asked[2:] == [("ntm", "copy", 7001)]


def test_an_interrupted_run_leaves_no_row(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train_step", interrupted)
    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        related_study.run_related(tmp_path, seeds=1, only=["nram", "copy"])
    assert not len(related_study.load_related(tmp_path / "related")) and torch.get_num_threads() == threads


def test_a_training_that_leaves_no_machine_is_all_wrong(monkeypatch):
    nothing = SimpleNamespace(
        machine=None, stopped_by="budget", batches=3, seconds=1.0, trials=pd.DataFrame({"level": [2]})
    )
    monkeypatch.setattr(related_study, "train_machine", lambda *_: nothing)
    row = related_study.run_once("nram", "copy", 7000, 1.0, "commit", count=3)
    table = related_tables.related_table(pd.DataFrame([row]))
    assert table[["fit", "reach", "error_at_15", "error_at_50"]].to_numpy().tolist() == [[0, 0, 1, 1]] * 2


def test_the_command(tmp_path, asked, capsys):
    assert main(["study", "related", "--out", str(tmp_path), "--seeds", "2", "--only", "stack", "copy", "--quiet"]) == 0
    assert "| Copy | stack RNN, soft | 1 of 2 (9 to 91%) | 0 of 2" in capsys.readouterr().out
    for wrong in (["related", "--batches", "2"], ["related", "--seconds", "5"], ["rates", "--seconds", "5"]):
        assert main(["study", *wrong, "--out", str(tmp_path)]) == 2
    with pytest.raises(SystemExit):
        main(["study", "relatd"])
    assert "'related'" in capsys.readouterr().err


def test_the_table_counts_every_run():
    rows = [
        related_row("nram", "copy", 7000, 50),
        related_row("nram", "copy", 7001, 35),
        related_row("lstm", "copy", 7000, 12),
    ]
    rows.append(related_row("nram", "copy", 7002, 0))
    table = related_tables.related_table(pd.DataFrame(rows)).set_index(["system", "form"])
    machine = table.loc["nram", "hard"]
    assert machine[["runs", "fit", "reach_30", "reach_50", "reach"]].tolist() == [3, 2, 2, 1, 35]
    assert (machine["fit_low"], machine["fit_high"]) == results.wilson_interval(2, 3)
    assert machine[["error_at_15", "error_at_50"]].tolist() == [0, 0.5]
    assert table.loc["lstm", "soft"]["fit"] == 0 and ("lstm", "hard") not in table.index
    assert machine["structured"] == 1 and table.loc["lstm", "soft"]["structured"] == 0
    unary = related_tables.related_table(pd.DataFrame([related_row("lstm", "access", 7000)], columns=COLUMNS))
    assert unary["structured"].isna().all()
    text = related_tables.related_markdown(table.reset_index())
    assert "| Copy | NRAM, discretized | 2 of 3 (21 to 94%) |" in text and "| Copy | LSTM | 0 of 1" in text


def test_the_sentences_and_what_can_be_expressed():
    frame = pd.DataFrame([related_row("nram", "copy", 7000, 50), related_row("dngpu", "copy", 7000, 20)])
    told = " ".join(related_tables.related_verdict(frame))
    assert "**Copy**: NRAM, fuzzy fits in 1 of 1 runs and reaches 50 in 1" in told
    assert "diagonal Neural GPU 20, NRAM 50." in told
    assert related_tables.related_verdict(frame.head(0)) == ["There is nothing to judge yet."]
    text = related_tables.expressible_markdown()
    assert all(tasks.get(key).title in text for key in tasks.KEYS)


def test_the_figure_shows_every_run_and_the_median():
    rows = [related_row(system, task, seed) for system in ("lstm", "dngpu") for task in ("copy", "increment")
            for seed in (7000, 7001, 7002)]  # fmt: skip
    curves = related_tables.related_curves(pd.DataFrame(rows))
    assert len(curves) == 12 * 50 and curves["length"].max() == 50
    figure = error_by_length(curves)
    assert len(figure.axes) == 2 and all(len(each.lines) == 2 * (3 + 1) + 2 for each in figure.axes)


def test_the_recorded_study_has_a_picture(tmp_path, asked):
    recorded.related_picture(tmp_path, tmp_path / "related.png")
    assert not (tmp_path / "related.png").exists(), "without the study"
    related_study.run_related(tmp_path, seeds=1)
    recorded.related_picture(tmp_path, tmp_path / "related.png")
    assert (tmp_path / "related.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("system", ["stack", "nram"])
def test_a_run_leaves_a_row(system):
    row = related_study.run_once(system, "copy", 3, 1.0, "commit", count=3)
    forms = {f"{form}_{name}" for form in ("soft", "hard") for name in ("fit", "reach", "error", "exact", "structured")}
    assert set(COLUMNS) - set(row) <= {"held_out"} and forms <= set(row) and set(row) <= set(COLUMNS)
    assert (
        len(related_study.numbers(row["soft_error"])) == 50 and len(related_study.numbers(row["soft_structured"])) == 3
    )
