"""What the generators draw: where arrays, lists and trees lie, and how they are distributed."""

import itertools
from collections import Counter

import pytest
import torch
from builders import draw, rows

from nram import tasks

MIXED = [1, 2, 3, 4, 7, 12] * 40


# Structure


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


# Distribution: small difficulties beside larger ones, to test mixed batches


def small_examples(key, difficulty, num_cells, larger):
    batch = draw(key, [difficulty, larger] * 6000, num_cells, seed=1)
    return [row[1:] for row in rows(batch) if row[0] == difficulty]


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


@pytest.mark.parametrize("key", [key for key in tasks.KEYS if key not in ("merge", "walkbst")])
def test_elements_are_uniform_on_the_integers_but_null(key):
    num_cells = 17
    examples = small_examples(key, 2, num_cells, larger=3)
    first_element = {"access": 1, "increment": 0, "copy": 1, "reverse": 1, "swap": 2, "permutation": 3}
    where = (lambda memory: memory[0] + 1) if key in ("listk", "listsearch") else (lambda memory: first_element[key])
    for offset in (0, 1) if key in first_element else (0,):
        seen = Counter(memory[where(memory) + offset] for memory, _, _ in examples)
        check_frequencies(seen, uniform(range(1, num_cells)))


def test_access_points_at_a_uniform_element():
    check_frequencies(Counter(memory[0] for memory, _, _ in small_examples("access", 4, 12, 9)), uniform(range(1, 5)))


def test_swap_exchanges_a_uniform_pair_of_places_and_of_elements():
    examples = [memory for memory, _, _ in small_examples("swap", 3, 12, 9)]
    pairs = Counter(tuple(memory[:2]) for memory in examples)
    check_frequencies(pairs, uniform(itertools.permutations((2, 3, 4), 2)))
    exchanged = Counter((memory[memory[0]], memory[memory[1]]) for memory in examples)
    check_frequencies(exchanged, uniform(itertools.permutations(range(1, 12), 2)))


def test_permutations_are_uniform():
    orders = Counter(tuple(memory[1:4]) for memory, _, _ in small_examples("permutation", 3, 12, 5))
    check_frequencies(orders, uniform(itertools.permutations(range(3))))


@pytest.mark.parametrize("key", ["listk", "listsearch"])
def test_lists_are_uniform_over_places_and_orders(key):
    examples = small_examples(key, 2, 9, larger=3)
    places = [(i, j) for i, j in itertools.permutations(range(3, 8), 2) if abs(i - j) >= 2]
    check_frequencies(Counter(tuple(walk_list(memory)) for memory, _, _ in examples), uniform(places))


def test_listk_asks_for_a_uniform_number_of_hops():
    examples = small_examples("listk", 3, 20, larger=8)
    check_frequencies(Counter(memory[1] for memory, _, _ in examples), uniform(range(3)))


def test_listsearch_looks_for_the_value_of_a_uniform_node():
    examples = small_examples("listsearch", 2, 11, larger=4)
    second = Counter(walk_list(memory).index(target[2]) for memory, target, _ in examples)
    equal = 1 / 10  # then the first of both is the answer
    check_frequencies(second, {0: (1 + equal) / 2, 1: (1 - equal) / 2})


def test_trash_is_uniform():
    examples = small_examples("listsearch", 1, 12, larger=2)
    free = Counter(memory[11] for memory, _, _ in examples if memory[0] not in (10, 11))
    check_frequencies(free, uniform(range(1, 12)))


def test_merge_divides_its_length_uniformly():
    second_starts = Counter(memory[1] for memory, _, _ in small_examples("merge", 5, 25, 10))
    check_frequencies(second_starts, uniform(range(5, 9)))


def test_merge_deals_values_to_its_arrays_without_favor():
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
