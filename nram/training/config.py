"""The settings of one training run.

A value that is not given comes from the task. JSON and the command line use flat names (`nram.training.settings`).
"""

import difflib
import re
from dataclasses import MISSING, replace

import torch

from nram import kernels, tasks
from nram.training.recipes import RECIPES
from nram.training.schema import Group, documented, flat_name, groups_of, setting, settings_of
from nram.training.settings import (
    AnnealingSettings,
    BudgetSettings,
    CurriculumSettings,
    DrawSettings,
    ExampleSettings,
    MachineSettings,
    OptimizerSettings,
    PolishSettings,
    PopulationSettings,
    VerificationSettings,
)

__all__ = ["TrainConfig", "default_extra_cells", "task_of"]

TABLE_REGISTERS = 8  # of a machine that is annealed: its table has 2^R circuits
VECTOR = 16  # cells of a vector of the fused CPU kernel
REMOVED = ("history_seconds",)  # removed settings that changed nothing; ignored in old config.json files
# Former settings that are constants now. config.json keeps them, so the hashes of earlier runs hold; other values are
# refused. Two have new names: polish.LEARNING_RATE and progress.HISTORY_EVERY.
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
    annealing: AnnealingSettings = AnnealingSettings()
    verification: VerificationSettings = VerificationSettings()
    polish: PolishSettings = PolishSettings()

    def __post_init__(self):
        super().__post_init__()
        if self.task in tasks.KEYS:
            self._fill_in(tasks.get(self.task))
        self._fill_in_extra_cells()
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

    def _fill_in_extra_cells(self) -> None:
        examples = self.examples
        if examples.extra_cells is None and examples.num_cells is not None:
            filled = replace(examples, extra_cells=default_extra_cells(examples.num_cells))
            object.__setattr__(self, "examples", filled)

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
        self._check_annealing()
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

    def _check_annealing(self) -> None:
        if not self.annealing.patience:
            return
        if self.machine.controller != "mlp" or self.machine.num_registers > TABLE_REGISTERS:
            raise ValueError(
                f"annealing is of tables: the controller must be an mlp with at most {TABLE_REGISTERS} registers"
            )
        if self.machine.hidden < 2**self.machine.num_registers:
            raise ValueError(
                f"annealing is of tables: to learn one, the controller needs at least {2**self.machine.num_registers} "
                f"hidden units, one for each pattern of registers that are 0, not {self.machine.hidden}"
            )
        if not self.population.replacement:
            raise ValueError("annealing has no trials that are independent of others: set annealing=0")

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
            "num_cells": task.smallest_memory(difficulty),
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


def default_extra_cells(num_cells: int) -> int:
    """Up to the next multiple of the fused kernel's vector, and at least one more."""
    return VECTOR - num_cells % VECTOR


def _either(given, otherwise):
    return otherwise if given is None else given


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def task_of(config: TrainConfig, task: tasks.Task | None = None) -> tasks.Task:
    """The configuration's task, with its time limit. task: the task itself, if it is not one of the ten."""
    if task is None and config.task not in tasks.KEYS:
        raise ValueError(f"{config.task!r} is not one of the ten tasks: give the task itself too, as task=...")
    if task is not None and task.key != config.task:
        raise ValueError(f"the settings are those of task {config.task!r}, not of {task.key!r}")
    return (task or tasks.get(config.task)).with_limit(config.examples.limit_slope, config.examples.limit_offset)
