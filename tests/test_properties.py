"""Thousands of inputs, most of them wrong: each gives a right result or a ValueError of one line, and nothing else."""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from builders import random_machine, write_run
from hypothesis import example, given, settings
from hypothesis import strategies as st

import nram
from nram import tasks
from nram.arguments import json_object, setting
from nram.machine.discrete import produce_discrete
from nram.machine.run import produce
from nram.results.weights import weights_bytes
from nram.training.config import TrainConfig

pytestmark = pytest.mark.slow

many = settings(max_examples=2000, deadline=None)
MACHINES = {kind: random_machine(kind, hidden=4) for kind in ("mlp", "lstm")}


def one_line(error):
    assert str(error) and "\n" not in str(error)


@many
@given(
    st.sampled_from(tasks.KEYS),
    st.lists(st.integers(-1, 12) | st.sampled_from([-(2**63), 40]), max_size=4),
    st.integers(-1, 60) | st.sampled_from([2.5, None, "9", True]),
    st.sampled_from([torch.long, torch.long, torch.long, torch.int, torch.float]),
    st.integers(0, 2**32),
)
def test_sample(key, difficulties, num_cells, dtype, seed):
    task = tasks.get(key)
    difficulty = torch.tensor(difficulties, dtype=torch.long)
    right = dtype == torch.long and difficulties and type(num_cells) is int
    right = right and min(difficulties) >= task.min_difficulty and num_cells >= task.min_cells(max(difficulties))
    generator = torch.Generator().manual_seed(seed)
    if not right:
        with pytest.raises(ValueError) as caught:
            task.sample(difficulty.to(dtype), num_cells, generator)
        return one_line(caught.value)
    batch = task.sample(difficulty, num_cells, generator)
    assert batch.memory.shape == batch.target.shape == batch.mask.shape == (len(difficulties), num_cells)
    assert 0 <= batch.memory.min() <= batch.memory.max() < num_cells
    assert batch.mask.any(-1).all() and batch.limit.tolist() == [task.limit(each) for each in difficulties]
    for memory, target, mask, each in zip(batch.memory, batch.target, batch.mask, difficulties, strict=True):
        solved = torch.tensor(task.solve(memory.tolist(), each))
        assert torch.equal(solved[mask], target[mask]) and torch.equal(memory[~mask], target[~mask])


@st.composite
def instances(draw):
    """A memory and limits; one of them is nearly always wrong."""
    batch, num_cells = draw(st.integers(0, 3)), draw(st.integers(0, 6))
    cells = st.integers(*draw(st.sampled_from([(0, max(num_cells - 1, 0)), (-1, num_cells), (-(2**63), 2**63 - 1)])))
    rows = draw(st.lists(st.lists(cells, min_size=num_cells, max_size=num_cells), min_size=batch, max_size=batch))
    dtype = draw(st.sampled_from([torch.long, torch.long, torch.long, torch.int, torch.bool, torch.float]))
    memory = torch.tensor(rows, dtype=torch.long).to(dtype)
    steps = draw(st.lists(st.integers(-1, 9), min_size=batch, max_size=batch + draw(st.integers(0, 1))))
    limit = torch.tensor(steps, dtype=torch.long)
    return draw(st.sampled_from([memory, memory, memory, rows, None])), limit


@many
@given(instances(), st.sampled_from(["mlp", "lstm"]), st.sampled_from(["auto", "reference"]))
def test_run(instance, kind, kernel):
    memory, limit = instance
    machine = nram.Machine(**{**vars(MACHINES[kind]), "kernel": kernel})
    right = (
        isinstance(memory, torch.Tensor)
        and memory.dtype == torch.long
        and memory.ndim == 2
        and len(memory) == len(limit) > 0
        and memory.shape[1] >= 3
        and 0 <= memory.min() <= memory.max() < memory.shape[1]
        and limit.min() >= 1
    )
    if not right:
        for each in (machine, machine.discretize()):
            with pytest.raises(ValueError) as caught:
                each.run(memory, limit)
            one_line(caught.value)
        return
    before = memory.clone()
    assert torch.equal(machine.run(memory, limit), produce(machine.machines, memory[None], limit[None])[0])
    expected = produce_discrete(machine.machines, memory[None], limit[None])[0]
    assert torch.equal(machine.discretize().run(memory, limit), expected)
    assert torch.equal(memory, before)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
READ = ("format", "task", "num_registers", "repetitions", "controller", "hidden")  # what `load` reads of config.json


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    machine = random_machine(hidden=4)
    folder = write_run(tmp_path_factory.mktemp("runs") / "run", machine)
    (folder / "weights.safetensors").write_bytes(weights_bytes(machine.params, "copy"))
    return folder


@many
@given(data=st.data())
def test_load(run_folder, data):
    """One file of a run's folder is changed, cut off or replaced."""
    config, weights = (run_folder / "config.json").read_bytes(), (run_folder / "weights.safetensors").read_bytes()
    expected = nram.load(run_folder)
    change = data.draw(st.sampled_from(["setting", "config", "weights", "cut", "flip"]))
    if change == "setting":
        settings = json.loads(config)
        settings[data.draw(st.sampled_from(READ))] = data.draw(JSON | st.sampled_from([1, 2, 3, 4, "lstm", "copy"]))
        config = json.dumps(settings).encode()
    elif change == "config":
        config = data.draw(st.binary(max_size=20) | JSON.map(lambda value: json.dumps(value).encode()))
    elif change == "weights":
        weights = data.draw(st.binary(max_size=20))
    elif change == "cut":
        weights = weights[: data.draw(st.integers(0, len(weights) - 1))]
    else:
        place, bit = data.draw(st.integers(0, len(weights) - 1)), data.draw(st.integers(0, 7))
        weights = weights[:place] + bytes([weights[place] ^ (1 << bit)]) + weights[place + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_bytes(config)
        (Path(folder) / "weights.safetensors").write_bytes(weights)
        try:
            machine = nram.load(folder)
        except ValueError as error:
            return one_line(error)
    assert change in ("setting", "config", "flip")
    assert machine.params.keys() == expected.params.keys()
    assert all(torch.equal(value, expected.params[name]) for name, value in machine.params.items())
    assert machine.run(torch.tensor([[0, 1, 2]]), torch.tensor([2])).shape == (1, 3)


NAMES = sorted(TrainConfig.names())
NUMBERS = st.integers(-3, 60) | st.floats(0, 2) | st.sampled_from([10**400, -(10**30), 1e308, 2**64])
VALUES = JSON | NUMBERS | st.lists(NUMBERS, min_size=2, max_size=2) | st.sampled_from([*tasks.KEYS, "lstm", "cpu"])


def as_taken(value, kind):
    """A setting's value as the configuration tells it: lists are of floats, integers may be floats."""
    return list(map(float, value)) if isinstance(value, list) else float(value) if kind is float else value


@many
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), VALUES, max_size=4), st.sampled_from(tasks.KEYS))
@example({"seed": 10**400}, "copy")
@example({"learning_rate": [10**400, 10**401]}, "copy")
@example({"repetitions": 10**9}, "copy")
def test_configuration(changes, key):
    try:
        config = TrainConfig.from_dict({"task": key, **changes})
    except ValueError as error:
        return one_line(error)
    taken = config.to_dict()
    assert TrainConfig.from_dict(json.loads(json.dumps(taken, allow_nan=False))) == config
    for name, value in changes.items():
        default = value is None or (value == 0 and name in ("train_difficulty", "start_difficulty", "num_cells"))
        assert default or taken[name] == as_taken(value, type(taken[name]))
    num_cells, train_difficulty = config.examples.num_cells, config.examples.train_difficulty
    if config.task in tasks.KEYS and max(num_cells, train_difficulty) < 100:
        difficulty = torch.tensor([config.curriculum.start_difficulty, train_difficulty])
        tasks.get(config.task).sample(difficulty, num_cells)


@many
@given(st.text(max_size=12) | st.builds("{}={}".format, st.sampled_from(NAMES), JSON.map(json.dumps)))
@example("hidden=" + "[" * 100_000)
@example("hidden=" + "9" * 5_000)
def test_overrides_of_the_command_line(text):
    try:
        name, value = setting(text)
    except ValueError as error:
        assert "=" not in text
        return one_line(error)
    assert name == text.partition("=")[0]
    try:
        TrainConfig.for_task("copy", **{name: value} if name not in ("task", "cls") else {})
    except ValueError as error:
        one_line(error)


@many
@given(st.text(max_size=12) | JSON.map(json.dumps))
@example("[" * 100_000)
@example('{"hidden": ' + "9" * 5_000 + "}")
@example("0\n")
def test_overrides_of_the_runner(text):
    try:
        assert isinstance(json_object(text), dict)
    except ValueError as error:
        one_line(error)
