"""The ten tasks of the paper (appendix A): sizes, time limits, generators and solvers.

    task = get("copy")
    batch = task.sample(torch.tensor([3, 15, 15]), num_cells=32)

`task.py` says what a task is and how to define another, `generators.py` draws examples, and `solvers.py` solves
them in plain Python.

Deviation: the paper does not publish its time limits. Ours depend on the difficulty alone.
"""

from difflib import get_close_matches

from nram.tasks import generators, solvers
from nram.tasks.task import Batch, Task

__all__ = ["KEYS", "Batch", "Task", "get"]

# Memory (cells) and time limit (timesteps) are slope * difficulty + offset. train: the paper's (Table 1).
_TABLE = (
    #                                     min  train     cells       limit
    ("access", "Access",                    1,    20,   (1, 2),     (0, 4)),
    ("increment", "Increment",              1,    15,   (1, 1),     (1, 4)),
    ("copy", "Copy",                        1,    15,   (2, 1),     (1, 3)),
    ("reverse", "Reverse",                  1,    15,   (2, 1),     (1, 6)),
    ("swap", "Swap",                        2,    20,   (1, 3),     (0, 8)),
    ("permutation", "Permutation",          1,     6,   (2, 1),     (1, 4)),
    ("listk", "ListK",                      1,    10,   (2, 3),     (1, 6)),
    ("listsearch", "ListSearch",            1,     6,   (2, 3),     (2, 6)),
    ("merge", "Merge",                      2,    10,   (2, 5),     (1, 6)),
    ("walkbst", "WalkBST",                  1,    10,   (4, 2),     (1, 6)),
)  # fmt: skip

_TASKS = {
    key: Task(
        key=key,
        title=title,
        min_difficulty=minimum,
        train_difficulty=train,
        cells_slope=cells[0],
        cells_offset=cells[1],
        limit_slope=limit[0],
        limit_offset=limit[1],
        generate=getattr(generators, key),
        solver=getattr(solvers, key),
    )
    for key, title, minimum, train, cells, limit in _TABLE
}

KEYS = tuple(_TASKS)


def get(key: str) -> Task:
    """The paper's task of that key, one of `KEYS`. ValueError naming the valid keys and the nearest for any other."""
    if key in KEYS:
        return _TASKS[key]
    nearest = get_close_matches(str(key).lower(), KEYS, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"unknown task {key!r}: the tasks are {', '.join(KEYS)}{hint}")
