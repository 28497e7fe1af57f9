"""The notebooks as they are stored, and what they show: executed here with tiny settings."""

import ast
import io
import json
import re
import tokenize

import nbformat
import pandas as pd
import pytest
from builders import TINY, make_run, notebook_path, parameters_cell, parameters_of, related_row

from nram import results, tasks
from nram.experiments import notebooks, reproduce, studies
from nram.machine import MODULES
from nram.training.config import TrainConfig

NOTEBOOKS = sorted(results.NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=nbformat.NO_CONVERT)


# As stored


def test_all_four_are_there():
    names = {path.stem for path in NOTEBOOKS}
    assert {"00_machine", "10_task", "20_table1", "30_generalization"} <= names


def test_stored_in_the_current_format_without_outputs(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z][a-z0-9-]*", cell.id), "an id that stays the same when the notebook is saved"
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_parameters_are_literals_with_a_comment_each(notebook):
    source = parameters_cell(notebook).source
    assert parameters_of(notebook), "at least one parameter"
    comments = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for statement in ast.parse(source).body:
        assert isinstance(statement, ast.Assign) and statement.end_lineno in comments


def test_starts_with_claim_and_reference_ends_with_a_verdict(notebook):
    assert "*Claim (" in notebook.cells[0].source and "arxiv.org/abs/1511.06392" in notebook.cells[0].source
    assert notebook.cells[-2].source.startswith("## Verdict") and "> " in notebook.cells[-1].source


def test_has_the_parameters_that_the_runner_sets():
    of_task = parameters_of(nbformat.read(notebook_path(reproduce.TASK_NOTEBOOK), 4))
    assert {"task", "seed", "budget_seconds", "device", "overrides", "results_folder"} <= set(of_task)
    assert of_task["task"] in tasks.KEYS
    for name, given in reproduce.SUMMARIES.items():
        assert set(given) <= set(parameters_of(nbformat.read(notebook_path(name), 4)))


# As executed


@pytest.mark.slow
def test_machine(execute):
    shown = execute("00_machine", long_array=20, cases=20)
    assert "circuit re-enacts the paper's Table 2" in shown.markdown
    assert "largest error is 0 over arrays" in shown.markdown and "; 0 outputs differ" in shown.markdown
    assert len(shown.figures) == 6


@pytest.mark.slow
@pytest.mark.parametrize(("task", "complexity"), [("copy", 15), ("walkbst", 10)])
def test_task(execute, tmp_path, task, complexity):
    tiny = {"budget_seconds": 0.5, "overrides": TINY, "cases": 20, "max_complexity": 6}
    shown = execute("10_task", task=task, seed=5, results_folder=str(tmp_path), **tiny)
    (folder,) = tmp_path.iterdir()
    run = results.load_run(folder)
    config = TrainConfig.for_task(task, seed=5, budget_seconds=0.5, **TINY)
    assert folder.name == results.run_name(config.to_dict())
    assert len(shown.figures) == 3
    assert f"Error at complexity 3: {run.metrics['fuzzy_train_error']:.4g} on 20 fresh cases" in shown.markdown
    paper = results.paper_table1().set_index("task").loc[task]
    assert f"the paper reports {paper['train_error']:g} at complexity {complexity}." in shown.markdown
    assert f"the paper reports “{paper['generalization']}”" in shown.markdown


@pytest.mark.slow
def test_task_solved_shows_its_program(execute, tmp_path, capsys):
    easy = {"population": 8, "train_difficulty": 2, "kernel": "reference", "verify_cases": 50}
    rest = {"results_folder": str(tmp_path), "cases": 20, "max_complexity": 3}
    shown = execute("10_task", task="access", budget_seconds=40.0, overrides=easy, **rest)
    assert "Solved after" in shown.markdown
    assert "READ" in capsys.readouterr().out


def test_task_with_wrong_parameters_names_the_valid_ones(execute):
    with pytest.raises(ValueError, match="walkbst"):
        execute("10_task", task="increments")
    with pytest.raises(ValueError, match="did you mean .?population"):
        execute("10_task", overrides={"populatoin": 3})


@pytest.mark.slow
def test_summaries_of_some_runs(execute, tmp_path):
    for task in ("copy", "listk"):
        make_run(tmp_path / "runs", task)
    make_run(tmp_path / "runs", "listk", seed=1)
    folders = {"results_folder": str(tmp_path / "runs"), "figures_folder": str(tmp_path / "figures")}

    table = execute("20_table1", **folders)
    assert "3 runs. **No run of: access, increment, reverse" in table.markdown
    assert "| copy | len(A) | 15 | 3 |" in table.markdown and "of 2 tasks that were run" in table.markdown
    assert "on at least 10 fresh cases" in table.markdown

    curves = execute("30_generalization", **folders)
    assert "**Copy**: first error at" in curves.markdown and "**Access**: not run" in curves.markdown
    assert "for complexities uniform up to 5 (10 cases); the paper says “strong”" in curves.markdown
    written = {path.name for path in (tmp_path / "figures").iterdir()}
    names = ("reach", "error_by_complexity", "figure3")
    assert written == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}


@pytest.mark.slow
def test_gradient_noise(execute, tmp_path, monkeypatch):
    tiny = TINY | {"task": "listk", "polish_batches": 0, "verify_cases": 20}
    fixed = {"learning_rate": 0.01, "output_scale": 1, "stop_bias": 0, "entropy": 0.01}
    tiny |= {name: [value] * 2 for name, value in fixed.items()}
    settings = {f"setting {n}": tiny | {"noise_eta": [n / 10] * 2} for n in (1, 2, 3)}
    plan = {"about": "for the tests", "batches": 10, "settings": settings}
    plan["variants"] = {"with noise": {}, "no noise": {"noise_scale": 0.0}}
    for name in ("gradient_noise", "gradient_noise_marginal", "ablations"):
        monkeypatch.setitem(studies.STUDIES, name, plan)
        studies.run_study(name, tmp_path / "studies", seeds=2)
    folders = {"studies_folder": str(tmp_path / "studies"), "figures_folder": str(tmp_path / "figures")}
    own = {"own_seeds": 1, "own_batches": 10, "own_folder": str(tmp_path / "own")}
    shown = execute("40_gradient_noise", **folders, **own)
    assert "**Not there: losses, rates, recipes, controllers.**" in shown.markdown
    assert "| paper | with noise | 5.0% | 22.0% | 7.0% | 11.3% | 8.2 to 15.4% |" in shown.markdown
    assert "| ours | no noise | 0.0% | 0.0% | 0.0% | 0.0% | 0.0 to 39.0% |" in shown.markdown
    assert "| setting 2 | 0.2 |" in shown.markdown and "| setting 3 | with noise | 1 | 0 |" in shown.markdown
    assert "Of ours 0 seeds were solved only with noise and 0 only without." in shown.markdown
    assert "Ours with the loss of footnote 4, no noise: 0.0% of seeds (0.0 to 39.0%)." in shown.markdown
    assert "setting 1: with noise 0 of 2, no noise 0 of 2." in shown.markdown
    assert len(shown.figures) == 2 and len(list((tmp_path / "figures").iterdir())) == 4
    nothing = execute("40_gradient_noise", **folders | {"studies_folder": str(tmp_path / "own" / "none")})
    assert "There is nothing to judge yet" in nothing.markdown and "None was asked for." in nothing.markdown


@pytest.mark.slow
def test_related(execute, tmp_path):
    rows = [related_row(system, task, seed) for system in ("lstm", "stack", "nram") for task in ("copy", "reverse")
            for seed in (7000, 7001)]  # fmt: skip
    (tmp_path / "related").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "related" / "runs.csv", index=False)
    names = " ".join(module.name for module in MODULES)
    trials = [
        {"setting": "copy", "variant": variant, "trial": trial, "solved": trial == 1, "batches": 50, "cpu_seconds": 9.0}
        | {"fuzzy_error": 0.0, "commit": "c", "choices": names if trial == 1 and variant == "bias 5" else None}
        for variant in ("original", "bias 5") for trial in (0, 1)
    ]  # fmt: skip
    (tmp_path / "attention").mkdir()
    pd.DataFrame(trials).to_csv(tmp_path / "attention" / "trials.csv", index=False)
    (tmp_path / "attention" / "provenance.json").write_text("{}")
    folders = {"studies_folder": str(tmp_path), "figures_folder": str(tmp_path / "figures")}
    own = {"own_seeds": 1, "own_seconds": 0.5, "own_folder": str(tmp_path / "own")}
    shown = execute("90_related", **folders, **own)
    assert "Both studies are there." in shown.markdown and "ListSearch" in shown.markdown
    assert "| Copy | stack RNN, hard | 2 of 2 (34 to 100%) |" in shown.markdown
    assert "**Copy**: LSTM fits in 2 of 2 runs and reaches 50 in 0" in shown.markdown
    assert "Copy, bias 5: 100% of the places of solved machines use the module that the paper has" in shown.markdown
    assert "| Reverse | LSTM | 0 of 1 (0 to 79%) |" in shown.markdown, "its own study"
    assert len(shown.figures) == 3 and len(list((tmp_path / "figures").iterdir())) == 6
    nothing = execute("90_related", **folders | {"studies_folder": str(tmp_path / "none")})
    assert "**Not there: related, attention.**" in nothing.markdown
    assert "There is nothing to judge yet" in nothing.markdown and "None was asked for." in nothing.markdown


@pytest.mark.slow
def test_summaries_of_no_runs(execute, tmp_path):
    (tmp_path / "runs").mkdir()
    folders = {"results_folder": str(tmp_path / "runs"), "figures_folder": str(tmp_path / "figures")}
    assert "There is nothing to judge yet" in execute("20_table1", **folders).markdown
    assert "**WalkBST**: not run; the paper says “strong”" in execute("30_generalization", **folders).markdown


@pytest.mark.slow
def test_in_a_kernel_figures_are_pictures_whatever_the_user_has_set(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(results.CHECKOUT))
    theirs = tmp_path / "theirs"
    (theirs / "kernels" / "python3").mkdir(parents=True)
    kernel = {"argv": ["false", "{connection_file}"], "display_name": "Theirs", "language": "python"}
    (theirs / "kernels" / "python3" / "kernel.json").write_text(json.dumps(kernel))
    (theirs / "startup.py").write_text("import os; os._exit(3)")
    (theirs / "matplotlibrc").write_text("text.usetex: True\nbackend: nosuch\n")
    monkeypatch.setenv("JUPYTER_PATH", str(theirs))
    monkeypatch.setenv("PYTHONSTARTUP", str(theirs / "startup.py"))
    monkeypatch.setenv("MATPLOTLIBRC", str(theirs))
    monkeypatch.setenv("MPLBACKEND", "agg")
    (tmp_path / "runs").mkdir()
    folders = {"results_folder": str(tmp_path / "runs"), "figures_folder": str(tmp_path / "figures")}
    executed = notebooks.execute(
        notebook_path("30_generalization"), tmp_path / "executed.ipynb", folders, threads=1, command="test"
    )
    pictures = [
        output for cell in executed.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2


@pytest.mark.slow
@pytest.mark.parametrize("where", [results.CHECKOUT, results.CHECKOUT / "nram", None], ids=["root", "below", "outside"])
def test_notebooks_find_their_folders_wherever_they_are_started(execute, tmp_path, monkeypatch, where):
    monkeypatch.chdir(where or tmp_path)
    shown = execute("20_table1", figures_folder=str(tmp_path / "figures"))
    assert "10 runs. Every task has a run." in shown.markdown
    given = results.as_parameter(results.RECORDED / "access")
    assert given == "results/recorded/access"
    assert "Solved after" in execute("10_task", finished=given).markdown


def test_a_notebooks_folder_is_seen_from_the_repository(tmp_path, monkeypatch):
    runs = results.CHECKOUT / "results" / "runs"
    for where in (results.CHECKOUT, results.NOTEBOOKS, tmp_path):
        monkeypatch.chdir(where)
        assert results.located("results/runs").resolve() == runs
        assert results.located("results/recorded/copy").resolve() == results.RECORDED / "copy"
        assert results.located(tmp_path / "runs").resolve() == (tmp_path / "runs").resolve()
        assert results.as_parameter(runs) == "results/runs"
        assert results.as_parameter(tmp_path / "runs") == str((tmp_path / "runs").resolve())
    monkeypatch.chdir(results.NOTEBOOKS)
    assert str(results.located("results/runs")) == "../results/runs", "no folder of this computer"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert results.located("~/runs") == tmp_path / "runs"
