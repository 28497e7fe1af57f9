"""The training loop: a population trains until a member is solved, polishing included, or the budget is gone."""

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass

import torch
from tqdm import tqdm

from nram import kernels, tasks
from nram.annealing.table import warm_up, will_compile
from nram.model import Machine
from nram.training import status
from nram.training.annealing import Annealing
from nram.training.checkpoint import Checkpoint
from nram.training.config import TrainConfig, task_of
from nram.training.graduates import begin_as_graduate, begin_next_lesson, count_failure, examine, is_overdue, overtaken
from nram.training.polish import polish
from nram.training.population import Population
from nram.training.progress import HISTORY_EVERY, most_advanced, progress_row, progress_text, tell_progress
from nram.training.restarts import FRUITLESS, patience, renew
from nram.training.result import TrainResult
from nram.training.saved_loop import SavedLoop
from nram.training.step import train_step
from nram.training.trial import VERIFY_EVERY, Trial
from nram.training.verification import Verification, verify

__all__ = ["Training", "train"]

CHECK_EVERY = 10  # batches between two looks at the members: candidates, restarts
POLISH_EVERY = 500  # batches between two polishings of machines that fail, in a population that sharpens itself


@dataclass(frozen=True)
class Best:
    """The best machine so far."""

    machine: Machine
    verification: Verification


def train(
    config: TrainConfig,
    progress: bool = True,
    task: tasks.Task | None = None,
    *,
    checkpoint: Checkpoint | None = None,
    first_trial: int = 0,
    left_out: Collection[int] = (),
    make_population: Callable[..., Population] = Population,
    on_check: Callable[[Population, float], None] | None = None,
    on_trial: Callable[[Trial, Machine | None], None] | None = None,
) -> TrainResult:
    """Train a population until a member is solved or the budget, in seconds or in batches, is gone.

    A member is a candidate while its moving error at its own level of the task itself is small. Its verification takes
    the sizes of training: it is solved when it is exact and sharp on `verify_cases` fresh cases, if need be after some
    polishing. With `keep_going` solved members are counted and replaced until the budget is gone. Without `replacement`
    training ends with the last member's trial. Ctrl-C ends training: the most advanced member is verified once more and
    polished if it is nearly right, and the best machine is returned. A second Ctrl-C raises KeyboardInterrupt.

    task: the task itself, if it is not one of the ten. first_trial: number of the first trial; other numbers draw other
    parameters and hyperparameters. left_out: trials of the first population that do not run; without replacement the
    others are what they are with them. make_population: that of a variant of the machine. on_check(population,
    seconds): called every few batches. on_trial(trial, machine): called when a trial ends, with its machine if it was
    solved, else None.

    checkpoint: where the state is saved every few seconds. Training resumes from a state saved there, and ends as it
    would have without the interruption. The caller removes it. What happened after the last save happens again, so
    on_trial may be called twice for a trial. Raises ValueError for a checkpoint that cannot be used, `files.Busy` if
    another process trains there, OSError if the state cannot be saved.

    With `annealing` there is no population: see `nram.training.annealing`. left_out, make_population and on_check
    belong to populations.
    """
    if config.annealing.patience and (left_out or make_population is not Population):
        raise ValueError("annealing has no population: set annealing=0 to choose trials or a variant of the machine")
    with contextlib.ExitStack() as stack:
        stack.enter_context(kernels.narrow_pytorch())
        if checkpoint:
            stack.enter_context(checkpoint.locked())
        bar = stack.enter_context(tqdm(disable=not progress, unit=" batches", dynamic_ncols=True, mininterval=1.0))
        annealed = config.annealing.patience > 0
        if kernels.will_compile(config.kernel, config.device) or annealed and will_compile():
            bar.set_description("compiling the kernels, once")
            status.tell("compiling the kernels, once")
        kernels.warm_up(config.kernel, config.device)
        if annealed:
            warm_up()
        bar.set_description(config.task)
        if annealed:
            training = Annealing(config, task_of(config, task), bar, checkpoint, first_trial)
        else:
            training = Training(config, task_of(config, task), bar, checkpoint, first_trial, left_out, make_population)
            training.on_check = on_check
        training.on_trial = on_trial
        return training.run()


class Training:
    """A training under way."""

    def __init__(
        self,
        config: TrainConfig,
        task: tasks.Task,
        bar: tqdm,
        checkpoint: Checkpoint | None = None,
        first_trial: int = 0,
        left_out: Collection[int] = (),
        make_population: Callable[..., Population] = Population,
    ):
        self.config, self.task, self.bar = config, task, bar
        self.on_check: Callable | None = None
        self.on_trial: Callable | None = None
        self.generator = torch.Generator(device=config.device).manual_seed(config.seed + (first_trial << 32))
        self.make_population = make_population
        self.population = make_population(config, task, first_trial)
        self.leave_out(left_out)
        self.saved_loop = SavedLoop(checkpoint, "training", self.population, self.generator)
        self.best: Best | None = None
        self.history: list[dict] = []
        self.batches, self.next_polish, self.stopped_by = 0, POLISH_EVERY, None
        self.earlier_seconds, self.resumed, self.started_at = 0.0, 0, time.time()
        self.resume()
        self.began = time.monotonic() - self.earlier_seconds
        self.save()  # fails here, before training, if the folder cannot be written

    def run(self) -> TrainResult:
        """Train to the end."""
        try:
            while not self.stop_if_due():
                self.step()
        except KeyboardInterrupt:
            self.stopped_by = "interrupt"
            self.saved_loop.checkpoint = None  # the next call resumes from the last save
        self.bar.close()
        return self.result()

    def stop_if_due(self) -> bool:
        """Set `stopped_by` if all trials have ended or the budget is gone. Whether it is set."""
        if self.stopped_by is None and not self.population.running():
            self.stopped_by = "trials"
        if self.stopped_by is None:
            if self.config.budget.is_spent(self.batches, self.seconds()):
                self.stopped_by = "budget"
        return self.stopped_by is not None

    def seconds(self) -> float:
        """Seconds of training, those of earlier processes included."""
        return time.monotonic() - self.began

    def step(self) -> None:
        """One batch for every member, and what is due after it."""
        train_step(self.population, self.generator)
        self.batches += 1
        self.bar.update()
        if self.batches % CHECK_EVERY == 0:
            if self.check() and not self.config.population.keep_going:
                self.stopped_by = "solved"
        if self.batches % HISTORY_EVERY == 0:
            self.history.append(progress_row(self.population, self.batches, self.seconds()))
            self.bar.set_description(progress_text(self.history[-1], self.config))
        if status.is_due():
            tell_progress("training", self.population, self.batches, self.seconds())
        if self.saved_loop.is_due():
            self.save()
            self.saved_loop.checkpoint.forget("polish-")  # the saved state has the outcome of earlier polishing

    def check(self) -> bool:
        """End the trials of the solved, the stuck and the dead. Whether a member was solved.

        Members whose trials have ended are replaced, or leave if there is no replacement; the last of them stay.
        """
        config, population = self.config.population, self.population
        finite = self.bring_trials_up_to_date()
        since_gain, allowed = population.members.since_gain.tolist(), patience(population)
        solved_any = False
        for member in population.running():
            if finite[member] and examine(population, member):
                begin_next_lesson(population, member)
                continue
            family = int(population.members.family[member])
            if since_gain[member] < CHECK_EVERY and population.fruitless[family]:
                # Its state is new since the last check: failed copies of the old one do not count against it.
                family = population.found_family(member)
            stuck = since_gain[member] >= allowed[member] or is_overdue(population, member)
            reason = self.reason_to_end(member, finite[member], stuck)
            if reason is None:
                continue
            self.close(member, reason)
            if reason == "solved":
                solved_any = True
                population.fruitless[family] = FRUITLESS  # copies of a solved member are not separate solutions
            if reason == "restarted":
                population.fruitless[family] += 1
                count_failure(population, member)
            if reason == "solved" and not config.keep_going:
                break
            if config.replacement:
                renew(population, member)
        if config.replacement:
            for member in overtaken(population):
                self.close(member, "overtaken")
                population.start(member)
                begin_as_graduate(population, member)
        elif population.running():
            population.keep(population.running())
        if self.on_check is not None:
            self.on_check(population, self.seconds())
        return solved_any

    def reason_to_end(self, member: int, finite: bool, stuck: bool) -> str | None:
        """Why a member's trial ends now, as `Trial.ended` has it; None if it continues. Candidates are verified."""
        config, trial = self.config.population, self.population.trial(member)
        if not finite:
            return "dead"
        if self.is_candidate(member):
            trial.next_verification = trial.batches + VERIFY_EVERY
            if self.consider(member):
                return "solved"
        if config.restarts and stuck:
            return "restarted"
        if config.trial_batches and trial.batches >= config.trial_batches:
            return "batches"
        return None

    def bring_trials_up_to_date(self) -> list[bool]:
        """Write the members' batches, levels and errors into their trials; whether each member's numbers are finite."""
        members = self.population.members
        age, level, error = members.age.tolist(), members.level.tolist(), members.level_error().tolist()
        for member in range(len(members)):
            trial = self.population.trial(member)
            trial.batches, trial.error = age[member], error[member]
            if trial.level != level[member]:
                trial.level = level[member]
                trial.rises += f"{trial.level}@{trial.batches} "
        return members.finite().tolist()

    def is_candidate(self, member: int) -> bool:
        """Whether a member's error at the task is small, and its last verification long enough ago."""
        trial, at_the_task = self.population.trial(member), bool(self.population.at_the_task()[member])
        nearly_right = at_the_task and trial.error < self.config.verification.candidate_error
        return nearly_right and trial.batches >= trial.next_verification

    def consider(self, member: int) -> bool:
        """Verify a member, and keep its machine if it is the best so far. Whether it is solved."""
        config, trial = self.config, self.population.trial(member)
        machine = self.population.machine(member)
        verification = verify(machine, self.task, config, self.population.seed_of(member))
        if self.deserves_polish(trial, verification):
            trial.polished = True
            tell_progress("polishing", self.population, self.batches, self.seconds())
            name = f"polish-{trial.number}-{trial.batches}"
            where = {"checkpoint": self.saved_loop.checkpoint, "name": name, "make_population": self.make_population}
            machine, verification = polish(machine, config, self.task, **where)
            if verification.solved:
                self.population.adopt(member, machine)
        trial.fuzzy_error, trial.discretized_error = verification.fuzzy_error, verification.discretized_error
        trial.solved = trial.solved or verification.solved
        if self.best is None or verification.rank < self.best.verification.rank:
            self.best = Best(machine, verification)
        return verification.solved

    def deserves_polish(self, trial: Trial, verification: Verification) -> bool:
        """Whether an unsolved member's error is small in one of its two forms, and it was not polished before.

        A population that sharpens itself makes exact machines sooner than polishing does, so it is seldom interrupted.
        """
        least = min(verification.fuzzy_error, verification.discretized_error)
        if verification.solved or trial.polished or least > self.config.verification.candidate_error:
            return False
        if self.config.optimizer.sharpening > 1 and not verification.exact:
            if self.batches < self.next_polish and self.stopped_by is None:
                return False
            self.next_polish = self.batches + POLISH_EVERY
        return bool(self.config.polish.batches)

    def close(self, member: int, ended: str) -> None:
        """End a member's trial."""
        trial = self.population.trial(member)
        trial.ended, trial.seconds = ended, self.seconds()
        if self.on_trial is not None:
            self.on_trial(trial, self.population.machine(member) if trial.solved else None)

    def result(self) -> TrainResult:
        """Close the trials that still run, verify the most advanced member if no machine is solved."""
        config, population = self.config, self.population
        if self.batches != self.saved_batches:
            self.save()
        seconds = self.seconds()
        finite = self.bring_trials_up_to_date()
        for member in population.running():
            if not finite[member]:
                self.close(member, "dead")
                if config.population.replacement:
                    population.start(member)
        unsolved = self.best is None or (not self.best.verification.solved and population.running())
        if population.members.finite().any() and unsolved:
            self.consider(most_advanced(population))
        for member in population.running():
            self.close(member, "stopped" if self.stopped_by == "solved" else self.stopped_by)
        self.history.append(progress_row(population, self.batches, seconds))
        machine, verification = (self.best.machine, self.best.verification) if self.best else (None, None)
        return TrainResult.of(self, machine, verification, population.trials)

    def leave_out(self, numbers: Collection[int]) -> None:
        """Let the members of these trials leave before they train."""
        if not numbers:
            return
        for trial in self.population.trials:
            if trial.number in numbers:
                trial.ended = "left out"
        self.population.keep(self.population.running())

    def save(self) -> None:
        """Save all that changes, so that another process can resume."""
        state = {
            "verification": self.best and asdict(self.best.verification),
            "history": self.history,
            "batches": self.batches,
            "next_polish": self.next_polish,
            "solved": self.stopped_by == "solved",
            "seconds": self.seconds(),
            "resumed": self.resumed,
            "started_at": self.started_at,
        }
        self.saved_loop.save(self.best and self.best.machine, state)
        self.saved_batches = self.batches

    def resume(self) -> None:
        """Continue from what was saved, if anything was."""
        saved = self.saved_loop.resume()
        checkpoint = self.saved_loop.checkpoint
        if checkpoint and saved:
            checkpoint.forget_half_written()
        elif checkpoint:
            checkpoint.forget("")
        if saved is None:
            return
        machine, state = saved
        if machine is not None:
            self.best = Best(machine, Verification(**state["verification"]))
        self.history, self.batches, self.next_polish = state["history"], state["batches"], state["next_polish"]
        self.stopped_by = "solved" if state["solved"] else None
        self.earlier_seconds, self.resumed = state["seconds"], state["resumed"] + 1
        self.started_at = state["started_at"]
        self.bar.update(self.batches)
