"""The command line: `python -m nram COMMAND`. `nram.commands` has what each command does."""

import argparse
import re
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import nram
from nram import arguments as options
from nram import commands, results
from nram.arguments import Parser, positive, print_error
from nram.experiments import chances, related_study
from nram.experiments.reproduce import MAX_JOBS
from nram.experiments.study_plans import STUDIES

__all__ = ["main", "make_parser"]


def make_parser() -> Parser:
    parser = Parser(prog="python -m nram", description=nram.__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")

    def add(name: str, function: Callable) -> argparse.ArgumentParser:
        """A command that is described by its function's docstring."""
        first, _, more = function.__doc__.partition("\n")
        command = subparsers.add_parser(name, help=_as_phrase(first), description=f"{first} {more}")
        command.set_defaults(function=function)
        return command

    train = add("train", commands.train_command)
    options.add_task(train)
    options.add_training(train)
    options.add_cases(train)
    options.add_output(train, "--out", "folder of runs (%(default)s)", results.MINE)
    train.add_argument("--name", help="of the run's folder (TASK-HASH, with the first digits of the settings' hash)")
    options.add_quiet(train)

    evaluate = add("evaluate", commands.evaluate_command)
    evaluate.add_argument("run", type=options.path, metavar="RUN", help="a finished run's folder")
    evaluate.add_argument(
        "--complexities", type=positive, nargs="+", metavar="N", help="measure only these (all up to 50)"
    )
    evaluate.add_argument("--record", action="store_true", help="replace the run's own measurement by this one")
    options.add_cases(evaluate, "with --record, the largest complexity that is measured")
    options.add_seed(evaluate, 12345, "the cases are drawn from it")
    options.add_csv(evaluate)
    options.add_quiet(evaluate)

    verify = add("verify", commands.verify_command)
    verify.add_argument(
        "runs",
        type=options.path,
        nargs="?",
        default=results.RECORDED,
        metavar="DIR",
        help="a folder of runs, or a run (the recorded ones)",
    )
    options.add_cases(verify)
    options.add_seed(verify, 54321, "the cases are drawn from it")
    options.add_csv(verify)
    options.add_quiet(verify)

    table = add("table", commands.table_command)
    table.add_argument(
        "runs", type=options.path, nargs="?", default=results.MINE, metavar="DIR", help="folder of runs (%(default)s)"
    )

    compare = add("compare", commands.compare_command)
    compare.add_argument(
        "sources",
        type=options.source,
        nargs="*",
        metavar="SOURCE",
        help="two of: a run's folder, a folder of runs, paper, recorded, mine; without any, all three words",
    )
    compare.add_argument(
        "--mine", type=options.path, default=results.MINE, metavar="DIR", help="what mine stands for (%(default)s)"
    )
    options.add_csv(compare)

    search = add("search", commands.search_command)
    options.add_task(search)
    options.add_training(search, budget=600.0, of="this call's training")
    search.add_argument(
        "--populations", type=positive, metavar="N", help="how many, each with the whole budget and its own seed (1)"
    )
    search.add_argument("--trials", dest="populations", type=positive, help=argparse.SUPPRESS)  # its former name
    options.add_launcher(search)
    options.add_output(search, "--out", "the search's folder (results/searches/TASK)")
    search.add_argument("--resume", action="store_true", help="continue the search in that folder")
    options.add_quiet(search)

    study = add("study", commands.study_command)
    names = [*STUDIES, chances.NAME, related_study.NAME]
    study.add_argument("name", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    study.add_argument("--only", nargs="+", metavar="SETTING", help="run only these of the plan; others can follow")
    study.add_argument(
        "--seeds",
        type=positive,
        metavar="N",
        help="per setting and variant (the plan's: 5 to 100)",
    )
    study.add_argument("--batches", type=positive, metavar="N", help="of a seed at most (the plan's)")
    study.add_argument(
        "--seconds", type=positive, metavar="N", help=f"{related_study.NAME}: of a run ({related_study.SECONDS:g})"
    )
    options.add_launcher(study)
    options.add_output(study, "--out", "folder of studies (%(default)s)", Path("results/studies"))
    options.add_quiet(study)

    reproduce = add("reproduce", commands.reproduce_command)
    reproduce.add_argument(
        "--tasks", type=options.task_keys, default="all", metavar="KEYS", help='such as "copy swap", or all (all)'
    )
    options.add_training(reproduce, of="each task's training")
    reproduce.add_argument(  # its former name and form
        "--overrides", type=options.json_object, default={}, metavar="JSON", help=argparse.SUPPRESS
    )
    options.add_cases(reproduce, "largest complexity that is measured; Table 1 needs 50")
    options.add_output(reproduce, "--results", "gets runs, tables and figures (%(default)s)", Path("results"))
    reproduce.add_argument(
        "--jobs", type=int, choices=range(1, MAX_JOBS + 1), default=MAX_JOBS, help="tasks at a time (%(default)s)"
    )
    reproduce.add_argument(
        "--threads", type=positive, metavar="N", help="of each task (the cores are shared out between the tasks)"
    )
    reproduce.add_argument(
        "--notebooks",
        type=options.path,
        default=results.NOTEBOOKS,
        metavar="DIR",
        help="folder of notebooks of the same names",
    )
    reproduce.add_argument("--table-only", action="store_true", help="only write and print Table 1")

    recorded = add("recorded", commands.recorded_command)
    recorded.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="only these, such as 20_table1 (all)")
    recorded.add_argument("--tables", action="store_true", help="only the README's tables and picture")

    report = add("report", commands.report_command)
    report.add_argument("--runs", type=options.path, metavar="DIR", help="folder of runs (the recorded ones)")
    options.add_output(report, "--out", "folder of the site (%(default)s)", Path("results/report"))

    benchmark = add("benchmark", commands.benchmark_command)
    options.add_output(benchmark, "--json", "also write the measurements to this file", metavar="FILE")
    benchmark.add_argument(
        "--compiled", action="store_true", help="also the reference under torch.compile (takes minutes)"
    )
    benchmark.add_argument("--solve", action="store_true", help="also the time until the easy tasks are solved")
    benchmark.add_argument(
        "--seeds", type=options.seed, nargs="+", default=[0, 1, 2, 3, 4], metavar="N", help="of --solve (0 1 2 3 4)"
    )
    benchmark.add_argument("--gpu", action="store_true", help="only the times on a CUDA device")
    benchmark.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, not how fast")
    return parser


def _as_phrase(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:].rstrip(".")


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns the exit code: 0; 1 if a number moved, a notebook failed or a run is broken; 2 for a wrong request; 130
    after Ctrl-C. Warnings are a line each on stderr. Where stdout cannot encode a character, it shows another instead.
    Raises SystemExit with 2 for wrong options, with 128 + its number for another signal that a command handles.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parsed = make_parser().parse_args(arguments)
    said = []  # (category, text)

    def show(message, category, *_, **__) -> None:
        if (category, str(message)) not in said:
            said.append((category, str(message)))
            print_error("nram", message)

    with warnings.catch_warnings():
        warnings.simplefilter("always", results.BrokenRun)
        warnings.showwarning = show
        code = _run(parsed)
    return code or int(any(category is results.BrokenRun for category, _ in said))


def _run(parsed: argparse.Namespace) -> int:
    try:
        options.prove_outputs(parsed)
        return parsed.function(parsed) or 0
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("alloc|out of memory", str(error)):
            raise
        print_error("nram", error)
        return 2
    except KeyboardInterrupt:
        print("nram: interrupted; the same command resumes from what is saved", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
