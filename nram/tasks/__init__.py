"""The ten tasks of the paper (appendix A): sizes, time limits, generators and solvers.

    task = get("copy")
    batch = task.sample(torch.tensor([3, 15, 15]), num_cells=32)

`task.py` says what a task is and how to define your own, `generators.py` draws examples, and `solvers.py` solves them
in plain Python.

Deviation: the paper does not publish its time limits. Ours depend on the difficulty alone.
"""

from difflib import get_close_matches

from nram.tasks import generators, lessons, solvers
from nram.tasks.lessons import Lesson
from nram.tasks.task import Batch, Task

__all__ = ["KEYS", "Batch", "Lesson", "Task", "get"]

# min: the smallest difficulty. train: the largest in training, the paper's train complexity (Table 1).
# cells, steps: the smallest memory and the time limit at difficulty d; (slope, offset) means slope * d + offset.
_TABLE = (
    # key           title          generator               solver               min train cells   steps
    ("access",      "Access",      generators.access,      solvers.access,       1,  20,  (1, 2), (0, 4)),
    ("increment",   "Increment",   generators.increment,   solvers.increment,    1,  15,  (1, 1), (1, 4)),
    ("copy",        "Copy",        generators.copy,        solvers.copy,         1,  15,  (2, 1), (1, 3)),
    ("reverse",     "Reverse",     generators.reverse,     solvers.reverse,      1,  15,  (2, 1), (1, 6)),
    ("swap",        "Swap",        generators.swap,        solvers.swap,         2,  20,  (1, 3), (0, 8)),
    ("permutation", "Permutation", generators.permutation, solvers.permutation,  1,   6,  (2, 1), (1, 4)),
    ("listk",       "ListK",       generators.listk,       solvers.listk,        1,  10,  (2, 3), (1, 6)),
    ("listsearch",  "ListSearch",  generators.listsearch,  solvers.listsearch,   1,   6,  (2, 3), (2, 6)),
    ("merge",       "Merge",       generators.merge,       solvers.merge,        2,  10,  (2, 5), (1, 6)),
    ("walkbst",     "WalkBST",     generators.walkbst,     solvers.walkbst,      1,  10,  (4, 2), (1, 6)),
)  # fmt: skip

_LESSONS = {"listsearch": lessons.LISTSEARCH, "walkbst": lessons.WALKBST}

_TASKS = {
    key: Task(
        key=key,
        title=title,
        min_difficulty=smallest,
        train_difficulty=train,
        cells_slope=cells[0],
        cells_offset=cells[1],
        limit_slope=steps[0],
        limit_offset=steps[1],
        generate=generate,
        solver=solver,
        lessons=_LESSONS.get(key, ()),
    )
    for key, title, generate, solver, smallest, train, cells, steps in _TABLE
}

KEYS = tuple(_TASKS)


def get(key: str) -> Task:
    """The paper's task with that key. Raises ValueError for any other key, naming the valid ones and the nearest."""
    if key in KEYS:
        return _TASKS[key]
    nearest = get_close_matches(str(key).lower(), KEYS, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"unknown task {key!r}: the tasks are {', '.join(KEYS)}{hint}")
