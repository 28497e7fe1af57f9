"""A whole run: train, evaluate, save."""

import time
from dataclasses import asdict
from pathlib import Path

import torch
import tqdm

from nram import kernels, model, results, tasks
from nram.evaluate import UNIFORM_COMPLEXITIES, Evaluation, evaluate
from nram.tasks import Task
from nram.training import status
from nram.training.checkpoint import Checkpoint
from nram.training.config import TrainConfig, task_of
from nram.training.loop import train
from nram.training.result import TrainResult
from nram.training.verification import Verification

__all__ = [
    "checkpoint",
    "evaluate_result",
    "evaluate_run",
    "measure_again",
    "one_case",
    "restore",
    "run",
    "save",
    "task_of_run",
]


def checkpoint(folder: str | Path, config: TrainConfig, name: str | None = None) -> Checkpoint:
    """Where the training of a run in `folder` keeps its state (see `nram.training.loop.train`)."""
    settings = config.to_dict()
    name = results.run_name(settings) if name is None else name
    results.check_name(name)
    return Checkpoint(Path(folder) / f".training-{name}", settings)


def evaluate_result(
    result: TrainResult, cases: int = 1000, progress: bool = True, task: Task | None = None, **sweep
) -> Evaluation:
    """Evaluate what training found, with the time limit it was trained with; `sweep` goes to `evaluate`.

    task: the task itself if it is none of the ten. Raises ValueError if training found no machine.
    """
    config = result.config
    if result.machine is None:
        raise ValueError("no machine is left: the numbers of all members stopped being finite")
    return evaluate(
        result.machine,
        task_of(config, task),
        train_difficulty=config.examples.train_difficulty,
        num_cells=config.examples.num_cells,
        cases=cases,
        seed=config.seed + 1,
        progress=_bar(progress),
        **sweep,
    )


def _bar(progress: bool):
    """What follows evaluation through its complexities: the status, and a progress bar if one is asked for."""

    def follow(plan):
        shown = tqdm.tqdm(plan, desc="evaluating", unit=" complexities") if progress else plan
        return status.counted(shown, "measuring", len(plan))

    return follow


def save(
    folder: str | Path, result: TrainResult, evaluation: Evaluation, seconds: float, name: str | None = None, **origin
) -> Path:
    """Write the run into `folder` (see `results.save_run`) and remove its checkpoint; returns the run's folder.

    seconds: of evaluation, and of training since it was last resumed. A training that was interrupted by hand keeps its
    checkpoint: the next call resumes from it.
    """
    config = result.config.to_dict()
    metrics = {
        "solved": result.solved,
        "stopped_by": result.stopped_by,
        "batches": result.batches,
        "training_seconds": round(result.seconds, 3),
        "members_started": result.seeds_started,
        "members_solved": result.trials_solved,
        "members_dead": result.trials_dead,
        **{f"verification_{key}": value for key, value in asdict(result.verification).items()},
        **evaluation.metrics,
    }
    kernel = kernels.resolve(result.config.kernel, result.config.device)
    seconds += result.earlier_seconds
    origin = {"started_at": result.started_at, "resumed": result.resumed, **origin}
    provenance = results.collect_provenance(config, seconds=seconds, kernel=kernel, **origin)
    saved = results.save_run(
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
    if result.stopped_by != "interrupt":
        checkpoint(folder, result.config, name).remove()
    return saved


def restore(folder: str | Path) -> tuple[TrainResult, Evaluation]:
    """What training found and evaluation measured in a finished run. Errors as `results.load_run`.

    For a run of an earlier version, settings removed since then are dropped (config.json has them), and no trial has a
    parent.
    """
    saved = results.load_run(folder)
    trials = saved.trials if "parent" in saved.trials else saved.trials.assign(parent=-1)
    metrics, before = saved.metrics, "verification_"
    result = TrainResult(
        machine=model.load(folder),
        config=TrainConfig.from_dict(saved.config),
        solved=metrics["solved"],
        stopped_by=metrics["stopped_by"],
        verification=Verification(
            **{name.removeprefix(before): metrics[name] for name in metrics if name.startswith(before)}
        ),
        history=saved.history,
        trials=trials,
        batches=metrics["batches"],
        seconds=metrics["training_seconds"],
    )
    return result, Evaluation(saved.judge().metrics(), saved.generalization)


def run(
    config: TrainConfig,
    folder: str | Path,
    *,
    cases: int = 1000,
    max_complexity: int = 50,
    progress: bool = True,
    name: str | None = None,
    task: Task | None = None,
    reuse: bool = True,
) -> Path:
    """Train, evaluate and save; returns the run's folder. task: the task itself if it is none of the ten.

    A finished run of the same configuration is returned as it is, unless `reuse` is False; with a `name` for the
    folder, a run there is replaced. An interrupted training of the same configuration resumes.
    """
    if reuse and name is None:
        done = results.find_run(folder, config.to_dict())
        if done is not None:
            return done
    started = time.monotonic()
    result = train(config, progress=progress, task=task, checkpoint=checkpoint(folder, config, name))
    limited = task_of(config, task)
    largest = min(max_complexity, limited.max_difficulty or max_complexity)
    evaluation = evaluate_result(
        result,
        cases=cases,
        progress=progress,
        task=task,
        complexities=range(limited.min_difficulty, largest + 1),
        uniform_complexities=[each for each in UNIFORM_COMPLEXITIES if each <= largest],
    )
    return save(folder, result, evaluation, time.monotonic() - started, name)


def task_of_run(settings) -> Task:
    """The task of a run with the time limit of its training. settings: its configuration, or its row of `load_runs`."""
    return tasks.get(settings["task"]).with_limit(int(settings["limit_slope"]), int(settings["limit_offset"]))


def evaluate_run(folder: str | Path, progress: bool = True, **sweep) -> Evaluation:
    """Evaluate a finished run's machine anew, with the time limit it was trained with; `sweep` goes to `evaluate`."""
    machine, config = model.load(folder), results.load_run(folder).config
    return evaluate(
        machine,
        task_of_run(config),
        train_difficulty=config["train_difficulty"],
        num_cells=config["num_cells"],
        progress=_bar(progress),
        **sweep,
    )


def one_case(result: TrainResult, seed: int) -> tuple[dict[str, list[int]], list[bool]]:
    """What a trained machine does with one fresh case at the train difficulty: (rows of cells by name, output cells).

    The cells are the memory at the start, the target, and what the machine and its discretized form leave: M each.
    """
    examples = result.config.examples
    difficulty, generator = torch.tensor([examples.train_difficulty]), torch.Generator().manual_seed(seed)
    case = task_of(result.config).sample(difficulty, examples.num_cells, generator)
    rows = {
        "memory at start": case.memory,
        "target": case.target,
        "fuzzy": result.machine.run(case.memory, case.limit),
        "discretized": result.machine.discretize().run(case.memory, case.limit),
    }
    return {name: cells[0].tolist() for name, cells in rows.items()}, case.mask[0].tolist()


def measure_again(folder: str | Path, progress: bool = True, **sweep) -> tuple[Path, Evaluation]:
    """`evaluate_run`, then replace the run's own measurement by the new one: (folder, evaluation).

    Weights, settings and everything that training left stay; the provenance gets an entry "evaluation". Raises
    ValueError for a run with an executed notebook, which would still show the old numbers.
    """
    folder = Path(folder).resolve()
    found = results.load_run(folder)
    if (folder / "notebook.ipynb").exists():
        raise ValueError(f"{folder} has a notebook that shows its numbers: execute the notebook again instead")
    started = time.monotonic()
    evaluation = evaluate_run(folder, progress, **sweep)
    measured = results.collect_provenance(
        found.config, seconds=time.monotonic() - started, kernel=kernels.resolve("auto", "cpu"), device="cpu"
    )
    results.save_run(
        folder.parent,
        config=found.config,
        metrics=found.metrics | evaluation.metrics,
        generalization=evaluation.generalization,
        history=found.history,
        trials=found.trials,
        weights=model.load(folder).params,
        provenance=found.provenance | {"evaluation": measured},
        name=folder.name,
    )
    return folder, evaluation
