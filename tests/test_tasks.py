"""The tasks against their plain solvers, the structure of what is drawn, and how it is distributed."""

import itertools
import textwrap
from collections import Counter

import pytest
import torch
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


def draw(key, difficulties, num_cells, seed=0, device="cpu"):
    difficulty = torch.as_tensor(difficulties, device=device)
    return tasks.get(key).sample(difficulty, num_cells, torch.Generator(device).manual_seed(seed))


def rows(batch):
    """(difficulty, memory, target, output cells) of each example, as Python integers and lists."""
    for d, memory, target, mask in zip(batch.difficulty, batch.memory, batch.target, batch.mask, strict=True):
        yield int(d), memory.tolist(), target.tolist(), mask.nonzero().flatten().tolist()


def check_answers(key, batch):
    num_cells = batch.memory.shape[1]
    for d, memory, target, output in rows(batch):
        final = tasks.get(key).solve(memory, d)
        assert output == list(OUTPUT_CELLS[key](d))
        assert [target[i] for i in output] == [final[i] for i in output]
        assert all(target[i] == memory[i] for i in set(range(num_cells)) - set(output))
        assert 0 <= min(memory + target) and max(memory + target) < num_cells


def check_frequencies(seen, expected):
    """Pearson's statistic of the counts `seen` against probabilities `expected` is below its mean + 8 deviations."""
    total = sum(seen.values())
    assert set(seen) <= set(expected)
    statistic = sum((seen[event] - total * p) ** 2 / (total * p) for event, p in expected.items())
    freedom = len(expected) - 1
    assert statistic < freedom + 8 * (2 * freedom) ** 0.5


def uniform(events):
    events = list(events)
    return {event: 1 / len(events) for event in events}


# Answers


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


# Structure

MIXED = [1, 2, 3, 4, 7, 12] * 40


def test_arrays_lie_where_the_appendix_puts_them():
    for key, array in {
        "access": lambda d: range(1, d + 1),
        "increment": lambda d: range(d),
        "copy": lambda d: range(1, d + 1),
        "reverse": lambda d: range(1, d + 1),
        "swap": lambda d: range(2, d + 2),
        "permutation": lambda d: range(d + 1, 2 * d + 1),
    }.items():
        header = {"access": 1, "increment": 0, "swap": 2}.get(key, 1)
        for d, memory, _, _ in rows(draw(key, [max(d, 2) for d in MIXED], 40)):
            assert all(memory[i] != 0 for i in array(d))
            others = set(range(header, 40)) - set(array(d))
            if key == "permutation":
                assert sorted(memory[1 : d + 1]) == list(range(d))
                others -= set(range(1, d + 1))
            assert all(memory[i] == 0 for i in others)
            if key in ("copy", "reverse", "permutation"):
                assert memory[0] == d + 1
            if key == "access":
                assert 1 <= memory[0] <= d
            if key == "swap":
                p, q = memory[:2]
                assert p != q and 2 <= min(p, q) and max(p, q) <= d + 1


@pytest.mark.parametrize("num_cells", [5, 6, 20])
def test_swap_always_changes_the_memory(num_cells):
    batch = draw("swap", [2] * 2000, num_cells)
    assert (batch.memory != batch.target).sum(1).eq(2).all()


def walk_list(memory):
    """The addresses of the nodes of a list, in order."""
    node, seen = memory[0], []
    while node != 0:
        seen.append(node)
        assert len(seen) <= len(memory)
        node = memory[node]
    return seen


@pytest.mark.parametrize("key", ["listk", "listsearch"])
def test_lists_are_chains_of_disjoint_nodes(key):
    for d, memory, target, _ in rows(draw(key, MIXED, 31)):
        nodes = walk_list(memory)
        cells = {cell for node in nodes for cell in (node, node + 1)}
        assert len(nodes) == d and len(cells) == 2 * d
        assert min(cells) >= 3 and max(cells) < 31
        values = [memory[node + 1] for node in nodes]
        assert min(values) >= 1 and memory[2] == 2
        free = [memory[i] for i in set(range(3, 31)) - cells]
        if key == "listk":
            assert memory[1] < d
            assert not any(free)
        else:
            assert target[2] == nodes[values.index(memory[1])]
            assert all(free)


def test_merge_holds_two_sorted_arrays_with_their_guards():
    seen_repetition = False
    for d, memory, target, _ in rows(draw("merge", [max(d, 2) for d in MIXED], 29)):
        a, b, o = memory[:3]
        first, second = memory[a : b - 1], memory[b : o - 1]
        assert (a, o) == (3, d + 5) and 5 <= b <= d + 3
        assert memory[b - 1] == memory[o - 1] == 28
        assert first == sorted(first) and second == sorted(second) and len(first + second) == d
        assert 1 <= min(first + second) and max(first + second) < 28
        assert not any(memory[o:])
        assert target[o : o + d] == sorted(first + second)
        seen_repetition |= len(set(first + second)) < d
    assert seen_repetition


def tree_of(memory, node):
    """The subtree at an address in order: [(value, address)]."""
    if node == 0:
        return []
    return tree_of(memory, memory[node + 1]) + [(memory[node], node)] + tree_of(memory, memory[node + 2])


@pytest.mark.parametrize("num_cells", [50, 64])
def test_trees_are_search_trees_and_paths_end_where_left_is_null(num_cells):
    lengths = set()
    for d, memory, target, _ in rows(draw("walkbst", MIXED, num_cells)):
        values, nodes = zip(*tree_of(memory, memory[0]), strict=True)
        cells = {node + i for node in nodes for i in range(3)}
        assert len(nodes) == d and len(cells) == 3 * d
        assert min(cells) >= d + 2 and max(cells) < num_cells
        assert list(values) == sorted(set(values)) and values[0] >= 1
        assert not any(memory[i] for i in set(range(d + 2, num_cells)) - cells)
        assert memory[1] == 1
        node, path = memory[0], memory[2 : d + 2]
        assert set(path) <= {0, 1}
        turns = 0
        while memory[node + 1 + path[turns]] != 0:
            node = memory[node + 1 + path[turns]]
            turns += 1
        assert memory[node + 1] == 0 and not any(path[turns:])
        assert target[1] == memory[node]
        lengths.add((d, turns))
    assert {(2, 0), (2, 1), (3, 2), (4, 3), (12, 5)} <= lengths


# Distribution: small difficulties beside larger ones in one batch, so that these also hold for mixed batches


def small_examples(key, difficulty, num_cells, larger):
    batch = draw(key, [difficulty, larger] * 6000, num_cells, seed=1)
    return [row[1:] for row in rows(batch) if row[0] == difficulty]


def test_lists_are_uniform_over_places_orders_and_hops():
    for key in ("listk", "listsearch"):
        examples = small_examples(key, 2, 9, larger=3)
        places = [(i, j) for i, j in itertools.permutations(range(3, 8), 2) if abs(i - j) >= 2]
        check_frequencies(Counter(tuple(walk_list(memory)) for memory, _, _ in examples), uniform(places))
    examples = small_examples("listk", 3, 20, larger=8)
    check_frequencies(Counter(memory[1] for memory, _, _ in examples), uniform(range(3)))


def test_listsearch_looks_for_the_value_of_a_uniform_node():
    examples = small_examples("listsearch", 2, 11, larger=4)
    second = Counter(walk_list(memory).index(target[2]) for memory, target, _ in examples)
    equal = 1 / 10  # then the first of both is the answer
    check_frequencies(second, {0: (1 + equal) / 2, 1: (1 - equal) / 2})


@pytest.mark.parametrize("key", [key for key in tasks.KEYS if key not in ("merge", "walkbst")])
def test_elements_are_uniform_on_the_integers_but_null(key):
    num_cells = 17
    examples = small_examples(key, 2, num_cells, larger=3)
    first_element = {"access": 1, "increment": 0, "copy": 1, "reverse": 1, "swap": 2, "permutation": 3}
    where = (lambda memory: memory[0] + 1) if key in ("listk", "listsearch") else (lambda memory: first_element[key])
    for offset in (0, 1) if key in first_element else (0,):
        seen = Counter(memory[where(memory) + offset] for memory, _, _ in examples)
        check_frequencies(seen, uniform(range(1, num_cells)))


def test_trash_is_uniform():
    examples = small_examples("listsearch", 1, 12, larger=2)
    free = Counter(memory[11] for memory, _, _ in examples if memory[0] not in (10, 11))
    check_frequencies(free, uniform(range(1, 12)))


def test_pointers_permutations_and_lengths_are_uniform():
    check_frequencies(Counter(memory[0] for memory, _, _ in small_examples("access", 4, 12, 9)), uniform(range(1, 5)))
    pairs = Counter(tuple(memory[:2]) for memory, _, _ in small_examples("swap", 3, 12, 9))
    check_frequencies(pairs, uniform(itertools.permutations((2, 3, 4), 2)))
    exchanged = Counter((memory[memory[0]], memory[memory[1]]) for memory, _, _ in small_examples("swap", 3, 12, 9))
    check_frequencies(exchanged, uniform(itertools.permutations(range(1, 12), 2)))
    orders = Counter(tuple(memory[1:4]) for memory, _, _ in small_examples("permutation", 3, 12, 5))
    check_frequencies(orders, uniform(itertools.permutations(range(3))))
    second_starts = Counter(memory[1] for memory, _, _ in small_examples("merge", 5, 25, 10))
    check_frequencies(second_starts, uniform(range(5, 9)))


def test_merge_deals_values_to_its_arrays_without_favour():
    examples = [memory for memory, _, _ in small_examples("merge", 2, 13, 4)]
    check_frequencies(Counter((m[3], m[5]) for m in examples), uniform(itertools.product(range(1, 12), repeat=2)))


def test_trees_come_from_random_insertions_and_paths_are_as_long_as_drawn():
    examples = [memory for memory, _, _ in small_examples("walkbst", 3, 22, larger=5)]
    expected = Counter()
    for order in itertools.permutations(range(3)):
        tree = {order[0]: [None, None]}
        for value in order[1:]:
            node = order[0]
            while tree[node][value > node] is not None:
                node = tree[node][value > node]
            tree[node][value > node] = value
            tree[value] = [None, None]
        ends = [value for value in tree if tree[value][0] is None]
        depth = {order[0]: 0}
        for value in order:
            depth |= {child: depth[value] + 1 for child in tree[value] if child is not None}
        shape = tuple(sorted((value, *children) for value, children in tree.items()))
        for hops in range(3):
            least = min(abs(depth[end] - hops) for end in ends)
            nearest = [end for end in ends if abs(depth[end] - hops) == least]
            for end in nearest:
                expected[str(shape), end] += 1 / (6 * 3 * len(nearest))

    seen, places, values = Counter(), Counter(), Counter()
    for memory in examples:
        inorder = tree_of(memory, memory[0])
        rank = {node: i for i, (_, node) in enumerate(inorder)}
        shape = str(tuple((i, rank.get(memory[node + 1]), rank.get(memory[node + 2])) for node, i in rank.items()))
        seen[shape, [value for value, _ in inorder].index(tasks.get("walkbst").solve(memory, 3)[1])] += 1
        places[tuple(node for _, node in inorder)] += 1
        values[tuple(value for value, _ in inorder)] += 1
    check_frequencies(seen, expected)
    check_frequencies(values, uniform(itertools.combinations(range(1, 22), 3)))
    # 17 cells are left for three nodes of three cells: choose 3 of 11 items, in any order
    triples = itertools.permutations(range(5, 20), 3)
    triples = [(i, j, k) for i, j, k in triples if min(abs(i - j), abs(j - k), abs(i - k)) >= 3]
    assert len(triples) == 165 * 6
    check_frequencies(places, uniform(triples))


@pytest.mark.parametrize("key", tasks.KEYS)
def test_an_example_does_not_depend_on_the_difficulties_beside_it(key):
    def features(batch):
        batch = torch.cat((batch.memory, batch.target, (batch.memory[:, 1:] < batch.memory[:, :-1]).long()), 1)
        return batch[:8000].double()

    num_cells = tasks.get(key).min_cells(9)
    beside = draw(key, [3] * 8000 + [9] * 8000, num_cells, seed=2)
    alone = draw(key, [3] * 8000, num_cells, seed=3)
    assert beside.mask[:8000].equal(alone.mask) and beside.limit[:8000].equal(alone.limit)
    one, other = features(beside), features(alone)
    deviation = ((one.var(0) + other.var(0)) / 8000).sqrt()
    assert ((one.mean(0) - other.mean(0)).abs() <= 5 * deviation).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("key", tasks.KEYS)
def test_a_seed_gives_its_batch_again(key, device):
    num_cells = tasks.get(key).min_cells(6)
    first, again, other = (draw(key, [6, 2, 4], num_cells, seed, device) for seed in (5, 5, 6))
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert not first.memory.equal(other.memory)


# Limits


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


# Errors and tasks of one's own


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


def own_task(**changes):
    """The example of task.py's docstring, run as it stands there."""
    names = {"torch": torch, "Task": tasks.Task}
    exec(textwrap.dedent(task_module.__doc__.split("\n\n", 2)[2]), names)  # noqa: S102 - the docstring is ours
    total = names["total"]
    fields = {name: getattr(total, name) for name in total.__dataclass_fields__}
    return names["batch"] if not changes else tasks.Task(**(fields | changes))


def test_the_documented_task_of_ones_own_works():
    batch = own_task()
    assert batch.memory.shape == (3, 10) and batch.limit.tolist() == [3, 10, 5]
    for d, memory, target, output in rows(batch):
        assert output == [0] and memory[0] == 0
        assert all(memory[1 : d + 1]) and not any(memory[d + 1 :])
        assert target == [sum(memory) % 10, *memory[1:]]


def test_a_task_of_ones_own_is_checked():
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
