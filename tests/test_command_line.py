"""The command line: a run from training to the table, and one line for a user's mistake."""

import pytest

import nram
from nram.__main__ import main

SMALL = "--budget 20 --cases 20 --max-complexity 6 --quiet --set population=4 --set hidden=32 --set polish_batches=20"


def test_train_evaluate_and_table(tmp_path, capsys):
    runs = tmp_path / "runs"
    command = f"train --task access --seed 1 --set train_difficulty=4 --name access --out {runs} {SMALL}"
    assert main(command.split()) == 0
    assert f"run: {runs / 'access'}" in capsys.readouterr().out
    machine = nram.load(runs / "access")
    assert machine.task == "access" and machine.hidden == 32
    frame = nram.results.load_runs(runs)
    assert len(frame) == 1 and bool(frame["solved"][0]) and frame["train_error"][0] == 0

    command = f"evaluate {runs / 'access'} --cases 30 --complexities 3 12 --quiet --csv {tmp_path / 'e.csv'}"
    assert main(command.split()) == 0
    rows = (tmp_path / "e.csv").read_text().splitlines()
    assert rows[0].startswith("complexity,mode,machine,error,cases") and len(rows) > 6
    before = nram.results.load_run(runs / "access")
    command = f"evaluate {runs / 'access'} --cases 40 --max-complexity 8 --quiet --record"
    assert main(command.split()) == 0
    after = nram.results.load_run(runs / "access")
    assert after.metrics["cases"] == 40 and after.metrics["max_complexity"] == 8
    assert after.metrics["training_seconds"] == before.metrics["training_seconds"]
    assert after.provenance["evaluation"]["seconds"] > 0
    assert after.provenance["command"] == before.provenance["command"]
    assert after.generalization["cases"].eq(40).all() and after.trials.equals(before.trials)
    capsys.readouterr()
    assert main(["table", str(runs)]) == 0
    assert "| access | len(A) |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --task acess", "did you mean 'access'"),
        ("train --task copy --set hiden=3", "did you mean 'hidden'"),
        ("train --task copy --set hidden", "NAME=VALUE"),
        ("train --task copy --set task=swap", "--task"),
        ("train --task copy --budget -3", "budget_seconds must not be negative"),
        ("train --task copy --device tpu", "device must be cpu, cuda"),
        ("evaluate no/such/run", "no/such/run"),
        ("evaluate results/recorded/copy --record --complexities 3", "--max-complexity"),
        ("table no/such/folder", "no/such/folder"),
    ],
)
def test_a_users_mistake_is_one_line(command, message, capsys):
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
