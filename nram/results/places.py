"""Where results are: those of this checkout, or those that an installed package brings along."""

import os
from pathlib import Path

__all__ = [
    "CHECKOUT",
    "FAILED",
    "FIGURES",
    "MINE",
    "MORE",
    "NOTEBOOKS",
    "NOT_RUNS",
    "PAPER",
    "RECORDED",
    "STUDIES",
    "as_parameter",
    "located",
]

PACKAGE = Path(__file__).resolve().parent.parent
IS_INSTALLED = (PACKAGE / "recorded").is_dir()  # pyproject.toml puts these folders into the wheel's package
CHECKOUT = PACKAGE.parent
HOME = Path() if IS_INSTALLED else CHECKOUT  # what the relative paths of notebooks start from

NOTEBOOKS = PACKAGE / "notebooks" if IS_INSTALLED else CHECKOUT / "notebooks"  # sources, without outputs
PAPER = PACKAGE / "paper" if IS_INSTALLED else CHECKOUT / "results" / "paper"  # the paper's numbers
RECORDED = PACKAGE / "recorded" if IS_INSTALLED else CHECKOUT / "results" / "recorded"  # the runs of this repository
FIGURES = HOME / "results" / "figures"
MINE = Path("results/runs")  # a user's own runs, below the working directory

FAILED = "failed"  # what failed notebooks left, for debugging
STUDIES = "studies"  # see `nram.experiments.studies`
MORE = "more"  # further runs of the ten tasks, beside the one of each that the tables show
NOT_RUNS = (FAILED, "notebooks", STUDIES, MORE)  # folders in a folder of runs that hold something else


def located(path: str | Path) -> Path:
    """Where a notebook's parameter leads, wherever the notebook was started.

    A relative path starts from the repository, or from the working directory if the package is installed without one;
    ~ is the home folder. results/recorded is `RECORDED` in both cases. Within the repository the result is relative to
    the working directory, so that what a notebook shows names no folder of this computer.
    """
    path, recorded = Path(path).expanduser(), Path("results/recorded")
    if path.is_relative_to(recorded):
        path = RECORDED / path.relative_to(recorded)
    path = HOME / path
    inside = not IS_INSTALLED and all(each.is_relative_to(CHECKOUT) for each in (path, Path.cwd()))
    return Path(os.path.relpath(path)) if inside else path


def as_parameter(path: str | Path) -> str:
    """The parameter that `located` leads to this path: relative if it is in the repository, else absolute."""
    path = Path(path).resolve()
    return path.relative_to(CHECKOUT).as_posix() if path.is_relative_to(CHECKOUT) and not IS_INSTALLED else str(path)
