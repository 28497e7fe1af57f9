"""How much of a command's work is left, from what is known of its jobs and from those that have ended."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

__all__ = ["AROUND_TRAINING", "AtWork", "Expected", "Forecast", "in_words"]

AROUND_TRAINING = 30.0  # seconds: to start a notebook, to measure its machine and to show it


@dataclass(frozen=True)
class Expected:
    """Seconds that a job usually trains and trains at most; None where that is unknown."""

    usual: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class AtWork:
    """A running job: its seconds so far, those of training among them, and whether its training has ended."""

    seconds: float
    training: float = 0.0
    trained: bool = False


class Forecast:
    """What is left of jobs, `parallel` of them at a time; told which of them have ended.

    around: seconds that a job takes beside its training, until the mean of those that have ended is known. A training
    has no memory: however long it has gone on, it usually takes as long again, unless its limit comes first. A job of
    which nothing is known takes the mean of those that have ended.
    """

    def __init__(self, jobs: Mapping[str, Expected], parallel: int, around: float = 0.0):
        self.jobs, self.parallel, self.around = dict(jobs), parallel, around
        self.ended: dict[str, AtWork | None] = {}

    def end(self, name: str, job: AtWork | None) -> None:
        """A job has ended. job: what it took, if that is known."""
        self.ended[name] = job

    def left(self, running: Mapping[str, AtWork]) -> Expected:
        """Seconds until all jobs have ended, usually and at most. running: the jobs at work, by name."""
        known = [job for job in self.ended.values() if job]
        around = fmean(max(0.0, job.seconds - job.training) for job in known) if known else self.around
        mean = fmean(job.seconds for job in known) if known else None
        usual, most = [], []
        for name, expected in self.jobs.items():
            if name in self.ended:
                continue
            job = running.get(name, AtWork(0.0))
            beside = max(0.0, around - max(0.0, job.seconds - job.training))
            at_most = _training_left(expected.most, job)
            if expected.usual is None:
                usual.append(None if mean is None else max(0.0, mean - job.seconds))
            elif at_most is None:
                usual.append(beside + _training_left(expected.usual, job))
            else:
                usual.append(beside + min(expected.usual, at_most))
            most.append(None if at_most is None else beside + at_most)
        return Expected(self._shared(usual), self._shared(most))

    def _shared(self, seconds: list[float | None]) -> float | None:
        """The time that all jobs take, side by side and in their order."""
        if None in seconds:
            return None
        free_after = [0.0] * self.parallel
        for each in seconds:
            heapq.heapreplace(free_after, free_after[0] + each)
        return max(free_after)

    def fields(self, running: Mapping[str, AtWork]) -> list[str]:
        """How much is done and left, in words."""
        left = self.left(running)
        said = [f"{len(self.ended)} of {len(self.jobs)} done"]
        if len(self.ended) == len(self.jobs):
            return said
        if left.usual is not None:
            said.append(f"about {in_words(left.usual)} left")
        if left.most is not None and (left.usual is None or in_words(left.most) != in_words(left.usual)):
            said.append(f"at most {in_words(left.most)}")
        return said


def _training_left(seconds: float | None, job: AtWork) -> float | None:
    if seconds is None:
        return None
    return 0.0 if job.trained else max(0.0, seconds - job.training)


def in_words(seconds: float) -> str:
    """A duration: its seconds in tens below two minutes, then its minutes, then its hours and minutes."""
    if seconds < 115:
        return f"{max(10, 10 * round(seconds / 10))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
