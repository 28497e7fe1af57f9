"""What the commands' options share: types of arguments, groups of options, a parser whose errors are one line."""

import argparse
import difflib
import json
import re
import sys
from pathlib import Path

from nram import tasks
from nram.experiments.launch import LAUNCHERS
from nram.results.files import prove_writable

__all__ = [
    "Parser",
    "add_cases",
    "add_csv",
    "add_launcher",
    "add_output",
    "add_quiet",
    "add_seed",
    "add_task",
    "add_training",
    "json_object",
    "path",
    "positive",
    "print_error",
    "prove_outputs",
    "seed",
    "setting",
    "setting_text",
    "source",
    "task_keys",
]

SEEDS = 2**32  # a run derives other seeds from its own, all below 2^63


# Types


class WrongArgument(argparse.ArgumentTypeError, ValueError):
    """A wrong value; argparse shows its message."""


def positive(text: str) -> int:
    """An integer of at least 1."""
    return _integer(text, 1, 2**31)


def seed(text: str) -> int:
    """An integer from 0 to 2^32 - 1."""
    return _integer(text, 0, SEEDS)


def _integer(text: str, low: int, above: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise WrongArgument(f"{text!r} is not an integer") from None
    if not low <= number < above:
        raise WrongArgument(f"{text} is not in {low}..{above - 1}")
    return number


def path(text: str) -> Path:
    """A path, in which ~ and ~user at the start are home folders. Paths are expanded here and nowhere else."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # there is no such home
        raise WrongArgument(f"{text}: {error}") from error


def source(text: str) -> str:
    """A source of `compare`: a word stays what it is, and so does a path that does not begin with ~."""
    return str(path(text)) if text.startswith("~") else text


def setting(text: str) -> tuple[str, object]:
    """(name, value) of NAME=VALUE with VALUE in JSON; a word that is not JSON is a string."""
    name, separator, value = text.partition("=")
    if not separator:
        raise WrongArgument(f"{text!r} is not of the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):  # ValueError: also an integer of thousands of digits
        return name, value


def setting_text(name: str, value: object) -> str:
    """NAME=VALUE, from which `setting` reads the same name and value."""
    plain = isinstance(value, str) and setting(f"={value}") == ("", value)
    return f"{name}={value if plain else json.dumps(value)}"


def json_object(text: str) -> dict:
    """A JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongArgument(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WrongArgument(f"must be a JSON object of settings, not {' '.join(text.split())}")
    return value


def task_keys(text: str) -> list[str]:
    """Task keys separated by spaces or commas, or "all"; a wrong one is an error that names the valid ones."""
    keys = list(dict.fromkeys(text.replace(",", " ").split()))
    try:
        return list(tasks.KEYS) if keys in ([], ["all"]) else [tasks.get(key).key for key in keys]
    except ValueError as error:
        raise WrongArgument(str(error)) from error


# Options that several commands have


def add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", required=True, metavar="KEY", help=f"one of {', '.join(tasks.KEYS)}")


def add_training(parser: argparse.ArgumentParser, budget: float | None = None, of: str = "training") -> None:
    """Add the options of training.

    budget: its default in seconds; None for that of the task's recipe. of: what it limits, for the help.
    """
    default = "the recipe's" if budget is None else f"{budget:g}"
    parser.add_argument(
        "--budget", type=float, default=budget, metavar="SECONDS", help=f"seconds of {of} at most ({default})"
    )
    add_seed(parser, 0, "everything random starts from it")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any setting of nram.TrainConfig, VALUE in JSON; may be repeated",
    )


def add_seed(parser: argparse.ArgumentParser, default: int, meaning: str) -> None:
    parser.add_argument("--seed", type=seed, default=default, metavar="N", help=f"{meaning} (%(default)s)")


def add_cases(parser: argparse.ArgumentParser, complexity: str = "largest complexity that is measured") -> None:
    """Add the options that say how thoroughly a machine is measured."""
    parser.add_argument(
        "--cases", type=positive, default=1000, metavar="N", help="fresh cases behind every error (%(default)s)"
    )
    parser.add_argument("--max-complexity", type=positive, default=50, metavar="N", help=f"{complexity} (%(default)s)")


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where populations run (see `nram.experiments.launch.launch`)."""
    parser.add_argument(
        "--launcher", choices=LAUNCHERS, default="local", help="processes of this computer, or a SLURM array (local)"
    )
    parser.add_argument("--jobs", type=positive, metavar="N", help="populations at a time (local: 1, slurm: all)")
    parser.add_argument(
        "--slurm",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of sbatch, as submitit names it; may be repeated",
    )


def add_csv(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "--csv", "also write the numbers to this file", metavar="FILE")


def add_output(
    parser: argparse.ArgumentParser, name: str, help: str, default: Path | None = None, metavar: str = "DIR"
) -> None:
    """Add an option for a path that the command writes: a FILE, or a folder, DIR. `prove_outputs` tries it."""
    action = parser.add_argument(name, type=path, default=default, metavar=metavar, help=help)
    outputs = parser.get_default("outputs") or {}
    parser.set_defaults(outputs=outputs | {action.dest: metavar == "FILE"})


def prove_outputs(parsed: argparse.Namespace) -> None:
    """Raise OSError naming the path unless all paths that a command is to write can be written."""
    for name, is_file in getattr(parsed, "outputs", {}).items():
        if getattr(parsed, name) is not None:
            prove_writable(getattr(parsed, name), is_file)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="show no progress")


# Errors


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, which names the nearest valid option or word."""

    def error(self, message: str):
        unknown = re.match(r"unrecognized arguments: (-[^\s=]*)", message)
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if unknown:
            options = self._options()
            message += "; it is of other commands" if unknown[1] in options else _nearest(unknown[1], options)
        elif choice:
            message += _nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
        print(f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)

    def _options(self) -> list[str]:
        """The options of this parser and of its commands."""
        found = [option for action in self._actions for option in action.option_strings]
        commands = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return found + [option for action in commands for each in action.choices.values() for option in each._options()]


def _nearest(word: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(word, valid, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def print_error(program: str, error: BaseException) -> None:
    """Print in one line what is wrong with a request."""
    print(f"{program}: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
