"""The studies, as data: settings, variants of them, and for how many batches a seed is trained.

A setting names a task, whose recipe it takes (`nram.training.recipes`), or a recorded run of `results/recorded`, whose settings
and whose solved seed's hyperparameters it takes; then what differs from these. Every setting is run with every variant.
Whatever a seed would draw at random is fixed: to the recorded seed's value, or to the one given.
"""

SEEDS = 100
BASE_SEED = 2000  # the configuration's: seeds that no search and no recorded run has used

SOLVED = ("access", "increment", "copy", "reverse", "swap", "permutation", "listk", "walkbst")  # by the recorded runs

# The three best of a search over ListK: 32 populations, 984 seeds with hyperparameters of their own, in machines of
# several sizes, of which 7 were solved within 500 to 800 batches; then ten settings at or near those of the solved,
# 32 seeds each.
# Three READs in a timestep, a stop logit that lets machines run on at first, and a weak entropy bonus did most.
LISTK = {
    "task": "listk",
    "loss": "expected",
    "repetitions": 3,
    "num_registers": 4,
    "hidden": 64,
    "start_difficulty": 1,
    "small_memories": 0.0,
    "restart_after": 200,
    "copies": 0.0,
    "sharpening": 1.0,
    "polish_batches": 200,
    "polish_batch_size": 16,
    "restarts": False,
}
LISTK_1 = LISTK | {
    "learning_rate": [0.0061, 0.0061],
    "output_scale": [0.78, 0.78],
    "stop_bias": [-3.0, -3.0],
    "noise_eta": [0.265, 0.265],
    "entropy": [0.0013, 0.0013],
}
LISTK_2 = LISTK_1 | {"learning_rate": [0.004, 0.004], "output_scale": [0.7, 0.7], "noise_eta": [0.3, 0.3]}
LISTK_3 = LISTK | {
    "batch_size": 4,
    "learning_rate": [0.0056, 0.0056],
    "output_scale": [0.7, 0.7],
    "stop_bias": [-3.9, -3.9],
    "noise_eta": [0.17, 0.17],
    "entropy": [0.00125, 0.00125],
}

LISTK_SETTINGS = {"setting 1": LISTK_1, "setting 2": LISTK_2, "setting 3": LISTK_3}
MARGINAL = {"loss": "marginal"}
NOISE = {"with noise": {}, "no noise": {"noise_scale": 0.0}}

STUDIES: dict[str, dict] = {
    "rates": {
        "about": "How often a fresh seed is solved with the hyperparameters of the recorded machines",
        "batches": 1000,
        "settings": {task: {"recorded": task} for task in SOLVED},
        "variants": {"recipe": {}},
    },
    "gradient_noise": {
        "about": "ListK with and without gradient noise, on the same seeds",
        "batches": 800,
        "settings": LISTK_SETTINGS,
        "variants": NOISE,
    },
    "gradient_noise_marginal": {
        "about": "The same with the loss of the paper's footnote 4",
        "batches": 800,
        "settings": {name: setting | MARGINAL for name, setting in LISTK_SETTINGS.items()},
        "variants": NOISE,
    },
    "losses": {
        "about": "The paper's loss, and that of its footnote 4",
        "batches": 800,
        "settings": {task: {"recorded": task} for task in ("copy", "reverse", "swap")} | {"listk": LISTK_1},
        "variants": {"expected": {"loss": "expected"}, "marginal": MARGINAL},
    },
    "ablations": {
        "about": "An easy and a hard task, with parts of the recipe left out",
        "batches": 600,
        "settings": {"copy": {"recorded": "copy"}, "listk": LISTK_1 | MARGINAL},
        "variants": {
            "recipe": {"restarts": True},
            "without restarts": {"restarts": False},
            "without restarts and curriculum": {"restarts": False, "curriculum": False},
            "without restarts and entropy bonus": {"restarts": False, "entropy": [0.0, 0.0]},
            "without restarts and activation clipping": {"restarts": False, "activation_clip": None},
        },
    },
}
