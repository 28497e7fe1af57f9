"""All settings of training, in groups: each with its default, its sentence and its range."""

from nram.machine.controller import CONTROLLERS
from nram.machine.cost import LOSSES
from nram.training.schema import Bounds, Group, documented, setting

__all__ = [
    "BudgetSettings",
    "CurriculumSettings",
    "DrawSettings",
    "ExampleSettings",
    "MachineSettings",
    "OptimizerSettings",
    "PolishSettings",
    "PopulationSettings",
    "VerificationSettings",
]


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
        None,
        "cells of a batch that is not small (see small_memories), without extra cells; None: the least that the train "
        "difficulty needs",
        low=0,
    )
    extra_cells: int | None = setting(
        None,
        "every batch has num_cells to num_cells + extra_cells cells, drawn uniformly; None: up to the next multiple of "
        "16, the fused kernel's vector, and at least one more",
        low=0,
    )
    small_memories: float = setting(
        0.25,
        "share of easy batches: no difficulty above a random one, in the smallest memory for that, plus extra cells",
        low=0,
        high=1,
    )
    limit_slope: int | None = setting(None, "time limit T = slope * difficulty + offset; None: the task's", low=0)
    limit_offset: int | None = setting(None, "the offset of T, in timesteps; None: the task's")


@documented
class BudgetSettings(Group):
    """When training ends if no member is solved."""

    seconds: float = setting(
        900.0, "wall-clock limit of training; evaluation comes on top", flat="budget_seconds", low=0
    )
    batches: int | None = setting(
        None, "limit in batches, the same on every computer; None: no such limit", flat="budget_batches", low=0
    )

    def is_spent(self, batches: int, seconds: float) -> bool:
        """Whether that is the end of training."""
        return seconds >= self.seconds or (self.batches is not None and batches >= self.batches)


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
    sharpening_error: float | None = setting(
        None,
        "sharpening grows from none to its bound as a member's moving error falls from this to 0; None: no such rule",
        above=0,
    )


@documented
class CurriculumSettings(Group):
    """How the difficulty rises with success (appendix B)."""

    enabled: bool = setting(True, "whether it rises; if not, D is the train difficulty", flat="curriculum")
    start_difficulty: int | None = setting(None, "the first level D; None: the task's smallest difficulty", low=1)
    threshold: float = setting(
        0.15, "the level rises when the moving error at d = D falls below this", flat="level_threshold"
    )
    lessons: bool = setting(True, "whether the task's lessons come first, if it has some")
    lesson_difficulty: int | None = setting(
        None,
        "the highest level in lessons, while the discretized machine is not wrong up to the train difficulty; None: "
        "the train difficulty",
        low=1,
    )
    lesson_error: float = setting(
        0.03,
        "a lesson is learned when the moving error at the member's level, and that of the discretized machine up to "
        "the train difficulty, fall below this",
    )
    lesson_batches: int | None = setting(
        None,
        "a member and its ancestors have so many batches for a lesson, and more while they gain; None: any number",
        low=1,
    )
    review: float = setting(
        0.5, "share of the examples that come from the lesson before, for members beyond the first", low=0, high=1
    )
    review_difficulty: int | None = setting(
        None, "these examples are of all difficulties up to this; None: as the member's others", low=1
    )


@documented
class PopulationSettings(Group):
    """How many members train side by side, and what takes the place of those that are stuck."""

    size: int = setting(24, "P, members trained side by side", flat="population", low=1)
    restarts: bool = setting(True, "whether the trial of a stuck member ends")
    restart_after: int = setting(250, "batches without a gain after which a member is stuck", low=1)
    copies: float = setting(
        0.0,
        "probability that a stuck member becomes a copy of one that stands out, if one does; those that stand out then "
        "have four times the patience",
        low=0,
        high=1,
    )
    rewiring: float = setting(
        0.0,
        "a copy, and who begins as a graduate, draws the unused modules' inputs anew, and each prefers one source, by "
        "up to so much in logits (see `nram.training.rewiring`); 0: they stay as they are",
        low=0,
    )
    replacement: bool = setting(
        True,
        "whether a new trial starts where one has ended; if not, every trial is independent of the others",
    )
    trial_batches: int | None = setting(None, "batches after which a trial is given up; None: no limit", low=1)
    keep_going: bool = setting(False, "whether training goes on after a member is solved, and counts the solved")


@documented
class AnnealingSettings(Group):
    """Annealing instead of gradient descent (`nram.training.annealing`).

    It runs on the CPU, whatever the device. Settings of populations, of the optimizer and of the draws do not count.
    """

    patience: int = setting(
        0,
        "batches without a gain after which an attempt of annealing is given up; 0: gradient descent, no annealing",
        flat="annealing",
        low=0,
    )
    temperature: float = setting(
        0.007,
        "what makes the mean error larger by this is taken with probability 1 / e",
        flat="annealing_temperature",
        above=0,
    )
    chains: int = setting(
        1, "chains side by side, each half as hot again as the one before", flat="annealing_chains", low=1, high=16
    )
    cases: int = setting(64, "cases in a batch of annealing", flat="annealing_cases", low=1)
    start: int | None = setting(
        None,
        "the first level of every lesson, if training goes so far; None: as in gradient descent",
        flat="annealing_start",
        low=1,
    )
    growth: float = setting(
        0.0,
        "chance that an input gets a fresh expression of unused modules instead of another source",
        flat="annealing_growth",
        low=0,
        high=1,
    )
    easiest: int | None = setting(
        None,
        "the smallest difficulty that is drawn below the highest level; None: the task's",
        flat="annealing_easiest",
        low=1,
    )
    threshold: float = setting(
        0.2, "the level rises when the moving error of a batch's cases falls below this", flat="annealing_threshold"
    )
    prefix: float = setting(
        0.0,
        "weight in the error of the share of output cells from the first wrong one on, beside the share of wrong ones",
        flat="annealing_prefix",
        low=0,
        high=1,
    )


@documented
class VerificationSettings(Group):
    """When a member counts as solved."""

    candidate_error: float = setting(
        0.02, "a member is verified when its moving error, at whatever level it is, falls below this"
    )
    cases: int = setting(
        1000,
        "fresh cases on which a candidate must be exact and sharp (see `nram.training.verification`)",
        flat="verify_cases",
        low=15,  # verification draws from seven kinds of memory
    )


@documented
class PolishSettings(Group):
    """How one machine continues training alone, to make it sharp (`nram.training.polish`)."""

    batches: int = setting(1000, "batches of it at most; 0: none", flat="polish_batches", low=0)
    batch_size: int = setting(32, "examples in each of them", flat="polish_batch_size", low=1)
