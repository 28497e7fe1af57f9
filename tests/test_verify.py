"""Recorded numbers measured again: those that hold, and every way in which one can be wrong."""

import json
import math
import shutil

import pandas as pd
import pytest
import torch

from nram import results
from nram.__main__ import main
from nram.experiments.verify import verify
from nram.results.digests import write_sums
from nram.results.weights import load_weights, weights_bytes

RECORDED = results.RECORDED
QUICK = {"cases": 100, "max_complexity": 15}


@pytest.fixture
def folder(tmp_path):
    """Copy's recorded run, and one of Merge that errs."""
    shutil.copytree(RECORDED / "copy", tmp_path / "copy")
    shutil.copytree(RECORDED / "more" / "merge-descent", tmp_path / "merge")
    return tmp_path


def moved(folder, **changes):
    frame = verify(folder, **QUICK | changes)
    return frame[frame["moved"]]


@pytest.mark.slow
def test_recorded_numbers_hold(folder):
    frame = verify(folder, **QUICK)
    assert not frame["moved"].any()
    errors = frame[frame["number"] == "error"]
    assert len(errors) == 2 * (15 + 3) + 2 * (14 + 3) and set(errors["task"]) == {"copy", "merge"}
    assert (errors["cases"] == 100).all() and (errors["recorded_cases"] >= 1000).all()
    assert (errors.loc[errors["task"] == "copy", ["recorded", "again"]] == 0).all(axis=None)
    assert (errors["again"] != errors["recorded"]).any(), "these are fresh cases"
    origin = ["folder", "config_hash", "commit", "command", "device", "seconds", "python", "torch"]
    assert frame[origin].notna().all(axis=None)
    assert len(verify(folder / "copy", **QUICK)) == (frame["task"] == "copy").sum(), "a single run"


@pytest.mark.slow
def test_errors_that_are_recorded_too_low_or_too_high_are_found(folder):
    path = folder / "merge" / "generalization.csv"
    recorded = pd.read_csv(path)
    for change in (0.0, 1.0):
        recorded.loc[recorded["complexity"] == 6, "error"] = change
        recorded.to_csv(path, index=False)
        write_sums(path.parent)
        found = moved(folder)
        assert {(row.number, row.complexity) for row in found.itertuples() if row.number == "error"} == {("error", 6)}
        assert set(found["task"]) == {"merge"}


@pytest.mark.slow
def test_a_zero_that_is_none_is_found_among_many_cases(folder):
    """In one case of fifty the recorded machine is wrong, too few to tell at one complexity."""
    path = folder / "copy" / "generalization.csv"
    recorded = pd.read_csv(path)
    recorded["wrong_cases"] = recorded["cases"] // 50
    recorded.to_csv(path, index=False)
    write_sums(path.parent)
    found = moved(folder, max_complexity=50)
    assert set(found["number"]) == {"wrong cases, all complexities"} and set(found["task"]) == {"copy"}


def test_other_weights_are_found(folder):
    weights, task = load_weights(folder / "copy")
    weights["output_weight"] += 2 * torch.randn(weights["output_weight"].shape, generator=torch.manual_seed(0))
    (folder / "copy" / "weights.safetensors").write_bytes(weights_bytes(weights, task or "copy"))
    write_sums(folder / "copy")
    found = moved(folder)
    assert "error" in set(found["number"]) and set(found["task"]) == {"copy"}


def test_metrics_that_do_not_follow_are_found(folder):
    path = folder / "merge" / "metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps(metrics | {"fuzzy_train_error": 0.0, "fuzzy_first_failure": None}))
    write_sums(path.parent)
    found = moved(folder)
    assert found["number"].tolist() == ["metric fuzzy_train_error", "metric fuzzy_first_failure"]
    assert found["recorded"].iloc[0] == 0 and math.isnan(found["recorded"].iloc[1])


def test_the_command_line_fails_when_a_number_moved(folder, tmp_path, capsys):
    command = ["verify", str(folder), "--cases", "50", "--max-complexity", "8", "--quiet"]
    assert main([*command, "--csv", str(tmp_path / "all.csv")]) == 0
    printed = capsys.readouterr()
    assert "No number moved outside its interval." in printed.out and "| copy | copy |" in printed.out
    assert len(pd.read_csv(tmp_path / "all.csv")) > 60
    path = folder / "copy" / "generalization.csv"
    path.write_text(path.read_text().replace("3,at,fuzzy,0.0,", "3,at,fuzzy,0.9,"))
    write_sums(path.parent)
    assert main(command) == 1
    assert "| copy | copy | error | at | 3 | fuzzy | 0.9 | 10000 | 0 | 50 |" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
