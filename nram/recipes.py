"""The recommended settings per task, where they differ from `TrainConfig`'s defaults, with a reason for each."""

RECIPES: dict[str, dict] = {
    # Two registers hold the pointers, two are spare; the answer is one cell, so training is short.
    "access": {},
    "increment": {},
    "copy": {},
    "reverse": {},
    # Two pointers are followed in the same timestep: one READ per timestep is not enough.
    "swap": {"repetitions": 2},
    "permutation": {"repetitions": 2},
    "listk": {"repetitions": 2},
    "listsearch": {"repetitions": 2},
    "merge": {"repetitions": 2},
    "walkbst": {"repetitions": 2},
}
