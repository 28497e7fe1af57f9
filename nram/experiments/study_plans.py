"""The studies as data: settings, variants of them, and how many batches a seed is trained for.

A setting starts from a task's recipe (`nram.training.recipes`), or from a run in `results/recorded`: its settings and
the hyperparameters of its solved trial. Then it names what differs. Every setting is run with every variant but those
that are left out. A study fixes each hyperparameter that a trial would draw at random, to the recorded trial's value or
a given one. In a study that is `drawn`, each seed draws them from the recipe's bounds instead, the same under every
variant.
"""

from functools import partial

from nram import results, tasks
from nram.related.attention import AttentionPopulation
from nram.training.config import TrainConfig

__all__ = ["BASE_SEED", "DRAWN", "EASY", "SEEDS", "STUDIES", "configurations", "seeds_of"]

SEEDS = 100
BASE_SEED = 2000  # the configuration's: no search and no recorded run has used these seeds
BLOCK = 25  # trials in a population
DRAWN = ("learning_rate", "output_scale", "stop_bias", "noise_eta", "entropy")  # what a trial draws from bounds

EASY = ("access", "increment", "copy", "reverse", "swap")
SOLVED = (*EASY, "permutation", "listk", "walkbst")  # by the recorded runs

# The three best settings of a search over ListK. It started 984 trials in 32 populations, each with hyperparameters of
# its own, in machines of several sizes; 7 were solved within 500 to 800 batches. Then it tried ten settings at or near
# those of the solved trials, 32 trials each. Three READs in a timestep, a stop logit that lets machines run on at
# first, and a weak entropy bonus helped most.
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

BEYOND = ("permutation", "listsearch", "merge", "walkbst")  # their recipes add something to the paper's
DESCENT = {"annealing": 0, "restarts": False}  # seeds of gradient descent, without copies
PAPERS = {"lessons": False, "sharpening": 1.0, "sharpening_error": None, "curriculum": True}

BIASES = {f"bias {bias}": float(bias) for bias in (0, 2, 5)}  # of attention over modules, towards the paper's order
PLAIN = {"kernel": "reference"}  # no kernel has the timestep of that variant

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
    "controllers": {
        "about": "The two controllers of the paper, each seed with hyperparameters drawn from the recipe's bounds",
        "batches": 1000,
        "drawn": True,
        "settings": {task: {"task": task} | DESCENT for task in (*EASY, "listk")},
        "variants": {"mlp": {"controller": "mlp"}, "lstm": {"controller": "lstm"}},
    },
    "recipes": {
        "about": "The paper's recipe, and what ours adds to it, on the tasks where it does: seeds without copies",
        "batches": 3000,
        "drawn": True,
        "settings": {task: {"task": task} | DESCENT for task in BEYOND},
        "variants": {"the paper's": PAPERS, "without lessons": {"lessons": False}, "ours": {}},
        "left_out": {(task, "without lessons") for task in BEYOND if not tasks.get(task).lessons},
    },
    "attention": {
        "about": "The machine with attention over its modules beside the machine, with the recorded hyperparameters",
        "batches": 500,
        "seeds": 20,
        "settings": {task: {"recorded": task, "restarts": False} for task in ("access", "increment", "copy")},
        "variants": {"original": {}} | dict.fromkeys(BIASES, PLAIN),
        "populations": {name: partial(AttentionPopulation, bias=bias) for name, bias in BIASES.items()},
    },
}


def configurations(
    name: str, seeds: int | None = None, batches: int | None = None
) -> dict[tuple[str, str], TrainConfig]:
    """The configurations of a study by (setting, variant).

    seeds, batches: how many, instead of the plan's. Raises ValueError for an unknown study and for a setting that
    leaves a hyperparameter to chance.
    """
    if name not in STUDIES:
        raise ValueError(f"unknown study {name!r}; valid: {', '.join(STUDIES)}")
    plan = STUDIES[name]
    common = {
        "seed": BASE_SEED,
        "budget_seconds": 1e9,  # batches end a trial, not seconds
        "keep_going": True,
        "replacement": False,
        "trial_batches": batches or plan["batches"],
        "population": min(BLOCK, seeds_of(name)),  # of any call, so that another one can add seeds
    }
    return {
        (setting, variant): _configuration({**own, **changes, **common}, drawn=plan.get("drawn", False))
        for setting, own in plan["settings"].items()
        for variant, changes in plan["variants"].items()
        if (setting, variant) not in plan.get("left_out", ())
    }


def seeds_of(name: str) -> int:
    """How many seeds of every setting and variant a study has."""
    return STUDIES[name].get("seeds", SEEDS)


def _configuration(settings: dict, drawn: bool) -> TrainConfig:
    settings = dict(settings)
    if "recorded" not in settings:
        config = TrainConfig.for_task(settings.pop("task"), **settings)
    else:
        run = results.load_run(results.RECORDED / settings.pop("recorded"))
        solved = run.trials[run.trials["solved"]].iloc[0]
        hyperparameters = {column: [float(solved[column])] * 2 for column in DRAWN}
        # A run that is older than its task's lessons had none.
        lessons = {"lessons": False} if tasks.get(run.config["task"]).lessons else {}
        config = TrainConfig.from_dict({**lessons, **run.config, **hyperparameters, **settings})
    if drawn:
        return config
    loose = [column for column in DRAWN if getattr(config.draws, column)[0] != getattr(config.draws, column)[1]]
    if loose:
        raise ValueError(f"a study's hyperparameters are fixed, these are not: {', '.join(loose)}")
    return config
