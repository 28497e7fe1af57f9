"""A trial: one member from its start to its end, a row of trials.csv."""

import math
from dataclasses import asdict, dataclass

__all__ = ["VERIFY_EVERY", "Trial"]

VERIFY_EVERY = 50  # batches between two verifications of the same member
# Fields that are not in trials.csv.
NOT_WRITTEN = ("chance", "next_verification", "polished", "graduate", "lesson_began")


@dataclass
class Trial:
    """One member from its start to its end: what the paper calls a seed. A row of trials.csv.

    number: of the trial. learning_rate .. entropy: the hyperparameters it drew. chance: its draw that decides
    whether it becomes a copy. batches: since its start, its parent's included. lesson: how many lessons it has
    learned. level: its curriculum level, and rises: "level@batch" of every change. error: the moving error at its
    level. ended: "running"; "solved"; "restarted" (stuck); "dead" (one of its numbers was not finite); "batches"
    (it used its trial_batches); "budget" or "interrupt" (training ended first); "stopped" (another member was
    solved); "overtaken" (another learned its lesson); "left out". fuzzy_error, discretized_error: of its last
    verification. seconds: when it ended, since training began. next_verification: in batches. polished: whether it
    was polished. parent: the trial that it is a copy of, or -1. graduate: the index of the graduate that it began
    as, or -1. lesson_began: in batches, when it or its ancestors began its lesson.
    """

    number: int
    learning_rate: float
    output_scale: float
    stop_bias: float
    noise_eta: float
    entropy: float
    chance: float
    batches: int = 0
    lesson: int = 0
    level: int = 0
    rises: str = ""
    error: float = math.nan
    ended: str = "running"
    solved: bool = False
    fuzzy_error: float = math.nan
    discretized_error: float = math.nan
    seconds: float = math.nan
    next_verification: int = VERIFY_EVERY
    polished: bool = False
    parent: int = -1
    graduate: int = -1
    lesson_began: int = 0

    def row(self) -> dict:
        """The trial as a row of trials.csv, whose column `trial` has its number."""
        written = {name: value for name, value in asdict(self).items() if name not in NOT_WRITTEN}
        return {"trial": written.pop("number"), **written}
