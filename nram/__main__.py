"""The command line: train, evaluate, verify, search, study, table, compare, benchmark. It needs no Jupyter."""

import argparse
import json
import math
import re
import signal
import sys
import warnings
from pathlib import Path

import pandas as pd
from tqdm import tqdm

import nram
from nram import results, tasks
from nram.arguments import Parser, positive, report, seed
from nram.experiments import compare, verify
from nram.experiments import run as experiment
from nram.experiments.launch import LAUNCHERS
from nram.experiments.parallel_search import search_in_parallel
from nram.experiments.search import search, success_rate
from nram.experiments.studies import run_study, study_markdown, study_table
from nram.experiments.study_plans import STUDIES
from nram.training.config import TrainConfig

__all__ = ["main"]


def parse_override(text: str) -> tuple[str, object]:
    """NAME=VALUE with VALUE in JSON; a word that is no JSON is a string."""
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"{text!r} is not of the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):  # ValueError: also an integer of thousands of digits
        return name, value


def make_config(arguments) -> TrainConfig:
    """The task's recommended settings, then the command line's options, then what --set says."""
    settings = {"seed": arguments.seed, "budget_seconds": arguments.budget, "device": arguments.device}
    settings |= dict(parse_override(text) for text in arguments.set)
    if "task" in settings:
        raise ValueError("name the task with --task")
    return TrainConfig.for_task(arguments.task, **settings)


def train_command(arguments) -> None:
    config = make_config(arguments)
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


def evaluate_command(arguments) -> None:
    sweep = {"cases": arguments.cases, "seed": arguments.seed, "complexities": arguments.complexities}
    if arguments.record:
        if arguments.complexities:
            raise ValueError("--record measures every complexity: give --max-complexity instead of --complexities")
        config = results.load_run(arguments.run).config
        sweep["complexities"] = range(tasks.get(config["task"]).min_difficulty, arguments.max_complexity + 1)
        _, evaluation = experiment.measure_again(arguments.run, not arguments.quiet, **sweep)
    else:
        evaluation = experiment.evaluate_run(arguments.run, not arguments.quiet, **sweep)
    print(results.to_markdown(evaluation.generalization))
    if arguments.csv:
        frame = evaluation.generalization.assign(**results.origin(results.load_run(arguments.run)))
        frame.to_csv(arguments.csv, index=False)


def table_command(arguments) -> None:
    runs = results.load_runs(arguments.runs)
    print(results.table1_markdown(results.table1(runs)))
    if len(runs):
        print()
        print(results.effort_markdown(runs))


def verify_command(arguments) -> int:
    frame = verify.verify(
        arguments.runs,
        cases=arguments.cases,
        max_complexity=arguments.max_complexity,
        seed=arguments.seed,
        progress=lambda folders: tqdm(folders, disable=arguments.quiet, desc="verifying", unit=" runs"),
    )
    print(verify.verify_markdown(frame))
    if arguments.csv:
        frame.to_csv(arguments.csv, index=False)
    return 1 if frame["moved"].any() else 0


def compare_command(arguments) -> None:
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
        print(
            f"There are no runs of yours in {arguments.mine} yet: make reproduce, or python -m nram.experiments.reproduce"
        )
    if arguments.csv:
        frame.to_csv(arguments.csv, index=False)


def launcher_of(arguments, minutes: float) -> dict:
    """What `launch` and its callers are told; minutes: how long a job of SLURM may take if --slurm does not say."""
    options = dict(parse_override(text) for text in arguments.slurm)
    if arguments.launcher == "slurm":
        options = {"time": math.ceil(minutes), **options}
    say = (lambda text: None) if arguments.quiet else (lambda text: print(text, file=sys.stderr, flush=True))
    return {"launcher": arguments.launcher, "jobs": arguments.jobs, "slurm": options, "say": say}


def search_command(arguments) -> None:
    config = make_config(arguments)
    folder = arguments.out or Path("results/searches") / arguments.task
    if not (arguments.trials or arguments.jobs or arguments.slurm) and arguments.launcher == "local":
        trials = search(config, folder, resume=arguments.resume, progress=not arguments.quiet)
    else:
        launcher = launcher_of(arguments, minutes=config.budget_seconds / 60 + 15)
        count = arguments.trials or 1
        trials = search_in_parallel(config, folder, count, resume=arguments.resume, **launcher)
    seconds = float(trials["search_seconds"].max())
    print(results.to_markdown(pd.DataFrame([success_rate(trials) | {"seconds": seconds}])))
    print(f"trials: {folder / 'trials.csv'}")


def study_command(arguments) -> None:
    trials = run_study(
        arguments.name,
        arguments.out,
        seeds=arguments.seeds,
        batches=arguments.batches,
        only=arguments.only,
        **launcher_of(arguments, minutes=24 * 60),
    )
    print(study_markdown(study_table(trials)))
    print(f"trials: {arguments.out / arguments.name / 'trials.csv'}")


def recorded_command(arguments) -> None:
    from nram.report import recorded

    recorded.trace_picture(recorded.RECORDED / recorded.TRACED, recorded.RECORDED / "trace.png")
    recorded.update_readme()
    if not arguments.tables:
        recorded.execute_notebooks(arguments.notebooks, say=lambda name: print(name, flush=True))


def report_command(arguments) -> None:
    from nram import report

    print(report.build(arguments.runs or results.RECORDED, arguments.out))


def benchmark_command(arguments) -> None:
    from nram.experiments.speed import benchmark, cases
    from nram.experiments.speed import claims as speed

    report = benchmark.benchmark(
        cases.QUICK if arguments.quick else cases.FULL,
        with_compiled=arguments.compiled,
        seeds=arguments.seeds if arguments.solve else (),
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(arguments.json, benchmark.to_json(report))
    for title, frame in speed.tables(report).items():
        print(f"\n{title}\n\n{results.to_markdown(frame)}", end="")


def add_launcher(parser) -> None:
    parser.add_argument("--launcher", choices=LAUNCHERS, default="local", help="processes here, or a SLURM array")
    parser.add_argument("--jobs", type=positive, help="populations at a time (local: 1, slurm: no bound)")
    parser.add_argument(
        "--slurm", action="append", default=[], metavar="NAME=VALUE", help="an option of sbatch, as submitit names it"
    )


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m nram", description=nram.__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train on a task from scratch, evaluate, save the run")
    train.add_argument("--task", required=True, metavar="KEY", help=f"one of {', '.join(tasks.KEYS)}")
    train.add_argument("--budget", type=float, default=120.0, metavar="SECONDS", help="of training at most (120)")
    train.add_argument("--seed", type=seed, default=0, help="of everything random (0)")
    train.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    train.add_argument("--out", type=Path, default=Path("results/runs"), metavar="DIR", help="folder of runs")
    train.add_argument("--cases", type=positive, default=1000, help="fresh cases per complexity in evaluation (1000)")
    train.add_argument("--max-complexity", type=positive, default=50, help="largest complexity in evaluation (50)")
    train.add_argument("--name", help="of the run's folder; its settings' hash tells runs apart without one")
    train.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any setting of TrainConfig")
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    train.set_defaults(function=train_command)

    evaluation = commands.add_parser("evaluate", help="measure a finished run's machine on fresh cases")
    evaluation.add_argument("run", type=Path, metavar="RUN", help="a finished run's folder")
    evaluation.add_argument("--cases", type=positive, default=1000, help="fresh cases per complexity (1000)")
    evaluation.add_argument("--seed", type=seed, default=12345, help="of the cases")
    evaluation.add_argument("--complexities", type=positive, nargs="+", help="all up to 50 by default")
    evaluation.add_argument("--record", action="store_true", help="put the measurement in place of the run's own")
    evaluation.add_argument("--max-complexity", type=positive, default=50, help="largest complexity of --record (50)")
    evaluation.add_argument("--csv", type=Path, help="write the frame to this file too")
    evaluation.add_argument("--quiet", action="store_true", help="no progress bar")
    evaluation.set_defaults(function=evaluate_command)

    searching = commands.add_parser("search", help="start seed after seed until the budget is gone; a row for each")
    searching.add_argument("--task", required=True, metavar="KEY", help=f"one of {', '.join(tasks.KEYS)}")
    searching.add_argument("--budget", type=float, default=600.0, metavar="SECONDS", help="of this call (600)")
    searching.add_argument("--seed", type=seed, default=0, help="of everything random (0)")
    searching.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    searching.add_argument("--out", type=Path, metavar="DIR", help="the search's folder (results/searches/TASK)")
    searching.add_argument("--resume", action="store_true", help="add to the search that is in the folder")
    searching.add_argument("--trials", type=positive, help="populations, each with the whole budget and its own seeds")
    add_launcher(searching)
    searching.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting")
    searching.add_argument("--quiet", action="store_true", help="no progress bar")
    searching.set_defaults(function=search_command)

    study = commands.add_parser("study", help="how often seeds are solved, under settings that differ in one thing")
    study.add_argument("name", metavar="NAME", help=f"one of {', '.join(STUDIES)}")
    study.add_argument("--out", type=Path, default=Path("results/studies"), metavar="DIR", help="folder of studies")
    study.add_argument("--seeds", type=positive, help="per setting and variant (100)")
    study.add_argument("--only", nargs="+", metavar="SETTING", help="these of its settings; the others can follow")
    study.add_argument("--batches", type=positive, help="of a seed at most, instead of the plan's")
    add_launcher(study)
    study.add_argument("--quiet", action="store_true", help="nothing but the table")
    study.set_defaults(function=study_command)

    table = commands.add_parser("table", help="the paper's Table 1 beside the runs of a folder")
    table.add_argument("runs", type=Path, nargs="?", default=Path("results/runs"), metavar="DIR")
    table.set_defaults(function=table_command)

    again = commands.add_parser("verify", help="measure recorded runs anew: exit code 1 if a number moved")
    again.add_argument("runs", type=Path, nargs="?", default=results.RECORDED, metavar="DIR")
    again.add_argument("--cases", type=positive, default=1000, help="fresh cases per complexity (1000)")
    again.add_argument("--max-complexity", type=positive, default=50, help="no complexity above this (50)")
    again.add_argument("--seed", type=seed, default=54321, help="of the cases")
    again.add_argument("--csv", type=Path, help="write every number to this file too")
    again.add_argument("--quiet", action="store_true", help="no progress bar")
    again.set_defaults(function=verify_command)

    comparison = commands.add_parser("compare", help="two runs, or two folders of runs, side by side")
    comparison.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="two of: a run's folder, a folder of runs, paper, recorded, mine (results/runs); none: all three words",
    )
    comparison.add_argument("--mine", type=Path, default=results.MINE, metavar="DIR", help="what mine stands for")
    comparison.add_argument("--csv", type=Path, help="write the frame to this file too")
    comparison.set_defaults(function=compare_command)

    showing = commands.add_parser("recorded", help="the recorded runs' notebooks and tables anew")
    showing.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="only these, such as 20_table1")
    showing.add_argument("--tables", action="store_true", help="only the README's tables and picture")
    showing.set_defaults(function=recorded_command)

    site = commands.add_parser("report", help="a static site of a folder of runs: tables, curves, traces, notebooks")
    site.add_argument("--runs", type=Path, metavar="DIR", help="folder of runs (the recorded ones)")
    site.add_argument("--out", type=Path, default=Path("results/report"), metavar="DIR", help="(results/report)")
    site.set_defaults(function=report_command)

    speed = commands.add_parser("benchmark", help="measure the speed of everything beside the reference and the limits")
    speed.add_argument("--json", type=Path, metavar="FILE", help="write the report to this file too")
    speed.add_argument("--compiled", action="store_true", help="the reference under torch.compile too; takes minutes")
    speed.add_argument("--solve", action="store_true", help="also how long the easy tasks take to be solved")
    speed.add_argument("--seeds", type=seed, nargs="+", default=[0, 1, 2, 3, 4], help="of --solve (0 1 2 3 4)")
    speed.add_argument("--quick", action="store_true", help="tiny sizes: whether it works, not how fast")
    speed.set_defaults(function=benchmark_command)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code: 0, 1 if a number moved, 2 after a wrong request, 130 if interrupted."""
    parsed = make_parser().parse_args(arguments)
    try:
        code = parsed.function(parsed)
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("alloc|out of memory", str(error)):
            raise
        report("nram", error)
        return 2
    except KeyboardInterrupt:
        print("nram: interrupted; a training goes on from its last save if the command is given again", file=sys.stderr)
        return 128 + signal.SIGINT
    return code or 0


if __name__ == "__main__":
    warnings.showwarning = lambda message, *_: print(f"nram: {message}", file=sys.stderr)
    sys.exit(main())
