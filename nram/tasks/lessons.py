"""Lessons: easier distributions over a task's own instances, in the order in which they are learned.

Only what is drawn differs. Layout, output cells, limits and solver are the task's, and the task itself comes last.
A value may be 0 in a lesson, which the tasks' own generators leave out.

ListSearch needs a comparison, WalkBST the sum of a pointer and a cell of the path that a counter points at: some six
sources of the circuit must be right at once. In a fresh machine no register tells anything of it, so nothing has a
gradient. Each lesson asks for one part more.
Deviation: the paper's curriculum knows difficulties alone. ListSearch and WalkBST are learned through lessons.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nram.tasks import generators
from nram.tasks.generators import Example, Rng

__all__ = ["LISTSEARCH", "WALKBST", "Lesson"]


@dataclass(frozen=True)
class Lesson:
    """An easier distribution over a task's instances.

    name: in tests and messages. generate: as the task's (see `nram.tasks.Task`). start: the first level of members that
    begin it; None: that of the task.
    """

    name: str
    generate: generators.Generate
    start: int | None = None


# In all lessons of ListSearch, v is at a place drawn uniformly, and not before it.


def zero(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """v is 0, all other values are from 1..M-1. It teaches to walk, to read the value and to stop."""

    def draw(address: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        wanted = torch.zeros_like(place)
        return _uniform(1, num_cells - 1, address, generator).scatter(1, place, wanted), wanted

    return _search(difficulty, num_cells, generator, draw)


def own(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """In half of the instances as `zero`; in the others every value is its node's address. It teaches to read v."""

    def draw(address: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        is_own = _uniform(0, 1, place, generator)
        wanted = address.gather(1, place) * is_own
        others = _uniform(1, num_cells - 1, address, generator).scatter(1, place, 0)
        return torch.where(is_own == 1, address, others), wanted

    return _search(difficulty, num_cells, generator, draw)


def zero_or_other(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """Two values occur: 0 and another number. v is either. It teaches to compare."""

    def draw(address: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        other, wanted = _uniform(1, num_cells - 1, place, generator), _uniform(0, 1, place, generator)
        values = _uniform(0, 1, address, generator)
        values = torch.where(_columns(address) < place, 1 - wanted, values).scatter(1, place, wanted)
        return values * other, wanted * other

    return _search(difficulty, num_cells, generator, draw)


def near(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """All values differ from v by at most 2. It teaches that an order is no substitute for equality."""

    def draw(address: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        wanted = _uniform(2, num_cells - 3, place, generator)
        away = (1 + _uniform(0, 1, address, generator)) * (2 * _uniform(0, 1, address, generator) - 1)
        equal = (_uniform(0, 4, address, generator) == 0) & (_columns(address) > place)
        return torch.where(equal, wanted, wanted + away).scatter(1, place, wanted), wanted

    return _search(difficulty, num_cells, generator, draw)


LISTSEARCH = (
    Lesson("zero", zero),
    Lesson("own", own),
    Lesson("zero or other", zero_or_other),
    Lesson("near", near),
)


def _search(difficulty: Tensor, num_cells: int, generator: Rng, draw) -> Example:
    """draw(addresses [B, N], place of the answer [B, 1]) -> (values [B, N], v [B, 1]); nodes in the list's order."""

    def values(address: Tensor) -> tuple[Tensor, Tensor]:
        return draw(address, generators.integers_below(difficulty[:, None], generator))

    return generators.searched_list(difficulty, num_cells, generator, values)


def walk_and_count(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """A chain of right children. In a third of the instances the path leads to its end, which asks for a walk alone. In
    another third the values are 2, 3, ...: the answer is also the address where the path ends, which asks for a counter
    alone. The last third asks for both. Where only that is asked for, machines have a rule for each of the first cells.
    """
    n = difficulty[:, None]
    kind = _uniform(0, 2, n, generator)

    def draw(values: Tensor) -> tuple[Tensor, Tensor]:
        ascending, exists = _ascending(values, n)
        values = torch.where((kind == 1) & exists, 2 + _columns(values), ascending)
        return values, torch.where(kind == 0, n - 1, generators.integers_below(n, generator))

    return generators.walked_tree(difficulty, num_cells, generator, draw)


def turns(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """In half of the instances a chain that turns at random, in the others a tree of the task. It teaches to turn."""
    n = difficulty[:, None]

    def draw(values: Tensor) -> tuple[Tensor, Tensor]:
        ascending, _ = _ascending(values, n)
        # All values below a node's right child are larger than the node's: it is the smallest that is left.
        to_the_right = _uniform(0, 1, values, generator)
        smaller = to_the_right.cumsum(1) - to_the_right
        larger = (1 - to_the_right).cumsum(1) - (1 - to_the_right)
        rank = torch.where(to_the_right == 1, smaller, n - 1 - larger).clamp(min=0)
        is_chain = _uniform(0, 1, n, generator) == 1
        return torch.where(is_chain, ascending.gather(1, rank), values), generators.integers_below(n, generator)

    return generators.walked_tree(difficulty, num_cells, generator, draw)


# In shorter trees machines turn by a rule for each of the first cells of the path, and forget the counter.
WALKBST = (Lesson("walk and count", walk_and_count), Lesson("turns", turns, start=5))


def _ascending(values: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """The first n LongTensor[B, 1] values of each row [B, N] in ascending order, the others last; which are the n."""
    exists = _columns(values) < n
    return values.masked_fill(~exists, values.max() + 1).sort(1).values, exists


def _uniform(low: int, high: int, like: Tensor, generator: Rng) -> Tensor:
    """Integers uniform on low..high, in the shape of `like`."""
    return torch.randint(low, high + 1, like.shape, generator=generator, device=like.device)


def _columns(like: Tensor) -> Tensor:
    return torch.arange(like.shape[1], device=like.device)
