"""Interruption: a killed training resumes where it was and ends as an undisturbed one, to the last bit."""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from builders import assert_same_run

from nram import results, tasks
from nram.experiments import run as experiment
from nram.experiments import search
from nram.results import files
from nram.training import loop, polish, saved_loop
from nram.training import step as training_step
from nram.training.checkpoint import Checkpoint
from nram.training.config import TrainConfig
from nram.training.loop import train
from nram.training.population import Population

KILLS = 20
SMALL = {"train_difficulty": 4, "population": 4, "hidden": 32, "verify_cases": 100, "polish_batches": 200}
# The command line, which here saves its state more often: kills then fall between many saves.
DRIVER = """
import sys
from nram import __main__
from nram.training import saved_loop
saved_loop.SAVE_SECONDS = 0.1
print("ready", flush=True)
sys.exit(__main__.main(sys.argv[1:]))
"""


def small(**overrides):
    return TrainConfig.for_task("access", **{**SMALL, "seed": 1, "budget_seconds": 600.0, **overrides})


def checkpoint_in(folder, config):
    return Checkpoint(folder / "checkpoint", config.to_dict())


def assert_same_result(found, expected):
    for name in ("trials", "history"):
        frames = (getattr(each, name).drop(columns="seconds") for each in (found, expected))
        pd.testing.assert_frame_equal(*frames)
    assert found.verification == expected.verification
    assert (found.batches, found.stopped_by, found.solved) == (expected.batches, expected.stopped_by, expected.solved)
    for name, value in expected.machine.params.items():
        assert torch.equal(found.machine.params[name], value)


class Killed(Exception):
    """Stands for the end of the process."""


def killed_at(step, monkeypatch, config, checkpoint):
    """Train until the training step of that number, polishing included, and end there."""
    taken = 0

    def train_step(*arguments, **options):
        nonlocal taken
        taken += 1
        if taken == step:
            raise Killed
        return training_step.train_step(*arguments, **options)

    with monkeypatch.context() as patched:
        for module in (loop, polish):
            patched.setattr(module, "train_step", train_step)
        return train(config, progress=False, checkpoint=checkpoint)


def verify_as_soft(machine, task, config, seed):
    """Every candidate's discretized form fails and is therefore polished."""
    return replace(verify(machine, task, config, seed), discretized_error=0.5)


verify = loop.verify


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "soft"),
    [
        ({}, False),
        ({"keep_going": True, "budget_batches": 150}, False),
        ({"polish_batches": 100, "budget_batches": 120}, True),
    ],
)
def test_a_training_ends_alike_wherever_it_is_interrupted(tmp_path, monkeypatch, overrides, soft):
    config = small(**overrides)
    if soft:
        for module in (loop, polish):
            monkeypatch.setattr(module, "verify", verify_as_soft)
    expected = train(config, progress=False)
    monkeypatch.setattr(saved_loop, "SAVE_SECONDS", 0.0)
    checkpoint = checkpoint_in(tmp_path, config)
    interruptions = 0
    while True:
        try:
            found = killed_at(11, monkeypatch, config, checkpoint)
            break
        except Killed:
            interruptions += 1
    assert interruptions >= 4 and found.resumed == interruptions
    assert 0 < found.earlier_seconds < found.seconds
    assert_same_result(found, expected)


@pytest.mark.slow
def test_a_training_that_was_stopped_by_hand_goes_on_from_the_last_save(tmp_path, monkeypatch):
    config = small(budget_batches=120, keep_going=True)
    expected = train(config, progress=False)
    monkeypatch.setattr(saved_loop, "SAVE_SECONDS", 0.0)
    checkpoint = checkpoint_in(tmp_path, config)
    calls = []

    def interrupt(*_):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt

    stopped = train(config, progress=False, checkpoint=checkpoint, on_check=interrupt)
    assert stopped.stopped_by == "interrupt" and stopped.batches == 70
    assert_same_result(train(config, progress=False, checkpoint=checkpoint), expected)


def test_a_run_that_was_stopped_by_hand_keeps_its_checkpoint_and_a_finished_one_does_not(tmp_path, monkeypatch):
    config = small(budget_batches=20)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_step", interrupted)
        folder = experiment.run(config, tmp_path, cases=5, max_complexity=4, progress=False)
    assert results.load_run(folder).metrics["stopped_by"] == "interrupt"
    assert experiment.checkpoint(tmp_path, config).folder.is_dir()
    assert experiment.run(config, tmp_path, cases=5, max_complexity=4, progress=False) == folder
    run = results.load_run(folder)
    assert run.metrics["stopped_by"] == "budget" and run.provenance["resumed"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_populations_state_is_all_of_it():
    """An attribute that training changes is part of the state, without being named a second time."""
    population = Population(small(), tasks.get("access"))
    tensors, rest = population.state()
    constant = {"config", "task", "stages", "layout", "controller", "_shapes", "_sizes", "machines"}
    changing = {name.removeprefix("_") for name in vars(population).keys() - constant}
    of_graduates = {"graduates"}  # their parameters
    assert tensors.keys() - of_graduates == vars(population.members).keys() and rest.keys() | {"members"} == changing
    params, theta = population.machines.params, population.members.theta
    assert all(value.data_ptr() >= theta.data_ptr() for value in params.values()), "views of theta"

    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        training_step.train_step(population, generator)
    tensors, rest = population.state()
    other = Population(small(seed=2), tasks.get("access"))
    text = json.dumps(rest)
    other.restore(tensors, json.loads(text))
    assert other.machine(1).params["output_bias"].equal(population.machine(1).params["output_bias"])
    assert json.dumps(other.state()[1]) == text and (other.members.age == 3).all()
    del tensors["since_rise"]
    with pytest.raises(ValueError, match="another version's population"):
        other.restore(tensors, rest)


def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(tmp_path, monkeypatch):
    config = small(budget_batches=10)
    checkpoint = checkpoint_in(tmp_path, config)
    with pytest.raises(Killed):
        killed_at(5, monkeypatch, config, checkpoint)
    path = checkpoint.folder / "training.safetensors"
    whole = path.read_bytes()

    def refused(message, config=config):
        with pytest.raises(ValueError, match=message) as caught:
            train(config, progress=False, checkpoint=checkpoint_in(tmp_path, config))
        assert "remove it to start afresh" in str(caught.value) and "\n" not in str(caught.value)

    refused("is of other settings: hidden, seed", small(budget_batches=10, hidden=16, seed=2))
    for damaged in (whole[: len(whole) // 2], whole[:5], b"", b"\0" * 100, whole.replace(b'"format"', b'"fromat"')):
        path.write_bytes(damaged)
        refused("is damaged")
    path.write_bytes(whole.replace(b'{"format": 2,', b'{"format": 1,'))
    refused("has format 1, this version of nram reads format 2")
    path.write_bytes(whole.replace(b'"since_rise":', b'"since_fall":'))
    refused("holds the state of another version's population")
    path.write_bytes(whole)
    half_written = path.with_name(".training.safetensors.123")
    half_written.write_bytes(whole[:100])
    assert train(config, progress=False, checkpoint=checkpoint).batches == 10
    assert path.exists() and not half_written.exists()


def test_two_trainings_of_one_run_do_not_mix(tmp_path, monkeypatch):
    monkeypatch.setattr("nram.training.checkpoint.WAIT_SECONDS", 0.2)
    config = small(budget_batches=10)
    with experiment.checkpoint(tmp_path, config).locked():
        with pytest.raises(files.Busy, match=f"another training \\(process {os.getpid()}\\) works in"):
            experiment.run(config, tmp_path, cases=5, max_complexity=4, progress=False)
    experiment.run(config, tmp_path, cases=5, max_complexity=4, progress=False)


def test_a_lock_whose_folder_was_removed_is_taken_anew(tmp_path):
    folder = tmp_path / "folder"
    with files.locked(folder, "test"):
        (folder / ".lock").unlink()
        with files.locked(folder, "test"):
            with pytest.raises(files.Busy), files.locked(folder, "test"):
                pass


@pytest.mark.slow
def test_a_process_that_is_ending_is_waited_for(tmp_path):
    script = "import sys, time\nfrom pathlib import Path\nfrom nram.results.files import locked\n"
    script += "with locked(Path(sys.argv[1]), 'test'):\n    print('held', flush=True)\n    time.sleep(1)"
    command = [sys.executable, "-c", script, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=results.CHECKOUT) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(files.Busy, match=f"process {other.pid}"), files.locked(tmp_path, "test"):
            pass
        with files.locked(tmp_path, "test", wait=30):
            pass


def trials_of(folder):
    alike = [name for name in search.COLUMNS if name not in ("seconds", "search_seconds", "call")]
    return search.load_trials(folder)[alike].sort_values("trial", ignore_index=True)


@pytest.mark.slow
def test_a_killed_search_goes_on_with_its_members(tmp_path, monkeypatch):
    settings = {**SMALL, "seed": 1, "budget_seconds": 600.0, "restart_after": 40}
    whole = TrainConfig.for_task("access", **settings, budget_batches=200)
    search.search(whole, tmp_path / "whole", progress=False)

    # The same in two calls, the first with an end, the second killed again and again.
    config = TrainConfig.for_task("access", **settings, budget_batches=90)
    search.search(config, tmp_path / "parts", progress=False)
    assert "budget" in set(trials_of(tmp_path / "parts")["ended"])
    monkeypatch.setattr(saved_loop, "SAVE_SECONDS", 0.0)
    kills = 0
    while True:
        spent = json.loads(torch_state(tmp_path / "parts" / "checkpoint"))["state"]["batches"]
        config = TrainConfig.for_task("access", **settings, budget_batches=200 - spent)
        taken = 0

        def train_step(*arguments):
            nonlocal taken
            taken += 1
            if taken == 25:
                raise Killed
            return training_step.train_step(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(loop, "train_step", train_step)
            try:
                search.search(config, tmp_path / "parts", resume=True, progress=False)
                break
            except Killed:
                kills += 1
    assert kills > 2
    pd.testing.assert_frame_equal(trials_of(tmp_path / "parts"), trials_of(tmp_path / "whole"))
    machines = [sorted(path.name for path in (tmp_path / part / "machines").iterdir()) for part in ("whole", "parts")]
    assert machines[0] == machines[1] and len(machines[0]) > 2


def torch_state(folder):
    from safetensors.torch import load_file

    return load_file(folder / "training.safetensors")["json"].numpy().tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        "--task access --set population=4 --set keep_going=true --set budget_batches=250",
        "--task increment --set population=8",
    ],
)
def test_a_run_killed_at_random_moments_leaves_what_an_undisturbed_one_does(tmp_path, settings):
    """Real processes, killed with SIGKILL: while they start, train, polish, evaluate or write."""
    command = f"train {settings} --seed 3 --budget 600 --name run --cases 30 --max-complexity 6 --quiet"
    command += " --set train_difficulty=4 --set hidden=32 --set verify_cases=100 --set polish_batches=300"

    def start(folder):
        arguments = [sys.executable, "-c", DRIVER, *command.split(), "--out", str(folder)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n", process.communicate()
        return process

    def finish(process):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors

    began = time.monotonic()
    finish(start(tmp_path / "undisturbed"))
    duration = time.monotonic() - began
    expected = results.load_run(tmp_path / "undisturbed" / "run")
    assert expected.metrics["solved"] and expected.provenance["resumed"] == 0

    folder, kills, resumed, moments = tmp_path / "killed", 0, 0, random.Random(0)
    while kills < KILLS // 2:
        process = start(folder)
        try:
            process.wait(moments.uniform(0, duration / 4))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        process.communicate()
        if (folder / "run").exists():  # then it is whole, even if the process was killed after it was written
            assert_same_run(results.load_run(folder / "run"), expected)
            resumed += results.load_run(folder / "run").provenance["resumed"]
            for path in folder.iterdir():
                path.rename(tmp_path / f"finished-{kills}-{path.name}")
    finish(start(folder))
    found = results.load_run(folder / "run")
    assert_same_run(found, expected)
    print(f"{resumed + found.provenance['resumed']} processes went on from a checkpoint")
    assert resumed + found.provenance["resumed"] > 0
    assert [path.name for path in folder.iterdir()] == ["run"]
