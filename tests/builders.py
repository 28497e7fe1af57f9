"""What several test files need: small configurations, and trainings of a fixed number of batches."""

from nram.training.config import TrainConfig


def tiny_config(**overrides):
    """Access at difficulty 4, three members of 8 hidden units."""
    settings = dict(population=3, batch_size=4, hidden=8, budget_seconds=60.0, verify_cases=20, polish_batches=50)
    return TrainConfig.for_task("access", **{**settings, "train_difficulty": 4, **overrides})


def stop_after(checks):
    """An on_check that ends training as Ctrl-C does, after so many checks: a training of a fixed number of batches."""
    calls = []

    def on_check(population, seconds):
        calls.append(seconds)
        if len(calls) == checks:
            raise KeyboardInterrupt

    return on_check
