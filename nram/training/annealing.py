"""Annealing: a random search over tables of circuits, lesson after lesson, and a controller that learns its outcome.

An attempt starts with a random circuit. A chain of changes lowers the error on cases of its lesson and level, which are
drawn anew in every batch (see `nram.annealing.tempering`). Its level rises as a member's does. When the table makes no
error on many fresh cases of all sizes of training it has learned the lesson, and the next begins from there; otherwise
it trains on those that it got wrong. At the task itself a controller learns the table, and the machine is verified as
any candidate is.
Deviation: the paper trains by gradient descent alone. Nothing here descends the gradient of the machine's cost. It sees
what that sees: input-output pairs of the sizes of training.
"""

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from tqdm import tqdm

from nram import tasks
from nram.annealing.lanes import MOST_CELLS
from nram.annealing.table import Table, grouped
from nram.annealing.teach import teach
from nram.annealing.tempering import temper
from nram.machine.circuit import Layout
from nram.machine.controller import make_controller
from nram.model import Machine
from nram.tasks import Batch
from nram.training import status
from nram.training.cases import Cases
from nram.training.checkpoint import Checkpoint
from nram.training.config import TrainConfig
from nram.training.progress import HISTORY_EVERY, progress_text, tell_row
from nram.training.result import TrainResult
from nram.training.saved_loop import SAVE_SECONDS
from nram.training.trial import Trial
from nram.training.verification import Verification, verify

__all__ = ["Annealing"]

DECAY = 0.9  # of the moving error, per batch
RIGHT = 1e-9  # a mean error below it is of roundings alone
GAIN = 0.01  # smallest drop of the moving error that counts as progress
TRIES = 4  # attempts in vain from the same graduate, after which it is dropped
NAME = "annealing"  # of the state in a checkpoint
# Numbers and text, which a checkpoint has as they are.
SAVED = ("batches", "first_trial", "history", "lowest_error", "since_gain", "started", "started_at")


@dataclasses.dataclass(eq=False)
class Graduate:
    """A table that learned some lessons, the trial that did, and how many attempts from there were in vain."""

    table: Table
    trial: Trial
    failed: int = 0


class Annealing:
    """A training by annealing under way; see `nram.training.loop.train` for its arguments."""

    def __init__(
        self,
        config: TrainConfig,
        task: tasks.Task,
        bar: tqdm,
        checkpoint: Checkpoint | None = None,
        first_trial: int = 0,
    ):
        self.config, self.task, self.bar, self.checkpoint = config, task, bar, checkpoint
        self.cases = Cases(config, task)
        self.layout = Layout(config.machine.num_registers, config.machine.repetitions)
        cells = config.examples.num_cells + config.examples.extra_cells
        if cells > MOST_CELLS:
            raise ValueError(f"annealing takes memories of 3 to {MOST_CELLS} cells, not {cells}: set annealing=0")
        self.on_trial: Callable | None = None
        self.first_trial = first_trial
        self.trials: list[Trial] = []
        self.tables: list[Table] = []  # of the chains, the coldest first
        self.started = 0  # random circuits
        self.graduates: list[Graduate] = []  # each learned a lesson more than the one before
        self.best: tuple[Machine, Verification] | None = None
        self.history: list[dict] = []
        self.batches, self.stopped_by = 0, None
        self.earlier_seconds, self.resumed, self.started_at = 0.0, 0, time.time()
        self.began = time.monotonic()
        self.next_save = self.began
        if not self.resume():
            self.begin_all()
        self.save()  # fails here, before training, if the folder cannot be written

    def run(self) -> TrainResult:
        """Anneal until a machine is solved or the budget is gone."""
        try:
            while self.stopped_by is None:
                self.step()
        except KeyboardInterrupt:
            self.stopped_by = "interrupt"
            self.checkpoint = None  # the next call resumes from the last save
        self.bar.close()
        return self.result()

    def seconds(self) -> float:
        """Seconds of training, those of earlier processes included."""
        return self.earlier_seconds + time.monotonic() - self.began

    # Attempts

    @property
    def trial(self) -> Trial:
        return self.trials[-1]

    def begin_all(self) -> None:
        """Begin the first attempt, with all chains."""
        self.tables = [self.start() for _ in range(self.config.annealing.chains - 1)]
        self.begin()

    def begin(self) -> None:
        """Begin an attempt. The coldest chain is the one that was next to it; the hottest starts anew."""
        self.tables.append(self.start())
        self.trials.append(self.new_trial())
        self.begin_lesson()

    def start(self) -> Table:
        """Where a chain starts: at the graduate that came furthest, or at a random circuit."""
        if self.graduates:
            return self.graduates[-1].table.copy()
        self.started += 1
        return Table.random(self.layout, np.random.default_rng((self.config.seed, self.first_trial, self.started)))

    def new_trial(self) -> Trial:
        """The next trial: a copy of the last graduate's, if there is one."""
        nan = math.nan
        trial = Trial(self.first_trial + len(self.trials), nan, nan, nan, nan, nan, nan)
        if self.graduates:
            parent = self.graduates[-1].trial
            trial.parent, trial.lesson, trial.batches = parent.number, parent.lesson, parent.batches
        return trial

    def begin_lesson(self) -> None:
        """Start at the first level of the trial's lesson."""
        lessons, lesson = self.task.lessons, self.trial.lesson
        own = lessons[lesson].start if lesson < self.cases.last_stage else None
        first = max(own or 0, self.config.annealing.start or self.config.curriculum.start_difficulty)
        self.rise(min(first, self.cases.highest))

    def rise(self, level: int) -> None:
        """Put the trial at a level. Its moving error starts anew."""
        trial = self.trial
        trial.level, trial.error = level, 1.0
        trial.rises += f"{level}@{trial.batches} "
        self.lowest_error, self.since_gain = 1.0, 0

    @property
    def at_the_top(self) -> bool:
        """Whether the level is the highest."""
        return self.trial.level >= self.cases.highest

    # Batches

    def step(self) -> None:
        """One batch: all chains run on fresh cases, perhaps on such as a table gets wrong that seemed right."""
        trial, settings = self.trial, self.config.annealing
        self.batches, trial.batches = self.batches + 1, trial.batches + 1
        seed = hash((self.config.seed, trial.number, trial.batches))
        generator = torch.Generator().manual_seed(seed % 2**62)
        cases = self.cases.draw(settings.cases, trial.lesson, trial.level, generator)
        before, errors = self.run_chains(cases, seed)
        trial.error = DECAY * trial.error + (1 - DECAY) * before
        self.bar.update()
        learned = self.learned_table(errors, generator) if self.at_the_top else None
        if learned is None or not self.pass_lesson(learned, generator):
            self.follow_error()
        self.report()

    def follow_error(self) -> None:
        """Let the level rise if the moving error is small. Give the attempt up if it has not fallen for long."""
        trial, settings = self.trial, self.config.annealing
        if trial.error < settings.threshold and not self.at_the_top:
            self.rise(trial.level + 1)
        elif trial.error < self.lowest_error - GAIN:
            self.lowest_error, self.since_gain = trial.error, 0
        else:
            self.since_gain += 1
            if self.since_gain >= settings.patience:
                self.give_up()

    def learned_table(self, errors: list[float], generator: torch.Generator) -> Table | None:
        """A table that has learned the lesson, if there is one. Else what seemed right trains on what it gets wrong."""
        missed = []
        for table, error in zip(self.tables, errors, strict=True):
            if error < RIGHT:
                found = self.cases.missed(table, self.trial.lesson, generator)
                if not found:
                    return table
                missed = missed or found
        if missed:
            self.run_chains(missed, generator.initial_seed() + 1)
        return None

    def run_chains(self, cases: list[Batch], seed: int) -> tuple[float, list[float]]:
        """Let all chains run on the cases: the coldest one's error before, and the errors of all after it."""
        settings = self.config.annealing
        return temper(
            self.tables,
            grouped(cases),
            prefix=settings.prefix,
            growth=settings.growth,
            temperature=settings.temperature,
            until_right=self.at_the_top,
            seed=seed % 2**62,
        )

    def pass_lesson(self, table: Table, generator: torch.Generator) -> bool:
        """Begin the next lesson, or end at the task itself if the machine is solved. Whether the lesson is passed."""
        trial = self.trial
        trial.error = 0.0
        if trial.lesson < self.cases.last_stage:
            trial.lesson += 1
            self.graduates.append(Graduate(table.copy(), dataclasses.replace(trial)))
            self.tables = [self.start() for _ in self.tables]
            self.begin_lesson()
            return True
        machine = self.consider(table, generator)
        if not trial.solved:
            return False
        self.close("solved", machine)
        if self.config.population.keep_going:
            self.graduates.clear()
            self.begin_all()
        else:
            self.stopped_by = "solved"
        return True

    def consider(self, table: Table, generator: torch.Generator) -> Machine:
        """Let a controller learn a table, verify the machine, keep it if it is the best so far; the machine."""
        size, trial = self.config.machine, self.trial
        controller = make_controller(size.controller, self.layout, size.hidden)
        params = teach(table, controller, generator)
        machine = self.machine(params)
        found = verify(machine, self.task, self.config, seed=generator.initial_seed())
        trial.fuzzy_error, trial.discretized_error = found.fuzzy_error, found.discretized_error
        trial.solved = found.solved
        if self.best is None or found.rank < self.best[1].rank:
            self.best = machine, found
        return machine

    def machine(self, params: dict[str, torch.Tensor]) -> Machine:
        """The machine with these parameters."""
        size = self.config.machine
        return Machine(self.task.key, size.num_registers, size.repetitions, size.controller, size.hidden, params)

    def give_up(self) -> None:
        """End the attempt, and begin another. A graduate that is dropped counts against the one that it began from."""
        self.close("restarted")
        del self.tables[0]
        for graduate in reversed(self.graduates.copy()):
            graduate.failed += 1
            if graduate.failed < TRIES:
                break
            self.graduates.remove(graduate)
        self.begin()

    def close(self, ended: str, machine: Machine | None = None) -> None:
        """End the trial. machine: that of a solved one."""
        trial = self.trial
        trial.ended, trial.seconds = ended, self.seconds()
        if self.on_trial is not None:
            self.on_trial(trial, machine)

    # Reports, and the end

    def report(self) -> None:
        """What is due after a batch: a row of the history, the status, a save; the end of the budget."""
        if self.batches % HISTORY_EVERY == 0:
            self.history.append(self.progress_row())
            self.bar.set_description(progress_text(self.history[-1], self.config))
        if status.is_due():
            tell_row("training", self.config, self.progress_row(), self.cases.last_stage)
        if self.stopped_by is None and self.config.budget.is_spent(self.batches, self.seconds()):
            self.stopped_by = "budget"
        if time.monotonic() >= self.next_save:
            self.save()

    def progress_row(self) -> dict:
        """A row of the history, with the columns that `nram.training.progress.progress_row` has."""
        trial = self.trial
        return {
            "batch": self.batches,
            "seconds": self.seconds(),
            "lessons": trial.lesson,
            "best_level": trial.level,
            "best_error": trial.error,
            "members_started": sum(each.parent < 0 for each in self.trials),
            "members_solved": sum(each.solved for each in self.trials),
            "levels": f"{trial.level}:1",
        }

    def result(self) -> TrainResult:
        """Close the trial that runs. If nothing was verified, verify the table as it is."""
        self.save()
        if self.stopped_by != "solved":
            if self.best is None:
                self.consider(self.tables[0], torch.Generator().manual_seed(self.config.seed))
            self.close(self.stopped_by)
        self.history.append(self.progress_row())
        machine, verification = self.best
        return TrainResult.of(self, machine, verification, self.trials)

    # Checkpoints

    def save(self) -> None:
        """Save all that changes, so that another process can resume."""
        if self.checkpoint is None:
            return
        self.next_save = time.monotonic() + SAVE_SECONDS
        tables = {f"chain{n}": each for n, each in enumerate(self.tables)}
        tables |= {f"graduate{n}": each.table for n, each in enumerate(self.graduates)}
        tensors = {}
        for name, table in tables.items():
            tensors[f"{name}.sources"] = torch.from_numpy(table.sources)
            tensors[f"{name}.stops"] = torch.from_numpy(table.stops)
        if self.best is not None:
            tensors |= {f"best.{name}": value for name, value in self.best[0].params.items()}
        state = {name: getattr(self, name) for name in SAVED}
        state["trials"] = [dataclasses.asdict(trial) for trial in self.trials]
        state["graduates"] = [
            {"trial": dataclasses.asdict(each.trial), "failed": each.failed} for each in self.graduates
        ]
        state["best"] = self.best and dataclasses.asdict(self.best[1])
        state |= {"solved": self.stopped_by == "solved", "seconds": self.seconds(), "resumed": self.resumed}
        self.checkpoint.save(NAME, tensors, state)

    def resume(self) -> bool:
        """Continue from what was saved. Whether anything was."""
        saved = self.checkpoint.load(NAME) if self.checkpoint else None
        if saved is None:
            if self.checkpoint:
                self.checkpoint.forget("")
            return False
        self.checkpoint.forget_half_written()
        try:
            self.restore(*saved)
        except (KeyError, TypeError) as error:
            raise self.checkpoint.refusal("holds the state of another version's annealing") from error
        self.bar.update(self.batches)
        return True

    def restore(self, tensors: dict[str, torch.Tensor], state: dict) -> None:
        """Put back what `save` saved."""

        def table(name: str) -> Table:
            return Table(self.layout, tensors[f"{name}.sources"].numpy(), tensors[f"{name}.stops"].numpy())

        for name in SAVED:
            setattr(self, name, state[name])
        self.trials = [Trial(**each) for each in state["trials"]]
        self.tables = [table(f"chain{number}") for number in range(self.config.annealing.chains)]
        for number, each in enumerate(state["graduates"]):
            self.graduates.append(Graduate(table(f"graduate{number}"), Trial(**each["trial"]), each["failed"]))
        if state["best"]:
            params = {name.removeprefix("best."): each for name, each in tensors.items() if name.startswith("best.")}
            self.best = self.machine(params), Verification(**state["best"])
        self.stopped_by = "solved" if state["solved"] else None
        self.earlier_seconds, self.resumed = state["seconds"], state["resumed"] + 1
