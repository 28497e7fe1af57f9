"""What training leaves."""

from dataclasses import dataclass

import pandas as pd

from nram.model import Machine
from nram.training.config import TrainConfig
from nram.training.trial import Trial
from nram.training.verification import Verification

__all__ = ["TrainResult"]


@dataclass(frozen=True)
class TrainResult:
    """What training leaves.

    machine: the best machine found; None if all members died and none was replaced. solved: whether it was
    exact and sharp in its verification. stopped_by: "solved", "budget", "trials" (all have ended) or
    "interrupt". verification: the best machine's. history: one row per progress update. trials: one row per trial.
    batches: training steps of the population. seconds: of training, polishing included, without the compilation of the
    kernels. earlier_seconds: those that earlier processes spent. resumed: how often the training was resumed.
    started_at: when it began, in Unix time.
    """

    machine: Machine | None
    config: TrainConfig
    solved: bool
    stopped_by: str
    verification: Verification | None
    history: pd.DataFrame
    trials: pd.DataFrame
    batches: int
    seconds: float
    earlier_seconds: float = 0.0
    resumed: int = 0
    started_at: float | None = None

    @classmethod
    def of(
        cls, training, machine: Machine | None, verification: Verification | None, trials: list[Trial]
    ) -> "TrainResult":
        """What a `Training` or an `Annealing` leaves that has ended."""
        return cls(
            machine=machine,
            config=training.config,
            solved=verification is not None and verification.solved,
            stopped_by=training.stopped_by,
            verification=verification,
            history=pd.DataFrame(training.history),
            trials=pd.DataFrame([trial.row() for trial in trials]),
            batches=training.batches,
            seconds=training.seconds(),
            earlier_seconds=training.earlier_seconds,
            resumed=training.resumed,
            started_at=training.started_at,
        )

    @property
    def seeds_started(self) -> int:
        """Seeds started: trials that are not copies."""
        return int((self.trials["parent"] < 0).sum())

    @property
    def trials_solved(self) -> int:
        """Trials solved."""
        return int(self.trials.solved.sum())

    @property
    def trials_dead(self) -> int:
        """Trials given up because one of their numbers was not finite."""
        return int((self.trials.ended == "dead").sum())
