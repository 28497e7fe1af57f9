"""The command line: a run from training to the table, and one line for a user's mistake."""

import errno
import os
import shutil

import pytest

import nram
from nram import results
from nram.__main__ import main
from nram.results.digests import write_sums
from nram.results.weights import weights_bytes

SMALL = "--budget 20 --cases 20 --max-complexity 6 --quiet --set population=4 --set hidden=32 --set polish_batches=20"


@pytest.mark.slow
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
    assert {tuple(row.split(",")[:2]) for row in rows[1:]} == {(each, "at") for each in ("3", "4", "12")}
    before = nram.results.load_run(runs / "access")
    command = f"evaluate {runs / 'access'} --cases 40 --max-complexity 8 --quiet --record"
    assert main(command.split()) == 0
    after = nram.results.load_run(runs / "access")
    assert after.metrics["cases"] == 40 and after.metrics["max_complexity"] == 8
    assert after.metrics["training_seconds"] == before.metrics["training_seconds"]
    assert after.provenance["evaluation"]["seconds"] > 0
    assert after.provenance["command"] == before.provenance["command"]
    assert after.generalization["complexity"].max() == 8 and set(after.generalization["mode"]) == {"at", "uniform"}
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
        ("train --task copy --budget -3", "budget_seconds must be at least 0"),
        ("train --task copy --device tpu", "device must be cpu, cuda"),
        ("train --task copy --device cuda", "CUDA device"),
        ("train --task copy --seed -1", "-1 is not in 0..4294967295"),
        ("train --task copy --seed x", "'x' is not an integer"),
        ("train --task copy --cases 0", "0 is not in 1.."),
        ("train --task copy --buget 3", "did you mean '--budget'?"),
        ("table --results elsewhere", "--results; it is of other commands"),
        ("train --task copy --csv=x", "--csv=x; it is of other commands"),
        ("train --task copy --set hidden=many", "hidden must be an integer, not 'many'"),
        ("train --task copy --set learning_rate=0.1", "learning_rate must be two numbers (low, high)"),
        ("train --task copy --set num_cells=5", "needs at least 31 cells, not 5"),
        ("train --task copy --set budget_batches=-1", "budget_batches must be at least 0"),
        ("train --task copy --set adam_betas=[0.5,2]", "adam_betas is always [0.9, 0.999]"),
        pytest.param(
            "train --task copy --set population=1000000000 --quiet --out {}", "memory", marks=pytest.mark.slow
        ),
        ("train --task copy --name ../copy", "cannot be named '../copy'"),
        ("train --task copy --name= --out {}", "cannot be named ''"),
        ("train --task copy --name studies --out {}", "cannot be named 'studies'"),
        ("train --task copy --budget 0 --out {}/file", "{}/file"),
        ("trian --task copy", "did you mean 'train'?"),
        ("evaluate {}/cut --quiet", "weights.safetensors is damaged"),
        ("evaluate {}/foreign --quiet", "holds a machine for 'copy', not for 'swap'"),
        ("search --task copy --quiet --out {}/file", "{}/file"),
        ("search --task copy --budget 1 --out {}/file/search", "{}/file"),
        ("evaluate no/such/run", "no/such/run"),
        ("evaluate results/recorded/copy --record --complexities 3", "--max-complexity"),
        ("table no/such/folder", "no/such/folder"),
    ],
)
def test_a_users_mistake_is_one_line(command, message, capsys, broken):
    try:
        code = main(command.format(broken).split())
    except SystemExit as exit:  # argparse's
        code = exit.code
    assert code == 2
    error = capsys.readouterr().err
    assert message.format(broken) in error and error.count("\n") == 1, error


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A folder with a file and broken runs: of weights that were cut off, and of weights of another task."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "file").write_text("no folder")
    for name in ("cut", "foreign"):
        shutil.copytree(results.CHECKOUT / "results" / "recorded" / "swap", folder / name)
    weights = folder / "cut" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    params = nram.load(folder / "foreign").params
    (folder / "foreign" / "weights.safetensors").write_bytes(weights_bytes(params, "copy"))
    write_sums(folder / "foreign")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["train --task copy --out {} --name run --quiet", "search --task copy --out {} --quiet"]
)
def test_a_folder_that_cannot_be_written_to_is_one_line(command, tmp_path, capsys, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("nram.training.checkpoint.write_bytes", full)
    assert main(command.format(tmp_path).split()) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error and str(tmp_path) in error and error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("tail", [[], ["--set", "population=3"]])
def test_interruption_is_one_line(tail, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("nram.experiments.run.evaluate_result", interrupted)
    command = ["train", "--task", "access", "--budget", "0", "--out", str(tmp_path), "--quiet", *tail]
    assert main(command) == 130
    error = capsys.readouterr().err
    assert "interrupted" in error and error.count("\n") == 1
    assert [path.name[:16] for path in tmp_path.iterdir()] == [".training-access"], "what was trained stays"
