"""All settings of a training run, in groups. `nram.training.recipes` has the recommended ones of each task."""

import difflib
import re
from dataclasses import MISSING, replace

import torch

from nram import kernels, tasks
from nram.machine.controller import CONTROLLERS
from nram.machine.cost import LOSSES
from nram.training.recipes import RECIPES
from nram.training.settings import Bounds, Group, documented, flat_name, groups_of, setting, settings_of

__all__ = ["TrainConfig", "task_of"]

VECTOR = 16  # cells of a vector of the fused CPU kernel
REMOVED = ("history_seconds",)  # removed settings that changed nothing; ignored in old config.json files
# Settings that became constants (where they are used, see the names). config.json still has them, so that the hashes
# of earlier runs stay what they were. Other values are refused.
CONSTANTS = {
    "adam_betas": [0.9, 0.999],
    "entropy_half_life": 1500.0,
    "level_decay": 0.95,
    "level_gap": 10,
    "patience_at_top": 3.0,
    "polish_learning_rate": 0.02,
    "history_batches": 50,
}


@documented
class MachineSettings(Group):
    """The size of a machine."""

    controller: str = setting("mlp", "kind of controller, mlp or lstm (section 4.1)", choices=tuple(CONTROLLERS))
    num_registers: int = setting(4, "R, the registers", low=1, high=1000)
    repetitions: int = setting(1, "how often the sequence of 14 modules is repeated in a timestep", low=1, high=1000)
    hidden: int = setting(48, "units in each layer of the controller", low=1)


@documented
class ExampleSettings(Group):
    """Which examples are drawn, and in which memories. None stands for the task's own value."""

    batch_size: int = setting(8, "B, examples per member and batch", low=1)
    train_difficulty: int | None = setting(None, "the highest difficulty in training; None: the paper's", low=1)
    num_cells: int | None = setting(
        None, "the smallest M in training, in cells; None: the least that the train difficulty needs", low=0
    )
    extra_cells: int | None = setting(
        None,
        "every batch has num_cells to num_cells + extra_cells cells, drawn uniformly; None: up to the next multiple of "
        "16, the fused kernel's vector, and at least one more",
        low=0,
    )
    small_memories: float = setting(
        0.25,
        "share of batches whose difficulties stay below a random one, in memories as small as that allows, plus extra "
        "cells",
        low=0,
        high=1,
    )
    limit_slope: int | None = setting(None, "time limit T = slope * difficulty + offset; None: the task's", low=0)
    limit_offset: int | None = setting(None, "the offset of T, in timesteps; None: the task's")


@documented
class BudgetSettings(Group):
    """When training ends if no member is solved."""

    seconds: float = setting(
        120.0, "wall-clock limit of training; evaluation comes on top", flat="budget_seconds", low=0
    )
    batches: int | None = setting(
        None, "limit in batches, the same on every computer; None: no such limit", flat="budget_batches", low=0
    )


@documented
class DrawSettings(Group):
    """Bounds (low, high) between which every trial draws its own value."""

    learning_rate: Bounds = setting((0.002, 0.02), "Adam's learning rate, log-uniform", above=0)
    output_scale: Bounds = setting(
        (0.5, 2.0), "standard deviation of the initial output weights times sqrt(hidden), log-uniform", above=0
    )
    stop_bias: Bounds = setting((0.0, 0.0), "added to the initial bias of the stop logit, uniform")
    noise_eta: Bounds = setting(
        (0.0, 0.3), "eta of the gradient noise's variance eta / (1 + step)^0.55, uniform (appendix B)", low=0
    )
    entropy: Bounds = setting(
        (0.001, 0.3), "initial coefficient of the entropy bonus, log-uniform; (0, 0): no bonus (appendix B)", low=0
    )


@documented
class OptimizerSettings(Group):
    """The cost and how its gradient is used (appendix B)."""

    loss: str = setting("expected", "expected, the paper's cost, or marginal, that of its footnote 4", choices=LOSSES)
    log_floor: float = setting(1e-6, "logarithms are taken of max(x, log_floor)", above=0)
    activation_clip: float | None = setting(
        10.0, "C1, the bound on every activation's gradient; None: no bound", above=0
    )
    gradient_norm: float | None = setting(
        1.0, "C2, the bound on the L2 norm of a member's gradient; None: no bound", above=0
    )
    noise_scale: float = setting(0.02, "factor on the gradient noise's standard deviation; 0: no noise", low=0)
    sharpening: float = setting(
        1.0, "upper bound of a random factor on the output logits, drawn anew for each batch; 1: none", low=1
    )


@documented
class CurriculumSettings(Group):
    """How the difficulty rises with success (appendix B)."""

    enabled: bool = setting(True, "whether it rises; if not, D is the train difficulty", flat="curriculum")
    start_difficulty: int | None = setting(None, "the first level D; None: the task's smallest difficulty", low=1)
    threshold: float = setting(
        0.15, "the level rises when the moving error at d = D falls below this", flat="level_threshold"
    )


@documented
class PopulationSettings(Group):
    """How many members train side by side, and what takes the place of those that are stuck."""

    size: int = setting(24, "P, members trained side by side", flat="population", low=1)
    restarts: bool = setting(True, "whether a stuck member makes room for another")
    restart_after: int = setting(250, "batches without a gain after which a member is stuck", low=1)
    copies: float = setting(
        0.0,
        "probability that a stuck member becomes a copy of one that stands out, if one does; those that stand out then "
        "have four times the patience",
        low=0,
        high=1,
    )
    replacement: bool = setting(
        True,
        "whether a member whose trial has ended makes room for the next; if not, no trial depends on the others",
    )
    trial_batches: int | None = setting(None, "batches after which a trial is given up; None: no limit", low=1)
    keep_going: bool = setting(False, "whether training goes on after a member is solved, and counts the solved")


@documented
class VerificationSettings(Group):
    """When a member counts as solved."""

    candidate_error: float = setting(0.02, "moving error below which a member at the train difficulty is verified")
    cases: int = setting(
        1000,
        "fresh cases on which a candidate must make no error, fuzzy and discretized",
        flat="verify_cases",
        low=1,
    )


@documented
class PolishSettings(Group):
    """How a solved machine is trained on alone, to make it sharp (`nram.training.polish`)."""

    batches: int = setting(1000, "batches of it; 0: none", flat="polish_batches", low=0)
    batch_size: int = setting(32, "examples in each of them", flat="polish_batch_size", low=1)


@documented
class TrainConfig(Group):
    """One training run: its task and seed, and groups of settings.

    `for_task` and `from_dict` make one from flat names.
    """

    task: str = setting(MISSING, "key of the task")
    seed: int = setting(0, "what everything random in the run starts from", low=0, high=2**32 - 1)
    device: str = setting("cpu", "where parameters and batches lie: cpu, cuda or cuda:N")
    kernel: str = setting("auto", "implementation of the machine (`nram.kernels`)", choices=kernels.KERNELS)
    machine: MachineSettings = MachineSettings()
    examples: ExampleSettings = ExampleSettings()
    budget: BudgetSettings = BudgetSettings()
    draws: DrawSettings = DrawSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    curriculum: CurriculumSettings = CurriculumSettings()
    population: PopulationSettings = PopulationSettings()
    verification: VerificationSettings = VerificationSettings()
    polish: PolishSettings = PolishSettings()

    def __post_init__(self):
        super().__post_init__()
        if self.task in tasks.KEYS:
            self._fill_in(tasks.get(self.task))
        self._check_device()
        self._check_sizes()

    def _fill_in(self, task: tasks.Task) -> None:
        """Put the task's own values where None is given."""
        train_difficulty = _either(self.examples.train_difficulty, task.train_difficulty)
        examples = replace(
            self.examples,
            train_difficulty=train_difficulty,
            num_cells=_either(self.examples.num_cells, task.min_cells(train_difficulty)),
            limit_slope=_either(self.examples.limit_slope, task.limit_slope),
            limit_offset=_either(self.examples.limit_offset, task.limit_offset),
        )
        start = _either(self.curriculum.start_difficulty, task.min_difficulty)
        object.__setattr__(self, "examples", examples)
        object.__setattr__(self, "curriculum", replace(self.curriculum, start_difficulty=start))

    def _check_device(self) -> None:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device must be cpu, cuda or cuda:N, not {self.device!r}")
        if self.device != "cpu" and not torch.cuda.is_available():
            raise ValueError(f"device is {self.device!r}, but there is no CUDA device here")
        if self.device != "cpu" and (torch.device(self.device).index or 0) >= torch.cuda.device_count():
            raise ValueError(f"device is {self.device!r}, but there are {torch.cuda.device_count()} CUDA devices here")
        kernels.resolve(self.kernel, self.device)

    def _check_sizes(self) -> None:
        """Check what more than one setting decides, and what the task allows."""
        examples, start = self.examples, self.curriculum.start_difficulty
        if None in (start, examples.train_difficulty, examples.num_cells, examples.limit_slope, examples.limit_offset):
            raise ValueError(f"{self.task!r} is not one of the ten tasks: make its settings with TrainConfig.for_task")
        if examples.extra_cells is None:
            filled = replace(examples, extra_cells=VECTOR - examples.num_cells % VECTOR)
            object.__setattr__(self, "examples", filled)
        low, high = self.draws.entropy
        if high > 0 and low <= 0:
            raise ValueError("entropy is drawn log-uniformly: both bounds must be above 0, or both 0 for no bonus")
        if self.task not in tasks.KEYS:
            return
        task, hardest = tasks.get(self.task), examples.train_difficulty
        if hardest < task.min_difficulty:
            raise ValueError(f"{self.task}'s smallest difficulty is {task.min_difficulty}")
        if not task.min_difficulty <= start <= hardest:
            raise ValueError(
                f"start_difficulty must lie between {task.min_difficulty} and the train difficulty {hardest}, "
                f"not {start}"
            )
        task.with_limit(examples.limit_slope, examples.limit_offset)
        needed = task.min_cells(hardest)
        if examples.num_cells < needed:
            raise ValueError(
                f"{self.task} at difficulty {hardest} needs at least {needed} cells, not {examples.num_cells}"
            )

    @classmethod
    def for_task(cls, task: str | tasks.Task, **settings) -> "TrainConfig":
        """The recommended settings of one of the ten tasks by its key, or the defaults for a task of one's own.

        settings: others by their flat names. Raises ValueError naming the valid names for an unknown one, and for a
        task of one's own under the key of one of the ten.
        """
        if not isinstance(task, tasks.Task):
            tasks.get(task)
            return cls.from_dict({"task": task, **RECIPES.get(task, {}), **settings})
        if task.key in tasks.KEYS:
            raise ValueError(f"{task.key!r} is one of the ten tasks: give a task of your own another key")
        difficulty = settings.get("train_difficulty") or task.train_difficulty
        sizes = {
            "train_difficulty": difficulty,
            "start_difficulty": task.min_difficulty,
            "num_cells": max(3, task.min_cells(difficulty)),
            "limit_slope": task.limit_slope,
            "limit_offset": task.limit_offset,
        }
        return cls.from_dict({"task": task.key, **sizes, **settings})

    @classmethod
    def from_dict(cls, settings: dict) -> "TrainConfig":
        """The configuration from flat names and plain values, as `to_dict` gives them.

        Raises ValueError for an unknown name, naming the nearest, and for another value of a setting that is a constant
        now.
        """
        if not isinstance(settings, dict) or "task" not in settings:
            raise ValueError("settings must be a dict that names at least the task")
        given = {name: value for name, value in settings.items() if name not in REMOVED}
        for name, constant in CONSTANTS.items():
            if name in given and _plain(given.pop(name)) != constant:
                raise ValueError(f"{name} is always {constant} in this version, not {settings[name]!r}")
        places = cls._places()
        for name in given:
            if name not in places:
                nearest = difflib.get_close_matches(str(name), places, n=1)
                hint = f", did you mean {nearest[0]!r}?" if nearest else ""
                raise ValueError(f"unknown setting {name!r}{hint}; valid: {', '.join(places)}")
        own, grouped = {}, {}
        for name, value in given.items():
            group, field_name = places[name]
            (own if group is None else grouped.setdefault(group, {}))[field_name] = value
        groups = {each.name: each.type(**grouped.get(each.name, {})) for each in groups_of(cls)}
        return cls(**own, **groups)

    def to_dict(self) -> dict:
        """All settings as plain JSON values by their flat names."""
        flat = {}
        for name, (group, field_name) in self._places().items():
            flat[name] = _plain(getattr(self if group is None else getattr(self, group), field_name))
        return flat | CONSTANTS

    def replace(self, **settings) -> "TrainConfig":
        """The same configuration with other values for settings, by their flat names."""
        return self.from_dict(self.to_dict() | settings)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The flat names of all settings."""
        return tuple(cls._places())

    @classmethod
    def _places(cls) -> dict[str, tuple[str | None, str]]:
        """Where each setting lies, by its flat name: (group, field); None for the configuration itself."""
        places = {flat_name(each): (None, each.name) for each in settings_of(cls)}
        for group in groups_of(cls):
            places |= {flat_name(each): (group.name, each.name) for each in settings_of(group.type)}
        return places


def _either(given, otherwise):
    return otherwise if given is None else given


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def task_of(config: TrainConfig, task: tasks.Task | None = None) -> tasks.Task:
    """The configuration's task, with its time limit. task: the task itself, if it is not one of the ten."""
    if task is None and config.task not in tasks.KEYS:
        raise ValueError(f"{config.task!r} is none of the ten tasks: give the task itself too, as task=...")
    if task is not None and task.key != config.task:
        raise ValueError(f"the settings are those of task {config.task!r}, not of {task.key!r}")
    return (task or tasks.get(config.task)).with_limit(config.examples.limit_slope, config.examples.limit_offset)
