"""What several test files need: configurations, machines, batches, runs, and notebooks executed in this process."""

import ast
import io
import json
import operator
from dataclasses import replace

import nbformat
import pandas as pd
import torch
from IPython.core.display import Markdown
from matplotlib.figure import Figure
from safetensors.torch import save_file

from nram import results, tasks
from nram.experiments import run as experiment
from nram.experiments.related_study import settings_of
from nram.machine import Layout, Machines, init_member, make_controller
from nram.model import Machine
from nram.program import published
from nram.related.systems import SYSTEMS
from nram.tasks import Batch
from nram.training import TrainConfig, train

TINY = {
    "population": 2,
    "batch_size": 2,
    "hidden": 16,
    "train_difficulty": 3,
    "kernel": "reference",
}  # trains in no time
CONFIG = {"task": "copy", "seed": 0, "budget_seconds": 120.0, "device": "cpu", "train_difficulty": 15}
# It copies on and on: past the output, and in the end over its own pointers.
COPY = """
when r1 = 0:
    READ r1
    r1 = ONE; r2 = READ
otherwise:
    READ r1; INC r2; ADD r1 ONE; WRITE r2 READ
    r1 = ADD; r2 = INC
"""
ARITHMETIC = {  # what the modules without memory compute, before the result is taken modulo M
    "ZERO": lambda a, b: 0,
    "ONE": lambda a, b: 1,
    "TWO": lambda a, b: 2,
    "INC": lambda a, b: a + 1,
    "ADD": operator.add,
    "SUB": operator.sub,
    "DEC": lambda a, b: a - 1,
    "LESS-THAN": operator.lt,
    "LESS-OR-EQUAL-THAN": operator.le,
    "EQUALITY-TEST": operator.eq,
    "MIN": min,
    "MAX": max,
}


# Configurations and trainings


def tiny_config(**overrides):
    """Access at difficulty 4, three members of 8 hidden units."""
    settings = dict(population=3, batch_size=4, hidden=8, budget_seconds=60.0, verify_cases=20, polish_batches=50)
    return TrainConfig.for_task("access", **{**settings, "train_difficulty": 4, **overrides})


def search_config(**overrides):
    """A small search on Access at difficulty 4."""
    settings = dict(population=4, batch_size=8, hidden=32, train_difficulty=4, verify_cases=40, budget_seconds=3.0)
    return TrainConfig.for_task("access", **{**settings, **overrides})


def stop_after(checks):
    """An on_check that ends training as Ctrl-C does, after `checks` checks and thus a fixed number of batches."""
    calls = []

    def on_check(population, seconds):
        calls.append(seconds)
        if len(calls) == checks:
            raise KeyboardInterrupt

    return on_check


# Machines and batches


def random_machine(kind="mlp", registers=3, hidden=8, scale=8.0):
    """A machine for Copy with random parameters."""
    controller = make_controller(kind, Layout(registers), hidden)
    params = init_member(controller, torch.Generator().manual_seed(0), scale, stop_bias=-1.0)
    return Machine("copy", registers, 1, kind, hidden, params)


def make_problem(
    *,
    kind="mlp",
    registers=4,
    repetitions=1,
    population=2,
    batch=5,
    cells=12,
    steps=5,
    hidden=20,
    scale=1.0,
    dtype=torch.float64,
    seed=0,
):
    """(Machines, Batch), both random; the limits are mixed, and one of them is `steps`."""
    generator = torch.Generator().manual_seed(seed)
    layout = Layout(registers, repetitions)
    controller = make_controller(kind, layout, hidden)
    members = [init_member(controller, generator, output_scale=scale) for _ in range(population)]
    params = {name: torch.stack([member[name] for member in members]).to(dtype) for name in members[0]}
    shape = (population, batch, cells)
    memory, target = (torch.randint(cells, shape, generator=generator) for _ in range(2))
    mask = torch.rand(shape, generator=generator) < 0.5
    limit = torch.randint(1, steps + 1, shape[:2], generator=generator)
    limit[0, 0] = steps
    return Machines(layout, controller, params), Batch(memory, target, mask, limit, difficulty=limit)


def relative(found, expected):
    """The norm of the difference over that of the expected."""
    return ((found - expected).norm() / expected.norm().clamp(min=1e-30)).item()


def draw(key, difficulties, num_cells, seed=0, device="cpu"):
    """A batch of a task from a seed."""
    difficulty = torch.as_tensor(difficulties, device=device)
    return tasks.get(key).sample(difficulty, num_cells, torch.Generator(device).manual_seed(seed))


def rows(batch):
    """(difficulty, memory, target, output cells) of each example, as Python integers and lists."""
    for d, memory, target, mask in zip(batch.difficulty, batch.memory, batch.target, batch.mask, strict=True):
        yield int(d), memory.tolist(), target.tolist(), mask.nonzero().flatten().tolist()


# Runs


def make_run(folder, task: str, by_hand: bool = False, **settings):
    """A run of a hardly trained machine, or of one whose parameters are those of the published program."""
    if by_hand:
        layout, (controller, params) = published(task).layout, published(task).controller()
        settings |= {"hidden": controller.hidden, "num_registers": layout.num_registers}
    result = train(TrainConfig.for_task(task, budget_seconds=0.0, **TINY | settings), progress=False)
    if by_hand:
        result = replace(result, machine=replace(result.machine, params=params))
    sweep = {"complexities": [3, 4], "uniform_complexities": [3, 5]}
    evaluation = experiment.evaluate_result(result, cases=10, progress=False, **sweep)
    return experiment.save(folder, result, evaluation, seconds=0.0)


def write_run(folder, machine, **changes):
    """A folder from which `nram.load` reads the machine; changes: to its config.json."""
    folder.mkdir()
    config = TrainConfig.for_task(
        "copy", controller=machine.controller_kind, num_registers=machine.num_registers, hidden=machine.hidden
    )
    (folder / "config.json").write_text(json.dumps({"format": 1, **config.to_dict(), **changes}))
    save_file(machine.params, folder / "weights.safetensors")
    return folder


def sweep(first_error=None, low=1, differ=0, complexities=range(1, 51), cases=1000):
    """A generalization frame: error 0 below `first_error`, 0.25 from it on; `differ` cases differ at the largest."""
    rows = []
    for complexity in complexities:
        if complexity < low:
            continue
        error = 0.25 if first_error is not None and complexity >= first_error else 0.0
        for machine in ("fuzzy", "discretized"):
            rows.append({"complexity": complexity, "mode": "at", "machine": machine, "error": error, "cases": cases})
            rows[-1] |= {"wrong_cases": int(error * cases), "num_cells": 12}
            rows[-1] |= {"disagreements": differ if complexity == max(complexities) else 0}
    rows += [dict(row, mode="uniform", disagreements=0) for row in rows if row["complexity"] == 50]
    return pd.DataFrame(rows)


def save_run(folder, config=CONFIG, generalization=None, metrics=None, **changes):
    """Save a small run that no training made."""
    arguments = {
        "config": config,
        "metrics": {"solved": True, "batches": 7} if metrics is None else metrics,
        "generalization": sweep() if generalization is None else generalization,
        "history": pd.DataFrame({"batch": [10, 20], "seconds": [0.1, 1 / 3]}),
        "trials": pd.DataFrame({"trial": [0], "solved": [False], "learning_rate": [0.1]}),
        "weights": {"hidden": torch.arange(6.0).reshape(2, 3).t(), "bias": torch.zeros(2)},
        "provenance": results.collect_provenance(config, seconds=1.5, kernel="reference", command="the command"),
    }
    return results.save_run(folder, **(arguments | changes))


def assert_same_run(found, expected):
    """Two runs are the same in all but the seconds they took."""
    assert found.config == expected.config
    assert {**found.metrics, "training_seconds": 0} == {**expected.metrics, "training_seconds": 0}
    pd.testing.assert_frame_equal(found.generalization, expected.generalization)
    for name in ("trials", "history"):
        pd.testing.assert_frame_equal(
            getattr(found, name).drop(columns="seconds"), getattr(expected, name).drop(columns="seconds")
        )
    weights, others = (results.load_weights(run.folder)[0] for run in (found, expected))
    assert weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)


def related_row(system, task, seed, reach=20, seconds=300.0):
    """A row of the study `related`, of a run without an error up to `reach`."""
    error = " ".join(["0"] * reach + ["0.5"] * (50 - reach))
    forms = ("soft", "hard") if system == "nram" or SYSTEMS[system].hard else ("soft",)
    row = {"system": system, "task": task, "seed": seed, "settings": settings_of(system, task, seed, seconds)}
    for form in forms:
        row |= {f"{form}_fit": reach >= 15, f"{form}_reach": reach, f"{form}_error": error}
        row |= {f"{form}_structured": "" if task == "access" else f"0 0 {0 if reach == 50 else 0.5}"}
    return row | {"budget_seconds": seconds, "sequences": 1000, "seconds": 300.0, "commit": "c", "processor": "p"}


# Notebooks


def notebook_path(name: str):
    """Where a notebook's source is."""
    return results.NOTEBOOKS / f"{name}.ipynb"


def parameters_cell(notebook):
    """A notebook's cell of parameters."""
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    return cell


def parameters_of(notebook) -> dict:
    """A notebook's parameters, by name, with their defaults."""
    return {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in ast.parse(parameters_cell(notebook).source).body
    }


class Shown(list):
    """What a notebook displays, the values of its cells' last lines among it."""

    @property
    def markdown(self) -> str:
        return "\n".join(each.data for each in self if isinstance(each, Markdown))

    @property
    def figures(self) -> list[Figure]:
        return [each for each in self if isinstance(each, Figure)]


def executed_notebook():
    """A notebook of the kinds of output that ours have: text, a table, a picture without text, Markdown, a widget."""
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    cells = [nbformat.v4.new_markdown_cell("# A *small* notebook\n\nWith `code` and a | b.")]
    outputs = {"image/png": png}, {"text/html": "<table><tr><th>1</th></tr></table>"}, {"text/markdown": "> **Said**"}
    outputs += ({"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "VBox()"},)
    for data in outputs:
        cell = nbformat.v4.new_code_cell("1 + 1", execution_count=1)
        cell.outputs = [nbformat.v4.new_output("display_data", data=data)]
        cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells, metadata={"widgets": {"state": {}}})


def execute_notebook(name: str, monkeypatch, **parameters) -> Shown:
    """Execute a notebook's cells in this process, with other parameters."""
    notebook, shown, names = nbformat.read(notebook_path(name), as_version=4), Shown(), {}
    assert set(parameters) <= set(parameters_of(notebook))
    monkeypatch.setattr("IPython.display.display", lambda each, **_: shown.append(each))
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        *statements, last = ast.parse(cell.source.replace("%matplotlib inline\n", "")).body
        if not isinstance(last, ast.Expr):
            statements.append(last)
        exec(compile(ast.Module(statements, []), f"{name}: {cell.id}", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"{name}: {cell.id}", "eval"), names)
            if value is not None:
                shown.append(value)
            assert not isinstance(value, Figure) or cell.metadata.get("alt"), "figures have alternative text"
        if cell is parameters_cell(notebook):
            names |= parameters
    for figure in shown.figures:
        figure.savefig(io.BytesIO(), format="png")
        assert all(axes.get_xlabel() or figure.get_supxlabel() for axes in figure.axes if axes.get_title())
    return shown
