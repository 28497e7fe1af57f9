"""What both command lines share: types of arguments, and a parser that says in one line what is wrong."""

import argparse
import difflib
import re
import sys

__all__ = ["Parser", "positive", "report", "seed"]

SEEDS = 2**32  # a run derives other seeds from its own, all below 2^63


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
        raise argparse.ArgumentTypeError(f"{text!r} is no integer") from None
    if not low <= number < above:
        raise argparse.ArgumentTypeError(f"{text} is not in {low}..{above - 1}")
    return number


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, which names the nearest valid option or word."""

    def error(self, message: str):
        unknown = re.match(r"unrecognized arguments: (-[^\s=]*)", message)
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if unknown:
            message += _nearest(unknown[1], self._options())
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


def report(program: str, error: BaseException) -> None:
    """Say in one line what was wrong with a request."""
    print(f"{program}: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
