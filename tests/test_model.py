"""Loading machines from folders of all kinds, and running them on memories of all kinds."""

import pytest
import torch
from builders import random_machine, write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import nram
from nram.machine.discrete import produce_discrete
from nram.machine.run import produce


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_a_loaded_machine_runs_as_the_definition_does(tmp_path, kind):
    machine = random_machine(kind)
    loaded = nram.load(write_run(tmp_path / "run", machine))
    memory = torch.randint(11, (40, 11), generator=torch.Generator().manual_seed(1))
    limit = torch.randint(1, 9, (40,), generator=torch.Generator().manual_seed(2))
    expected = produce(machine.machines, memory[None], limit[None])[0]
    assert torch.equal(loaded.run(memory, limit), expected)
    discrete = produce_discrete(machine.machines, memory[None], limit[None])[0]
    assert torch.equal(loaded.discretize().run(memory, limit), discrete)
    assert (expected != memory).any()


def test_large_batches_are_run_in_parts(monkeypatch):
    machine = random_machine()
    memory = torch.randint(7, (30, 7), generator=torch.Generator().manual_seed(1))
    limit = torch.full((30,), 5)
    whole = machine.run(memory, limit)
    monkeypatch.setattr("nram.model.CHUNK_FLOATS", 4 * 7 * 7)
    assert torch.equal(machine.run(memory, limit), whole)


@pytest.mark.parametrize(
    ("memory", "limit", "message"),
    [
        (torch.zeros(2, 5), torch.ones(2, dtype=torch.long), "memory must be a LongTensor"),
        (torch.zeros(5, dtype=torch.long), torch.ones(1, dtype=torch.long), "memory must be a LongTensor"),
        ([[0, 1, 2]], torch.ones(1, dtype=torch.long), "memory must be a LongTensor"),
        (torch.full((2, 5), 5), torch.ones(2, dtype=torch.long), "holds integers 0..4"),
        (torch.full((2, 5), -1), torch.ones(2, dtype=torch.long), "holds integers 0..4"),
        (torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, dtype=torch.long), "at least 1 timestep"),
        (torch.zeros(2, 5, dtype=torch.long), torch.ones(3, dtype=torch.long), "limit must be a LongTensor"),
        (torch.zeros(2, 2, dtype=torch.long), torch.ones(2, dtype=torch.long), "at least 3 cells"),
        (torch.zeros(0, 5, dtype=torch.long), torch.ones(0, dtype=torch.long), "at least 1 example"),
    ],
)
def test_wrong_instances_are_refused(memory, limit, message):
    machine = random_machine()
    for each in (machine, machine.discretize()):
        with pytest.raises(ValueError, match=message):
            each.run(memory, limit)


def test_folders_that_are_no_runs_and_damaged_files_are_refused(tmp_path):
    machine = random_machine()
    with pytest.raises(FileNotFoundError, match="no config.json"):
        nram.load(tmp_path)
    with pytest.raises(ValueError, match="has format 2"):
        nram.load(write_run(tmp_path / "newer", machine, format=2))
    with pytest.raises(ValueError, match="shape"):
        nram.load(write_run(tmp_path / "other", machine, hidden=9))
    with pytest.raises(ValueError, match="controller"):
        nram.load(write_run(tmp_path / "kind", machine, controller="gru"))
    folder = write_run(tmp_path / "cut", machine)
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match="weights.safetensors is damaged"):
        nram.load(folder)
    (folder / "config.json").write_text('{"format": 1, "task"')
    with pytest.raises(ValueError, match="config.json is damaged"):
        nram.load(folder)
    params = {**machine.params, "output_bias": machine.params["output_bias"].clone().fill_(float("nan"))}
    folder = write_run(tmp_path / "nan", machine)
    save_file(params, folder / "weights.safetensors")
    with pytest.raises(ValueError, match="output_bias holds values that are not finite"):
        nram.load(folder)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(-1, 6), min_size=3, max_size=6), min_size=1, max_size=3), st.integers(-1, 4))
def test_any_memory_is_run_or_refused(rows, steps):
    width = min(map(len, rows))
    memory = torch.tensor([row[:width] for row in rows])
    limit = torch.full((len(rows),), steps)
    machine = random_machine()
    try:
        produced = machine.run(memory, limit)
    except ValueError:
        assert memory.min() < 0 or memory.max() >= width or steps < 1
        return
    assert produced.shape == memory.shape and produced.min() >= 0 and produced.max() < width
