"""The tasks: targets against plain solvers, solvers against the paper, limits, errors, and tasks of your own."""

import textwrap

import pytest
import torch
from builders import draw, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from nram import tasks
from nram.tasks import task as task_module

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
OUTPUT_CELLS = {  # in order, as the paper's appendix places them
    "access": lambda d: [0],
    "increment": lambda d: range(d),
    "copy": lambda d: range(d + 1, 2 * d + 1),
    "reverse": lambda d: range(d + 1, 2 * d + 1),
    "swap": lambda d: range(2, d + 2),
    "permutation": lambda d: range(1, d + 1),
    "listk": lambda d: [2],
    "listsearch": lambda d: [2],
    "merge": lambda d: range(d + 5, 2 * d + 5),
    "walkbst": lambda d: [1],
}
SMALLEST_MEMORY = {
    "access": lambda d: d + 2,
    "increment": lambda d: d + 1,
    "copy": lambda d: 2 * d + 1,
    "reverse": lambda d: 2 * d + 1,
    "swap": lambda d: d + 3,
    "permutation": lambda d: 2 * d + 1,
    "listk": lambda d: 3 + 2 * d,
    "listsearch": lambda d: 3 + 2 * d,
    "merge": lambda d: 2 * d + 5,
    "walkbst": lambda d: 4 * d + 2,
}


def check_answers(key, batch):
    num_cells = batch.memory.shape[1]
    for d, memory, target, output in rows(batch):
        final = tasks.get(key).solve(memory, d)
        assert output == list(OUTPUT_CELLS[key](d))
        assert [target[i] for i in output] == [final[i] for i in output]
        assert all(target[i] == memory[i] for i in set(range(num_cells)) - set(output))
        assert 0 <= min(memory + target) and max(memory + target) < num_cells


# Targets against solvers


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("spare_cells", [0, 1, 9])
@pytest.mark.parametrize("key", tasks.KEYS)
def test_targets_equal_the_solver_with_mixed_difficulties(key, spare_cells, device):
    task = tasks.get(key)
    hardest = task.train_difficulty + 10
    difficulties = list(range(task.min_difficulty, hardest + 1)) * 4
    batch = draw(key, difficulties, task.min_cells(hardest) + spare_cells, device=device)
    assert batch.memory.device.type == device
    check_answers(key, batch)


@pytest.mark.parametrize("key", tasks.KEYS)
def test_targets_equal_the_solver_in_the_smallest_memory(key):
    task = tasks.get(key)
    for d in [*range(task.min_difficulty, 9), 50, 200]:
        assert task.min_cells(d) == SMALLEST_MEMORY[key](d)
        check_answers(key, draw(key, [d] * 12, task.min_cells(d), seed=d))


@settings(max_examples=60, deadline=None)
@given(
    key=st.sampled_from(tasks.KEYS),
    difficulties=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    spare_cells=st.integers(0, 30),
    seed=st.integers(0, 2**32),
)
def test_targets_equal_the_solver_whatever_the_batch(key, difficulties, spare_cells, seed):
    check_answers(key, draw(key, difficulties, tasks.get(key).min_cells(max(difficulties)) + spare_cells, seed))


# Solvers against the paper and examples worked by hand

PUBLISHED = {  # difficulty, first and last memory of the executions in tables 2 to 6 of the paper
    "copy": (
        5,
        [6, 2, 10, 6, 8, 9, 0, 0, 0, 0, 0, 0],
        [6, 2, 10, 6, 8, 9, 2, 10, 6, 8, 9, 0],
    ),
    "access": (
        14,
        [3, 1, 12, 4, 7, 12, 1, 13, 8, 2, 1, 3, 11, 11, 12, 0],
        [4, 1, 12, 4, 7, 12, 1, 13, 8, 2, 1, 3, 11, 11, 12, 0],
    ),
    "increment": (
        10,
        [1, 11, 3, 8, 1, 2, 9, 8, 5, 3, 0, 0, 0, 0, 0, 0],
        [2, 12, 4, 9, 2, 3, 10, 9, 6, 4, 0, 0, 0, 0, 0, 0],
    ),
    "reverse": (
        7,
        [8, 8, 1, 3, 5, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0],
        [8, 8, 1, 3, 5, 1, 1, 2, 2, 1, 1, 5, 3, 1, 8, 0],
    ),
    "swap": (
        12,
        [4, 13, 6, 10, 5, 4, 6, 3, 7, 1, 1, 11, 13, 12, 0, 0],
        [5, 13, 6, 10, 12, 4, 6, 3, 7, 1, 1, 11, 13, 5, 0, 0],
    ),
}


@pytest.mark.parametrize("key", PUBLISHED)
def test_solvers_and_layouts_agree_with_the_published_executions(key):
    d, start, end = PUBLISHED[key]
    final = tasks.get(key).solve(start, d)
    output = list(OUTPUT_CELLS[key](d))
    assert [final[i] for i in output] == [end[i] for i in output]
    zeros = [i for i, value in enumerate(start) if value == 0]
    batch = draw(key, [d] * 20, len(start))
    assert all([i for i, value in enumerate(memory) if value == 0] == zeros for _, memory, _, _ in rows(batch))


def test_solvers_of_the_other_tasks_on_examples_worked_by_hand():
    def answer(key, d, memory):
        final = tasks.get(key).solve(memory, d)
        return [final[i] for i in OUTPUT_CELLS[key](d)]

    assert answer("permutation", 3, [4, 2, 0, 1, 7, 8, 9]) == [9, 7, 8]
    linked = [7, 1, 2, 0, 5, 0, 0, 3, 9]  # 9 at cell 7, then 5 at cell 3
    assert answer("listk", 2, linked) == [5]
    assert answer("listk", 2, [7, 0, *linked[2:]]) == [9]
    assert answer("listsearch", 2, [7, 5, *linked[2:]]) == [3]
    assert answer("listsearch", 2, [7, 9, *linked[2:]]) == [7]
    assert answer("merge", 3, [3, 6, 8, 2, 4, 15, 3, 15, *[0] * 8]) == [2, 3, 4]
    # 7 at cell 12, its left child 2 at cell 6, that one's right child 4 at cell 9
    tree = [12, 1, 0, 1, 0, 0, 2, 0, 9, 4, 0, 0, 7, 6, 0]
    assert answer("walkbst", 3, tree) == [4]
    assert answer("walkbst", 3, [*tree[:3], 0, *tree[4:]]) == [2]


# Seeds and limits


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("key", tasks.KEYS)
def test_a_seed_gives_its_batch_again(key, device):
    num_cells = tasks.get(key).min_cells(6)
    first, again, other = (draw(key, [6, 2, 4], num_cells, seed, device) for seed in (5, 5, 6))
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert not first.memory.equal(other.memory)


@pytest.mark.parametrize(
    "key, limits",
    [
        ("access", (4, 4)),
        ("increment", (6, 14)),
        ("copy", (5, 13)),
        ("reverse", (8, 16)),
        ("swap", (8, 8)),
        ("permutation", (6, 14)),
        ("listk", (8, 16)),
        ("listsearch", (10, 26)),
        ("merge", (8, 16)),
        ("walkbst", (8, 16)),
    ],
)
def test_limits_depend_on_the_difficulty_alone(key, limits):
    task = tasks.get(key)
    assert (task.limit(2), task.limit(10)) == limits
    assert task.limit(torch.tensor([2, 10])).tolist() == list(limits)
    batch = draw(key, [2, 10] * 50, task.min_cells(10))
    assert batch.limit.tolist() == list(limits) * 50 and batch.limit.dtype == torch.long
    longer = task.with_limit(3, 7)
    assert (longer.limit(10), task.limit(10), longer.key) == (37, limits[1], key)
    assert longer.sample(torch.tensor([4]), 40).limit.tolist() == [19]


def test_a_tasks_own_limit_outlives_another_where_it_is_longer():
    merge = tasks.get("merge")
    shorter = merge.with_limit(1, 2).with_limit(2, 0)
    batch = shorter.sample(torch.tensor([2, 5, 6, 9]), 40)
    assert batch.limit.tolist() == [4, 10, 12, 18]
    assert shorter.relaxed(batch).limit.tolist() == [8, 11, 12, 18]
    assert torch.equal(shorter.relaxed(batch).memory, batch.memory)
    assert merge.relaxed(batch).limit.tolist() == [8, 11, 12, 18], "a task as it is has its own limit alone"


# Errors


def test_unknown_tasks_are_named_with_the_nearest():
    assert tasks.KEYS == tuple(OUTPUT_CELLS)
    assert [tasks.get(key).key for key in tasks.KEYS] == list(tasks.KEYS)
    with pytest.raises(ValueError, match="unknown task 'lisk_search'.*increment.*did you mean 'listsearch'"):
        tasks.get("lisk_search")
    with pytest.raises(ValueError, match="unknown task 'WalkBST'.*did you mean 'walkbst'"):
        tasks.get("WalkBST")
    with pytest.raises(ValueError, match="unknown task 7: the tasks are access"):
        tasks.get(7)


@pytest.mark.parametrize("key", tasks.KEYS)
def test_difficulties_and_memories_out_of_range_are_refused(key):
    task = tasks.get(key)
    smallest = task.min_cells(7)
    with pytest.raises(ValueError, match=f"difficulty 7 needs at least {smallest} cells, not {smallest - 1}"):
        task.sample(torch.tensor([3, 7, 2]), smallest - 1)
    with pytest.raises(ValueError, match=f"difficulty 7 needs at least {smallest} cells"):
        task.solve([0] * (smallest - 1), 7)
    lowest = task.min_difficulty
    assert lowest == (2 if key in ("swap", "merge") else 1)
    with pytest.raises(ValueError, match=f"starts at difficulty {lowest}, not {lowest - 1}"):
        task.sample(torch.tensor([9, lowest - 1]), 100)


@pytest.mark.parametrize(
    "difficulty, message",
    [
        (torch.tensor([3.0]), "torch.int64, not torch.float32"),
        (torch.tensor([3], dtype=torch.int32), "torch.int64, not torch.int32"),
        ([3], "torch.int64, not list"),
        (torch.tensor([[3]]), r"shape \[B\] with B > 0, not \[1, 1\]"),
        (torch.tensor(3), r"not \[\]"),
        (torch.tensor([], dtype=torch.long), r"not \[0\]"),
    ],
)
def test_difficulty_must_be_a_vector_of_integers(difficulty, message):
    with pytest.raises(ValueError, match=message):
        tasks.get("copy").sample(difficulty, 20)


# Your own task


def own_task(**changes):
    """A batch of the task in task.py's docstring, executed as it stands there; with changes, the changed task."""
    names = {"torch": torch, "Task": tasks.Task}
    exec(textwrap.dedent(task_module.__doc__.split("\n\n", 2)[2]), names)  # noqa: S102 - the docstring is ours
    total = names["total"]
    fields = {name: getattr(total, name) for name in total.__dataclass_fields__}
    return names["batch"] if not changes else tasks.Task(**(fields | changes))


def test_your_own_task_works_as_documented():
    batch = own_task()
    assert batch.memory.shape == (3, 10) and batch.limit.tolist() == [3, 10, 5]
    for d, memory, target, output in rows(batch):
        assert output == [0] and memory[0] == 0
        assert all(memory[1 : d + 1]) and not any(memory[d + 1 :])
        assert target == [sum(memory) % 10, *memory[1:]]


def test_your_own_task_is_checked():
    with pytest.raises(ValueError, match="without a solver"):
        own_task(key="other").solve([0] * 10, 8)
    with pytest.raises(ValueError, match="ends at difficulty 9, not 10"):
        own_task(max_difficulty=9).sample(torch.tensor([10]), 30)
    with pytest.raises(ValueError, match="ends at difficulty 5, not 8"):
        own_task(max_difficulty=5)
    with pytest.raises(ValueError, match="at least one cell and one timestep"):
        own_task(limit_offset=-1)
    with pytest.raises(ValueError, match="shrink"):
        tasks.get("copy").with_limit(-1, 100)

    def floating(difficulty, num_cells, generator):
        memory, target, mask = tasks.get("copy").generate(difficulty, num_cells, generator)
        return memory, target.float(), mask

    with pytest.raises(ValueError, match=r"generated a target of torch.float32 \[1, 20\]"):
        own_task(generate=floating).sample(torch.tensor([3]), 20)
