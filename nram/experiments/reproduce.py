"""`make reproduce`: each task's notebook, the longest first, then the summary notebooks, then Table 1.

A task is done if its folder of runs holds a complete run of the same configuration. An executed notebook proves
nothing: papermill leaves one that looks executed when a kernel dies.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from nram import results
from nram.experiments.board import Board
from nram.experiments.chances import expected_of_tasks
from nram.experiments.closing import closing
from nram.experiments.forecast import AROUND_TRAINING, Expected
from nram.experiments.notebooks import Failure, execute
from nram.experiments.workers import run_jobs
from nram.results.files import locked

__all__ = ["MAX_JOBS", "SUMMARIES", "TASK_NOTEBOOK", "Job", "make_jobs", "reproduce"]

TASK_NOTEBOOK = "10_task"
SUMMARIES = {  # the notebooks that follow the tasks, and the parameters that each is given
    "00_machine": (),
    "20_table1": ("results_folder", "figures_folder"),
    "30_generalization": ("results_folder", "figures_folder"),
    "60_programs": ("results_folder", "figures_folder"),
}
THOROUGHNESS = ("cases", "max_complexity")  # of the evaluation: parameters of a task's notebook, metrics of its run
MAX_JOBS = 2
EXECUTING = ".executing"  # in the results folder: notebooks while they are executed


def reproduce(
    configs: dict[str, dict],
    parameters: dict,
    folder: str | Path,
    *,
    parallel: int = MAX_JOBS,
    threads: int = 1,
    commands: dict[str, str] | None = None,
    notebooks: Path = results.NOTEBOOKS,
    board: Board | None = None,
) -> dict[str, str]:
    """Execute the notebooks that are not done yet, then the summaries; write Table 1. Returns the errors by name.

    configs: per task, the configuration that its notebook computes from `parameters`, which lack only task and
    results_folder. folder: gets runs, notebooks, tables and figures. parallel: notebooks at a time; threads: of each.
    commands: what the provenance names, per task and summary. board: shows the notebooks at work, then Table 1.
    Raises `nram.results.files.Busy` if another process works in that folder, KeyboardInterrupt or SystemExit if
    interrupted.
    """
    folder, notebooks = Path(folder).resolve(), Path(notebooks).resolve()
    runs = folder / "runs"
    commands = commands or dict.fromkeys([*configs, *SUMMARIES], "python -m nram reproduce")
    of_tasks, summaries = make_jobs(configs, parameters, commands, folder, notebooks)
    failures: dict[str, str] = {}
    board = board or Board()
    with locked(folder, "reproduction"):
        runs.mkdir(exist_ok=True)
        shutil.rmtree(folder / EXECUTING, ignore_errors=True)  # a killed runner leaves it
        results.remove_stale(runs)
        waiting = []
        for job in of_tasks:
            try:
                if job.is_done():
                    board.say(f"{job.name}  {job.outcome()}; finished before: {results.run_name(job.config)}")
                else:
                    waiting.append(job)
            except ValueError as error:
                failures[job.name] = f"{error}; remove the run's folder to run it again"
                board.say(f"{job.name}  ✗ FAILED: {failures[job.name]}")
        takes = expected_of_tasks({job.name: job.config["budget_seconds"] for job in waiting})
        waiting.sort(key=lambda job: takes[job.name].usual, reverse=True)  # no long one is left for the end
        takes = {job.name: takes[job.name] for job in waiting}
        takes |= {job.name: Expected(0.0, 0.0) for job in summaries}
        board.expect(takes, parallel, around=AROUND_TRAINING)
        for name, failure in run_jobs([waiting, summaries], parallel, threads, board).items():
            failures[name] = f"{failure.error} ({runs / results.FAILED})"
        shutil.rmtree(folder / EXECUTING, ignore_errors=True)
        try:
            table = results.write_table1(folder)
            board.say(f"\n{results.terminal_table1(table, board.width)}\n{closing(table, folder)}")
        except ValueError as error:
            failures["table 1"] = str(error)
    return failures


def make_jobs(
    configs: dict[str, dict], parameters: dict, commands: dict[str, str], folder: Path, notebooks: Path
) -> tuple[list["Job"], list["Job"]]:
    """(a job per task, a job per summary)."""
    runs, executing = folder / "runs", folder / EXECUTING
    folders = {
        "results_folder": results.as_parameter(runs),
        "figures_folder": results.as_parameter(folder / "figures"),
    }
    of_tasks = [
        Job(
            name=task,
            notebook=notebooks / f"{TASK_NOTEBOOK}.ipynb",
            parameters={"task": task, **parameters, "results_folder": folders["results_folder"]},
            aside=executing / f"{results.run_name(config)}.ipynb",
            target=None,
            runs=runs,
            config=config,
            command=commands[task],
        )
        for task, config in configs.items()
    ]
    summaries = [
        Job(
            name=name,
            notebook=notebooks / f"{name}.ipynb",
            parameters={each: folders[each] for each in given},
            aside=executing / f"{name}.ipynb",
            target=folder / "notebooks" / f"{name}.ipynb",
            runs=runs,
            config=None,
            command=commands[name],
        )
        for name, given in SUMMARIES.items()
    ]
    return of_tasks, summaries


@dataclass(frozen=True)
class Job:
    """A notebook to execute once (see `nram.experiments.workers.Job`).

    name: in messages. aside: where the notebook is written while it is executed. target: where the executed notebook
    belongs; None for a task's, which goes into the run's folder. config: of the run that it must leave in `runs`; None
    for a summary. command: executes this notebook alone.
    """

    name: str
    notebook: Path
    parameters: dict
    aside: Path
    target: Path | None
    runs: Path
    config: dict | None
    command: str

    def is_done(self) -> bool:
        """Whether a task's run is complete, with its notebook, and evaluated as thoroughly as this job asks.

        Raises ValueError if the run is broken.
        """
        folder = results.find_run(self.runs, self.config)
        if folder is None or not (folder / "notebook.ipynb").is_file():
            return False
        metrics = results.load_run(folder).metrics
        return all(metrics.get(name, 0) >= self.parameters.get(name, 0) for name in THOROUGHNESS)

    def execute(self, threads: int) -> None:
        """Execute the notebook and move it to where it belongs. Raises whatever goes wrong."""
        import nbformat

        self.aside.parent.mkdir(parents=True, exist_ok=True)
        nb = execute(self.notebook, self.aside, self.parameters, threads=threads, command=self.command)
        target = self.target
        if target is None:
            folder = results.find_run(self.runs, self.config)
            if folder is None:
                raise RuntimeError(f"{self.notebook.name} left no run {results.run_name(self.config)} in {self.runs}")
            target = folder / "notebook.ipynb"
        nb.metadata.papermill.pop("output_path", None)
        results.write_text(target, nbformat.writes(nb))
        if self.config is not None:
            results.add_sum(target.parent, target.name)

    def outcome(self) -> str:
        """The verdict on a task's run: perfect, or what is missing. Raises ValueError if the run is broken."""
        if self.config is None:
            return "done"
        run = results.load_run(results.find_run(self.runs, self.config))
        verdict, seconds = run.judge(), run.metrics["training_seconds"]
        missing = verdict.shortfall()
        if not missing:
            return f"✓ perfect after {seconds:.0f} s of training"
        if not run.metrics["solved"]:
            missing.insert(0, f"not solved in {seconds:.0f} s of training")
        return f"{'✗' if verdict.errs else '○'} {', '.join(missing)}"

    def close(self, failure: Failure | None) -> None:
        """Keep under runs/failed what a failed notebook left; remove that after a success."""
        kept = self.runs / results.FAILED / self.aside.stem
        if failure is None:
            self.aside.unlink(missing_ok=True)
            shutil.rmtree(kept, ignore_errors=True)
            return
        results.write_text(kept / "error.txt", f"{self.command}\n{failure.error}\n\n{failure.detail}\n")
        if self.aside.is_file():
            os.replace(self.aside, kept / "notebook.ipynb")
