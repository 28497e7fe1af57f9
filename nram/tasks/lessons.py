"""Lessons: easier distributions over a task's own instances, in the order in which they are learned.

Only what is drawn differs. Layout, output cells, limits and solver are the task's, and the task itself comes last.
A value may be 0 in a lesson, which the tasks' own generators leave out.

Deviation: the paper's curriculum knows sizes alone. ListSearch and Merge are learned through lessons: a comparison of
two values has no gradient in a machine that does not yet bring both to it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nram.tasks import generators
from nram.tasks.generators import Example, Rng

__all__ = ["LISTSEARCH", "MERGE", "Lesson"]


@dataclass(frozen=True)
class Lesson:
    """An easier distribution over a task's instances.

    name: in messages. generate: as the task's (see `nram.tasks.Task`).
    """

    name: str
    generate: generators.Generate


# ListSearch: v is at a uniformly drawn place, and not before it.


def search_zero(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """v is 0, all other values are from 1..M-1: walk, read the value, stop."""

    def draw(n: Tensor, count: int) -> tuple[Tensor, Tensor]:
        values = _uniform(1, num_cells - 1, n, count, generator)
        wanted = torch.zeros_like(n)
        return values.scatter(1, _place(n, generator), wanted), wanted

    return generators.searched_list(difficulty, num_cells, generator, draw)


def search_bits(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """All values and v are 0 or 1: bring v to the comparison."""

    def draw(n: Tensor, count: int) -> tuple[Tensor, Tensor]:
        wanted, values = _uniform(0, 1, n, 1, generator), _uniform(0, 1, n, count, generator)
        place = _place(n, generator)
        values = torch.where(_columns(values) < place, 1 - wanted, values)
        return values.scatter(1, place, wanted), wanted

    return generators.searched_list(difficulty, num_cells, generator, draw)


def search_near(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """All values differ from v by at most 2: an order is no substitute for equality."""

    def draw(n: Tensor, count: int) -> tuple[Tensor, Tensor]:
        wanted, place = _uniform(2, num_cells - 3, n, 1, generator), _place(n, generator)
        away = 1 + _uniform(0, 1, n, count, generator)
        away *= 2 * _uniform(0, 1, n, count, generator) - 1
        away *= (_columns(away) < place) | (_uniform(0, 4, n, count, generator) > 0)
        return (wanted + away).scatter(1, place, wanted), wanted

    return generators.searched_list(difficulty, num_cells, generator, draw)


LISTSEARCH = (Lesson("zero", search_zero), Lesson("bits", search_bits), Lesson("near", search_near))


# Merge


def merge_bits(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """All elements are 0 or 1."""
    return _merge(difficulty, num_cells, generator, lambda like, count: _uniform(0, 1, like, count, generator))


def merge_zero(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """All elements are 0 or the same other number."""

    def draw(like: Tensor, count: int) -> Tensor:
        return _uniform(1, num_cells - 2, like, 1, generator) * _uniform(0, 1, like, count, generator)

    return _merge(difficulty, num_cells, generator, draw)


def merge_two(difficulty: Tensor, num_cells: int, generator: Rng) -> Example:
    """All elements are one of two numbers."""

    def draw(like: Tensor, count: int) -> Tensor:
        either = _uniform(0, num_cells - 2, like, 2, generator)
        return either.gather(1, _uniform(0, 1, like, count, generator))

    return _merge(difficulty, num_cells, generator, draw)


def _merge(difficulty: Tensor, num_cells: int, generator: Rng, draw) -> Example:
    n = 1 + generators._below(difficulty[:, None] - 1, generator)
    return generators.merged_arrays(difficulty, num_cells, n, draw(difficulty, int(difficulty.max())))


MERGE = (Lesson("bits", merge_bits), Lesson("zero", merge_zero), Lesson("two", merge_two))


def _uniform(low: int, high: int, like: Tensor, count: int, generator: Rng) -> Tensor:
    """LongTensor[B, count] of integers uniform on low..high."""
    return torch.randint(low, high + 1, (len(like), count), generator=generator, device=like.device)


def _place(n: Tensor, generator: Rng) -> Tensor:
    """A place in each list: uniform on 0..n-1."""
    return generators._below(n, generator)


def _columns(like: Tensor) -> Tensor:
    return torch.arange(like.shape[1], device=like.device)
