"""Training from input-output pairs: a population with restarts, until a machine is solved; then its polish."""

import contextlib
import time
from collections.abc import Collection
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from nram import kernels, tasks
from nram.model import Machine
from nram.training.checkpoint import SAVE_SECONDS, Checkpoint
from nram.training.config import TrainConfig
from nram.training.population import FRUITLESS, PATIENCE, VERIFY_EVERY, Population, smallest_memory, train_step

__all__ = ["TrainConfig", "TrainResult", "polish", "task_of", "train", "verify"]

CHECK_EVERY = 10  # batches between looks at the members' state: restarts, candidates, progress bar
SMALL_SIZES = 5  # difficulties that are verified in memories as small as they allow
POLISH_SHARPENING = 8.0
POLISH_VERIFY_EVERY = 200  # batches between two verifications of a machine that is being polished
QUICK_CASES = 100  # a member that fails on so few cases is not verified on all of them


@dataclass(frozen=True)
class TrainResult:
    """What training leaves.

    machine: the best machine found; None if all members died and none was replaced. solved: error 0, fuzzy and
    discretized, on all verification cases. stopped_by: "solved", "budget", "trials" (all have ended) or "interrupt".
    verification: the best machine's errors on those cases. history: one row per progress update. trials: one row per
    started seed. batches: training steps of the population. seconds: of all this, the compilation of the kernels apart.
    earlier_seconds: of these, what processes before this one had spent; resumed: how often the training was taken up
    again. started_at: when it began, in Unix time.
    """

    machine: Machine | None
    config: TrainConfig
    solved: bool
    stopped_by: str
    verification: dict[str, float]
    history: pd.DataFrame
    trials: pd.DataFrame
    batches: int
    seconds: float
    earlier_seconds: float = 0.0
    resumed: int = 0
    started_at: float | None = None

    @property
    def members_started(self) -> int:
        """Seeds; copies of a member are none."""
        return int((self.trials["parent"] < 0).sum())

    @property
    def members_solved(self) -> int:
        return int(self.trials.solved.sum())

    @property
    def members_dead(self) -> int:
        """Seeds given up because a number of theirs was not finite."""
        return int((self.trials.ended == "dead").sum())


def task_of(config: TrainConfig, task: tasks.Task | None = None) -> tasks.Task:
    """The configuration's task with its time limit; `task` must be given where it is none of the ten, and its own."""
    if task is None and config.task not in tasks.KEYS:
        raise ValueError(f"{config.task!r} is none of the ten tasks: give the task itself too, as task=...")
    if task is not None and task.key != config.task:
        raise ValueError(f"the settings are those of task {config.task!r}, not of {task.key!r}")
    return (task or tasks.get(config.task)).with_limit(config.limit_slope, config.limit_offset)


@torch.no_grad()
def verify(machine: Machine, task: tasks.Task, config: TrainConfig, cases: int, seed: int) -> dict[str, float]:
    """Errors of a machine on fresh cases of every difficulty up to the train difficulty, and every memory of training.

    A third in the train difficulty's smallest memory and a third in the largest, of either half at the train difficulty
    and half uniform up to it; the last third at `SMALL_SIZES` difficulties, each in its smallest memory.
    fuzzy_error and discretized_error: wrong cells / output cells. disagreements: cases whose outputs differ.
    """
    generator = torch.Generator().manual_seed(seed)
    low, high = task.min_difficulty, config.train_difficulty
    plan = []
    for num_cells in (config.num_cells, config.num_cells + config.extra_cells):
        difficulty = torch.randint(low, high + 1, (cases // 3,), generator=generator)
        difficulty[::2] = high
        plan.append((difficulty, num_cells))
    small = torch.linspace(low, high, SMALL_SIZES).long().unique().tolist()
    for place, each in enumerate(small):
        count = len(range(place, cases - 2 * (cases // 3), len(small)))
        plan.append((torch.full((count,), each), smallest_memory(task, each)))
    cells = wrong_fuzzy = wrong_discretized = disagreements = 0
    for difficulty, num_cells in plan:
        batch = task.sample(difficulty, num_cells, generator)
        fuzzy = machine.run(batch.memory, batch.limit)
        discretized = machine.discretize().run(batch.memory, batch.limit)
        cells += batch.mask.sum().item()
        wrong_fuzzy += ((fuzzy != batch.target) & batch.mask).sum().item()
        wrong_discretized += ((discretized != batch.target) & batch.mask).sum().item()
        disagreements += ((fuzzy != discretized) & batch.mask).any(-1).sum().item()
    return {
        "fuzzy_error": wrong_fuzzy / cells,
        "discretized_error": wrong_discretized / cells,
        "disagreements": disagreements,
        "verify_cases": cases,
    }


def is_solved(verification: dict[str, float]) -> bool:
    return verification["fuzzy_error"] == 0 and verification["discretized_error"] == 0


def polish(
    machine: Machine,
    config: TrainConfig,
    task: tasks.Task | None = None,
    *,
    checkpoint: Checkpoint | None = None,
    name: str = "polish",
) -> tuple[Machine, dict[str, float]]:
    """Train a solved machine on alone, to make it sharp: (machine, its verification).

    Errors of a soft machine add up with the length of a run. `polish_batches` batches of `polish_batch_size` examples
    at the train difficulty, a learning rate that falls to 0, neither noise nor entropy bonus. Of a machine that fails
    when discretized the logits are multiplied by up to `POLISH_SHARPENING` (see `nram.training.population.sharpened`) until it
    does not, in the first half at most. What is given back is the last state that was verified without an error; the
    machine itself if none was.
    Deviation: the paper does not say how long its machines were trained after they made no more errors.

    checkpoint: where the state is saved as it goes, under `name`; what is saved there is gone on from.
    """
    task = task_of(config, task)
    settings = replace(
        config,
        population=1,
        batch_size=config.polish_batch_size,
        noise_scale=0.0,
        entropy=(0.0, 0.0),
    )
    with kernels.narrow_pytorch():
        population = Population(settings, task)
        generator = torch.Generator(device=config.device).manual_seed(config.seed)
        saved = checkpoint.load(name) if checkpoint else None
        if saved:
            tensors, state = saved
            polished = population.make_machine(_take(tensors, "polished."))
            verification, first = state["verification"], state["batch"]
            _restore(checkpoint, population, generator, tensors, state)
        else:
            population.load(0, machine)
            polished, verification = machine, verify(machine, task, config, config.verify_cases, seed=config.seed + 1)
            first = 0
        next_save = time.monotonic() + SAVE_SECONDS
        for batch in range(first, config.polish_batches):
            still_soft = 2 * batch < config.polish_batches and not is_solved(verification)
            population.config = replace(settings, sharpening=POLISH_SHARPENING if still_soft else 1.0)
            population.learning_rate.fill_(config.polish_learning_rate * (1 - batch / config.polish_batches))
            train_step(population, generator)
            if (batch + 1) % POLISH_VERIFY_EVERY == 0 and population.finite().all():
                found = verify(population.machine(0), task, config, config.verify_cases, seed=config.seed + 2 + batch)
                if is_solved(found):
                    polished, verification = population.machine(0), found
            if checkpoint and (batch + 1 == config.polish_batches or time.monotonic() >= next_save):
                tensors, state = _state(population, generator)
                tensors |= {f"polished.{key}": value for key, value in polished.params.items()}
                checkpoint.save(name, tensors, state | {"verification": verification, "batch": batch + 1})
                next_save = time.monotonic() + SAVE_SECONDS
    return polished, verification


def _state(population: Population, generator: torch.Generator) -> tuple[dict[str, Tensor], dict]:
    tensors, rest = population.state()
    return {**tensors, "generator": generator.get_state()}, {"population": rest}


def _restore(checkpoint: Checkpoint, population: Population, generator: torch.Generator, tensors, state) -> None:
    generator.set_state(tensors.pop("generator"))
    try:
        population.restore(tensors, state["population"])
    except ValueError as error:
        raise checkpoint.refusal(str(error)) from error


def _take(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take those tensors out whose names begin so; their names lose it."""
    return {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}


def train(
    config: TrainConfig,
    progress: bool = True,
    task: tasks.Task | None = None,
    *,
    checkpoint: Checkpoint | None = None,
    first_trial: int = 0,
    left_out: Collection[int] = (),
    on_check=None,
    on_trial=None,
) -> TrainResult:
    """Train a population until a member is solved or the budget, `budget_seconds` or `budget_batches`, is gone.

    A member is a candidate while its error at its level is small; it is solved when neither it nor its discretized form
    makes an error on `verify_cases` fresh cases (see `verify`). With `config.keep_going` solved members are counted and
    started afresh until the budget is gone. Without `config.replacement` training ends with the last member's trial.
    Ctrl-C ends training with the best machine so far.

    task: the task itself, for one that is not among the ten. first_trial: number of the first started seed; trials of
    other numbers draw other parameters and settings. left_out: numbers of trials of the first population that are not
    to be run; without replacement the others are what they are with them. on_check(population, seconds): called every
    few batches. on_trial(row, machine): called when a trial ends, with its row and, if it is solved, its machine, else
    None.

    checkpoint: where the state is saved every few seconds; a training that is saved there is gone on with, and ends as
    it would have without the interruption. The caller removes it. What happened after the last save happens again, so
    on_trial can be called with the same trial twice. Raises ValueError for a checkpoint that cannot be used,
    `nram.results.files.Busy` if another process trains there, OSError if the state cannot be saved.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(kernels.narrow_pytorch())
        if checkpoint:
            stack.enter_context(checkpoint.locked())
        bar = stack.enter_context(tqdm(disable=not progress, unit=" batches", dynamic_ncols=True, mininterval=1.0))
        return _train(config, bar, task, checkpoint, first_trial, left_out, on_check, on_trial)


def _train(config, bar, task, checkpoint, first_trial, left_out, on_check, on_trial) -> TrainResult:
    task = task_of(config, task)
    if kernels.will_compile(config.kernel, config.device):
        bar.set_description("compiling the kernels, once")
    kernels.warm_up(config.kernel, config.device)
    bar.set_description(config.task)
    data_seed = config.seed + (first_trial << 32)
    generator = torch.Generator(device=config.device).manual_seed(data_seed)
    population = Population(config, task, first_trial)
    for member in range(config.population):
        if population.row(member)["trial"] in left_out:
            population.row(member)["ended"] = "left out"
    if left_out:
        population.keep(running(population))
    best: tuple | None = None  # (sort key, machine, verification)
    history, batches, stopped_by = [], 0, None
    earlier_seconds, resumed, started_at = 0.0, 0, time.time()
    saved = checkpoint.load("training") if checkpoint else None
    if saved:
        tensors, state = saved
        history, batches, stopped_by = state["history"], state["batches"], "solved" if state["solved"] else None
        earlier_seconds, resumed, started_at = state["seconds"], state["resumed"] + 1, state["started_at"]
        if state["best"] is not None:
            key, verification = state["best"]
            best = (tuple(key), population.make_machine(_take(tensors, "best.")), verification)
        _restore(checkpoint, population, generator, tensors, state)
        bar.update(batches)
    started = time.monotonic() - earlier_seconds

    def save() -> None:
        tensors, state = _state(population, generator)
        if best is not None:
            tensors |= {f"best.{name}": value for name, value in best[1].params.items()}
        state |= {"best": best and (best[0], best[2]), "history": history, "batches": batches}
        state |= {"solved": stopped_by == "solved", "seconds": time.monotonic() - started}
        state |= {"resumed": resumed, "started_at": started_at}
        checkpoint.save("training", tensors, state)

    def exhausted() -> bool:
        batches_gone = config.budget_batches is not None and batches >= config.budget_batches
        return batches_gone or time.monotonic() - started >= config.budget_seconds

    if checkpoint:
        checkpoint.forget("." if saved else "")
        save()  # a folder that cannot be written to is known now
    saved_at, next_save = batches, time.monotonic() + SAVE_SECONDS

    def consider(member: int) -> bool:
        """Verify a member; remember it if it is the best so far."""
        nonlocal best
        machine, row = population.machine(member), population.row(member)
        seed = hash((config.seed, row["trial"], row["batches"])) % 2**62
        verification = verify(machine, task, config, QUICK_CASES, seed)
        if is_solved(verification):
            verification = verify(machine, task, config, config.verify_cases, seed + 1)
        elif config.polish_batches and verification["fuzzy_error"] <= config.candidate_error and not row["polished"]:
            row["polished"] = True  # soft perhaps, no more: discretized it fails, or now and then
            name = f"polish-{row['trial']}-{row['batches']}"
            machine, verification = polish(machine, config, task, checkpoint=checkpoint, name=name)
            if is_solved(verification):
                population.load(member, machine)
        row["fuzzy_error"], row["discretized_error"] = verification["fuzzy_error"], verification["discretized_error"]
        row["solved"] = row["solved"] or is_solved(verification)
        key = (not is_solved(verification), verification["fuzzy_error"], verification["discretized_error"])
        if best is None or key < best[0]:
            best = (key, machine, verification)
        return is_solved(verification)

    def close(member: int, ended: str) -> None:
        row = population.row(member)
        row["ended"], row["seconds"] = ended, time.monotonic() - started
        if on_trial is not None:
            on_trial(row, population.machine(member) if row["solved"] else None)

    try:
        while stopped_by is None:
            if exhausted() or not running(population):
                stopped_by = "budget" if running(population) else "trials"
                break
            train_step(population, generator)
            batches += 1
            bar.update()
            if batches % CHECK_EVERY == 0:
                solved_now = check_members(population, consider, close)
                if on_check is not None:
                    on_check(population, time.monotonic() - started)
                if solved_now and not config.keep_going:
                    stopped_by = "solved"
            if batches % config.history_batches == 0:
                history.append(progress_row(population, batches, time.monotonic() - started))
                bar.set_description(progress_text(history[-1], config))
            if checkpoint and time.monotonic() >= next_save:
                save()
                checkpoint.forget("polish-")  # what came of it is in the state
                saved_at, next_save = batches, time.monotonic() + SAVE_SECONDS
    except KeyboardInterrupt:
        stopped_by = "interrupt"
        checkpoint = None  # what follows is no part of a training that goes on from the last save
    bar.close()
    if checkpoint and saved_at != batches:
        save()
    seconds = time.monotonic() - started
    *_, finite = record_members(population)
    for member in running(population):
        if not finite[member]:
            close(member, "dead")
            if config.replacement:
                population.start(member)
    if population.finite().any() and (best is None or (best[0][0] and running(population))):
        consider(most_advanced(population))
    for member in running(population):
        close(member, stopped_by if stopped_by != "solved" else "stopped")
    history.append(progress_row(population, batches, seconds))
    (not_solved, *_), machine, verification = best or ((True,), None, {})
    if not not_solved and not config.keep_going and config.polish_batches:
        machine, verification = polish(machine, config, task, checkpoint=checkpoint, name="final")
        seconds = time.monotonic() - started
    trials = pd.DataFrame(population.trials).drop(columns=["next_verification", "polished", "chance"])
    return TrainResult(
        machine,
        config,
        not not_solved,
        stopped_by,
        verification,
        pd.DataFrame(history),
        trials,
        batches,
        seconds,
        earlier_seconds,
        resumed,
        started_at,
    )


def record_members(population: Population) -> tuple[Tensor, Tensor, Tensor]:
    """Bring the trials' rows up to date; (level, moving error, whether the parameters are finite), each [P], on CPU."""
    level, error = population.level.cpu(), population.level_error().cpu()
    finite = population.finite().cpu()
    age = population.age.tolist()
    for member in range(len(level)):
        row = population.row(member)
        row["batches"], row["error"] = age[member], error[member].item()
        if row["level"] != level[member].item():
            row["level"] = level[member].item()
            row["rises"] += f"{row['level']}@{age[member]} "
    return level, error, finite


def running(population: Population) -> list[int]:
    """The members whose trials have not ended."""
    return [member for member in range(len(population)) if population.row(member)["ended"] == "running"]


def check_members(population: Population, consider, close) -> bool:
    """Verify candidates, end the trials of the stuck, the dead and the finished; whether a member was solved.

    Members whose trials have ended are started afresh, or leave if there is no replacement; the last of them stay.
    """
    config = population.config
    level, error, finite = record_members(population)
    since_gain = population.since_gain.tolist()
    stands_out = population.stands_out().tolist()
    solved_any = False
    for member in running(population):
        row, family = population.row(member), int(population.family[member])
        if since_gain[member] < CHECK_EVERY and population.fruitless[family]:
            family = population.found_family(member)
        at_top = level[member] == config.train_difficulty
        patience = config.restart_after * (config.patience_at_top if at_top and config.curriculum else 1)
        if config.copies and stands_out[member]:
            patience *= PATIENCE
        if not finite[member]:
            close(member, "dead")
        elif error[member] < config.candidate_error and row["batches"] >= row["next_verification"]:
            row["next_verification"] = row["batches"] + VERIFY_EVERY
            if consider(member):
                solved_any = True
                close(member, "solved")
                population.fruitless[family] = FRUITLESS  # its copies would be no finds of their own
        if row["ended"] == "running" and config.restarts and since_gain[member] >= patience:
            close(member, "restarted")
            population.fruitless[family] += 1
        if row["ended"] == "running" and config.trial_batches and row["batches"] >= config.trial_batches:
            close(member, "batches")
        if row["ended"] != "running" and config.replacement and (config.keep_going or not row["solved"]):
            population.renew(member)
    if running(population) and not config.replacement:
        population.keep(running(population))
    return solved_any


def most_advanced(population: Population) -> int:
    """The finite member with the highest level, then the smallest error."""
    finite = population.finite()
    merit = torch.where(finite, population.level - population.level_error().clamp(max=0.999), -1.0)
    return int(merit.argmax())


def progress_row(population: Population, batches: int, seconds: float) -> dict:
    """One row of the history: the population's state after `batches` training steps."""
    level, error = population.level, population.level_error()
    best = most_advanced(population)
    counts = torch.bincount(level.cpu()).tolist()
    return {
        "batch": batches,
        "seconds": seconds,
        "best_level": int(level[best]),
        "best_error": float(error[best]),
        "members_started": sum(row["parent"] < 0 for row in population.trials),
        "members_solved": sum(row["solved"] for row in population.trials),
        "levels": " ".join(f"{lvl}:{count}" for lvl, count in enumerate(counts) if count),
    }


def progress_text(row: dict, config: TrainConfig) -> str:
    return (
        f"{config.task}: best level {row['best_level']}/{config.train_difficulty} error {row['best_error']:.3f}, "
        f"started {row['members_started']}, solved {row['members_solved']}, levels {row['levels']}"
    )
