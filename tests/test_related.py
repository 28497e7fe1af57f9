"""The other systems: the tasks as tokens, each system's mechanism by hand, their training and measurement."""

from dataclasses import replace

import pytest
import torch

from nram import tasks
from nram.related import adamax, dngpu, measure, ntm, opponent, stack_rnn, tokens, training
from nram.related.systems import SYSTEMS
from nram.related.tokens import BLANK, HASH, SEP, THINK


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# The tasks as tokens


@pytest.mark.parametrize("key", [*tokens.KEYS, *tokens.OPTIONAL])
def test_samples_are_those_of_the_task_with_few_values(key):
    task = tokens.few_values(key)
    batch = tokens.draw(key, 6, 40, rng())
    assert batch.memory.shape[1] == task.smallest_memory(15) >= 9
    assert batch.target[batch.mask].min() >= 1 and batch.target[batch.mask].max() <= 8
    assert (batch.memory == batch.target)[~batch.mask].all()
    if key != "increment":  # there the successor is taken modulo M
        for memory, target, mask in zip(batch.memory, batch.target, batch.mask, strict=True):
            solved = torch.tensor(tasks.get(key).solve(memory.tolist(), 6))
            assert (solved == target)[mask].all()
    mixed = task.sample(torch.tensor([2, 15, 7]), task.smallest_memory(15), rng())
    assert mixed.mask.any(-1).all() and mixed.memory.max() < mixed.memory.shape[1]


@pytest.mark.parametrize(("key", "highest"), [("copy", 8), ("reverse", 8), ("increment", 7), ("access", 8)])
def test_values_are_uniform(key, highest):
    first = 0 if key == "increment" else 1
    values = tokens.draw(key, 15, 2000, rng()).memory[:, first : first + 15]
    counts = torch.bincount(values.flatten(), minlength=9)[1:]
    expected = 30000 / highest
    assert counts[highest:].sum() == 0
    assert ((counts[:highest] - expected).abs() < 5 * expected**0.5).all()


def test_sequences():
    shown = {}
    for key in (*tokens.KEYS, "access", "merge"):
        batch = tokens.draw(key, 3, 1, rng(1))
        sequences = tokens.encode(key, batch)
        shown[key] = batch.memory[0].tolist(), sequences.tokens[0].tolist(), sequences.answers[0].tolist()
    memory, read, answers = shown["copy"]
    assert read == [each - 1 for each in memory[1:4]] + [SEP] + [BLANK] * 3 and answers == memory[1:4]
    memory, read, answers = shown["reverse"]
    assert answers == memory[3:0:-1]
    memory, read, answers = shown["increment"]
    assert read[:3] == [each - 1 for each in memory[:3]] and answers == [each + 1 for each in memory[:3]]
    memory, read, answers = shown["access"]
    assert read == [HASH] * memory[0] + [BLANK] * (3 - memory[0]) + [SEP] + [m - 1 for m in memory[1:4]] + [SEP, BLANK]
    assert answers == [memory[memory[0]]]
    memory, read, answers = shown["merge"]
    values = [each + 1 for each in read[:4] if each != SEP]
    assert answers == sorted(values) and read[:4].count(SEP) == 1 and read[4:] == [SEP] + [BLANK] * 3
    thinking = tokens.encode("copy", tokens.draw("copy", 3, 1, rng(1)), think=True).tokens[0].tolist()
    assert thinking[3:] == [SEP] + [THINK] * 3 + [BLANK] * 3


def test_what_cannot_be_encoded_is_refused():
    assert {*tokens.KEYS, *tokens.OPTIONAL, *tokens.NOT_EXPRESSIBLE} == set(tasks.KEYS)
    with pytest.raises(ValueError, match="'listk' is not expressible as tokens: Nodes lie"):
        tokens.few_values("listk")
    batch = tokens.few_values("copy").sample(torch.tensor([2, 3]), 13, rng())
    with pytest.raises(ValueError, match="one length"):
        tokens.encode("copy", batch)
    with pytest.raises(ValueError, match="structured inputs for copy, reverse, increment"):
        tokens.structured("merge", 5)


def test_structured_inputs():
    for key in tokens.KEYS:
        batch = tokens.structured(key, 5)
        sequences = tokens.encode(key, batch)
        assert len(batch.memory) == (14 if key == "increment" else 16)
        assert (sequences.tokens[0, :5] == 0).all() and sequences.tokens[-1, :5].unique().numel() == 2
        expected = sequences.tokens[:, :5] + 1
        expected = {"copy": expected, "reverse": expected.flip(1), "increment": expected + 1}[key]
        assert (sequences.answers == expected).all()
    assert tokens.chance_error()["copy"] == 0.875 and round(tokens.chance_error()["increment"], 3) == 0.857


# Each system


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_gives_logits_of_every_token_and_learns_from_all_its_parameters(name):
    system = SYSTEMS[name]
    torch.manual_seed(0)
    model = system.make()
    sequences = tokens.encode("reverse", tokens.draw("reverse", 4, 3, rng()), system.think)
    assert model(sequences.tokens).shape == (*sequences.tokens.shape, 8)
    loss, right = training.cross_entropy(model, sequences)
    loss.backward()
    assert right.shape == (3, 4) and 1.5 < loss.item() < 3
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())
    again = system.make()
    again.load_state_dict(model.state_dict())
    one = training.measured(model, sequences)[0]
    assert one == training.measured(again, sequences)[0], "parameters are all of a model's state"
    if system.hard:
        assert model(sequences.tokens, hard=True).shape == (*sequences.tokens.shape, 8)


def test_forget_gates_start_open():
    for cells in (SYSTEMS["lstm"].make().cells, SYSTEMS["ntm"].make().controller):
        biases = [value for name, value in cells.named_parameters() if name.startswith("bias")]
        assert torch.equal(sum(biases)[len(biases[0]) // 4 : len(biases[0]) // 2], torch.ones(len(biases[0]) // 4))


def test_a_stack_is_pushed_popped_and_left():
    stack = torch.tensor([[3.0], [5.0], [0.0]])
    push, pop, noop = torch.eye(3)
    pushed = torch.tensor([7.0])
    assert stack_rnn.act(stack, push, pushed).flatten().tolist() == [7, 3, 5]
    assert stack_rnn.act(stack, pop, pushed).flatten().tolist() == [5, 0, 0]
    assert stack_rnn.act(stack, noop, pushed).flatten().tolist() == [3, 5, 0]
    half = stack_rnn.act(stack, torch.tensor([0.5, 0.25, 0.25]), pushed)
    assert half.flatten().tolist() == [0.5 * 7 + 0.25 * 5 + 0.25 * 3, 0.5 * 3 + 0.25 * 5, 0.5 * 5]
    inputs = [each.double().requires_grad_() for each in (stack, half[:, 0].softmax(0), pushed)]
    assert torch.autograd.gradcheck(stack_rnn.act, inputs)


def test_a_hand_set_stack_rnn_reverses():
    """It pushes values, pops at blanks and answers with the top cell."""
    model = stack_rnn.StackRNN(stacks=1, hidden=tokens.NUM_TOKENS + 8, cell=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.controller.weight_ih.copy_(torch.eye(tokens.NUM_TOKENS + 8))  # h: the token, and the top cell
        model.pushed.weight[:, :8] = torch.eye(8)
        model.output.weight[:, tokens.NUM_TOKENS :] = torch.eye(8)
        model.actions.weight[stack_rnn.PUSH, :8] = 100
        model.actions.weight[stack_rnn.PUSH + 1, BLANK] = 100
        model.actions.weight[stack_rnn.PUSH + 2, SEP] = 100
    sequences = tokens.encode("reverse", tokens.draw("reverse", 20, 10, rng()))
    for hard in (False, True):
        assert training.measured(model, sequences, hard=hard)[1].all()


def test_an_ntm_addresses_by_content_and_by_shift():
    memory = torch.eye(4, 3).unsqueeze(0).double() + 1e-6
    key = memory[:, 1:2]
    by_content = ntm.content(memory, key, torch.full((1, 1, 1), 50.0))
    assert by_content.argmax() == 1 and torch.isclose(by_content.sum(), torch.tensor(1.0).double())
    before = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]).double()
    onwards = torch.tensor([[[0.0, 0.0, 1.0]]]).double()
    assert ntm.shift(before, onwards).tolist() == [[[1, 0, 0, 0]]], "circular"
    assert ntm.shift(before, onwards.flip(-1)).tolist() == [[[0, 0, 1, 0]]]
    blurred = torch.tensor([[[0.1, 0.2, 0.7, 0.0]]]).double()
    sharp = ntm.sharpen(blurred, torch.full((1, 1, 1), 2.0).double())
    assert torch.allclose(sharp, blurred**2 / (blurred**2).sum(), atol=1e-9)
    assert ntm.sharpen(torch.full((1, 1, 128), 1 / 128), torch.full((1, 1, 1), 40.0)).isfinite().all()
    # A closed gate leaves the content out: shift the last weighting by one.
    head = torch.cat([key, torch.tensor([[[5.0, -50.0, -50.0, -50.0, 50.0, 5.0]]])], -1)
    assert ntm.address(head, memory, before).argmax() == 0
    head[..., 4] = 50.0  # and now open
    head[..., 5:8] = torch.tensor([-50.0, 50.0, -50.0])
    assert ntm.address(head, memory, before).argmax() == 1


def test_weightings_sum_to_one_and_gradients_are_right():
    heads = torch.randn(2, 2, 9, generator=rng()).double().requires_grad_()
    memory = torch.randn(2, 5, 3, generator=rng(1)).double().requires_grad_()
    before = torch.rand(2, 2, 5, generator=rng(2)).double().softmax(-1).requires_grad_()
    weights = ntm.address(heads, memory, before)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 2).double()) and (weights >= 0).all()
    assert torch.autograd.gradcheck(ntm.address, (heads, memory, before))


def test_the_diagonal_gate_shifts_thirds_of_the_channels():
    s = torch.arange(1.0, 4.0)[None, :, None].expand(1, 3, 6)
    left, right, stay = dngpu.shift(s)[0].T.split(2)
    assert left.tolist() == [[2, 3, 0]] * 2 and right.tolist() == [[0, 1, 2]] * 2 and stay.tolist() == [[1, 2, 3]] * 2
    assert dngpu.neighbors(torch.tensor([[[1.0], [2.0]]])).tolist() == [[[0, 1, 2], [1, 2, 0]]]
    x = torch.tensor([-3.0, -1.0, 0.0, 0.5, 2.0])
    assert dngpu.hard_sigmoid(x).tolist() == [0, 0, 0.5, 0.75, 1] and dngpu.hard_tanh(x).tolist() == [-1, -1, 0, 0.5, 1]
    assert dngpu.beyond(x).item() == pytest.approx(2.1 + 0.1 + 1.1)


def test_a_hand_set_dngpu_carries_tokens_along_the_diagonal():
    """With open update gates a token's channels move n places in n steps, or stay."""
    model = dngpu.DNGPU(maps=36, dropout=0.1)
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for first in (0, 12, 24):  # channels that move left, right, and stay
            model.input.weight[first : first + 12] = torch.eye(12)
        model.gates.bias[36:] = 10  # u is 1
    states = []
    model.output.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
    tokens_in = torch.tensor([[0, 3, BLANK]])
    model(tokens_in)
    moved, stayed = states[0].split([24, 12], -1)
    assert torch.equal(stayed, tokens.one_hot(tokens_in)) and not moved.any(), "after n steps movers have left"
    once = dngpu.shift(torch.cat([tokens.one_hot(tokens_in)] * 3, -1))
    assert once[0, 0, :12].argmax() == 3 and once[0, 1, 12:24].argmax() == 0 and once[0, 1, 24:].argmax() == 3
    assert model.saturation == 0, "only training has a cost"


def test_adamax_clips_and_slows_down():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = adamax.AdaMax([parameter], 0.1, rng())
    for gradient, v in ((5.0, 1e-4), (5.0, 2.2e-4), (1e-5, 2.2e-4 * (1 - 0.01 * 0.5 ** (2 / 2000)))):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
        assert optimizer.largest[0].item() == pytest.approx(v, rel=1e-5)
    assert parameter.item() < 0
    for _ in range(40):
        optimizer.on_loss(1.0)
    assert optimizer.learning_rate == pytest.approx(0.1 / 60)


# Training and measuring


def test_training_takes_its_seconds_and_keeps_the_best(monkeypatch):
    monkeypatch.setattr(training, "VALIDATE_SECONDS", 0.1)
    monkeypatch.setattr(training, "CHECK_EVERY", 2)
    monkeypatch.setattr(training, "VALIDATED", 2)
    seen = []
    learned = training.train(SYSTEMS["lstm"], "copy", 3, 0.2, lambda *each: seen.append(each))
    assert 0.2 <= learned.cpu_seconds < 2 and learned.sequences == 32 * learned.updates > 0
    assert seen[0][0] == 2 and 0 <= learned.exact <= 1 and not learned.model.training


def test_the_curriculum_rises_with_success_and_several_lengths_share_an_update():
    def of(system, key="copy"):
        return training._Training(system, key, system.make(), rng())

    common = of(replace(SYSTEMS["lstm"], curriculum=True))
    drawn = [common.lengths() for _ in range(100)]
    assert all(len(each) == 1 for each in drawn) and {1, 2, 3, 15} <= {each[0] for each in drawn}
    assert sum(each[0] > 3 for each in drawn) < 40
    common.raise_maximum()
    assert common.maximum == 3
    common.model = hand_made = stack_rnn.StackRNN(stacks=1, hidden=64, cell=8)
    answers = iter([1.0, 1.0, 0.5])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "measured", lambda *_: (None, torch.full((4, 3), next(answers)) > 0.6))
        common.raise_maximum()
    assert common.maximum == 5 and common.model is hand_made
    bins = of(SYSTEMS["dngpu"]).lengths()
    assert len(bins) == SYSTEMS["dngpu"].bins and bins == sorted(bins) and bins[0] <= 8 <= bins[-1]
    merging = of(SYSTEMS["lstm"], "merge")
    assert {each for _ in range(50) for each in merging.lengths()} <= set(range(2, 16))


def test_reach_ends_at_the_first_length_with_an_error():
    limits = []

    def answers(batch):
        length = int(batch.difficulty[0])
        limits.append(int(batch.limit[0]))
        return torch.full((len(batch.memory), length), length != 20)

    found = measure.measure("copy", answers, 5)
    assert found.lengths == list(range(1, 51)) and found.fit and found.reach == 19
    assert found.error[19] == 1 and found.error[18] == 0 and found.structured == [0, 0, 0]
    assert measure.measure("copy", lambda batch: answers(batch) & False, 5).reach == 0
    assert measure.measure("merge", answers, 5, [2, 20]).reach == 2


def test_the_machine_has_the_same_sequences_and_its_own_recipe():
    config = opponent.config_of("copy", 3, 300.0)
    assert config.examples.num_cells == 37 and config.budget.seconds == 300 and config.population.size == 24
    machine = opponent.train_machine("access", 3, 0.0).machine
    batch = tokens.draw("access", 5, 7, rng())
    for discretized in (False, True):
        assert measure.machine_answers(machine, discretized)(batch).shape == (7, 1)


@pytest.mark.slow
def test_a_stack_rnn_learns_to_reverse_further_than_it_was_trained():
    learned = training.train(SYSTEMS["stack"], "reverse", 950, 45.0)
    found = measure.measure("reverse", measure.model_answers("reverse", SYSTEMS["stack"], learned.model), 50)
    assert found.fit and found.reach >= 20
