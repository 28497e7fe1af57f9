"""The paper's numbers: Table 1, the study of gradient noise, and the executions of Tables 2 to 6."""

import pandas as pd

from nram.results.places import PAPER

__all__ = ["PAPER_EXECUTIONS", "paper_execution", "paper_gradient_noise", "paper_table1"]

PAPER_EXECUTIONS = {"copy": 2, "access": 3, "increment": 4, "reverse": 5, "swap": 6}  # task -> the table's number


def paper_table1() -> pd.DataFrame:
    """Table 1 as published: task, complexity_measure, train_complexity, train_error, generalization, discretization."""
    return _read("table1_results.csv")


def paper_gradient_noise() -> pd.DataFrame:
    """Share of seeds that converged on ListK with and without gradient noise, for three settings and on average."""
    return _read("gradient_noise_listk.csv")


def paper_execution(task: str) -> pd.DataFrame:
    """The published execution of a task (Tables 2 to 6): step, m0.., r1..; for copy also read_p, write_p, write_a.

    Memory cells and registers are those at the start of each step. Raises ValueError for a task that has none.
    """
    if task not in PAPER_EXECUTIONS:
        raise ValueError(f"the paper has no execution of {task!r}; it has {', '.join(PAPER_EXECUTIONS)}")
    return _read(f"table{PAPER_EXECUTIONS[task]}_{task}.csv")


def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(PAPER / name)
