"""A whole run: train, evaluate, save."""

import time
from pathlib import Path

import tqdm

from nram import kernels, results, tasks
from nram.config import TrainConfig
from nram.evaluate import Evaluation, evaluate
from nram.train import TrainResult, train

__all__ = ["evaluate_result", "run", "save"]


def evaluate_result(result: TrainResult, cases: int = 1000, progress: bool = True, **sweep) -> Evaluation:
    """Evaluate what training found, with the time limit it was trained with; `sweep` goes to `evaluate`."""
    config = result.config
    task = tasks.get(config.task).with_limit(config.limit_slope, config.limit_offset)
    return evaluate(
        result.machine,
        task,
        train_difficulty=config.train_difficulty,
        num_cells=config.num_cells,
        cases=cases,
        seed=config.seed + 1,
        progress=(lambda plan: tqdm.tqdm(plan, desc="evaluating", unit=" complexities")) if progress else None,
        **sweep,
    )


def save(
    folder: str | Path, result: TrainResult, evaluation: Evaluation, seconds: float, name: str | None = None, **origin
) -> Path:
    """Write the run into `folder` (see `results.save_run`); seconds: the whole run's. Returns the run's folder."""
    config = result.config.to_dict()
    metrics = {
        "solved": result.solved,
        "stopped_by": result.stopped_by,
        "batches": result.batches,
        "training_seconds": round(result.seconds, 3),
        "members_started": result.members_started,
        "members_solved": result.members_solved,
        **{f"verification_{key}": value for key, value in result.verification.items()},
        **evaluation.metrics,
    }
    kernel = kernels.resolve(result.config.kernel, result.config.device)
    provenance = results.collect_provenance(config, seconds=seconds, kernel=kernel, **origin)
    return results.save_run(
        folder,
        config=config,
        metrics=metrics,
        generalization=evaluation.generalization,
        history=result.history,
        trials=result.trials,
        weights=result.machine.params,
        provenance=provenance,
        name=name,
    )


def run(
    config: TrainConfig,
    folder: str | Path,
    *,
    cases: int = 1000,
    max_complexity: int = 50,
    progress: bool = True,
    name: str | None = None,
) -> Path:
    """Train, evaluate and save; returns the run's folder.

    A finished run of the same configuration is reused; with a `name` for the folder, a run there is replaced.
    """
    done = None if name else results.find_run(folder, config.to_dict())
    if done is not None:
        return done
    started = time.monotonic()
    result = train(config, progress=progress)
    complexities = range(tasks.get(config.task).min_difficulty, max_complexity + 1)
    evaluation = evaluate_result(result, cases=cases, complexities=complexities, progress=progress)
    return save(folder, result, evaluation, time.monotonic() - started, name)
