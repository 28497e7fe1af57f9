"""The executed notebooks of the recorded runs: small, whole, and free of what only one computer has."""

import base64
import io

import nbformat
import pytest
from builders import executed_notebook
from PIL import Image

from nram import results, tasks
from nram.__main__ import main
from nram.experiments.board import Board
from nram.experiments.reproduce import TASK_NOTEBOOK
from nram.report import recorded

EXECUTED = sorted((recorded.RECORDED / "notebooks").glob("*.ipynb"))


def test_every_notebook_has_an_executed_copy():
    wanted = {path.stem for path in results.NOTEBOOKS.glob("*.ipynb")} - {TASK_NOTEBOOK}
    wanted |= {f"{TASK_NOTEBOOK}-{key}" for key in tasks.KEYS}
    assert {path.stem for path in EXECUTED} == wanted


@pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.stem)
def test_copies_are_whole_small_and_clean(path):
    assert path.stat().st_size < recorded.LARGEST
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert str(results.CHECKOUT) not in path.read_text(encoding="utf-8")
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert all(cell.execution_count for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs and not any(output.output_type == "error" for output in outputs)
    assert not any(recorded.WIDGETS in output.get("data", {}) for output in outputs)
    for cell in code:
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                own = output.metadata.get("image/png", {}).get("alt")
                assert own or cell.metadata.get("alt"), f"{cell.id}: a picture without alternative text"


@pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.stem)
def test_copies_are_of_the_present_sources(path):
    """Cell by cell, except the injected parameters."""
    source = nbformat.read(results.NOTEBOOKS / f"{path.stem.partition('-')[0]}.ipynb", as_version=4)
    cells = nbformat.read(path, as_version=4).cells
    executed = [cell.source for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    assert executed == [cell.source for cell in source.cells], f"python -m nram recorded {path.stem.partition('-')[0]}"


def outputs_of(name: str) -> str:
    """All the Markdown that an executed copy shows."""
    cells = nbformat.read(recorded.RECORDED / "notebooks" / f"{name}.ipynb", as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output["data"]["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {}))


def test_copies_are_of_the_present_runs():
    runs = results.load_runs(recorded.RECORDED)
    assert results.table1_markdown(results.table1(runs)) in outputs_of("20_table1"), "make recorded"
    for task, run in results.best_runs(runs).items():
        text = outputs_of(f"10_task-{task}")
        assert f"run `{results.run_name(results.load_run(run['folder']).config)}`" in text, "make recorded"
        assert f"Generalization: {run['generalization']}, with {run['generalization_cases']} cases" in text


def test_notebooks_are_made_light():
    notebook = recorded.light(executed_notebook())
    assert "widgets" not in notebook.metadata
    assert [len(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"] == [1, 1, 1, 0]


def test_pictures_keep_their_size_and_look():
    stream = io.BytesIO()
    picture = Image.linear_gradient("L").convert("RGB")
    picture.save(stream, format="PNG", compress_level=0)
    before = base64.b64encode(stream.getvalue()).decode()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", data={"image/png": before})]
    after = recorded.light(notebook).cells[0].outputs[0].data["image/png"]
    shown = Image.open(io.BytesIO(base64.b64decode(after)))
    assert len(after) < len(before) / 10 and shown.size == picture.size
    pairs = zip(picture.convert("L").tobytes(), shown.convert("L").tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 8


@pytest.mark.slow
def test_a_small_set_of_runs(tmp_path):
    """One task's notebook on one run, as the command executes it."""
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "access").symlink_to(recorded.RECORDED / "access")
    with Board(io.StringIO()) as board:
        (written,) = recorded.execute_notebooks(["10_task"], runs, board)
    assert written == runs / "notebooks" / "10_task-access.ipynb"
    assert "  10_task-access  executed in" in board.stream.getvalue()
    text = written.read_text(encoding="utf-8")
    assert "Access, seed 0" in text and "Solved after" in text


def test_the_readme_is_renewed_between_its_marks(tmp_path):
    readme = tmp_path / "README.md"
    marks = "Before\n<!-- table1 -->\nold\n<!-- /table1 -->\nbetween\n<!-- effort -->\n<!-- /effort -->\nafter\n"
    marks = "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in ("rates", "scaling", "chances")) + marks
    readme.write_text(marks)
    recorded.update_readme(readme)
    text = readme.read_text()
    assert "Before\n<!-- table1 -->\n| task |" in text and text.endswith("<!-- /effort -->\nafter\n")
    assert "old" not in text and "| `python -m nram train --task copy" in text
    recorded.update_readme(readme)
    assert readme.read_text() == text
    readme.write_text("nothing")
    with pytest.raises(ValueError, match="one place marked table1"):
        recorded.update_readme(readme)


def test_an_unknown_notebook_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(recorded, "trace_picture", lambda *_: None)
    monkeypatch.setattr(recorded, "update_readme", lambda *_: None)
    assert main(["recorded", "20_tabel"]) == 2
    assert "there is no notebook '20_tabel': there are 00_machine" in capsys.readouterr().err
