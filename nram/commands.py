"""The commands of the command line, a function each. A function returns its exit code, or None for 0."""

import math
import shlex
import signal
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

import pandas as pd

from nram import results, tasks
from nram.arguments import setting_text
from nram.evaluate import UNIFORM_COMPLEXITIES
from nram.experiments import chances, compare, related_study, related_tables, reproduce, verify
from nram.experiments import run as experiment
from nram.experiments.board import Board
from nram.experiments.parallel_search import search_in_parallel
from nram.experiments.search import search, success_rate
from nram.experiments.studies import run_study
from nram.experiments.study_tables import study_markdown, study_table
from nram.experiments.workers import usable_cores
from nram.results.files import prove_writable
from nram.training.config import TrainConfig

OPTIONS = {"task": "--task", "seed": "--seed", "budget_seconds": "--budget", "device": "--device"}  # by setting


def train_command(arguments: Namespace) -> None:
    """Train on a task from scratch, measure the machine on fresh cases, save the run."""
    config = config_of(arguments)
    folder = experiment.run(
        config,
        arguments.out,
        cases=arguments.cases,
        max_complexity=arguments.max_complexity,
        progress=not arguments.quiet,
        name=arguments.name,
    )
    print(results.table1_markdown(results.table1(results.load_runs(arguments.out)).dropna(subset="train_error")))
    print(f"run: {folder}")


def evaluate_command(arguments: Namespace) -> None:
    """Measure a finished run's machine on fresh cases."""
    sweep = {"cases": arguments.cases, "seed": arguments.seed, "complexities": arguments.complexities}
    if arguments.record:
        prove_writable(arguments.run.resolve().parent)
        if arguments.complexities:
            raise ValueError("--record measures every complexity: give --max-complexity instead of --complexities")
        config = results.load_run(arguments.run).config
        sweep["complexities"] = range(tasks.get(config["task"]).min_difficulty, arguments.max_complexity + 1)
        sweep["uniform_complexities"] = [each for each in UNIFORM_COMPLEXITIES if each <= arguments.max_complexity]
        _, evaluation = experiment.measure_again(arguments.run, not arguments.quiet, **sweep)
    else:
        if arguments.complexities:
            sweep["uniform_complexities"] = ()
        evaluation = experiment.evaluate_run(arguments.run, not arguments.quiet, **sweep)
    print(results.to_markdown(evaluation.generalization))
    if arguments.csv:
        frame = evaluation.generalization.assign(**results.origin(results.load_run(arguments.run)))
        results.write_text(arguments.csv, frame.to_csv(index=False))


def verify_command(arguments: Namespace) -> int:
    """Measure recorded runs on fresh cases and compare with what they claim; exit code 1 if a number moved."""
    with board_of(arguments) as board:
        frame = verify.verify(
            arguments.runs,
            cases=arguments.cases,
            max_complexity=arguments.max_complexity,
            seed=arguments.seed,
            progress=lambda folders: board.each(folders, lambda folder: Path(folder).name, "measured"),
        )
    print(verify.verify_markdown(frame))
    if arguments.csv:
        results.write_text(arguments.csv, frame.to_csv(index=False))
    return 1 if frame["moved"].any() else 0


def table_command(arguments: Namespace) -> None:
    """Print the paper's Table 1 beside the runs of a folder."""
    runs = results.load_runs(arguments.runs)
    print(results.table1_markdown(results.table1(runs)))
    if len(runs):
        print()
        print(results.effort_markdown(runs))


def compare_command(arguments: Namespace) -> None:
    """Print two runs, or two folders of runs, side by side: errors, and the interval of their difference."""
    sources = arguments.sources
    if not sources:
        none_yet = not any(arguments.mine.glob("*/config.json"))
        sources = ["paper", "recorded"] if none_yet else ["recorded", "mine", "paper"]
    elif len(sources) != 2:
        raise ValueError(f"compare takes two sources, not {len(sources)}")
    if arguments.mine != results.MINE:
        sources = [str(arguments.mine) if source == "mine" else source for source in sources]
    frame = compare.compare(*sources)
    if not len(frame):
        raise ValueError(f"{sources[0]} and {sources[1]} have no task in common")
    print(f"Errors; difference: {sources[1]} minus {sources[0]}\n\n{compare.compare_markdown(frame)}")
    if not arguments.sources and none_yet:
        print(f"There are no runs of yours in {arguments.mine} yet: make reproduce, or python -m nram reproduce")
    if arguments.csv:
        results.write_text(arguments.csv, frame.to_csv(index=False))


def search_command(arguments: Namespace) -> None:
    """Train populations for a budget; every trial leaves a row."""
    config = config_of(arguments)
    folder = arguments.out or Path("results/searches") / arguments.task
    if not (arguments.populations or arguments.jobs or arguments.slurm) and arguments.launcher == "local":
        with board_of(arguments) as board, board.job(arguments.task):
            trials = search(config, folder, resume=arguments.resume, progress=False)
    else:
        launcher = launcher_of(arguments, minutes=config.budget.seconds / 60 + 15)
        count = arguments.populations or 1
        with board_of(arguments) as board:
            trials = search_in_parallel(config, folder, count, resume=arguments.resume, board=board, **launcher)
    seconds = float(trials["search_seconds"].max())
    print(results.to_markdown(pd.DataFrame([success_rate(trials) | {"seconds": seconds}])))
    print(f"trials: {folder / 'trials.csv'}")


def study_command(arguments: Namespace) -> None:
    """Measure how often seeds are solved under settings that differ in one thing each, or `make reproduce` succeeds.

    The study related trains other systems beside the machine.
    """
    launcher = launcher_of(arguments, minutes=24 * 60)
    if arguments.name == related_study.NAME:
        show = related_tables.related_table, related_tables.related_markdown
        run = partial(related_study.run_related, seconds=float(arguments.seconds or related_study.SECONDS))
        _timed_study(arguments, launcher, run, *show, "trains for --seconds")
        return
    if arguments.seconds:
        raise ValueError(f"only {related_study.NAME} takes --seconds; other studies end by batches or budgets")
    if arguments.name == chances.NAME:
        show = chances.chances_table, chances.chances_markdown
        _timed_study(arguments, launcher, chances.run_chances, *show, "trains as long as `make reproduce` does")
        return
    with board_of(arguments) as board:
        trials = run_study(
            arguments.name,
            arguments.out,
            seeds=arguments.seeds,
            batches=arguments.batches,
            only=arguments.only,
            board=board,
            **launcher,
        )
    print(study_markdown(study_table(trials)))
    print(f"trials: {arguments.out / arguments.name / 'trials.csv'}")


def _timed_study(arguments: Namespace, launcher: dict, run, table, markdown, how_long: str) -> None:
    """Run a study whose runs are limited in seconds; print the table of its frame.

    run, table, markdown: the study, the table of its frame, and that as text. how_long: a run trains, in words.
    """
    if arguments.batches:
        raise ValueError(f"the study {arguments.name} {how_long}: it takes no --batches")
    with board_of(arguments) as board:
        frame = run(arguments.out, seeds=arguments.seeds, only=arguments.only, board=board, **launcher)
    print(markdown(table(frame)))
    print(f"runs: {arguments.out / arguments.name / 'runs.csv'}")


def reproduce_command(arguments: Namespace) -> int:
    """Execute each task's notebook, which trains and measures, then the summary notebooks; print Table 1.

    It skips finished runs of the same settings. Exit code 1 if a notebook failed.
    """
    if arguments.table_only:
        print(results.table1_markdown(results.write_table1(arguments.results)))
        return 0
    exit_when_terminated()
    overrides = settings_of(arguments, OPTIONS)
    parameters = training_of(arguments)
    configs = {key: TrainConfig.for_task(key, **parameters, **overrides).to_dict() for key in arguments.tasks}
    threads = arguments.threads or max(1, usable_cores() // arguments.jobs)
    with Board(sys.stdout) as board:
        board.say(
            f"tasks: {len(configs)}, at a time: {arguments.jobs}, threads of each: {threads}; "
            f"at most {_range({config['budget_seconds'] for config in configs.values()})} s of training per task, "
            "then its evaluation"
        )
        failures = reproduce.reproduce(
            configs,
            {
                **parameters,
                "overrides": overrides,
                "cases": arguments.cases,
                "max_complexity": arguments.max_complexity,
            },
            arguments.results,
            parallel=arguments.jobs,
            threads=threads,
            commands={key: _reproduce_one(key, arguments, overrides) for key in configs}
            | dict.fromkeys(reproduce.SUMMARIES, "python -m nram reproduce"),
            notebooks=arguments.notebooks,
            board=board,
        )
    for name, error in failures.items():
        print(f"FAILED {name}: {error}", file=sys.stderr)
    return 1 if failures else 0


def _reproduce_one(task: str, arguments: Namespace, overrides: dict) -> str:
    """The command that reproduces one task alone, for the provenance of its run."""
    command = ["python", "-m", "nram", "reproduce", "--tasks", task]
    command += [] if arguments.budget is None else ["--budget", f"{arguments.budget:g}"]
    command += ["--seed", str(arguments.seed), "--device", arguments.device]
    command += ["--cases", str(arguments.cases), "--max-complexity", str(arguments.max_complexity)]
    for name, value in overrides.items():
        command += ["--set", setting_text(name, value)]
    return shlex.join(command)


def _range(numbers: set[float]) -> str:
    """The smallest to the largest in words."""
    low, high = min(numbers), max(numbers)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def recorded_command(arguments: Namespace) -> None:
    """Renew what this repository shows of its recorded runs: executed notebooks, the README's tables and picture."""
    from nram.report import recorded

    recorded.trace_picture(recorded.RECORDED / recorded.TRACED, recorded.RECORDED / "trace.png")
    recorded.related_picture(recorded.RECORDED / results.STUDIES, recorded.RECORDED / "related.png")
    recorded.update_readme()
    if not arguments.tables:
        with Board(sys.stdout) as board:
            recorded.execute_notebooks(arguments.notebooks, board=board)


def report_command(arguments: Namespace) -> None:
    """Write a static site of a folder of runs: tables, curves, traces to step through, notebooks."""
    from nram import report

    print(report.build(arguments.runs or results.RECORDED, arguments.out))


def benchmark_command(arguments: Namespace) -> None:
    """Measure the speed of the fused machine beside the reference and the limits of this computer."""
    from nram.experiments.speed import benchmark, cases, claims

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if arguments.gpu:
        measurements = benchmark.benchmark_gpu(say)
    else:
        measurements = benchmark.benchmark(
            cases.QUICK if arguments.quick else cases.FULL,
            with_compiled=arguments.compiled,
            seeds=arguments.seeds if arguments.solve else (),
            say=say,
        )
    if arguments.json:
        results.write_text(arguments.json, benchmark.to_json(measurements))
    for title, frame in claims.tables(measurements).items():
        print(f"\n{title}\n\n{results.to_markdown(frame)}", end="")


# Options that several commands read


def config_of(arguments: Namespace) -> TrainConfig:
    """The task's recommended settings, then the command line's options, then what --set says."""
    return TrainConfig.for_task(arguments.task, **training_of(arguments) | settings_of(arguments, ("task",)))


def training_of(arguments: Namespace) -> dict:
    """The settings that the options of training give. Without --budget, it is the recipe's."""
    settings = {"seed": arguments.seed, "device": arguments.device}
    return settings if arguments.budget is None else settings | {"budget_seconds": arguments.budget}


def settings_of(arguments: Namespace, taken) -> dict:
    """The settings that --set gives. Raises ValueError for a name in `taken`: it has an option of its own."""
    settings = getattr(arguments, "overrides", {}) | dict(arguments.set)
    for name in settings:
        if name in taken:
            raise ValueError(f"{name} is an option of its own: {OPTIONS[name]}")
    return settings


def launcher_of(arguments: Namespace, minutes: float) -> dict:
    """The options of `launch` and its callers; minutes: the time limit of a SLURM job if --slurm sets none."""
    options = dict(arguments.slurm)
    if arguments.launcher == "slurm":
        options = {"time": math.ceil(minutes), **options}
    return {"launcher": arguments.launcher, "jobs": arguments.jobs, "slurm": options}


def board_of(arguments: Namespace) -> Board:
    """What shows the jobs of a command at work, beside its result on stdout; nothing with --quiet."""
    return Board(None if arguments.quiet else sys.stderr)


def exit_when_terminated() -> None:
    """From now on SIGTERM and SIGHUP raise SystemExit with 128 + their number, which lets everything clean up."""
    hangup = getattr(signal, "SIGHUP", signal.SIGTERM)  # Windows has none
    for number in {signal.SIGTERM, hangup}:
        if signal.getsignal(number) != signal.SIG_IGN:  # under nohup SIGHUP stays ignored
            signal.signal(number, lambda number, _: sys.exit(128 + number))
