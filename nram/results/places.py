"""Where this checkout keeps its results, and the folders beside runs that hold something else."""

from pathlib import Path

__all__ = ["CHECKOUT", "FAILED", "FIGURES", "MINE", "NOTEBOOKS", "NOT_RUNS", "PAPER", "RECORDED", "STUDIES"]

CHECKOUT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = CHECKOUT / "notebooks"  # sources, without outputs
PAPER = CHECKOUT / "results" / "paper"  # the paper's numbers
RECORDED = CHECKOUT / "results" / "recorded"  # the runs that this repository commits
FIGURES = CHECKOUT / "results" / "figures"
MINE = Path("results/runs")  # a user's own runs, below the working directory

FAILED = "failed"  # what failed notebooks left, for debugging
STUDIES = "studies"  # see `nram.experiments.studies`
NOT_RUNS = (FAILED, "notebooks", STUDIES)  # folders in a folder of runs that hold something else
