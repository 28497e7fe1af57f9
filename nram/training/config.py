"""All settings of a training run, and the recommended ones per task."""

import difflib
import math
import re
from dataclasses import asdict, dataclass, fields

import torch

from nram import kernels, tasks
from nram.machine.controller import CONTROLLERS
from nram.training.recipes import RECIPES

__all__ = ["FORMER", "TrainConfig"]

FORMER = ("history_seconds",)  # settings that recorded runs may have and that made no difference to what was trained
LOSSES = ("expected", "marginal")
Bounds = tuple[float, float]
LARGEST = 10**9  # of what counts members, cells, batches..
BOUNDS = ("adam_betas", "learning_rate", "output_scale", "stop_bias", "noise_eta", "entropy")  # settings (low, high)
RANGES = {  # of settings that mean nothing outside
    "num_registers": (1, 1000),
    "repetitions": (1, 1000),
    "seed": (0, 2**32 - 1),  # other seeds are derived from it, all below 2^63
    "small_memories": (0, 1),
    "adam_betas": (0, 1 - 1e-9),
    "level_decay": (0, 1),
    "noise_eta": (0, 1e9),
    "learning_rate": (0, 1e15),
    "output_scale": (0, 1e9),
    "entropy": (0, 1e9),
    "polish_learning_rate": (0, 1e9),
    "patience_at_top": (0, 1e9),
    "num_cells": (0, LARGEST),
    "extra_cells": (0, LARGEST),
    "limit_slope": (0, LARGEST),
    "limit_offset": (-LARGEST, LARGEST),
}


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Bounds (low, high) are what each started seed draws its own value from.

    task: key of the task.
    seed: of everything random in the run.
    budget_seconds: wall-clock limit of training; evaluation comes on top.
    budget_batches: limit of training in batches, which every machine reaches alike; None for no such limit.
    device: of the parameters and batches, "cpu" or "cuda".
    kernel: implementation of the timestep, see `nram.kernels`.
    controller: "mlp" or "lstm".
    num_registers: R.
    repetitions: how often the sequence of 14 modules is repeated.
    hidden: units in each layer of the controller.
    num_cells: the smallest M, memory cells, in training; 0 stands for the least that the train difficulty needs.
    extra_cells: every batch has a memory of num_cells to num_cells + extra_cells cells, drawn uniformly; None means
        up to the next multiple of 16, the fused kernel's vector, and at least one.
    small_memories: share of batches whose difficulties stay below a random one and whose memories are as small as it
        allows, plus extra cells.
    train_difficulty: the highest difficulty trained on; 0 stands for the paper's.
    limit_slope, limit_offset: the time limit T = slope * difficulty + offset; None stands for the task's own.
    population: members trained side by side.
    batch_size: examples per member and batch.
    learning_rate: of Adam, drawn log-uniformly.
    adam_betas: of Adam.
    output_scale: standard deviation of the initial output weights times sqrt(hidden), drawn log-uniformly.
    stop_bias: added to the initial bias of the stop logit, drawn uniformly.
    noise_eta: eta of the gradient noise's variance eta / (1 + step)^0.55, drawn uniformly.
    noise_scale: factor on the noise's standard deviation; 0 for no noise.
    entropy: initial coefficient of the entropy bonus, drawn log-uniformly; (0, 0) for none.
    entropy_half_life: batches in which that coefficient halves.
    activation_clip: bound C1 on every activation's gradient; None for no bound.
    gradient_norm: bound C2 on the L2 norm of a member's gradient; None for no bound.
    log_floor: logarithms are taken of max(x, log_floor).
    loss: "expected", the paper's, or "marginal", that of its footnote 4 (see `nram.training.population.loss_per_example`).
    curriculum: whether difficulty rises with success; if not, D is the train difficulty from the start.
    start_difficulty: the first level D; 0 stands for the task's smallest difficulty.
    level_threshold: the level rises when the moving error at d = D is below this.
    level_decay: decay per batch of that moving average.
    level_gap: batches at least between two rises.
    restarts: whether stuck members are started afresh.
    restart_after: batches after which a member is stuck, if its level has not risen and its moving error not fallen.
    patience_at_top: times as many batches for a member at the train difficulty.
    copies: probability that a stuck member makes room for a copy of one that stands out, if one does; members that
        stand out then have `PATIENCE` times as many batches before they are stuck.
    sharpening: bound of the factor by which a member's output logits are multiplied, drawn anew for each batch.
    replacement: whether a member whose trial has ended makes room for the next seed. If not, it leaves, and no trial
        depends on what becomes of the others (see `nram.training.population.draw_batch`).
    trial_batches: batches after which a trial is given up; None for no bound.
    candidate_error: moving error below which a member at the train difficulty is verified.
    verify_cases: fresh cases on which a candidate must make no error, fuzzy and discretized.
    polish_batches: batches for which a solved machine is trained on alone, to make it sharp (see `nram.training.loop.polish`).
    polish_batch_size: examples in each of them.
    polish_learning_rate: of Adam in the first of them; it falls to 0.
    keep_going: whether training goes on after the first solved member, counting them, until the budget is gone.
    history_batches: batches between rows of the history.
    """

    task: str
    seed: int = 0
    budget_seconds: float = 120.0
    budget_batches: int | None = None
    device: str = "cpu"
    kernel: str = "auto"
    controller: str = "mlp"
    num_registers: int = 4
    repetitions: int = 1
    hidden: int = 48
    num_cells: int = 0
    extra_cells: int | None = None
    small_memories: float = 0.25
    train_difficulty: int = 0
    limit_slope: int | None = None
    limit_offset: int | None = None
    population: int = 24
    batch_size: int = 8
    learning_rate: Bounds = (0.002, 0.02)
    adam_betas: Bounds = (0.9, 0.999)
    output_scale: Bounds = (0.5, 2.0)
    stop_bias: Bounds = (0.0, 0.0)
    noise_eta: Bounds = (0.0, 0.3)
    noise_scale: float = 0.02
    entropy: Bounds = (0.001, 0.3)
    entropy_half_life: float = 1500.0
    activation_clip: float | None = 10.0
    gradient_norm: float | None = 1.0
    log_floor: float = 1e-6
    loss: str = "expected"
    curriculum: bool = True
    start_difficulty: int = 0
    level_threshold: float = 0.15
    level_decay: float = 0.95
    level_gap: int = 10
    restarts: bool = True
    restart_after: int = 250
    patience_at_top: float = 3.0
    copies: float = 0.0
    sharpening: float = 1.0
    replacement: bool = True
    trial_batches: int | None = None
    candidate_error: float = 0.02
    verify_cases: int = 1000
    polish_batches: int = 1000
    polish_batch_size: int = 32
    polish_learning_rate: float = 0.02
    keep_going: bool = False
    history_batches: int = 50

    def __post_init__(self):
        task = tasks.get(self.task) if self.task in tasks.KEYS else None
        self._check_types()
        if task is not None:
            self._fill("train_difficulty", task.train_difficulty)
            self._fill("start_difficulty", task.min_difficulty)
            self._fill("num_cells", task.min_cells(self.train_difficulty))
            for name in ("limit_slope", "limit_offset"):
                if getattr(self, name) is None:
                    object.__setattr__(self, name, getattr(task, name))
        if self.extra_cells is None:
            object.__setattr__(self, "extra_cells", 16 - self.num_cells % 16)
        self._check_values(task)

    def _fill(self, name: str, value: int) -> None:
        if getattr(self, name) == 0:
            object.__setattr__(self, name, value)

    def _check_types(self) -> None:
        for each in fields(self):
            name, value, kind = each.name, getattr(self, each.name), each.type
            if value is None and kind in (int | None, float | None):
                continue
            if kind == Bounds:
                numbers = isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_is_number, value))
                if not numbers or value[0] > value[1]:
                    raise ValueError(f"{name} must be two numbers (low, high), not {value!r}")
                object.__setattr__(self, name, (float(value[0]), float(value[1])))
            elif kind in (int, int | None):
                if not isinstance(value, int) or isinstance(value, bool):
                    raise ValueError(f"{name} must be an integer, not {value!r}")
            elif kind in (float, float | None):
                if not _is_number(value):
                    raise ValueError(f"{name} must be a finite number, not {value!r}")
                object.__setattr__(self, name, float(value))
            elif not isinstance(value, kind):
                raise ValueError(f"{name} must be of type {kind.__name__}, not {value!r}")

    def _check_values(self, task) -> None:
        at_least_1 = "population batch_size polish_batch_size level_gap restart_after verify_cases num_registers"
        for name in f"{at_least_1} hidden repetitions train_difficulty history_batches".split():
            if not 1 <= getattr(self, name) <= LARGEST:
                raise ValueError(f"{name} must be at least 1 and at most {LARGEST}, not {getattr(self, name)}")
        if self.trial_batches is not None and self.trial_batches < 1:
            raise ValueError(f"trial_batches must be at least 1, or None for no bound, not {self.trial_batches}")
        if not 0 <= self.copies <= 1:
            raise ValueError(f"copies is a probability, not {self.copies}")
        if self.sharpening < 1:
            raise ValueError(f"sharpening must be at least 1, not {self.sharpening}")
        not_negative = "budget_seconds seed noise_scale num_cells extra_cells small_memories polish_batches"
        for name in f"{not_negative} budget_batches".split():
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not all(low <= each <= high for each in (value if name in BOUNDS else (value,))):
                raise ValueError(f"{name} must lie between {low:g} and {high:g}, not {value!r}")
        for name in ("entropy_half_life", "log_floor", "activation_clip", "gradient_norm"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.controller not in CONTROLLERS:
            raise ValueError(f"unknown controller {self.controller!r}; valid: {', '.join(CONTROLLERS)}")
        if self.loss not in LOSSES:
            raise ValueError(f"unknown loss {self.loss!r}; valid: {', '.join(LOSSES)}")
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device must be cpu, cuda or cuda:N, not {self.device!r}")
        if self.device != "cpu" and not torch.cuda.is_available():
            raise ValueError(f"device is {self.device!r}, but there is no CUDA device here")
        if self.device != "cpu" and (torch.device(self.device).index or 0) >= torch.cuda.device_count():
            raise ValueError(f"device is {self.device!r}, but there are {torch.cuda.device_count()} CUDA devices here")
        kernels.resolve(self.kernel, self.device)
        for name in ("learning_rate", "output_scale"):
            if getattr(self, name)[0] <= 0:
                raise ValueError(f"{name} is drawn log-uniformly: both bounds must be above 0")
        if self.entropy[1] > 0 and self.entropy[0] <= 0:
            raise ValueError("entropy is drawn log-uniformly: both bounds must be above 0, or both 0 for none")
        if task is not None:
            if self.train_difficulty < task.min_difficulty:
                raise ValueError(f"{self.task}'s smallest difficulty is {task.min_difficulty}")
            if not task.min_difficulty <= self.start_difficulty <= self.train_difficulty:
                raise ValueError(
                    f"start_difficulty must lie between {task.min_difficulty} and the train difficulty "
                    f"{self.train_difficulty}, not {self.start_difficulty}"
                )
            task.with_limit(self.limit_slope, self.limit_offset)
            smallest = task.min_cells(self.train_difficulty)
            if self.num_cells < smallest:
                raise ValueError(
                    f"{self.task} at difficulty {self.train_difficulty} needs at least {smallest} cells, "
                    f"not {self.num_cells}"
                )

    @classmethod
    def for_task(cls, task: str | tasks.Task, **overrides) -> "TrainConfig":
        """The recommended settings for one of the ten tasks by its key, or the defaults for a task of one's own.

        Raises ValueError naming the valid names for an unknown one, and for a task of one's own under a key of the ten.
        """
        if not isinstance(task, tasks.Task):
            tasks.get(task)
            return cls.from_dict({"task": task, **RECIPES.get(task, {}), **overrides})
        if task.key in tasks.KEYS:
            raise ValueError(f"{task.key!r} is one of the ten tasks: give a task of your own another key")
        difficulty = overrides.get("train_difficulty") or task.train_difficulty
        sizes = {
            "train_difficulty": difficulty,
            "start_difficulty": task.min_difficulty,
            "num_cells": max(3, task.min_cells(difficulty)),
            "limit_slope": task.limit_slope,
            "limit_offset": task.limit_offset,
        }
        return cls.from_dict({"task": task.key, **sizes, **overrides})

    @classmethod
    def from_dict(cls, settings: dict) -> "TrainConfig":
        """The configuration from plain values, as `to_dict` gives them. Raises ValueError for unknown names."""
        if not isinstance(settings, dict) or "task" not in settings:
            raise ValueError("settings must be a dict that names at least the task")
        names = [each.name for each in fields(cls)]
        for name in settings:
            if name not in names:
                nearest = difflib.get_close_matches(str(name), names, n=1)
                hint = f", did you mean {nearest[0]!r}?" if nearest else ""
                raise ValueError(f"unknown setting {name!r}{hint}; valid: {', '.join(names)}")
        return cls(**settings)

    def to_dict(self) -> dict:
        """All settings as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def _is_number(value) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
