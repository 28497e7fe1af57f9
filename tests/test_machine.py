"""The reference machine: gradients, invariants, one-hot circuits against an interpreter on Python integers."""

from dataclasses import replace

import pytest
import torch

from nram.machine.circuit import Layout
from nram.machine.controller import init_member, make_controller
from nram.machine.discrete import discrete_timestep, produce_discrete
from nram.machine.modules import MODULES
from nram.machine.run import Machines, RunOptions, produce, unroll
from nram.machine.stopping import median_stop, stop_probs
from nram.machine.timestep import initial_registers, one_hot_memory, timestep
from nram.tasks import Batch

DOUBLE = torch.float64


def make_machines(
    kind="mlp", population=2, registers=3, repetitions=1, hidden=5, seed=0, dtype=DOUBLE, scale=1.0, stop=0.0
):
    """Machines with random parameters."""
    layout = Layout(registers, repetitions)
    controller = make_controller(kind, layout, hidden)
    generator = torch.Generator().manual_seed(seed)
    members = [init_member(controller, generator, scale, stop) for _ in range(population)]
    params = {name: torch.stack([member[name] for member in members]).to(dtype) for name in members[0]}
    return Machines(layout, controller, params)


def make_batch(population=2, batch=3, num_cells=5, limits=(1, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (population, batch, num_cells)
    memory, target = torch.randint(num_cells, (2, *shape), generator=generator)
    mask = torch.rand(shape, generator=generator) < 0.5
    limit = torch.randint(limits[0], limits[1] + 1, (population, batch), generator=generator)
    return Batch(memory, target, mask, limit, difficulty=limit)


def interpret(layout, sources, registers, memory):
    """One integer timestep on Python lists, written without the package's modules; changes `memory`."""
    num_cells, values, slots = len(memory), list(registers), iter(sources)
    two = {
        "ADD": lambda a, b: a + b,
        "SUB": lambda a, b: a - b,
        "LESS-THAN": lambda a, b: int(a < b),
        "LESS-OR-EQUAL-THAN": lambda a, b: int(a <= b),
        "EQUALITY-TEST": lambda a, b: int(a == b),
        "MIN": min,
        "MAX": max,
    }
    for _ in range(layout.repetitions):
        for module in MODULES:
            if module.name in ("ZERO", "ONE", "TWO"):
                value = ("ZERO", "ONE", "TWO").index(module.name)
            elif module.name == "READ":
                value = memory[values[next(slots)]]
            elif module.name == "INC":
                value = values[next(slots)] + 1
            elif module.name == "DEC":
                value = values[next(slots)] - 1
            else:
                a, b = values[next(slots)], values[next(slots)]
                if module.name == "WRITE":
                    memory[a], value = b, 0
                else:
                    value = two[module.name](a, b)
            values.append(value % num_cells)
    return [values[source] for source in slots]


@pytest.mark.parametrize("repetitions", [1, 2])
@pytest.mark.parametrize("num_cells", [4, 9])
def test_one_hot_circuits_compute_what_the_interpreter_does(repetitions, num_cells):
    layout = Layout(3, repetitions)
    generator = torch.Generator().manual_seed(num_cells)
    batch = 50
    widths = torch.tensor([slot.width for slot in layout.slots])
    memory_ints = torch.randint(num_cells, (batch, num_cells), generator=generator)
    registers_ints = torch.zeros(batch, 3, dtype=torch.long)
    registers = initial_registers(layout, (batch,), num_cells, torch.float32)
    memory = one_hot_memory(memory_ints, torch.float32)
    discrete_memory = memory_ints.clone()
    expected_memory, expected_registers = memory_ints.tolist(), registers_ints.tolist()
    for _ in range(6):
        sources = (torch.rand(batch, len(widths), generator=generator) * widths).long()
        weights = layout.softmax(layout.one_hot_logits(sources))
        registers, memory = timestep(layout, weights, registers, memory)
        registers_ints = discrete_timestep(
            layout, sources, registers_ints, discrete_memory, torch.ones(batch, dtype=torch.bool)
        )
        expected_registers = [
            interpret(layout, sources[n].tolist(), expected_registers[n], expected_memory[n]) for n in range(batch)
        ]
        assert registers.argmax(-1).tolist() == expected_registers == registers_ints.tolist()
        assert memory.argmax(-1).tolist() == expected_memory == discrete_memory.tolist()
        assert set(memory.unique().tolist()) == {0.0, 1.0} == set(registers.unique().tolist())


@pytest.mark.slow
@pytest.mark.parametrize("repetitions", [1, 2])
def test_gradcheck_of_one_timestep(repetitions):
    layout = Layout(2, repetitions)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, layout.num_logits, generator=generator, dtype=DOUBLE, requires_grad=True)
    registers, memory = (
        torch.randn(1, *shape, generator=generator, dtype=DOUBLE).softmax(-1).requires_grad_()
        for shape in ((2, 4), (4, 4))
    )

    # Gradients flow through rescaling as if it were absent, so compare along directions that keep all sums at 1.
    def run(logits, registers_logits, memory_logits):
        return timestep(layout, layout.softmax(logits), registers_logits.softmax(-1), memory_logits.softmax(-1))

    assert torch.autograd.gradcheck(run, (logits, registers, memory), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_gradcheck_of_a_short_run(kind):
    machines = make_machines(kind, population=1, registers=2, hidden=2)
    batch = make_batch(population=1, batch=2, limits=(2, 3), num_cells=4)

    def run(*values):
        params = dict(zip(machines.params, values, strict=True))
        outcome = unroll(replace(machines, params=params), batch, RunOptions(want_entropy=True))
        loss = -(stop_probs(outcome.stop_logits, batch.limit) * outcome.log_likelihood).sum(0)
        return loss, outcome.entropy

    assert torch.autograd.gradcheck(run, [value.requires_grad_() for value in machines.params.values()], atol=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_activation_clipping_changes_gradients_only_and_bounds_them(kind):
    machines = make_machines(kind)
    batch = make_batch(limits=(3, 4))
    gradients = []
    for clip in (None, 1e6, 1e-3):
        leaves = {name: value.clone().requires_grad_() for name, value in machines.params.items()}
        outcome = unroll(replace(machines, params=leaves), batch, RunOptions(clip))
        loss = -(stop_probs(outcome.stop_logits, batch.limit) * outcome.log_likelihood).sum()
        loss.backward()
        gradients.append((loss.item(), leaves["output_bias"].grad))
    (loss, free), (loose_loss, loose), (tight_loss, tight) = gradients
    assert loss == loose_loss == tight_loss
    torch.testing.assert_close(free, loose)
    steps_times_examples = 4 * 3
    assert tight.abs().max() <= 1e-3 * steps_times_examples < free.abs().max()


def test_rows_sum_to_one_after_100_timesteps():
    machines = make_machines(repetitions=2, dtype=torch.float32, scale=2.0)
    layout, memory = machines.layout, make_batch(num_cells=8).memory
    registers = initial_registers(layout, memory.shape[:2], 8, torch.float32)
    tape, state = one_hot_memory(memory, torch.float32), ()
    for _ in range(100):
        outputs, state = machines.controller.step(machines.params, registers[..., 0], state)
        registers, tape = timestep(layout, layout.softmax(outputs[..., :-1]), registers, tape)
    assert (registers.sum(-1) - 1).abs().max() < 1e-5
    assert (tape.sum(-1) - 1).abs().max() < 1e-5


def test_stop_probabilities():
    generator = torch.Generator().manual_seed(0)
    stop_logits = torch.randn(7, 50, generator=generator, dtype=DOUBLE) * 3
    limit = torch.randint(1, 8, (50,), generator=generator)
    probs = stop_probs(stop_logits, limit)
    torch.testing.assert_close(probs.sum(0), torch.ones(50, dtype=DOUBLE))
    stop = median_stop(stop_logits, limit)
    for n in range(50):
        alive, cumulative = 1.0, 0.0
        for t in range(limit[n]):
            f = torch.sigmoid(stop_logits[t, n]).item()
            p = f * alive if t < limit[n] - 1 else alive
            assert probs[t, n].item() == pytest.approx(p, abs=1e-12)
            if cumulative < 0.5 <= cumulative + p:
                assert stop[n] == t
            cumulative, alive = cumulative + p, alive * (1 - f)
        assert (probs[limit[n] :, n] == 0).all()


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_wrong_cells_are_those_of_the_produced_memory(kind):
    machines = make_machines(kind, scale=2.0, stop=-1.5)
    batch = make_batch(batch=40, num_cells=8, limits=(1, 9))
    outcome = unroll(machines, batch)
    produced = produce(machines, batch.memory, batch.limit)
    assert torch.equal(((produced != batch.target) & batch.mask).sum(-1), outcome.wrong_cells)
    assert len(outcome.stop_step.unique()) > 3


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_sharp_machines_and_their_discretized_form_agree(kind):
    members = 8
    machines = make_machines(kind, population=members, scale=1e5, dtype=torch.float32, stop=-1e5)
    memory = make_batch(population=members, batch=64, num_cells=12).memory
    limit = torch.full((members, 64), 6)
    fuzzy = produce(machines, memory, limit)
    discrete = produce_discrete(machines, memory, limit)
    assert (fuzzy == discrete).all(-1).float().mean() > 0.9
    assert (fuzzy != memory).any(-1).float().mean() > 0.3


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_the_controller_does_not_depend_on_the_memory_size(kind):
    machines = make_machines(kind, population=1)
    for num_cells in (4, 40):
        batch = make_batch(population=1, num_cells=num_cells)
        assert produce(machines, batch.memory, batch.limit).shape == batch.memory.shape
    assert {name: tuple(value.shape[1:]) for name, value in machines.params.items()} == machines.controller.shapes()


def test_layout_covers_every_logit_once():
    layout = Layout(4, 2)
    assert sum(slot.width for slot in layout.slots) == layout.num_logits
    assert [slot.start for slot in layout.slots[1:]] == [slot.start + slot.width for slot in layout.slots[:-1]]
    assert len(layout.slots) == sum(module.arity for module in layout.modules) + 4
    assert layout.source_names[:5] == ("r1", "r2", "r3", "r4", "READ") and "READ2" in layout.source_names
    with pytest.raises(ValueError, match="num_registers"):
        Layout(0)
    with pytest.raises(ValueError, match="controller"):
        make_controller("gru", layout, 4)
