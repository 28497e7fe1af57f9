"""Numbers that stay numbers, and distributions that stay distributions, whatever is trained and however long it runs.

The violent training below was run in full once, with NRAM_VIOLENT_BATCHES=10000 in the environment;
results/recorded/violent_training.csv has its outcome, a row per task and violence. The learning rate bounds
Adam's steps, so members die only beyond the search space.
"""

import math
import os
import time

import pandas as pd
import pytest
import torch

from nram import kernels, results, tasks
from nram.experiments import run as experiment
from nram.kernels.cpu.passes import Pass, Workspace
from nram.machine.circuit import Layout
from nram.machine.controller import init_member, make_controller
from nram.machine.run import Machines, RunOptions
from nram.machine.timestep import initial_registers, one_hot_memory, timestep
from nram.tasks import Batch
from nram.training.config import TrainConfig
from nram.training.population import Population

BATCHES = int(os.environ.get("NRAM_VIOLENT_BATCHES", 300))
TABLE = results.CHECKOUT / "results" / "recorded" / "violent_training.csv"
LEARNING_RATES = {"largest": 0.05, "beyond": 1e15}
VIOLENT = {  # what a search draws from, at its most violent: the paper's noise, no clipping
    "noise_eta": (0.3, 0.3),
    "noise_scale": 1.0,
    "activation_clip": None,
    "gradient_norm": None,
    "output_scale": (2.0, 2.0),
    "entropy": (0.3, 0.3),
}


@pytest.mark.parametrize("violence", LEARNING_RATES)
@pytest.mark.parametrize("key", ["copy", "listk"])
@pytest.mark.slow
def test_violent_training_puts_nothing_into_the_metrics_that_is_no_number(tmp_path, key, violence):
    small = {
        "learning_rate": (LEARNING_RATES[violence],) * 2,
        "hidden": 24,
        "verify_cases": 50,
        "polish_batches": 50,
        "budget_seconds": 1e6,
        "keep_going": True,
    }
    config = TrainConfig.for_task(key, **VIOLENT, **small, population=8, batch_size=4, budget_batches=BATCHES)
    folder = experiment.run(config, tmp_path, cases=20, max_complexity=10, progress=False)
    run = results.load_run(folder)
    numbers = [value for value in run.metrics.values() if isinstance(value, float)]
    assert numbers and all(map(math.isfinite, numbers))
    assert all(weight.isfinite().all() for weight in results.load_weights(folder)[0].values())
    assert run.history.drop(columns="levels").apply(lambda column: column.map(math.isfinite)).all(axis=None)
    assert run.generalization["error"].between(0, 1).all()
    assert run.trials["error"].between(0, 1).all() and run.trials["trial"].tolist() == list(range(len(run.trials)))
    assert set(run.trials["ended"]) <= {"dead", "restarted", "solved", "budget"}
    ended = run.trials["ended"].value_counts()
    assert run.metrics["members_dead"] == ended.get("dead", 0)
    assert violence == "largest" or run.metrics["members_dead"] >= 8
    if BATCHES >= 10_000:
        record({"task": key, "violence": violence, "learning_rate": LEARNING_RATES[violence]}, config, run, ended)


def record(what, config, run, ended):
    """Put the outcome of the whole training into the table."""
    row = what | {"batches": run.metrics["batches"], "members": config.population.size, "seeds": len(run.trials)}
    row |= {name: int(ended.get(name, 0)) for name in ("dead", "restarted", "solved", "budget")}
    row |= {"train_error": run.metrics["fuzzy_train_error"], "config_hash": run.provenance["config_hash"]}
    row |= {"command": f"NRAM_VIOLENT_BATCHES={BATCHES} {run.provenance['command']}"}
    row |= {name: run.provenance[name] for name in ("commit", "kernel", "device", "seconds")}
    row |= run.provenance["versions"]
    rows = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    rows = [each for each in rows if (each["task"], each["violence"]) != (what["task"], what["violence"])]
    pd.DataFrame([*rows, row]).to_csv(TABLE, index=False)


@pytest.mark.parametrize("what", ["theta", "first_moment", "second_moment"])
def test_a_member_one_of_whose_numbers_is_not_finite_is_dead(what):
    config = TrainConfig.for_task("access", population=4, hidden=8)
    population = Population(config, tasks.get("access"))
    with torch.no_grad():
        getattr(population.members, what)[2, 7] = math.inf
    assert population.members.finite().tolist() == [True, True, False, True]


@pytest.mark.parametrize("replacement", [True, False])
def test_a_training_whose_members_all_died_says_so(tmp_path, replacement, monkeypatch):
    config = TrainConfig.for_task(
        "access", population=3, hidden=8, budget_batches=15, replacement=replacement, verify_cases=20
    )
    monkeypatch.setattr("nram.training.loop.train_step", poison)
    if not replacement:
        with pytest.raises(ValueError, match="no machine is left: the numbers of all members stopped being finite"):
            experiment.run(config, tmp_path, cases=5, max_complexity=4, progress=False)
        return
    run = results.load_run(experiment.run(config, tmp_path, cases=5, max_complexity=4, progress=False))
    assert run.trials["ended"].tolist() == ["dead"] * 6 + ["budget"] * 3
    assert run.metrics["members_dead"] == 6 and run.metrics["fuzzy_train_error"] > 0


@torch.no_grad()
def poison(population, generator):
    """A training step after which no member has finite parameters."""
    population.members.theta.fill_(math.nan)
    population.members.age += 1


STEPS, CELLS, REGISTERS, BATCH = 1000, 9, 3, 2


def long_run(kind, repetitions):
    """A machine with soft circuits that reads and writes at every timestep, and its memories."""
    layout = Layout(REGISTERS, repetitions)
    controller = make_controller(kind, layout, 8)
    member = init_member(controller, torch.Generator().manual_seed(5), output_scale=4.0, stop_bias=-30.0)
    params = {name: value[None] for name, value in member.items()}
    memory = torch.randint(CELLS, (1, BATCH, CELLS), generator=torch.Generator().manual_seed(6))
    return Machines(layout, controller, params), memory


def assert_distributions(rows):
    assert rows.dtype == torch.float32 and rows.min() >= 0
    assert (rows.sum(-1) - 1).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
@pytest.mark.parametrize("repetitions", [1, 2])
@pytest.mark.slow
def test_tape_and_registers_stay_distributions_over_a_thousand_timesteps(kind, repetitions):
    machines, memory = long_run(kind, repetitions)
    layout, controller, params = machines.layout, machines.controller, machines.params
    registers = initial_registers(layout, (1, BATCH), CELLS, torch.float32)
    tape, state = one_hot_memory(memory, torch.float32), controller.initial_state(params, BATCH)
    for _ in range(STEPS):
        outputs, state = controller.step(params, registers[..., 0], state)
        registers, tape = timestep(layout, layout.softmax(outputs[..., :-1]), registers, tape)
    assert_distributions(tape)
    assert_distributions(registers)
    assert (tape.amax(-1) < 0.99).any(), "soft"


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
@pytest.mark.parametrize("repetitions", [1, 2])
def test_so_they_do_in_the_fused_kernel(kind, repetitions):
    machines, memory = long_run(kind, repetitions)
    workspace, limit = Workspace(), torch.full((1, BATCH), STEPS)
    batch = Batch(memory, memory, memory >= 0, limit, difficulty=limit)
    run = Pass(machines, batch, RunOptions(), workspace=workspace, keep=True)
    sizes = run.sizes
    assert sizes.kept == STEPS + 1
    shape = {"tapes": (BATCH, sizes.kept, CELLS, sizes.stride), "values": (BATCH, sizes.kept, -1, sizes.stride)}
    tapes = workspace.take("tapes", math.prod(shape["tapes"]), torch.float32).view(shape["tapes"])
    values = workspace.take("values", BATCH * sizes.kept * sizes.sources * sizes.stride, torch.float32)
    registers = values.view(shape["values"])[:, :, :REGISTERS]
    assert tapes[:, 0].argmax(-1).equal(memory[0]), "these are the tapes"
    assert_distributions(tapes[..., :CELLS])
    assert_distributions(registers[..., :CELLS])
    assert (tapes[:, -1].amax(-1) < 0.99).any(), "soft"


@pytest.mark.slow
def test_a_run_of_a_thousand_timesteps_is_the_same_on_both():
    machines, memory = long_run("mlp", 1)
    limit = torch.full((1, BATCH), STEPS)
    began = time.monotonic()
    produced = [kernels.produce(machines, memory, limit, kernel) for kernel in ("cpu", "reference")]
    assert time.monotonic() - began < 60
    assert produced[0].equal(produced[1])
