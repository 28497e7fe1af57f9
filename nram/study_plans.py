"""The studies, as data: settings, variants of them, and for how many batches a seed is trained.

A setting names a task, whose recipe it takes (`nram.recipes`), or a recorded run of `results/recorded`, whose settings
and whose solved seed's hyperparameters it takes; then what differs from these. Every setting is run with every variant.
Whatever a seed would draw at random is fixed: to the recorded seed's value, or to the one given.
"""

SEEDS = 100
BASE_SEED = 2000  # the configuration's: seeds that no search and no recorded run has used

EASY = ("access", "increment", "copy", "reverse", "swap")

STUDIES: dict[str, dict] = {
    "rates": {
        "about": "How often a fresh seed is solved with the hyperparameters of the recorded machines",
        "batches": 1000,
        "settings": {task: {"recorded": task} for task in EASY},
        "variants": {"recipe": {}},
    },
}
