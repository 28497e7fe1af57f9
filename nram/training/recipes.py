"""The recommended settings of each task where they differ from the defaults, and why.

Names are the flat ones of `nram.training.settings`. A hard task's time to a solution varies much from seed to seed, so
some have a longer budget; a solved task does not wait for it.

Where a recipe has `annealing`, that trains the task, and all settings of populations wait for who sets annealing=0.
Gradient descent with them solves Permutation in five to ten minutes, ListSearch in one to five minutes from some seeds,
WalkBST from few.
"""

LONG = 1800.0  # seconds

RECIPES: dict[str, dict] = {
    "access": {},
    "increment": {},
    "copy": {},
    "reverse": {},
    # A timestep reads two values, so it needs two READs. Doing nothing has error 2 / n, so levels need a low threshold.
    "swap": {
        "repetitions": 2,
        "num_registers": 5,
        "hidden": 32,
        "entropy": (0.0001, 0.01),
        "level_threshold": 0.03,
    },
    # Training starts at the train difficulty: in short arrays fixed addresses serve nearly as well as a loop. A few
    # batches decide whether a seed improves. One in hundreds does, and its copies continue. Random sharpening keeps
    # members from computing with soft circuits.
    "permutation": {
        "annealing": 150,
        "annealing_start": 4,
        "budget_seconds": LONG,
        "repetitions": 2,
        "hidden": 32,
        "population": 32,
        "batch_size": 4,
        "curriculum": False,
        "restart_after": 60,
        "copies": 0.5,
        "sharpening": 4.0,
        "small_memories": 0.0,
        "learning_rate": (0.01, 0.05),
        "noise_eta": (0.0, 0.4),
        "entropy": (0.0005, 0.006),
        "output_scale": (0.5, 1.5),
    },
    # Three of each module and a stop that is unlikely at first raise the rate of solved seeds. With the cost of
    # footnote 4 many more seeds with little gradient noise are solved (`nram study gradient_noise_marginal`).
    "listk": {
        "repetitions": 3,
        "hidden": 64,
        "loss": "marginal",
        "restart_after": 200,
        "small_memories": 0.0,
        "stop_bias": (-4.0, -2.0),
        "learning_rate": (0.003, 0.012),
        "entropy": (0.0005, 0.0025),
        "output_scale": (0.6, 1.2),
    },
    # Four lessons (`nram.tasks.lessons`) lead to it. Members that fail to learn the next one are given up soon, and
    # those that follow try other wirings of what is not in use: the comparison is one of them. With two READs in a
    # timestep machines compare by a soft trick, one READ at a mixture of the addresses of v and of a value. With three
    # they read both, and sharpening makes them prefer that. Three timesteps per node would do up to six nodes if the
    # limit were 2 n + 3: a table learned that, and was wrong from seven on.
    "listsearch": {
        "annealing": 150,
        "annealing_temperature": 0.005,
        "annealing_start": 5,
        "annealing_threshold": 0.3,
        "budget_seconds": LONG,
        "repetitions": 3,
        "hidden": 24,
        "loss": "marginal",
        "limit_slope": 2,
        "limit_offset": 2,
        "start_difficulty": 3,
        "lesson_difficulty": 4,
        "lesson_batches": 1000,
        "level_threshold": 0.2,
        "restart_after": 200,
        "copies": 0.5,
        "rewiring": 4.0,
        "sharpening": 12.0,
        "sharpening_error": 0.1,
        "small_memories": 0.2,
        "learning_rate": (0.003, 0.015),
        "entropy": (0.0001, 0.003),
        "output_scale": (0.5, 1.5),
        "stop_bias": (-4.0, -2.0),
    },
    # Annealing needs no lessons here. Up to three elements are merged without a loop, so it learns from four on. The
    # output is right up to some cell, then wrong: that is the error that falls step by step. Three registers are all
    # that the program needs (two heads and the output). With the task's limit, d + 6, a loop that takes longer than a
    # timestep per element does up to ten; d + 2 leaves none. At the highest level and in the verification a third of
    # the cases has the task's. Gradient descent has not solved it. How long it takes is as good as exponentially
    # distributed, so slow computers sometimes need a long budget.
    "merge": {
        "annealing": 500,
        "annealing_chains": 4,
        "annealing_temperature": 0.002,
        "annealing_growth": 0.3,
        "annealing_start": 6,
        "annealing_easiest": 4,
        "annealing_threshold": 0.1,
        "annealing_prefix": 1.0,
        "budget_seconds": 2 * LONG,
        "repetitions": 3,
        "num_registers": 3,
        "limit_offset": 2,
        "population": 32,
        "start_difficulty": 3,
        "level_threshold": 0.3,
        "restart_after": 150,
        "copies": 0.3,
        "sharpening": 3.0,
        "small_memories": 0.0,
        "learning_rate": (0.005, 0.012),
        "noise_eta": (0.0, 0.2),
        "entropy": (0.0005, 0.002),
        "output_scale": (0.5, 1.0),
        "stop_bias": (-6.0, -4.0),
    },
    # Two lessons lead to it. A rule for each of the first cells of the path serves up to 5 nodes, so the second begins
    # there, and half of its examples come from the first, of up to 8 nodes: with smaller ones machines forget the
    # counter. A low threshold keeps levels from rising by luck. Three registers leave little room for a rule for each
    # cell. Seeds learn the first lesson within 600 batches or hardly at all.
    "walkbst": {
        "annealing": 150,
        "annealing_start": 8,
        "budget_seconds": LONG,
        "repetitions": 3,
        "num_registers": 3,
        "hidden": 24,
        "loss": "marginal",
        "limit_slope": 2,
        "limit_offset": 3,
        "start_difficulty": 2,
        "lesson_difficulty": 8,
        "lesson_batches": 700,
        "lesson_error": 0.06,
        "review_difficulty": 8,
        "level_threshold": 0.08,
        "restart_after": 300,
        "copies": 0.5,
        "rewiring": 4.0,
        "sharpening": 12.0,
        "sharpening_error": 0.2,
        "small_memories": 0.2,
        "learning_rate": (0.003, 0.015),
        "noise_eta": (0.0, 0.2),
        "entropy": (0.0001, 0.003),
        "output_scale": (0.5, 1.5),
        "stop_bias": (-4.0, -2.0),
    },
}
