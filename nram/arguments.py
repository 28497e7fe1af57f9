"""Types of command-line arguments that both command lines take."""

import argparse

__all__ = ["positive"]


def positive(text: str) -> int:
    """An integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number
