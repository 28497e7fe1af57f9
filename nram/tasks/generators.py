"""Examples of the ten tasks (appendix A of the paper), drawn a whole batch at a time.

Every function takes difficulty LongTensor[B], the number of cells M and a generator on difficulty's device. It returns
(memory LongTensor[B, M], target LongTensor[B, M], mask BoolTensor[B, M]); the mask marks the output cells. A docstring
starts with the memory's layout and says what the output cells receive. NULL is 0.

Each example has its own difficulty. n is their column LongTensor[B, 1], and `cell <= n` is a BoolTensor[B, M].
An example with fewer nodes than the largest of its batch has spare ones, all at the address 0. Writing to them spoils
the header, the first cells of the memory, so a generator writes the header last.

Deviation: array elements and list values are drawn from 1..M-1, because 0 is NULL.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Example = tuple[Tensor, Tensor, Tensor]
Rng = torch.Generator | None
Generate = Callable[[Tensor, int, Rng], Example]


def access(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """k, A[0..n-1], NULL: cell 0 receives the element that k points at.

    Deviation: k is the absolute address of an element, as in the published execution, not an index into A.
    """
    n, cell = difficulty[:, None], _cells(difficulty, num_cells)
    memory = _elements(num_cells, difficulty, num_cells, generator) * ((cell >= 1) & (cell <= n))
    k = 1 + integers_below(n, generator)
    memory[:, :1] = k
    target = memory.clone()
    target[:, :1] = memory.gather(1, k)
    return memory, target, (cell == 0).expand_as(memory)


def increment(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """A[0..n-1], NULL: every element receives its successor modulo M, in place."""
    mask = _cells(difficulty, num_cells) < difficulty[:, None]
    memory = _elements(num_cells, difficulty, num_cells, generator) * mask
    return memory, (memory + mask) % num_cells, mask


def copy(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """p, A[0..n-1], p pointing at the first cell after A: A is copied to p..p+n-1."""
    return _move(difficulty, num_cells, generator, reverse=False)


def reverse(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """p, A[0..n-1], p pointing at the first cell after A: A is copied to p..p+n-1 in reverse order."""
    return _move(difficulty, num_cells, generator, reverse=True)


def _move(difficulty: Tensor, num_cells: int, generator: Rng, reverse: bool) -> Example:
    n, cell = difficulty[:, None], _cells(difficulty, num_cells)
    memory = _elements(num_cells, difficulty, num_cells, generator) * (cell <= n)
    memory[:, :1] = n + 1
    mask = (cell > n) & (cell <= 2 * n)
    source = 2 * n + 1 - cell if reverse else cell - n
    return memory, torch.where(mask, memory.gather(1, source.clamp(0, num_cells - 1)), memory), mask


def swap(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """p, q, A[0..n-1], 0: the elements at the addresses p and q are exchanged.

    Deviation: every cell of A counts as output, not only the two that change. Destroying a third one is an error.
    Deviation: p and q differ, and so do the elements there. An unchanged memory is never right.
    """
    n, cell = difficulty[:, None], _cells(difficulty, num_cells)
    mask = (cell >= 2) & (cell < n + 2)
    memory = _elements(num_cells, difficulty, num_cells, generator) * mask
    first = integers_below(n, generator)
    p, q = 2 + first, 2 + (first + 1 + integers_below(n - 1, generator)) % n
    at_p = memory.gather(1, p)
    at_q = 1 + (at_p + integers_below(torch.full_like(n, num_cells - 2), generator)) % (num_cells - 1)  # any but at_p
    memory.scatter_(1, q, at_q)
    memory[:, :2] = torch.cat((p, q), 1)
    return memory, memory.scatter(1, p, at_q).scatter_(1, q, at_p), mask


def permutation(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """a, P[0..n-1], A[0..n-1], a pointing at A: A[P[0]], ..., A[P[n-1]] are written over P.

    Deviation: P holds 0..n-1, as in appendix A. Section 4.2 says 1..n.
    """
    n, cell = difficulty[:, None], _cells(difficulty, num_cells)
    memory = _elements(num_cells, difficulty, num_cells, generator) * (cell <= 2 * n)
    mask = (cell >= 1) & (cell <= n)
    order = _ordered_subset(n, n, generator)
    behind_header = slice(1, 1 + order.shape[1])
    memory[:, behind_header] = torch.where(mask[:, behind_header], order, memory[:, behind_header])
    memory[:, :1] = n + 1
    source = (n + 1 + memory).clamp_(max=num_cells - 1)
    return memory, torch.where(mask, memory.gather(1, source), memory), mask


def listk(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """head, k, out, then n nodes (next, value) at random places: cell `out` receives the value k hops from the head.

    k is uniform on 0..n-1.
    Deviation: `out` is cell 2 and holds its own address at the start.
    """
    n = difficulty[:, None]
    memory = n.new_zeros(len(n), num_cells)
    address = _node_places(n, 3, 2, num_cells, generator)
    values = _elements(num_cells, n, address.shape[1], generator)
    _write_list(memory, address, values)
    k = integers_below(n, generator)
    return _with_header(memory, (address[:, :1], k, torch.full_like(n, 2)), out=2, answer=values.gather(1, k))


def listsearch(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """head, v, out, then nodes as in `listk`: cell `out` receives the address of the first node that holds v.

    v is the value of a uniformly chosen node. Every free cell holds trash from 1..M-1.
    Deviation: `out` is cell 2 and holds its own address at the start.
    """

    def draw(address: Tensor) -> tuple[Tensor, Tensor]:
        values = _elements(num_cells, difficulty, address.shape[1], generator)
        return values, values.gather(1, integers_below(difficulty[:, None], generator))

    return searched_list(difficulty, num_cells, generator, draw)


def searched_list(
    difficulty: Tensor, num_cells: int, generator: Rng, draw: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Example:
    """An example of ListSearch with given values.

    draw(addresses of the nodes LongTensor[B, N], in the list's order) -> their values LongTensor[B, N] and v
    LongTensor[B, 1], which a node of each list holds.
    """
    n = difficulty[:, None]
    memory = _elements(num_cells, difficulty, num_cells, generator)
    address = _node_places(n, 3, 2, num_cells, generator)
    values, wanted = draw(address)
    _write_list(memory, address, values)
    found = ((values == wanted) & (address > 0)).long().argmax(1, keepdim=True)  # argmax takes the first of equals
    return _with_header(memory, (address[:, :1], wanted, torch.full_like(n, 2)), out=2, answer=address.gather(1, found))


def _write_list(memory: Tensor, address: Tensor, values: Tensor) -> None:
    """Write the nodes of a list at their addresses [B, N]; the last node's next is NULL."""
    following = torch.nn.functional.pad(address[:, 1:], (0, 1))
    memory.scatter_(1, address, following).scatter_(1, address + 1, values)


def merge(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """a, b, o, A[0..n-1], G, B[0..m-1], G, both sorted, o the cell after the second G: both are merged into o, o+1, ...

    The difficulty d is n + m. n is uniform on 1..d-1. Elements may repeat.
    Deviation: the guard G is M-1 and elements are drawn from 1..M-2. G is larger than every element.
    """
    d, cell = difficulty[:, None], _cells(difficulty, num_cells)
    n = 1 + integers_below(d - 1, generator)
    values = _elements(num_cells - 1, difficulty, int(difficulty.max()), generator)
    exists = _cells(difficulty, values.shape[1]) < d
    merged, drawn_as = values.masked_fill_(~exists, num_cells).sort(1)
    # The first n draws are A, the others B. Each is a part of the sorted order.
    from_a = drawn_as < n
    nth_of_a = from_a.cumsum(1)
    nth_of_b = _cells(difficulty, values.shape[1]) + 1 - nth_of_a
    address = torch.where(from_a, 2 + nth_of_a, n + 3 + nth_of_b).masked_fill_(~exists, 0)
    memory = d.new_zeros(len(d), num_cells)
    memory.scatter_(1, address, merged).scatter_(1, torch.cat((n + 3, d + 4), 1), num_cells - 1)
    memory[:, :3] = torch.cat((torch.full_like(n, 3), n + 4, d + 5), 1)
    mask = (cell >= d + 5) & (cell < 2 * d + 5)
    return memory, torch.where(mask, merged.gather(1, (cell - d - 5).clamp(0, values.shape[1] - 1)), memory), mask


def walkbst(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """root, out, d_1..d_k, NULL, then n nodes (value, left, right) at random places.

    Cell `out` receives the value of the node where the path d_1..d_k from the root ends; d is 0 for left, 1 for right.
    The tree is the binary search tree of n distinct values inserted in random order. The path has n cells, enough for
    the longest path and its NULL, so the places of nodes depend on the difficulty alone.
    Deviation: NULL and left are the same symbol. The path therefore ends at a node without a left child, where another
    NULL leads to a NULL pointer.
    Deviation: of these nodes it is one whose depth is nearest to a number uniform on 0..n-1. Long paths are frequent.
    Deviation: `out` is cell 1 and holds its own address at the start.
    """

    def draw(values: Tensor) -> tuple[Tensor, Tensor]:
        return values, integers_below(difficulty[:, None], generator)

    return walked_tree(difficulty, num_cells, generator, draw)


def walked_tree(
    difficulty: Tensor, num_cells: int, generator: Rng, draw: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Example:
    """An example of WalkBST with given values and a path of about a given length.

    draw(n distinct values LongTensor[B, N], in random order) -> the values in the order of insertion LongTensor[B, N],
    and the depth LongTensor[B, 1] that the end of the path is nearest to.
    """
    n = difficulty[:, None]
    memory = n.new_zeros(len(n), num_cells)
    address = _node_places(n, n + 2, 3, num_cells, generator)
    values, depth = draw(1 + _ordered_subset(n, torch.full_like(n, num_cells - 1), generator))
    node = _cells(difficulty, values.shape[1])

    # Node s is the s-th to be inserted. An ancestor of a node was inserted earlier and was then the nearest to it in
    # value, from below or from above. The last ancestor is the node's parent. The path turns right at smaller
    # ancestors. All pairs [B, node, other]:
    difference = values.int()[:, None, :] - values.int()[:, :, None]
    earlier = node < node[:, None]
    below = torch.where(earlier & (difference < 0), difference, -num_cells)
    above = torch.where(earlier & (difference > 0), difference, num_cells)
    right = (below > -num_cells) & (below == below.cummax(2).values)
    is_ancestor = right | ((above < num_cells) & (above == above.cummin(2).values))
    parent = torch.where(is_ancestor, node, 0).amax(2)
    from_the_right = right.gather(2, parent[:, :, None])[:, :, 0]
    pointer = address.gather(1, parent) + 1 + from_the_right
    memory.scatter_(1, pointer * ((node > 0) & (node < n)), address).scatter_(1, address, values)

    may_end = (node < n) & (memory.gather(1, address + 1) == 0)
    distance = (is_ancestor.sum(2) - depth).abs()
    tie_break = torch.rand(may_end.shape, generator=generator, device=n.device)
    end = (distance + tie_break).masked_fill_(~may_end, torch.inf).argmin(1, keepdim=True)
    row = end[:, :, None].expand(-1, -1, len(node))
    right, step = right.gather(1, row)[:, 0], is_ancestor.cumsum(2).gather(1, row)[:, 0]
    memory.scatter_(1, (1 + step) * right, 1)
    return _with_header(memory, (address[:, :1], torch.ones_like(n)), out=1, answer=values.gather(1, end))


def _with_header(memory: Tensor, header: tuple[Tensor, ...], out: int, answer: Tensor) -> Example:
    """Writes the header's columns [B, 1] into the first cells. Returns the example; `out` is its only output cell."""
    memory[:, : len(header)] = torch.cat(header, 1)
    target = memory.clone()
    target[:, out : out + 1] = answer
    mask = torch.zeros_like(memory, dtype=torch.bool)
    mask[:, out] = True
    return memory, target, mask


def _cells(like: Tensor, num_cells: int) -> Tensor:
    """0..num_cells-1 on the device of `like`."""
    return torch.arange(num_cells, device=like.device)


def _elements(above: int, like: Tensor, count: int, generator: Rng) -> Tensor:
    """LongTensor[B, count] of integers uniform on 1..above-1."""
    return torch.randint(1, above, (len(like), count), generator=generator, device=like.device)


def integers_below(count: Tensor, generator: Rng) -> Tensor:
    """Integers uniform on 0..count-1, one for each count (probabilities are off by at most count / 2^48)."""
    return torch.randint(2**48, count.shape, generator=generator, device=count.device) % count


def _ordered_subset(n: Tensor, items: Tensor, generator: Rng) -> Tensor:
    """LongTensor[B, max n]: row b starts with n[b] distinct integers from 0..items[b]-1 in uniformly random order."""
    width = int(items.max())
    keys = torch.rand(len(n), width, generator=generator, device=n.device)
    keys.masked_fill_(_cells(n, width) >= items, 2)
    return keys.topk(int(n.max()), largest=False).indices


def _node_places(n: Tensor, first: Tensor | int, size: int, num_cells: int, generator: Rng) -> Tensor:
    """LongTensor[B, max n]: addresses of n[b] disjoint nodes of `size` cells in cells first..M-1, in random order.

    Nodes and free cells form one row of items; a uniformly random choice of them are nodes. Nodes past n[b] get 0.
    """
    item = _ordered_subset(n, num_cells - first - (size - 1) * n, generator)
    exists = _cells(n, item.shape[1]) < n
    is_node = item.new_zeros(len(n), num_cells).scatter_(1, item, exists.long())
    nodes_before = is_node.cumsum(1).gather(1, item) - 1
    return (first + item + (size - 1) * nodes_before) * exists
