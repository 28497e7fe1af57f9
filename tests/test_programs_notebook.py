"""The notebook of programs, executed here on a folder of small runs."""

import ast
from dataclasses import replace

import matplotlib
import nbformat
import pandas as pd
import pytest
from IPython.core.display import Markdown
from matplotlib.figure import Figure

from nram import results
from nram.experiments import run as experiment
from nram.program import published
from nram.training.config import TrainConfig
from nram.training.loop import train

NOTEBOOK = results.CHECKOUT / "notebooks" / "60_programs.ipynb"


def make_run(folder, task: str, by_hand: bool = False, **settings):
    """A run of a hardly trained machine, or of one whose parameters are those of the published program."""
    tiny = {"hidden": 4, "population": 2, "batch_size": 2, "train_difficulty": 3, "kernel": "reference"}
    if by_hand:
        layout, (controller, params) = published(task).layout, published(task).controller()
        settings |= {"hidden": controller.hidden, "num_registers": layout.num_registers}
    config = TrainConfig.for_task(task, budget_seconds=0.0, **tiny | settings)
    result = train(config, progress=False)
    if by_hand:
        result = replace(result, machine=replace(result.machine, params=params))
    sweep = {"complexities": [2, 3], "uniform_complexities": [3]}
    experiment.save(folder, result, experiment.evaluate_result(result, cases=10, progress=False, **sweep), seconds=0.0)


@pytest.fixture
def execute(monkeypatch):
    """Execute the notebook's cells in this process, in its folder, with other parameters; what it displays."""
    matplotlib.use("agg")
    monkeypatch.chdir(NOTEBOOK.parent)

    def execute(**parameters) -> list:
        shown, names = [], {}
        monkeypatch.setattr("IPython.display.display", lambda each, **_: shown.append(each))
        for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
            if cell.cell_type == "code":
                *statements, last = ast.parse(cell.source.replace("%matplotlib inline\n", "")).body
                if not isinstance(last, ast.Expr):
                    statements.append(last)
                exec(compile(ast.Module(statements, []), f"60_programs: {cell.id}", "exec"), names)
                if isinstance(last, ast.Expr):
                    shown.append(eval(compile(ast.Expression(last.value), cell.id, "eval"), names))
                if "parameters" in cell.metadata.get("tags", []):
                    assert set(parameters) <= set(names)
                    names |= parameters
        return shown

    return execute


def text_of(shown) -> str:
    return "\n".join(each.data for each in shown if isinstance(each, Markdown))


@pytest.mark.slow
def test_programs_of_some_runs(execute, tmp_path):
    make_run(tmp_path / "runs", "access", by_hand=True)
    make_run(tmp_path / "runs", "increment", controller="lstm")
    folders = {"results_folder": str(tmp_path / "runs"), "figures_folder": str(tmp_path / "figures")}
    shown = execute(**folders, lengths=[2, 5, 200], lstm_longest=5, lstm_examples=20)
    text = text_of(shown)
    assert "2 runs. **No run of: copy, reverse, swap" in text
    assert "5 of 5 published executions are re-enacted number by number." in text
    assert "MLP, 14 modules; error 0 when discretized, at complexity 3." in text and "LSTM, 14 modules" in text
    assert (
        "**Access**: no error up to length 200; proved: right for every n >= 1" in text
        and "**Increment**: first error at length 2" in text
    )
    assert "Access: right for every n >= 1" in text
    assert sum(isinstance(each, Figure) for each in shown) == 10 + 4 + 1
    (lengths,) = (each for each in shown if isinstance(each, pd.DataFrame) and "first failure" in each)
    assert lengths.set_index("task").loc["access", "200"] == "0 of 10"
    written = {path.name for path in (tmp_path / "figures").rglob("*")}
    assert {"access.py", "access.json", "circuits_access.svg", "execution_access.svg", "entropy.svg"} <= written


@pytest.mark.slow
def test_programs_of_no_runs(execute, tmp_path, monkeypatch):
    monkeypatch.setattr("nram.report.style.save", lambda *_: [])  # the published figures again: written once is enough
    (tmp_path / "work" / "none").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    shown = execute(results_folder="none", figures_folder="figures")
    assert "0 runs. **No run of: access" in text_of(shown) and "**WalkBST**: not run." in text_of(shown)
