"""The recommended settings per task, where they differ from `TrainConfig`'s defaults, with a reason for each."""

RECIPES: dict[str, dict] = {
    "access": {},
    "increment": {},
    "copy": {},
    "reverse": {},
    # Two values are read in the same timestep, so two READs. Doing nothing has error 2 / n: a low threshold for levels.
    "swap": {
        "repetitions": 2,
        "num_registers": 5,
        "hidden": 32,
        "entropy": (0.0001, 0.01),
        "level_threshold": 0.03,
    },
    "permutation": {"repetitions": 2},
    # An MLP with five registers: an LSTM, with more to learn, was seen to get past two nodes less often.
    # What is learned was seen to hold in memories of every size without training in small ones.
    "listk": {
        "repetitions": 2,
        "num_registers": 5,
        "hidden": 32,
        "entropy": (0.0001, 0.03),
        "restart_after": 200,
        "small_memories": 0.0,
    },
    "listsearch": {"repetitions": 2},
    "merge": {"repetitions": 2},
    "walkbst": {"repetitions": 2},
}
