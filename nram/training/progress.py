"""What training tells while it runs: rows of history.csv, a line beside the progress bar, its status."""

import torch

from nram.training import status
from nram.training.config import TrainConfig
from nram.training.population import Population

__all__ = ["HISTORY_EVERY", "most_advanced", "progress_row", "progress_text", "tell_progress", "tell_row"]

HISTORY_EVERY = 50  # batches between two rows of the history


def most_advanced(population: Population) -> int:
    """The finite member with the most lessons, then the highest level, then the smallest error."""
    members = population.members
    advance = members.ladder() - members.level_error().clamp(max=0.999)
    advance = torch.where(members.finite(), advance, -1.0)
    return int(advance.argmax())


def progress_row(population: Population, batches: int, seconds: float) -> dict:
    """One row of the history: the population's state after `batches` training steps."""
    lesson, level, error = population.members.lesson, population.members.level, population.members.level_error()
    best = most_advanced(population)
    counts = torch.bincount(level.cpu()).tolist()
    return {
        "batch": batches,
        "seconds": seconds,
        "lessons": int(lesson[best]),
        "best_level": int(level[best]),
        "best_error": float(error[best]),
        "members_started": sum(trial.parent < 0 for trial in population.trials),
        "members_solved": sum(trial.solved for trial in population.trials),
        "levels": " ".join(f"{lvl}:{count}" for lvl, count in enumerate(counts) if count),
    }


def progress_text(row: dict, config: TrainConfig) -> str:
    """A row of the history in words."""
    return (
        f"{config.task}: lessons {row['lessons']}, best level {row['best_level']}/{config.examples.train_difficulty} "
        f"error {row['best_error']:.3f}, started {row['members_started']}, solved {row['members_solved']}, "
        f"levels {row['levels']}"
    )


def tell_progress(stage: str, population: Population, batches: int, seconds: float) -> None:
    """Tell the population's state to the command that started this process (see `nram.training.status`).

    stage: "training" or "polishing".
    """
    row = progress_row(population, batches, seconds)
    tell_row(stage, population.config, row, population.last_stage, population.hardest(row["lessons"]))


def tell_row(stage: str, config: TrainConfig, row: dict, lessons: int, hardest: int | None = None) -> None:
    """Tell a row of the history. hardest: the highest level at its lesson, if that is not the train difficulty."""
    per_trial = None if config.population.replacement else config.population.trial_batches
    status.tell(
        stage,
        seconds=row["seconds"],
        budget_seconds=config.budget.seconds,
        batches=row["batch"],
        budget_batches=config.budget.batches or per_trial,
        lesson=row["lessons"],
        lessons=lessons,
        level=row["best_level"],
        hardest=max(row["best_level"], hardest or config.examples.train_difficulty),
        error=row["best_error"],
        started=row["members_started"],
        solved=row["members_solved"],
    )
